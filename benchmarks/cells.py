"""Our VAE of cells against scvi-tools' SCVI: the same counts, split, sizes, epochs and step size.

Both train on the train split alone, with one hidden layer of 128 units on each side, 10 latent
dimensions, the observed library size, a dispersion per gene, no dropout and no KL warm-up, in one
process and in turn (A B C A B C ...). SCVI stands twice: once like ours (no normalisation layers,
Adam with eps 1e-8 and without weight decay), once with its own defaults for both (batch
normalisation, eps 0.01, weight decay 1e-6). Time is that of the call that trains, models made and
data handed over included; ours holds a pass over the validation split after each epoch too, which
SCVI by default does not make.

One function scores all: the ELBO per test cell at β = 1, E_q[log p(x given z, library)] − KL, in
nats, log p summed over the genes, the expectation over the same draws of noise. It is told as
(ours − collapsed) / (SCVI − collapsed): `collapsed` has no code, each gene its share of all
molecules times the library size for a mean, and its dispersion by maximum likelihood.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from reporting import markdown_table, provenance
from vae_ablation.data.base import Dataset
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.evaluation.codes import cluster_scores
from vae_ablation.models.vae import VAE
from vae_ablation.study.config import Config, resolve_config
from vae_ablation.study.plan import pack_limit
from vae_ablation.study.run import Run, expand_runs
from vae_ablation.training.pack import train_pack

HIDDEN, LATENT = 128, 10
DRAWS = 32
LIKELIHOODS = {"negative_binomial": "nb", "zero_inflated_negative_binomial": "zinb"}
"""Our name of a likelihood and SCVI's."""
SEARCHED = (-7.0, 14.0)
"""Where the log of the collapsed model's inverse dispersion is looked for."""
OURS = "ours"
VARIANTS: dict[str, dict[str, Any]] = {
    "SCVI, like ours": {
        "model": {"use_batch_norm": "none"},
        "plan": {"eps": 1e-8, "weight_decay": 0.0},
    },
    "SCVI, its defaults": {"model": {}, "plan": {}},
}
GRID = {
    "likelihood": ["poisson", *LIKELIHOODS],
    "latent_dim": [2, LATENT],
    "beta": [0.1, 1.0, 4.0],
    "kl": [True],
    "posterior": ["gaussian"],
    "seed": [0, 1, 2],
}
"""What two runs of SCVI are set against."""

Log = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Seconds:
    """What a piece of work took: on the clock, and of this process's CPU time, all threads'."""

    wall: float
    cpu: float

    @classmethod
    def of(cls, work: Callable[[], Any]) -> tuple[Seconds, Any]:
        """The time of a call, and what it returned."""
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        return cls(time.perf_counter() - wall, time.process_time() - cpu), found


@dataclass(frozen=True)
class Outcome:
    """One trained model: seconds of its training, ELBO in nats per test cell, and how well the
    labels are found in the test cells' codes (ari, silhouette).
    """

    seconds: Seconds
    elbo: float
    ari: float
    silhouette: float


# --- the data ------------------------------------------------------------------------------------


def study_config(arguments: argparse.Namespace) -> Config:
    """A resolved config that holds the data and the settings of both sides."""
    # proteins have a likelihood of their own here, and none in SCVI
    datasets: dict[str, Any] = {"simulated": {"source": "simulated-cells", "proteins": 0}}
    root = os.environ.get("VAE_ABLATION_DATA")
    if root:
        datasets["mixology"] = {
            "source": "h5ad",
            "path": str(Path(root, "mixology_5cl.h5ad").resolve()),
            "label": "cell_line",
            "batch": "plate",
            "n_top_genes": 2000,
        }
    named = [name for name in datasets if name in (arguments.datasets or datasets)]
    return resolve_config(
        {
            "study": "benchmark",
            "datasets": {name: datasets[name] for name in named},
            "grids": [{**GRID, "dataset": named}],
            "model": {"hidden": [HIDDEN]},
            "training": {
                "epochs": arguments.epochs,
                "batch_size": arguments.batch_size,
                "learning_rate": arguments.learning_rate,
                "device": "cpu",
            },
        },
        Path(__file__),
    )


def prepared(name: str, config: Config, folder: Path) -> Dataset:
    """A dataset, prepared in `folder` as a study prepares it."""
    prepare_dataset(config["datasets"][name], folder / name)
    return load_dataset(name, folder / name)


@dataclass(frozen=True)
class Held:
    """Test cells: counts [n, genes], context [n, 1] (the library size), labels, noise
    [draws, n, latent] that every model gets.
    """

    x: Tensor
    context: Tensor
    labels: NDArray[np.int64]
    noise: Tensor

    @classmethod
    def of(cls, dataset: Dataset) -> Held:
        rows = dataset.rows("test")
        x = torch.from_numpy(dataset.x[rows])
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(DRAWS, len(x), LATENT, generator=generator)
        context = torch.from_numpy(dataset.context(rows))
        return cls(x, context, dataset.labels[rows], noise)

    @torch.no_grad()
    def score(self, mean: Tensor, std: Tensor, log_prob: Log, seconds: Seconds) -> Outcome:
        """The ELBO of q(z given x) = N(mean, std²), [n, latent] each, and of log p(x given z).

        KL is ½(μ² + σ² − 1) − log σ, summed over z; `log_prob` takes z [n, latent] to [n].
        """
        wide, scale = mean.double(), std.double()
        rate = (0.5 * (wide.square() + scale.square() - 1) - scale.log()).sum(1)
        draws = torch.stack([log_prob(mean + std * noise).double() for noise in self.noise])
        labels = cluster_scores(mean.numpy(), self.labels, seed=0)
        elbo = float((draws.mean(0) - rate).mean())
        return Outcome(seconds, elbo, labels["ari"], labels["silhouette"])


# --- the collapsed model -------------------------------------------------------------------------


def collapsed_elbo(dataset: Dataset) -> float:
    """Nats per test cell of the model without a code.

    Half a molecule is added to every gene, so that none that the train split lacks has mean 0.
    """
    train, test = dataset.rows("train"), dataset.rows("test")
    x = torch.from_numpy(dataset.x[train]).double()
    shares = (x.sum(0) + 0.5) / (x.sum(0) + 0.5).sum()
    mean = _library(dataset, train) * shares
    log_theta = most_likely_dispersion(x, mean)
    held = torch.from_numpy(dataset.x[test]).double()
    return float(nb_log_mass(held, _library(dataset, test) * shares, log_theta).sum(1).mean())


def _library(dataset: Dataset, rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(dataset.library(rows)).double()[:, None]


def nb_log_mass(x: Tensor, mean: Tensor, log_theta: Tensor) -> Tensor:
    """Log NB(x; mean, θ), variance mean + mean²/θ; float64, arguments broadcast."""
    theta = log_theta.exp()
    total = (theta + mean).log()
    chosen = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
    return chosen + theta * (log_theta - total) + x * (mean.log() - total)


def most_likely_dispersion(x: Tensor, mean: Tensor, steps: int = 50) -> Tensor:
    """[genes] the log θ of greatest likelihood of each gene, by golden-section search.

    A gene without overdispersion ends at the upper bound, where NB is Poisson.
    """
    ratio = (5**0.5 - 1) / 2
    low, high = (torch.full_like(x[0], bound) for bound in SEARCHED)
    for _ in range(steps):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        values = [nb_log_mass(x, mean, at).sum(0) for at in (left, right)]
        keep_left = values[0] > values[1]
        low, high = torch.where(keep_left, low, left), torch.where(keep_left, right, high)
    return (low + high) / 2


# --- the contenders ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contest:
    """One dataset and the settings of both sides."""

    dataset: Dataset
    config: Config
    held: Held

    def train(self, contender: str, likelihood: str, seed: int) -> Outcome:
        """Train one model and score it."""
        if contender == OURS:
            return self.ours(likelihood, seed)
        return self.scvi(VARIANTS[contender], LIKELIHOODS[likelihood], seed)

    def ours(self, likelihood: str, seed: int) -> Outcome:
        """One run of ours, alone."""
        run = Run(self.dataset.name, likelihood, LATENT, 1.0, True, "gaussian", seed)
        seconds, weights = Seconds.of(lambda: self.pack([run]))
        model = VAE.of(run, self.dataset.observed, self.config["model"])
        model.load_state_dict(weights[0])
        with torch.no_grad():
            posterior = model.eval().encoder(self.held.x, self.held.context)

        def log_prob(z: Tensor) -> Tensor:
            return model.decoder(z, self.held.context).log_prob(self.held.x)

        return self.held.score(posterior.mean, posterior.std, log_prob, seconds)

    def pack(self, runs: Sequence[Run]) -> list[dict[str, Tensor]]:
        """Weights of runs trained as one pack."""
        results = train_pack(runs, self.dataset, self.config["model"], self.config["training"])
        bad = [f"{result.status}: {result.reason}" for result in results if result.status != "ok"]
        if bad:
            raise SystemExit(f"Error: a run did not end well: {bad[0]}")
        return [result.weights for result in results]

    def scvi(self, variant: Mapping[str, Any], likelihood: str, seed: int) -> Outcome:
        """One SCVI; its posterior and its p(x given z) are asked for themselves, not its loss."""
        scvi = importlib.import_module("scvi")
        scvi.settings.seed = seed
        seconds, model = Seconds.of(lambda: self._train_scvi(scvi, variant, likelihood))
        module = model.module.eval()
        batch = torch.zeros(len(self.held.x), 1)
        with torch.no_grad():
            inferred = module.inference(self.held.x, batch)

        def log_prob(z: Tensor) -> Tensor:
            found = module.generative(z, inferred["library"], batch)["px"]
            return _in_float64(found).log_prob(self.held.x.double()).sum(-1)

        posterior = inferred["qz"]
        return self.held.score(posterior.loc, posterior.scale, log_prob, seconds)

    def _train_scvi(self, scvi: Any, variant: Mapping[str, Any], likelihood: str) -> Any:
        anndata = importlib.import_module("anndata")
        cells = anndata.AnnData(self.dataset.x[self.dataset.rows("train")])
        scvi.model.SCVI.setup_anndata(cells)
        model = scvi.model.SCVI(
            cells,
            n_hidden=HIDDEN,
            n_latent=LATENT,
            n_layers=1,
            dropout_rate=0.0,
            dispersion="gene",
            gene_likelihood=likelihood,
            use_observed_lib_size=True,
            **variant["model"],
        )
        training = self.config["training"]
        plan = {"lr": training["learning_rate"], "n_epochs_kl_warmup": None, **variant["plan"]}
        model.train(
            max_epochs=training["epochs"],
            batch_size=training["batch_size"],
            train_size=1.0,
            accelerator="cpu",
            devices=1,
            plan_kwargs=plan,
            enable_progress_bar=False,
        )
        return model

    def grid(self) -> int:
        """Train the grid in packs; the number of its runs."""
        runs = expand_runs([{**GRID, "dataset": [self.dataset.name]}])
        ordered = sorted(runs, key=lambda run: (run.pack_key, run))
        for _, group in itertools.groupby(ordered, key=lambda run: run.pack_key):
            members = list(group)
            limit = pack_limit(members[0], self.dataset.observed, self.config)
            for begin in range(0, len(members), limit):
                self.pack(members[begin : begin + limit])
        return len(runs)


def _in_float64(distribution: Any) -> Any:
    """SCVI's NB or ZINB with wide parameters: in float32 it is off by up to 0.2 nats a cell."""
    names = [name for name in ("mu", "theta", "zi_logits") if hasattr(distribution, name)]
    return type(distribution)(**{name: getattr(distribution, name).double() for name in names})


# --- the measurement -----------------------------------------------------------------------------

Outcomes = dict[tuple[str, str], list[Outcome]]


def measure(contest: Contest, likelihoods: Sequence[str], seeds: int) -> Outcomes:
    """Outcomes of every likelihood and contender, one a seed; the contenders in turn."""
    found: Outcomes = {pair: [] for pair in itertools.product(likelihoods, [OURS, *VARIANTS])}
    for seed in range(seeds):
        for key in found:
            likelihood, contender = key
            found[key].append(contest.train(contender, likelihood, seed))
    return found


def interval(values: Sequence[float]) -> str:
    """Mean and half of the 95 % Student-t interval over seeds."""
    if len(values) < 2:
        return f"{np.mean(values):.3f}"
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{np.mean(values):.3f} ± {half:.3f}"


def quality_table(outcomes: Outcomes, collapsed: float) -> str:
    """What each contender reached, and ours relative to it, paired by seed."""
    rows = []
    for (likelihood, contender), found in outcomes.items():
        own = outcomes[likelihood, OURS]
        ratios = [
            (one.elbo - collapsed) / (other.elbo - collapsed)
            for one, other in zip(own, found, strict=True)
        ]
        rows.append(
            [
                likelihood,
                contender,
                interval([each.elbo for each in found]),
                "" if contender == OURS else interval(ratios),
                interval([each.ari for each in found]),
                interval([each.silhouette for each in found]),
            ]
        )
    gain = "(ours − collapsed) / (this − collapsed)"
    return markdown_table(
        ["likelihood", "", "ELBO, nats per test cell", gain, "ari", "silhouette"], rows
    )


def time_table(outcomes: Outcomes, epochs: int) -> str:
    """Median seconds per epoch, on the clock and of the CPU, and both relative to ours."""
    rows = []
    for (likelihood, contender), found in outcomes.items():
        own = _per_epoch(outcomes[likelihood, OURS], epochs)
        row = [likelihood, contender]
        for seconds, ours in zip(_per_epoch(found, epochs), own, strict=True):
            spread = f"{min(seconds):.4f} to {max(seconds):.4f}"
            middle = median(seconds)
            row += [f"{middle:.4f} ({spread})", f"{middle / median(ours):.2f}×"]
        rows.append(row)
    head = ["likelihood", "", "wall s per epoch (range)", "of ours", "CPU s per epoch", "of ours"]
    return markdown_table(head, rows)


def _per_epoch(outcomes: Sequence[Outcome], epochs: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each outcome."""
    wall = [each.seconds.wall / epochs for each in outcomes]
    return wall, [each.seconds.cpu / epochs for each in outcomes]


def grid_table(contest: Contest, outcomes: Outcomes) -> str:
    """The grid's time beside that of two runs of SCVI."""
    seconds, runs = Seconds.of(contest.grid)
    rows = [
        [f"ours, the grid of {runs} runs in packs", f"{seconds.wall:.1f}", f"{seconds.cpu:.1f}"]
    ]
    for (likelihood, contender), found in outcomes.items():
        if contender != OURS:
            wall, cpu = _per_epoch(found, 1)
            times = [f"{2 * median(each):.1f}" for each in (wall, cpu)]
            rows.append([f"two runs of {contender}, {likelihood}", *times])
    return markdown_table(["", "wall s", "CPU s"], rows)


def report(contest: Contest, options: argparse.Namespace) -> None:
    """Measure one dataset and print."""
    dataset = contest.dataset
    sizes = [len(dataset.rows(split)) for split in ("train", "test")]
    collapsed = collapsed_elbo(dataset)
    print(
        f"\n## {dataset.name}: {sizes[0]:,} training and {sizes[1]:,} test cells, "
        f"{dataset.observed.dims:,} genes; collapsed model {collapsed:.3f} nats per test cell\n",
        flush=True,
    )
    outcomes = measure(contest, options.likelihoods, options.seeds)
    print(quality_table(outcomes, collapsed))
    print(time_table(outcomes, options.epochs), flush=True)
    if not options.no_grid:
        print(grid_table(contest, outcomes), flush=True)


def require_peer() -> None:
    """Import scvi-tools, quietly.

    Raises:
        SystemExit: it is not installed.
    """
    warnings.filterwarnings("ignore")
    try:
        scvi = importlib.import_module("scvi")
    except ImportError:
        raise SystemExit(
            'Error: this benchmark needs scvi-tools, an extra: pip install -e ".[bench]"'
        ) from None
    scvi.settings.verbosity = logging.ERROR
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--datasets", nargs="+", choices=["simulated", "mixology"])
    parser.add_argument("--likelihoods", nargs="+", choices=LIKELIHOODS, default=[*LIKELIHOODS])
    parser.add_argument("--no-grid", action="store_true", help="leave out the grid's time")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    require_peer()
    print(provenance(["torch", "scvi-tools", "vae-ablation"]), end="", flush=True)
    config = study_config(options)
    print(
        f"- Task: {options.epochs} epochs, {HIDDEN}-{LATENT}, batch {options.batch_size}, step "
        f"{options.learning_rate:g}, {options.threads} thread(s), {options.seeds} seed(s) in turn, "
        f"{DRAWS} draws of z per test cell"
    )
    warm = {**config, "training": {**config["training"], "epochs": 1}}
    with tempfile.TemporaryDirectory(prefix="vae-ablation-benchmark-") as folder:
        for name in config["datasets"]:
            dataset = prepared(name, config, Path(folder))
            held = Held.of(dataset)
            # first steps import and compile things: they are not measured
            measure(Contest(dataset, warm, held), options.likelihoods, seeds=1)
            report(Contest(dataset, config, held), options)


if __name__ == "__main__":
    main()
