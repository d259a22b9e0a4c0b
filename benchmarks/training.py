"""One MNIST epoch of a 784-400-20 VAE: PyTorch's VAE example and pythae against ours.

All train on grey MNIST with the Bernoulli cross-entropy, batch 128, Adam 1e-3, on the same
examples with the same number of threads, in turn (A B C A B C ...) in one process. An epoch is one
pass over the training split with updates and one over the test split without, as in the example's
own loop; our time also holds the making of the models and the copy of the data to the device. The
loss that each reaches on the test split is computed by one function and stands beside the time.
The bare matrix products of a run's epoch, on random numbers, are what no program can be faster
than. pythae (Chadebec et al. 2022) takes part where it is installed (the extra `bench`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from reporting import markdown_table, provenance
from vae_ablation.data import SOURCES
from vae_ablation.data.base import TEST, TRAIN, VALIDATION, Dataset, Observed
from vae_ablation.data.torchvision_sets import DOWNLOADS
from vae_ablation.models.distributions import Bernoulli
from vae_ablation.models.objectives import distortion_of_draws
from vae_ablation.models.posteriors import Posterior
from vae_ablation.models.priors import StandardNormal
from vae_ablation.models.vae import VAE
from vae_ablation.study.run import Run
from vae_ablation.training.pack import train_pack

BATCH, HIDDEN, LATENT, LEARNING_RATE = 128, 400, 20, 1e-3
PACK = 16
WARM_UP_EXAMPLES = 512
OBSERVED = Observed((28, 28), levels=256)
MODEL_OPTIONS = {"hidden": [HIDDEN], "activation": "relu", "center": False}


@dataclass(frozen=True)
class Outcome:
    """One measurement: wall seconds of a call that trains `runs` runs, and their mean test loss."""

    seconds: float
    runs: int
    loss: float


# --- the peer ------------------------------------------------------------------------------------


class ExampleVAE(nn.Module):
    """The network of PyTorch's VAE example: 784-400-20 and back, one hidden layer on each side."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_in = nn.Linear(OBSERVED.dims, HIDDEN)
        self.mean = nn.Linear(HIDDEN, LATENT)
        self.log_variance = nn.Linear(HIDDEN, LATENT)
        self.hidden_out = nn.Linear(LATENT, HIDDEN)
        self.pixels = nn.Linear(HIDDEN, OBSERVED.dims)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z given x)."""
        hidden = functional.relu(self.hidden_in(x))
        return self.mean(hidden), self.log_variance(hidden)

    def logits(self, z: Tensor) -> Tensor:
        """Logits of the pixels."""
        return self.pixels(functional.relu(self.hidden_out(z)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (probabilities), mean and log variance, at one draw of z."""
        mean, log_variance = self.encode(x.view(-1, OBSERVED.dims))
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return torch.sigmoid(self.logits(z)), mean, log_variance


def example_loss(reconstruction: Tensor, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Cross-entropy plus KL, summed over the batch, as the example has it."""
    pixels = x.view(-1, OBSERVED.dims)
    entropy = functional.binary_cross_entropy(reconstruction, pixels, reduction="sum")
    rate = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return entropy + rate


def example_train(
    model: ExampleVAE,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    device: torch.device,
) -> None:
    """One pass with updates."""
    model.train()
    total = 0.0
    for batch, _ in loader:
        x = batch.to(device)
        optimizer.zero_grad()
        loss = example_loss(*_arguments(model, x))
        loss.backward()
        total += loss.item()
        optimizer.step()


@torch.no_grad()
def example_test(model: ExampleVAE, loader: DataLoader[Any], device: torch.device) -> None:
    """One pass without updates."""
    model.eval()
    total = 0.0
    for batch, _ in loader:
        total += example_loss(*_arguments(model, batch.to(device))).item()


def _arguments(model: ExampleVAE, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    reconstruction, mean, log_variance = model(x)
    return reconstruction, x, mean, log_variance


def as_ours(
    model: ExampleVAE,
) -> Callable[[Tensor, Tensor, Tensor], tuple[Posterior, Bernoulli]]:
    """The peer behind the interface of our VAE, so that one function scores both."""

    def forward(x: Tensor, context: Tensor, noise: Tensor) -> tuple[Posterior, Bernoulli]:
        mean, log_variance = model.encode(x)
        posterior = Posterior(mean, 0.5 * log_variance)
        return posterior, Bernoulli(model.logits(posterior.at(noise)))

    return forward


def pythae_trainer(contest: Contest, seed: int, folder: str) -> Any:
    """pythae's trainer of the same network on the same examples, which holds its model."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    network = ExampleVAE()

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Any:
            mean, log_variance = self.network.encode(x)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.network.logits(z)))

    parts = []
    for split in ("train", "validation"):
        x = torch.from_numpy(contest.dataset.observe(split))
        parts.append(BaseDataset(x, torch.zeros(len(x))))
    config = VAEConfig(input_dim=(OBSERVED.dims,), latent_dim=LATENT, reconstruction_loss="bce")
    settings = BaseTrainerConfig(
        output_dir=folder,
        num_epochs=contest.epochs,
        learning_rate=LEARNING_RATE,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        seed=seed,
        no_cuda=contest.device.type == "cpu",
    )
    return BaseTrainer(PythaeVAE(config, Encoder(), Decoder()), *parts, settings)


# --- the contenders ------------------------------------------------------------------------------


class Contest:
    """The data in both forms, and one method per contender: seed → outcome."""

    def __init__(self, root: Path, examples: int | None, epochs: int, device: str) -> None:
        self.epochs, self.device = epochs, torch.device(device)
        self.dataset = our_dataset(root, examples)
        counts = (len(self.dataset.rows("train")), len(self.dataset.rows("validation")))
        options: dict[str, Any] = {"num_workers": 1, "pin_memory": True} if device == "cuda" else {}
        self.loaders = [
            DataLoader(
                Subset(MNIST(str(root), train=train, transform=ToTensor()), range(count)),
                batch_size=BATCH,
                shuffle=True,
                **options,
            )
            for train, count in zip((True, False), counts, strict=True)
        ]

    def example(self, seed: int) -> Outcome:
        """PyTorch's example."""
        torch.manual_seed(seed)
        start = time.perf_counter()
        model = ExampleVAE().to(self.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        for _ in range(self.epochs):
            example_train(model, optimizer, self.loaders[0], self.device)
            example_test(model, self.loaders[1], self.device)
        seconds = time.perf_counter() - start
        return Outcome(seconds, 1, self.test_loss(as_ours(model.cpu())))

    def pythae(self, seed: int) -> Outcome:
        """pythae."""
        logging.disable(logging.INFO)
        torch.manual_seed(seed)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            start = time.perf_counter()
            trainer = pythae_trainer(self, seed, folder)
            trainer.train()
            seconds = time.perf_counter() - start
        logging.disable(logging.NOTSET)
        return Outcome(seconds, 1, self.test_loss(as_ours(trainer.model.cpu().encoder.network)))

    def products(self, seed: int) -> Outcome:
        """The matrix products of one run's epoch alone, forth and back."""
        generator = torch.Generator(self.device).manual_seed(seed)
        widths = [OBSERVED.dims, HIDDEN, 2 * LATENT, HIDDEN, OBSERVED.dims]
        inputs = [OBSERVED.dims, HIDDEN, LATENT, HIDDEN]
        layers = []
        for width, output in zip(inputs, widths[1:], strict=True):
            shapes = ((BATCH, width), (width, output), (BATCH, output))
            made = [torch.randn(s, generator=generator, device=self.device) for s in shapes]
            layers.append(made)
        train, test = (len(self.dataset.rows(s)) // BATCH for s in ("train", "validation"))
        start = time.perf_counter()
        for _ in range(self.epochs * train):
            for number, (x, weight, slope) in enumerate(layers):
                x @ weight
                x.T @ slope
                if number:
                    slope @ weight.T
        for _ in range(self.epochs * test):
            for x, weight, _ in layers:
                x @ weight
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return Outcome(time.perf_counter() - start, 1, float("nan"))

    def alone(self, seed: int) -> Outcome:
        """One run of ours."""
        return self.pack([seed])

    def together(self, seed: int) -> Outcome:
        """A pack of ours."""
        return self.pack(list(range(PACK * seed, PACK * (seed + 1))))

    def pack(self, seeds: list[int]) -> Outcome:
        """Runs of ours that differ in their seeds."""
        runs = [Run("mnist", "bernoulli", LATENT, 1.0, True, "gaussian", seed) for seed in seeds]
        start = time.perf_counter()
        results = train_pack(runs, self.dataset, MODEL_OPTIONS, self.settings)
        seconds = time.perf_counter() - start
        bad = [f"{result.status}: {result.reason}" for result in results if result.status != "ok"]
        if bad:
            raise SystemExit(f"Error: a run did not end well: {bad[0]}")
        losses = [self.test_loss(self._model(result.weights)) for result in results]
        return Outcome(seconds, len(runs), float(np.mean(losses)))

    @property
    def settings(self) -> dict[str, Any]:
        """The config's training section."""
        return {
            "epochs": self.epochs,
            "batch_size": BATCH,
            "learning_rate": LEARNING_RATE,
            "learning_rate_schedule": "constant",
            "gradient_clip": None,
            "early_stopping_patience": None,
            "precision": "float32",
            "device": self.device.type,
        }

    def _model(self, weights: dict[str, Tensor]) -> VAE:
        model = VAE(OBSERVED, "bernoulli", LATENT, MODEL_OPTIONS, seed=0)
        model.load_state_dict(weights)
        return model

    @torch.no_grad()
    def test_loss(self, model: Any) -> float:
        """Cross-entropy plus KL on the test split, nats per example; the same noise for all."""
        x = torch.from_numpy(self.dataset.observe("validation"))
        noise = torch.randn(len(x), 1, LATENT, generator=torch.Generator().manual_seed(0))
        posterior, likelihood = model(x, x.new_empty(len(x), 0), noise)
        distortion = distortion_of_draws(likelihood, x).mean(-1)
        rate = StandardNormal.of(LATENT).rate(posterior, noise)
        return float((distortion + rate).double().mean())


def our_dataset(root: Path, examples: int | None) -> Dataset:
    """MNIST with its test split in the place of the validation split, which we pass each epoch."""
    raw = SOURCES["mnist"].load({"root": str(root)})
    assert raw.labels is not None
    assert raw.official_test is not None
    split = np.where(raw.official_test, VALIDATION, TRAIN).astype(np.int8)
    if examples is not None:
        for code, kept in ((TRAIN, examples), (VALIDATION, max(1, examples // 6))):
            split[np.flatnonzero(split == code)[kept:]] = TEST
    x = (raw.x.reshape(len(raw.x), -1) / 255.0).astype(np.float32)
    return Dataset("mnist", x, None, split, raw.labels, OBSERVED, dynamic=False, checksum="")


# --- the measurement -----------------------------------------------------------------------------


def measure(contest: Contest, repeats: int) -> dict[str, list[Outcome]]:
    """Every contender in turn, `repeats` times."""
    contenders = {
        "PyTorch's VAE example": contest.example,
        **({"pythae": contest.pythae} if find_spec("pythae") else {}),
        "ours, one run": contest.alone,
        f"ours, a pack of {PACK}": contest.together,
        "bare matrix products": contest.products,
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contenders}
    for seed in range(repeats):
        for name, contender in contenders.items():
            outcomes[name].append(contender(seed))
    return outcomes


def per_run(outcomes: dict[str, list[Outcome]], epochs: int) -> dict[str, list[float]]:
    """Seconds per run and epoch of each contender's calls."""
    return {
        name: [outcome.seconds / outcome.runs / epochs for outcome in found]
        for name, found in outcomes.items()
    }


def draw(seconds: dict[str, list[float]], task: str, path: Path) -> None:
    """Draw the medians as bars, from the smallest to the largest call each."""
    from matplotlib.figure import Figure

    from vae_ablation.report.figures import style

    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, 0.9 + 0.42 * len(seconds)))
        axes = figure.add_axes((0.25, 0.3, 0.68, 0.54))
        for place, (name, each) in enumerate(reversed(seconds.items())):
            middle = median(each)
            ours = name.startswith("ours")
            color = style.KL_OFF_COLOR if ours else style.PALE
            spread = [[middle - min(each)], [max(each) - middle]]
            axes.barh(place, middle, 0.6, color=color, xerr=spread, ecolor=style.GREY)
            axes.text(max(each), place, f"  {middle:.2f} s", va="center")
        axes.set_yticks(range(len(seconds)), list(reversed(seconds)))
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.15 * max(map(max, seconds.values())))
        axes.set_xlabel("seconds per run and epoch: median, least and most")
        figure.text(0.01, 0.93, "One MNIST epoch", weight="bold")
        figure.text(0.01, 0.03, task, size=8, color=style.GREY)
        figure.savefig(path, metadata={"Software": None})


def result_table(outcomes: dict[str, list[Outcome]], epochs: int) -> str:
    """Median seconds per run and epoch, ratio to the first contender, and the loss reached."""
    rows = []
    baseline = None
    for name, seconds in per_run(outcomes, epochs).items():
        middle = median(seconds)
        baseline = baseline or middle
        mean = np.mean([outcome.loss for outcome in outcomes[name]])
        loss = "" if np.isnan(mean) else f"{mean:.2f}"
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        rows.append([name, f"{middle:.2f}", spread, f"{baseline / middle:.2f}×", loss])
    head = ["", "s per run and epoch (median)", "range", "speed", "test loss, nats per example"]
    return markdown_table(head, rows)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    root = os.environ.get("VAE_ABLATION_DATA", str(DOWNLOADS))
    parser.add_argument("--root", type=Path, default=Path(root), help="folder that holds MNIST/raw")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--max-examples", type=int, help="first training examples only")
    parser.add_argument("--figure", type=Path, help="PNG of the result")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    print(provenance(["torch", "torchvision", "vae-ablation"]), end="", flush=True)
    MNIST(str(options.root), download=True)  # touches the network only where files are absent
    if not find_spec("pythae"):
        print('- pythae is not installed (pip install -e ".[bench]") and takes no part')
    # first steps import and compile things, torch.optim.Adam most of all: they are not measured
    measure(Contest(options.root, WARM_UP_EXAMPLES, 1, options.device), repeats=1)
    contest = Contest(options.root, options.max_examples, options.epochs, options.device)
    outcomes = measure(contest, options.repeats)
    sizes = [len(contest.dataset.rows(split)) for split in ("train", "validation")]
    task = (
        f"{options.epochs} epoch(s) of {sizes[0]:,} training and {sizes[1]:,} test examples, "
        f"784-{HIDDEN}-{LATENT}, batch {BATCH}, {options.threads} thread(s), "
        f"{options.device}, {options.repeats} repeat(s) in turn"
    )
    print(f"- Task: {task}\n")
    print(result_table(outcomes, options.epochs))
    if options.figure:
        draw(per_run(outcomes, options.epochs), task, options.figure)


if __name__ == "__main__":
    main()
