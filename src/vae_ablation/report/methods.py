"""Methods paragraph for a paper, from the executed study instead of its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_ablation import __version__
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json
from vae_ablation.data.base import Observed
from vae_ablation.report.findings.words import count, join, likelihood
from vae_ablation.study.axes import Axis, Level, axis_of, level_text
from vae_ablation.study.metrics import described
from vae_ablation.study.plan import Study
from vae_ablation.study.workflow import read_frozen


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
        _evaluation(study, overview),
        _statistics(study, overview),
    ]
    return "# Methods\n\n" + " ".join(parts) + "\n"


def _listed(values: Sequence[Any]) -> str:
    return join(f"{v:g}" if isinstance(v, float) else str(v).replace("_", " ") for v in values)


def _models(study: Study, overview: dict[str, Any]) -> str:
    axes, hidden = overview["axes"], study.config["model"]["hidden"]
    widths = f"hidden layers of {_listed(hidden)} units" if hidden else "no hidden layer"
    betas = [beta for beta in axes["beta"] if beta]
    arms = [f"β in {_set(betas)} (Higgins et al. 2017)"] if betas else []
    if any(not run.kl and run.posterior == "gaussian" for run in study.runs):
        arms.append("no KL term")
    if "point" in axes["posterior"]:
        arms.append("a deterministic autoencoder")
    further = [_levels(axis_of(name), found) for name, found in axes.items() if name not in _NAMED]
    priors = sorted({run.prior.replace("_", " ") for run in study.runs})
    likelihoods = [likelihood(name) for name in axes["likelihood"]]
    return (
        f"Variational autoencoders (Kingma and Welling 2014) with a diagonal Gaussian posterior, a "
        f"{_listed(priors)} prior{'s' if len(priors) > 1 else ''} and "
        f"{widths if 'model.hidden' not in axes else 'dense layers'}"
        f"{_channels(study)} were trained with {_counted_noun(likelihoods, 'likelihood')}, "
        f"{_counted_noun(axes['latent_dim'], 'latent dimension')} and "
        f"{_listed([*arms, *filter(None, further)])}, "
        f"with {_seeds(study, len(axes['seed']))} each{_over_splits(axes)} "
        f"({count(overview['runs'], 'run')} in total)."
    )


def _seeds(study: Study, most: int) -> str:
    """Seeds of an arm: `3 seeds`, or with seeds in rounds `3 to 7 seeds`."""
    first = len({run.seed for run in study.first_runs})
    return f"{first} to {count(most, 'seed')}" if first < most else count(most, "seed")


def _over_splits(axes: dict[str, Any]) -> str:
    """A sentence on the splits of the data, where there are several."""
    splits = len(axes.get("split_seed", ()))
    return f" on each of {splits} random splits of the data" if splits > 1 else ""


def _counted_noun(values: Sequence[Any], noun: str) -> str:
    """`a Gaussian likelihood`, `2, 8 and 16 latent dimensions`."""
    if len(values) > 1:
        return f"{_listed(values)} {noun}s"
    return f"a {values[0]} {noun}" if isinstance(values[0], str) else f"{noun} {values[0]}"


_NAMED = {"dataset", "likelihood", "latent_dim", "beta", "kl", "posterior", "seed", "split_seed"}
"""Axes with words of their own in the sentence on models."""


def _levels(axis: Axis, levels: Sequence[Level]) -> str:
    """The levels of a further axis; empty where every run has the default."""
    if list(levels) == [axis.default]:
        return ""
    cited = [source for level, source in axis.sources.items() if level in levels]
    source = f" ({'; '.join(dict.fromkeys(cited))})" if cited else ""
    words = axis.described(levels[0]) if len(levels) == 1 else f"{axis.label} in {_set(levels)}"
    return words + source


def _set(levels: Sequence[Level]) -> str:
    return f"{{{', '.join(map(level_text, levels))}}}"


def _channels(study: Study) -> str:
    """Convolutions before the dense layers, in all or some of the runs."""
    architectures = {run.architecture for run in study.runs}
    if not architectures & {"conv", "resnet"}:
        return ""
    some = " in some arms" if len(architectures) > 1 else ""
    channels = _listed(study.config["model"]["channels"])
    return f", preceded{some} by strided convolutions with {channels} channels,"


_PARTS = ("train", "validation", "test")


def _data(study: Study, name: str) -> str:
    options = study.config["datasets"][name]
    described = study.prepared[study.data_of(name)[0]] / "dataset.json"
    info = read_json(described) if described.is_file() else {}
    sizes = info.get("sizes", {})
    parts = _listed([f"{sizes.get(part, '')} {part}".strip() for part in _PARTS])
    observed: Observed = study.observed[name]
    shape = "×".join(map(str, observed.shape))
    if observed.counts:
        return (
            f"Data set {name} ({options['source']}, {_counted(observed)}{_corrupted(options)}) was "
            f"split into {parts} cells, {_manner(options, info)}; likelihoods were conditioned on "
            f"the observed library size of each cell"
            f"{' over all genes of the file' if observed.outside else ''}."
        )
    if observed.real:
        gaps = "; missing values were left out of the likelihood" if observed.missing else ""
        return (
            f"Data set {name} ({options['source']}, {observed.dims} real variables) was split into "
            f"{parts} examples, {_manner(options, info)}, and standardised by the means and "
            f"standard deviations of the train split{gaps}."
        )
    binarized = {
        "none": "as grey levels" if observed.levels else "as intensities",
        "threshold": "binarised at half intensity",
        "static": "binarised at random once",
        "dynamic": "binarised at random in each epoch",
    }[options["binarize"]]
    return (
        f"Data set {name} ({options['source']}, {shape}, {binarized}) was split into "
        f"{parts} examples, {_manner(options, info)}."
    )


def _manner(options: dict[str, Any], info: dict[str, Any]) -> str:
    """The way in which a data set was split."""
    if options.get("group"):
        groups = info.get("groups", {})
        counts = ", ".join(f"{groups[part]} in {part}" for part in _PARTS if part in groups)
        number = f" ({counts})" if counts else ""
        return f"in which no {options['group']} is in two splits{number}"
    if options.get("split"):
        return f"as the column {options['split']} of the data says"
    return "stratified by label"


def _counted(observed: Observed) -> str:
    proteins = f" and {observed.proteins} proteins" if observed.proteins else ""
    return f"counts of {observed.genes} genes{proteins}"


def _corrupted(options: dict[str, Any]) -> str:
    """Corruption of the counts before training."""
    corrupt = options["corrupt"]
    if corrupt is None:
        return ""
    what = "molecules removed" if corrupt["kind"] == "thin" else "entries set to 0"
    return f", with {100 * corrupt['share']:g} % of the {what} before training"


def _length(study: Study, overview: dict[str, Any]) -> str:
    if "training.epochs" in overview["axes"]:
        return "for the epochs above"
    return f"for {count(study.config['training']['epochs'], 'epoch')}"


def _training(study: Study, record: dict[str, Any], overview: dict[str, Any]) -> str:
    settings = study.config["training"]

    def shared(key: str) -> str:
        varied = f"training.{key}" in overview["axes"]
        return "as above" if varied else level_text(settings[key])

    patience = settings["early_stopping_patience"]
    return (
        f"Models were trained by Adam (Kingma and Ba 2015) {_length(study, overview)} "
        f"with learning rate {shared('learning_rate')} and batch size {shared('batch_size')}"
        f"{f', with early stopping (patience {patience})' if patience else ''}; "
        f"{count(overview['status']['diverged'], 'run')} diverged and "
        f"{overview['status']['failed']} failed. "
        f"Training ran on {_listed(overview['device'])} with torch {record['versions']['torch']} "
        f"in vae-ablation {__version__}."
    )


_SEEDS = (
    "Intervals are 95 % Student-t intervals over seeds, which are replicates of training on "
    "one data split."
)
_SPLITS = (
    "Values were averaged over the seeds of each split; intervals are 95 % Student-t intervals "
    "over splits. Random splits share examples, so the variance of a mean of n splits counts as "
    "1/n + ρ/(1 − ρ) of that among them, with ρ the share of test examples (Nadeau and Bengio "
    "2003); where the test split is the data's own, ρ is 0 and intervals are of that test split."
)


def _evaluation(study: Study, overview: dict[str, Any]) -> str:
    several = len(overview["axes"].get("split_seed", ())) > 1
    return (
        "All metrics were computed on the test split. The negative log-likelihood is an "
        f"importance-weighted bound (Burda et al. 2016) with "
        f"{study.config['evaluation']['nll_samples']} samples per example, from the prior and from "
        "Gaussians fitted to two modes of each example's posterior. "
        "Samples were compared with held-out data by Fréchet distance "
        "(Heusel et al. 2017), density and coverage (Naeem et al. 2020), precision and recall "
        "(Kynkäänniemi et al. 2019), means over draws of samples "
        f"({study.config['evaluation']['sample_draws']}) and over the features of three "
        "classifiers trained on the train split (principal components without labels). "
        f"{_SPLITS if several else _SEEDS}"
    )


def _statistics(study: Study, overview: dict[str, Any]) -> str:
    """The comparison of arms, as `tables.comparison` and `report.findings` do it."""
    settings = study.config["statistics"]
    several = len(overview["axes"].get("split_seed", ())) > 1
    over = "the seeds of each split, over splits" if several else "seeds"
    primary = _listed([described(name).label for name in settings["primary_metrics"]])
    return (
        "Arms were compared with a reference arm that differs in one axis only, in every setting "
        "(combination of the other axes; questions about other axes than β were answered at its "
        "reference level). Differences were taken seed by seed, on the scale of each metric: the "
        "logarithm for ratios such as the MSE, 2·arcsin√p for shares p, else the metric itself. "
        f"They were averaged over {over} and, with equal weights, over settings; the standard "
        "error adds up the variances of the settings and a correlation between settings, estimated "
        "from all differences of the question, with degrees of freedom after Welch and "
        "Satterthwaite, at most those of the mean pattern of variances over all its differences. "
        "Single settings have variances drawn towards those of the others (Smyth 2004). Values "
        "that are equal in every pair show no spread and have no interval. A level is "
        "called equivalent to the reference where two one-sided t tests (Schuirmann 1987) place "
        "the difference within a margin; better or worse, or higher or lower, where a t test "
        "rejects no difference; dependent on an axis where settings differ clearly, in opposite "
        f"directions or in size; and undecided otherwise. {_margins(settings['margins'])} "
        f"Primary metrics were {primary}; their p-values were adjusted within each question by "
        "Holm's method (1979), those of other metrics, which are exploratory, after Benjamini and "
        "Hochberg (1995). A difference is stated only where, besides, the smallest adjusted p of "
        "the question's primary metrics, adjusted once more over all questions (Holm), is at most "
        f"0.05. {_looks(settings['looks'], 'splits' if several else 'seeds')}"
        "Arms with a value that is only a bound were left out of comparisons of that metric, "
        "and collapsed arms (rate below 0.1 nats in every seed) of comparisons of ratios."
    )


def _looks(looks: Sequence[int], replicates: str) -> str:
    """A sentence on seeds in rounds; empty where results are looked at once."""
    if len(looks) < 2:
        return ""
    return (
        f"Undecided comparisons got further {replicates} in rounds: results were looked at with "
        f"{_listed(looks)} {replicates}, each look at 1/{len(looks)} of the level of 0.05 "
        "(Bonferroni) and with intervals to match, and a verdict stands as the first look that "
        "reached it found it. "
    )


def _margins(chosen: Mapping[str, float]) -> str:
    """Origin of the margins, and those of the config."""
    rule = (
        "The margin is what the evaluation can resolve: the largest of twice the bootstrap error "
        "of the difference over test examples, the spread over refitted feature networks, the "
        "change of the metric over the last tenth of training, and a convention (a ratio of 1.05 "
        "for the MSE, 1.2 for Fréchet distances, 1.1 for other ratios, 2 percentage points)."
    )
    if not chosen:
        return rule
    own = _listed([f"{described(name).label} ({value:g})" for name, value in chosen.items()])
    return f"{rule} Margins chosen before training: {own}."
