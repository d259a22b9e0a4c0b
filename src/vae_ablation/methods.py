"""A methods paragraph for a paper, written from what a study did and not from what was planned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_ablation import __version__
from vae_ablation.data.base import Observed
from vae_ablation.errors import UserError
from vae_ablation.files import read_json
from vae_ablation.study import Study
from vae_ablation.workflow_state import read_frozen


def methods_paragraph(folder: Path) -> str:
    """Data, models, training, evaluation and statistics of a finished study, as Markdown.

    Args:
        folder: results/<study>.

    Raises:
        UserError: no run has been trained.
    """
    study, plan = read_frozen(folder)
    overview = read_json(folder / "tables" / "overview.json")
    records = (study.run_folder(item.run) / "run.json" for item in plan.planned)
    there = next((path for path in records if path.is_file()), None)
    if there is None:
        raise UserError(f"{folder}: no run has been trained; run snakemake first.")
    record = read_json(there)
    parts = [
        _models(study, overview),
        *(_data(study, name) for name in study.datasets if name not in study.unreadable),
        _training(study, record, overview),
        _evaluation(study),
    ]
    return "# Methods\n\n" + " ".join(parts) + "\n"


def _listed(values: Sequence[Any]) -> str:
    words = [f"{v:g}" if isinstance(v, float) else str(v).replace("_", " ") for v in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _models(study: Study, overview: dict[str, Any]) -> str:
    axes, hidden = overview["axes"], study.config["model"]["hidden"]
    convolved = any(run.architecture == "conv" for run in study.runs)
    widths = f"hidden layers of {_listed(hidden)} units" if hidden else "no hidden layer"
    betas = [beta for beta in axes["beta"] if beta]
    arms = [f"β in {{{', '.join(f'{beta:g}' for beta in betas)}}}"] if betas else []
    if any(not run.kl and run.posterior == "gaussian" for run in study.runs):
        arms.append("no KL term")
    if "point" in axes["posterior"]:
        arms.append("a deterministic autoencoder")
    if any(run.objective == "iwae" for run in study.runs):
        draws = sorted({run.importance_samples for run in study.runs if run.objective == "iwae"})
        arms.append(
            f"the importance-weighted bound of {_listed(draws)} samples (Burda et al. 2016)"
        )
    told = sorted({run.condition for run in study.runs} - {"none"})
    if told:
        arms.append(f"networks that are told the {_listed(told)}")
    if any(run.architecture == "poe" for run in study.runs):
        arms.append("a product of experts over RNA and proteins (Wu and Goodman 2018)")
    return (
        f"Variational autoencoders (Kingma and Welling 2014) with a diagonal Gaussian posterior, a "
        f"standard normal prior and {widths}"
        f"{_channels(study) if convolved else ''} were trained with {_listed(axes['likelihood'])} "
        f"likelihoods, {_listed(axes['latent_dim'])} latent dimensions and {' and '.join(arms)} "
        f"(Higgins et al. 2017), with {len(axes['seed'])} seeds each: {overview['runs']} runs."
    )


def _channels(study: Study) -> str:
    """Whether all or some of the runs have convolutions before those layers."""
    some = any(run.architecture == "mlp" for run in study.runs)
    channels = _listed(study.config["model"]["channels"])
    return f", {'in part ' if some else ''}behind strided convolutions of {channels} channels,"


_PARTS = ("train", "validation", "test")


def _data(study: Study, name: str) -> str:
    options = study.config["datasets"][name]
    described = study.prepared[name] / "dataset.json"
    sizes = read_json(described)["sizes"] if described.is_file() else {}
    parts = _listed([f"{sizes.get(part, '')} {part}".strip() for part in _PARTS])
    observed: Observed = study.observed[name]
    shape = "×".join(map(str, observed.shape))
    if observed.counts:
        return (
            f"Data set {name} ({options['source']}, {_counted(observed)}{_corrupted(options)}) was "
            f"split into {parts} cells, stratified by label; log-likelihoods are given each cell's "
            "observed library size."
        )
    binarized = {
        "none": "as grey levels" if observed.levels else "as intensities",
        "threshold": "binarised at half intensity",
        "static": "binarised once at random",
        "dynamic": "binarised at random, anew in each epoch",
    }[options["binarize"]]
    return (
        f"Data set {name} ({options['source']}, {shape}, {binarized}) was split into "
        f"{parts} examples, stratified by label."
    )


def _counted(observed: Observed) -> str:
    proteins = f" and {observed.proteins} proteins" if observed.proteins else ""
    return f"counts of {observed.genes} genes{proteins}"


def _corrupted(options: dict[str, Any]) -> str:
    """What was taken away before training."""
    corrupt = options["corrupt"]
    if corrupt is None:
        return ""
    what = "molecules taken away" if corrupt["kind"] == "thin" else "entries set to 0"
    return f", {100 * corrupt['share']:g} % of the {what} before training"


def _training(study: Study, record: dict[str, Any], overview: dict[str, Any]) -> str:
    settings = study.config["training"]
    warmups = sorted({run.kl_warmup_epochs for run in study.runs} - {0})
    patience = settings["early_stopping_patience"]
    return (
        f"Every run took {settings['epochs']} epochs of Adam (Kingma and Ba 2015) with step size "
        f"{settings['learning_rate']:g} and batches of {settings['batch_size']}"
        f"{_warmed_up(study, warmups)}"
        f"{f', with early stopping (patience {patience})' if patience else ''}; "
        f"{overview['status']['diverged']} runs diverged and "
        f"{overview['status']['failed']} failed. "
        f"Training ran on {_listed(overview['device'])} with torch {record['versions']['torch']} "
        f"in vae-ablation {__version__}."
    )


def _warmed_up(study: Study, warmups: list[int]) -> str:
    """The KL term's warm-up, of all runs or of some."""
    if not warmups:
        return ""
    some = any(run.kl and not run.kl_warmup_epochs for run in study.runs)
    return (
        f", the KL weight {'of some ' if some else ''}growing over the first "
        f"{_listed(warmups)} epochs"
    )


def _evaluation(study: Study) -> str:
    return (
        "All metrics were computed on the test split. The negative log-likelihood is an "
        f"importance-weighted bound (Burda et al. 2016) with "
        f"{study.config['evaluation']['nll_samples']} samples per example from an equal mixture of "
        "posterior and prior; samples are compared with held-out data by the Fréchet distance "
        "(Heusel et al. 2017), precision and recall (Kynkäänniemi et al. 2019) in the features of "
        "a classifier trained on the train split (principal components where there are no labels). "
        "Intervals are 95 % Student-t intervals over seeds, which are replicates of training on "
        "one split; contrasts are paired by seed. Primary metrics were "
        f"{_listed(study.config['statistics']['primary_metrics'])}."
    )
