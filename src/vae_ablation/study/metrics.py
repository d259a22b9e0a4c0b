"""Metrics: definitions of all measured columns of metrics.csv.

The order of registration is the order of the columns. Tables, contrasts, figures, findings,
tooltips and docs/metrics.md read these objects: to add a metric is to `register` one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

from vae_ablation.study.columns import FIRST_COLUMNS


@dataclass(frozen=True)
class Bound:
    """A condition under which a value is only a bound.

    Attributes:
        flag: column that is True in that case.
        side: upper or lower bound.
        limit: threshold of the flag, in nats.
        because: the condition as a clause that follows the metric's label, with `{limit}`.
    """

    flag: str
    side: Literal["upper", "lower"]
    limit: float
    because: str

    @property
    def sign(self) -> str:
        """The sign before a value that is only a bound of the truth."""
        return "≤" if self.side == "upper" else "≥"

    @property
    def words(self) -> str:
        """The words before a value that is only a bound of the truth."""
        return "at most" if self.side == "upper" else "at least"

    @property
    def article(self) -> str:
        """`an upper` or `a lower`."""
        return f"{'an' if self.side == 'upper' else 'a'} {self.side}"

    @property
    def warning(self) -> str:
        """The case in one clause, e.g. for a tooltip."""
        return f"only {self.article} bound where {self.flag}: it {self.reason}"

    @property
    def reason(self) -> str:
        """The clause with its threshold, e.g. `has a mean bias above 0.03 nats`."""
        return self.because.format(limit=f"{self.limit:g}")


@dataclass(frozen=True)
class Metric:
    """A measured column of metrics.csv.

    Attributes:
        name: the column.
        label: name in sentences and on axes.
        description: one line for tooltips.
        unit: unit of its values, or their range (`0–1`); empty without either.
        better: the better direction; None without one.
        comparable: within the same dataset and `measure` or `levels_measure`, within the same
            dataset, or everywhere.
        scale: scale of differences: identity, logarithm (ratios), or 2·arcsin√p (shares).
        role: a result of an arm, compared by contrasts and figures; a check of a result; a record
            of how a result was obtained; or a cost of training.
        type: a number, a whole number, True or False, or text.
        undefined: cells that are empty, as docs/metrics.md names them; empty where none are.
        bound: the condition under which it is only a bound.
        needs_kl: whether it grows with training, without an optimum, where there is no KL term.
        per_example: whether it is the mean of its values of each test example (examples.npz).
        draws: config key of its number of Monte-Carlo draws, where one sets it.
        most: limits on the test examples behind it, numbers and config keys, of which the least
            counts; none where it takes the whole test split.
        follows: the metric that determines it, where there is one.
        margin: differences that are too small to matter, by convention: a difference, a ratio
            above 1 (log) or points of a share (arcsine); None for that of its scale (see
            `convention`).
        spread: column of its standard deviation over refitted feature networks, where there is one.
    """

    name: str
    label: str
    description: str = ""
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    comparable: Literal["measure", "levels", "dataset", "everywhere"] = "dataset"
    scale: Literal["identity", "log", "arcsine"] = "identity"
    role: Literal["result", "check", "record", "cost"] = "result"
    type: Literal["number", "whole", "flag", "text"] = "number"
    undefined: str = ""
    bound: Bound | None = None
    needs_kl: bool = False
    per_example: bool = False
    draws: str = ""
    most: tuple[int | str, ...] = ()
    follows: str = ""
    margin: float | None = None
    spread: str = ""

    def complaint(self) -> str | None:
        """The first attribute that has no allowed value, and what is allowed; None without one."""
        if not (isinstance(self.name, str) and self.name.isidentifier()):
            return f"name is {self.name!r}; allowed: a column's name"
        if not (
            isinstance(self.most, tuple) and all(isinstance(one, int | str) for one in self.most)
        ):
            return f"most is {self.most!r}; allowed: a tuple of numbers and keys of the config"
        hints = {name: rule for name, rule in get_type_hints(Metric).items() if name != "most"}
        for name, rule in hints.items():
            parts = get_args(rule) or (rule,)
            allowed = [one for part in parts for one in get_args(part) or (part,)]
            value = getattr(self, name)
            kinds = tuple(one for one in allowed if isinstance(one, type))
            number = float in kinds and type(value) is int
            if not (isinstance(value, kinds) or value in allowed or number):
                shown = (_KINDS.get(one, repr(one)) for one in allowed)
                return f"{name} is {value!r}; allowed: {', '.join(shown)}"
        return None

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is, 0 where neither is."""
        return {"higher": 1, "lower": -1, None: 0}[self.better]

    @property
    def convention(self) -> float | None:
        """Margin by convention: its own, a ratio of 1.1, 2 points of a share, half of a whole."""
        if self.margin is not None:
            return self.margin
        if self.type == "whole":
            return 0.5
        share = self.scale == "identity" and self.unit == _SHARE
        return 0.02 if share else {"log": 1.1, "arcsine": 0.02}.get(self.scale)

    @property
    def suffix(self) -> str:
        """The unit as it follows a number, with a space before it; a range is not a unit."""
        return f" {self.unit}" if self.unit[:1].isalpha() else ""

    @property
    def measured_in(self) -> str:
        """The label with the unit or range behind it."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def tooltip(self) -> str:
        """Description for readers of one value, one fact per line."""
        lines = [
            f"{self.label}: {self.description}" if self.description else self.label,
            f"unit: {self.unit}" if self.unit else "",
            f"{self.better} is better" if self.better else "",
            _WHERE[self.comparable],
            "no optimum without the KL term" if self.needs_kl else "",
            self.bound.warning if self.bound else "",
            f"draws: config key {self.draws}" if self.draws else "",
            f"determined by {self.follows}" if self.follows else "",
            f"empty for: {self.undefined}" if self.undefined else "",
        ]
        return "\n".join(filter(None, lines))

    @property
    def is_number(self) -> bool:
        """Whether its values can be averaged."""
        return self.type in ("number", "whole")

    @property
    def is_score(self) -> bool:
        """Whether its values depend on the base measure of p(x | z)."""
        return self.measure_column is not None

    @property
    def measure_column(self) -> str | None:
        """Column that has to agree where its values are compared; None without one."""
        return {"measure": "measure", "levels": "levels_measure"}.get(self.comparable)


_KINDS: dict[Any, str] = {
    str: "text",
    float: "a number",
    bool: "True or False",
    NoneType: "None",
    Bound: "Bound(…)",
}

_WHERE = {
    "measure": "comparable within one dataset and measure",
    "levels": "comparable within one dataset and levels_measure",
    "dataset": "comparable within one dataset",
    "everywhere": "",
}

CONVERGED_DRIFT = 0.5
"""Drift in nats below which a run has converged, as a rule: the margin of the digits' scores."""

METRICS: dict[str, Metric] = {}
"""Every registered metric by name, in the order of the columns."""


def register(metric: Metric) -> Metric:
    """Add a metric behind those that are there.

    Raises:
        ValueError: its name is taken, by a metric or by a column that says which run it is.
    """
    if metric.name in METRICS or metric.name in FIRST_COLUMNS:
        raise ValueError(f"metric {metric.name!r}: there is a column of that name already.")
    METRICS[metric.name] = metric
    return metric


def described(name: str) -> Metric:
    """The metric of a column; an unregistered column is a result named after it."""
    return METRICS.get(name) or Metric(name, name.replace("_", " "))


def metric_columns() -> list[str]:
    """Columns of metrics.csv between the axes and the costs."""
    return [name for name, metric in METRICS.items() if metric.role != "cost"]


def cost_columns() -> list[str]:
    """The last columns of metrics.csv."""
    return [name for name, metric in METRICS.items() if metric.role == "cost"]


def columns_of_type(*types: str) -> list[str]:
    """Columns of some types, in order."""
    return [name for name, metric in METRICS.items() if metric.type in types]


def primary_candidates() -> list[str]:
    """Metrics that a config may name as primary: what contrasts compare."""
    return [name for name, metric in METRICS.items() if metric.role == "result"]


def converged(drift: float, margin: float = CONVERGED_DRIFT) -> bool:
    """Whether a run had converged: it moved by less than what differences are judged by.

    Args:
        drift: change of the validation objective over the last tenth of training, nats; NaN for a
            run too short to have one, of which nothing is known.
        margin: smallest difference that matters, nats.
    """
    return abs(drift) < margin


def bounded_by_flag() -> Iterator[tuple[str, list[Metric]]]:
    """Each flag with the metrics that are only bounds where it is True."""
    bounded = [metric for metric in METRICS.values() if metric.bound]
    for flag in dict.fromkeys(metric.bound.flag for metric in bounded if metric.bound):
        yield flag, [one for one in bounded if one.bound and one.bound.flag == flag]


_SCORED = ("evaluation.nll_examples",)
_FEW_CODES = (5000,)
_NEIGHBOURS = (2000,)
_SHARE = "0–1"
_CONTROLS = "controls"
_NESTED = "fewer than two batches, each label in one batch"
_FEW = "has a mean bias above {limit} nats, or many examples with few effective samples"
_LOOSE = Bound("nll_loose", "upper", 0.03, _FEW)
_LOOSE_LEVELS = Bound("levels_loose", "upper", 0.03, _FEW)
_NO_LEVELS = (
    "continuous intensities, improper scores, data binarised by `binarize`, counts, controls"
)
_GAP = "point, controls"
_SATURATED = "lies within {limit} nats of ln N, the maximum for N examples"
_INFORMATION = Bound("mi_saturated", "lower", 2.0, _SATURATED)
_BEYOND = f"the rate beyond the mutual information, whose estimate {_SATURATED}"
_MARGINAL = Bound("mi_saturated", "upper", 2.0, f"is {_BEYOND}")
_CORRELATION = Bound("mi_saturated", "upper", 2.0, f"is part of {_BEYOND}")
_NO_SAMPLES = "`raw`, `untrained`, `optimum`"

for _metric in (
    # --- objective terms ---
    Metric(
        "distortion", "distortion",
        "Expected −log p(x | z) under the posterior, summed over the data dimensions.",
        "nats", "lower", "measure", per_example=True, undefined="controls but `optimum`",
    ),
    Metric(
        "rate", "rate", "Mean of KL(q(z | x) ‖ p(z)), in closed form.",
        "nats", None, "everywhere", "log", undefined="point, controls but `optimum`",
        needs_kl=True, per_example=True,
    ),
    Metric(
        "elbo", "ELBO", "Evidence lower bound, −(distortion + rate), at weight 1 for every arm.",
        "nats", "higher", "measure", undefined="point, controls but `optimum`", needs_kl=True,
        per_example=True,
    ),
    Metric(
        "test_objective", "test objective",
        "Training objective, distortion + β · rate with the arm's own β, on the test split.",
        "nats", "lower", "measure", role="record", undefined="`iwae`, controls but `optimum`",
    ),
    Metric(
        "nll", "NLL",
        "−log p(x), by importance sampling from Gaussians fitted to the posterior of each example.",
        "nats", "lower", "measure", undefined="controls but `pca`", bound=_LOOSE,
        per_example=True, draws="evaluation.nll_samples", most=_SCORED,
    ),
    Metric(
        "nll_ess", "effective samples of the NLL",
        "Effective importance samples of the NLL as a share of those drawn.",
        _SHARE, "higher", "everywhere", "arcsine", "record", undefined=_CONTROLS,
    ),
    Metric(
        "nll_bias", "bias of the NLL",
        "Expected excess of the NLL, ½(1/ESS − 1/K), for the K draws that were made.",
        "nats", "lower", "everywhere", role="check", undefined=_CONTROLS,
    ),
    Metric(
        "nll_se", "standard error of the NLL",
        "Standard error of the NLL from its draws, and from the examples that it leaves out.",
        "nats", None, "everywhere", role="record", undefined=_CONTROLS,
    ),
    Metric(
        "nll_loose", "loose NLL",
        f"Whether the bias of the NLL is above {_LOOSE.limit:g} nats, or too many examples have "
        "few effective samples.",
        "True, False", None, "everywhere", role="check", type="flag", undefined=_CONTROLS,
    ),
    Metric(
        "nll_untrained", "NLL not trained for",
        "Whether training did not fit codes to the prior: no KL term, or a point posterior.",
        "True, False", None, "everywhere", role="record", type="flag", undefined=_CONTROLS,
    ),
    Metric(
        "inference_gap", "inference gap",
        "−NLL − ELBO: nats by which the ELBO falls short of log p(x).",
        "nats", "lower", "everywhere", undefined=_GAP, bound=Bound(
            "nll_loose", "lower", 0.03, "is taken from an NLL that " + _FEW
        ), needs_kl=True, most=_SCORED,
    ),
    Metric(
        "encoder_gap", "encoder gap",
        "ELBO of the best diagonal Gaussian of each example minus that of the encoder's Gaussian.",
        "nats", "lower", "everywhere", undefined=_GAP, needs_kl=True, most=(*_SCORED, 64),
    ),
    Metric(
        "nll_levels", "NLL of grey levels",
        "−log of the mass of the data's own grey levels, one scale for all image likelihoods.",
        "nats", "lower", "levels", undefined=_NO_LEVELS, bound=_LOOSE_LEVELS,
        per_example=True, draws="evaluation.nll_samples", most=_SCORED,
    ),
    Metric(
        "bits_per_dim", "code length", "NLL of grey levels per data dimension, in bits.",
        "bits/dim", "lower", "levels", bound=_LOOSE_LEVELS, undefined=_NO_LEVELS,
        follows="nll_levels", most=_SCORED,
    ),
    Metric(
        "levels_measure", "measure of grey levels",
        "Levels and cells over which p(x | z) is integrated; cells are open or equal.",
        "", None, "everywhere", role="record", type="text", undefined=_NO_LEVELS,
    ),
    Metric(
        "levels_of_density", "grey levels of a density",
        "Whether training maximised a density, so that its mass is that of another model.",
        "True, False", None, "everywhere", role="record", type="flag", undefined=_NO_LEVELS,
    ),
    Metric(
        "levels_loose", "loose NLL of grey levels",
        "Whether the NLL of grey levels is only a bound, by the same rule as the NLL.",
        "True, False", None, "everywhere", role="check", type="flag", undefined=_NO_LEVELS,
    ),
    Metric(
        "decoder_scale", "decoder scale",
        "Standard deviation of p(x | z) where z does not set it; root mean square over dimensions.",
        "intensity", None, "dataset", "log", "record",
        undefined="likelihoods without a scale, controls",
    ),
    Metric(
        "effective_beta", "effective β",
        "β · decoder scale²: the β that has the same optimum at scale 1; a learned scale hides it.",
        "", None, "dataset", "log", "record",
        undefined="likelihoods without a scale, KL off, point, controls",
    ),
    Metric(
        "drift", "drift",
        "Change of the validation objective over the last tenth of the epochs; 0 has converged, "
        "negative still falls.",
        "nats", None, "everywhere", role="check", undefined="fewer than 3 epochs, controls",
    ),
    Metric(
        "epochs", "training length", "Epoch of the kept weights.",
        "epochs", None, "everywhere", role="record", type="whole", undefined=_CONTROLS,
    ),
    Metric(
        "validation_objective", "validation objective",
        "Training objective of the kept weights on the validation split.",
        "nats", "lower", "measure", role="record", undefined=_CONTROLS,
    ),
    Metric(
        "validation_elbo", "validation ELBO",
        "ELBO on the validation split, used to select arms of different β.",
        "nats", "higher", "measure", role="record", undefined="point, controls",
    ),
    Metric(
        "generalization_gap", "generalisation gap",
        "Distortion of the validation split minus that of the train split.",
        "nats", None, "measure", undefined=_CONTROLS,
    ),
    # --- latent space ---
    Metric(
        "active_units", "active units",
        "Dimensions whose posterior mean has a variance above 0.01.",
        "dimensions", None, "everywhere", type="whole",
        undefined="KL off, point, `untrained`, `raw`",
    ),
    Metric(
        "collapsed_fraction", "collapsed fraction", "Share of dimensions that are not active.",
        _SHARE, None, "everywhere", "arcsine", undefined="KL off, point, `untrained`, `raw`",
        follows="active_units",
    ),
    Metric(
        "active_units_kl", "active units by KL",
        "Dimensions whose mean KL to the prior is above 0.01 nats.",
        "dimensions", None, "everywhere", role="check", type="whole",
        undefined="KL off, point, controls",
    ),
    Metric(
        "active_units_mi", "active units by information",
        "Dimensions whose mutual information with the examples is above 0.01 nats.",
        "dimensions", None, "everywhere", role="check", type="whole", undefined="point, controls",
    ),
    Metric(
        "mutual_information", "mutual information",
        "Mutual information between test examples and their codes.",
        "nats", None, "everywhere", undefined="point, controls", bound=_INFORMATION,
    ),
    Metric(
        "mi_ceiling", "ceiling of mutual information",
        "ln N for the N examples of all splits, the maximum of mutual information.",
        "nats", None, "everywhere", role="record", undefined="point, controls",
    ),
    Metric(
        "mi_saturated", "saturated mutual information",
        f"Whether mutual information lies within {_INFORMATION.limit:g} nats of its ceiling.",
        "True, False", None, "everywhere", role="check", type="flag", undefined="point, controls",
    ),
    Metric(
        "marginal_kl", "marginal KL", "KL(q(z) ‖ p(z)) of the aggregate posterior q(z).",
        "nats", "lower", "everywhere", undefined="point, controls", bound=_MARGINAL, needs_kl=True,
    ),
    Metric(
        "total_correlation", "total correlation",
        "KL of the aggregate posterior to the product of its dimensions, a part of the marginal "
        "KL.",
        "nats", "lower", "everywhere", undefined="point, controls", bound=_CORRELATION,
        needs_kl=True,
    ),
    Metric(
        "dimension_kl", "dimension-wise KL",
        "Sum of the KL of each dimension of the aggregate posterior to the prior, the other part.",
        "nats", "lower", "everywhere", undefined="point, controls", needs_kl=True,
    ),
    Metric(
        "hole_rate", "hole rate",
        "Share of the prior's draws with lower aggregate-posterior density than 99 % of held-out "
        "codes; 0.01 if the codes fill the prior.",
        _SHARE, "lower", "everywhere", "arcsine",
        undefined="`mi_saturated`, point, controls",
    ),
    Metric(
        "code_rms", "code RMS", "Root mean square of the posterior means.",
        "prior σ", None, "everywhere", "log", undefined="`raw`, `optimum`", needs_kl=True,
    ),
    Metric(
        "posterior_std", "posterior std", "Mean standard deviation of the posteriors.",
        "prior σ", None, "everywhere", "log", undefined="point, controls",
    ),
    Metric(
        "silhouette", "silhouette", "Silhouette of the codes by label.",
        "−1–1", "higher", undefined="no active unit, fewer than two classes", most=_FEW_CODES,
    ),
    Metric(
        "ari", "adjusted Rand index",
        "Adjusted Rand index between labels and k-means clusters of the codes; 0 is chance.",
        "", "higher", undefined="no active unit, fewer than two classes",
    ),
    Metric(
        "nmi", "NMI", "Normalised mutual information between labels and k-means clusters.",
        _SHARE, "higher", undefined="no active unit, fewer than two classes",
    ),
    Metric(
        "knn_accuracy", "15-NN accuracy",
        "Accuracy of the label by vote of the 15 nearest train codes.",
        _SHARE, "higher", scale="arcsine", undefined="fewer than two classes", per_example=True,
    ),
    Metric(
        "probe_accuracy", "probe accuracy",
        "Test accuracy of logistic regression from standardised codes to labels.",
        _SHARE, "higher", scale="arcsine", undefined="fewer than two classes", per_example=True,
    ),
    Metric(
        "knn_accuracy_sampled", "15-NN accuracy of sampled codes",
        "Accuracy of the label by vote of the 15 nearest, of codes drawn from the posteriors.",
        _SHARE, "higher", scale="arcsine", undefined="fewer than two classes, point, controls",
        per_example=True,
    ),
    Metric(
        "probe_accuracy_sampled", "probe accuracy of sampled codes",
        "Accuracy of logistic regression to labels, of codes drawn from the posteriors.",
        _SHARE, "higher", scale="arcsine", undefined="fewer than two classes, point, controls",
        per_example=True,
    ),
    Metric(
        "batch_knn_mixing", "batch mixing",
        "Mixing of batches among the 15 nearest neighbours: 0 for the own batch only, "
        "1 for the maximum that labels allow.",
        _SHARE, "higher", undefined=_NESTED, most=_FEW_CODES,
    ),
    Metric(
        "batch_knn_accuracy", "batch 15-NN accuracy",
        "Accuracy of the batch by vote of the 15 nearest neighbours.",
        _SHARE, "lower", scale="arcsine", undefined=_NESTED, most=_FEW_CODES,
    ),
    Metric(
        "batch_knn_floor", "floor of batch 15-NN accuracy",
        "Accuracy of the most frequent batch of each label, as for fully mixed batches.",
        _SHARE, None, scale="arcsine", undefined=_NESTED, most=_FEW_CODES,
    ),
    Metric(
        "batch_silhouette", "batch silhouette",
        "1 − |silhouette of the batch| within each label, mean over labels; 1 for mixed batches.",
        _SHARE, "higher", undefined=_NESTED, most=_FEW_CODES,
    ),
    Metric(
        "scib_ilisi", "iLISI", "Batch mixing, iLISI of scib-metrics.",
        _SHARE, "higher", undefined=f"{_NESTED}, scib-metrics not installed", most=_FEW_CODES,
    ),
    Metric(
        "scib_bras", "BRAS", "Batch mixing, BRAS of scib-metrics.",
        _SHARE, "higher", undefined=f"{_NESTED}, scib-metrics not installed", most=_FEW_CODES,
    ),
    Metric(
        "scib_graph_connectivity", "graph connectivity",
        "Connectivity of each label's graph of neighbours, of scib-metrics.",
        _SHARE, "higher", undefined=f"{_NESTED}, scib-metrics not installed", most=_FEW_CODES,
    ),
    # --- known factors ---
    Metric(
        "mig", "MIG", "Mutual information gap between codes and known factors.",
        _SHARE, "higher", undefined="no known factors", most=_FEW_CODES,
    ),
    Metric(
        "dci_disentanglement", "DCI disentanglement",
        "Degree to which each dimension represents a single known factor.",
        _SHARE, "higher", undefined="no known factors", most=_FEW_CODES,
    ),
    Metric(
        "sap", "SAP", "Separated attribute predictability of the known factors.",
        _SHARE, "higher", undefined="no known factors", most=_FEW_CODES,
    ),
    # --- reconstruction and samples ---
    Metric(
        "mse", "MSE",
        "Mean squared error of E[x | z] at the posterior mean, per data dimension; "
        "squared counts where the data are counts.",
        "intensity²", "lower", scale="log", undefined="`raw`, `untrained`", per_example=True,
        margin=1.05,
    ),
    Metric(
        "mse_log1p", "MSE of log counts",
        "Mean squared error of log-normalised counts at the posterior mean, per gene.",
        "log counts²", "lower", scale="log", undefined="images, `raw`, `untrained`",
        per_example=True, margin=1.05,
    ),
    Metric(
        "sample_fid", "sample Fréchet distance",
        "Fréchet distance between samples from the prior and held-out data, a mean over draws and "
        "feature networks.",
        "", "lower", scale="log", undefined=_NO_SAMPLES, draws="evaluation.sample_draws",
        margin=1.2, spread="sample_fid_spread", most=(10_000,),
    ),
    Metric(
        "sample_fid_se", "Monte-Carlo error of the Fréchet distance",
        "Standard error of the sample Fréchet distance over draws of samples.",
        "", None, role="check", undefined=f"a single draw, {_NO_SAMPLES}",
        draws="evaluation.sample_draws",
    ),
    Metric(
        "sample_fid_spread", "spread of the Fréchet distance",
        "Standard deviation of the sample Fréchet distance over feature networks.",
        "", None, role="check", undefined=f"data without labels, {_NO_SAMPLES}",
    ),
    Metric(
        "sample_fid_floor", "floor of the Fréchet distance",
        "Fréchet distance between held-out and train data, the value of perfect samples.",
        "", None, scale="log", role="record", undefined=_NO_SAMPLES,
    ),
    Metric(
        "sample_fid_expost", "Fréchet distance, ex post",
        "Sample Fréchet distance with z from a Gaussian mixture fitted to train codes; compared "
        "with other ex-post distances.",
        "", "lower", scale="log", undefined=_CONTROLS, draws="evaluation.sample_draws",
        margin=1.2, spread="sample_fid_expost_spread", most=(10_000,),
    ),
    Metric(
        "sample_fid_expost_se", "Monte-Carlo error of the ex-post distance",
        "Standard error of the ex-post Fréchet distance over draws of samples.",
        "", None, role="check", undefined="a single draw, controls",
        draws="evaluation.sample_draws",
    ),
    Metric(
        "sample_fid_expost_spread", "spread of the ex-post distance",
        "Standard deviation of the ex-post Fréchet distance over feature networks.",
        "", None, role="check", undefined="data without labels, controls",
    ),
    Metric(
        "sample_coverage", "sample coverage",
        "Share of held-out examples that have a sample nearer than their 5th nearest neighbour.",
        _SHARE, "higher", scale="arcsine", undefined=_NO_SAMPLES, draws="evaluation.sample_draws",
        most=_NEIGHBOURS,
    ),
    Metric(
        "sample_density", "sample density",
        "Density of the data where samples lie; 1 for real data, higher also where samples are "
        "too much alike.",
        "", None, undefined=_NO_SAMPLES, draws="evaluation.sample_draws", most=_NEIGHBOURS,
    ),
    Metric(
        "sample_precision", "sample precision",
        "Share of samples within the data's manifold; high also for collapsed arms.",
        _SHARE, None, scale="arcsine", undefined=_NO_SAMPLES, draws="evaluation.sample_draws",
        most=_NEIGHBOURS,
    ),
    Metric(
        "sample_recall", "sample recall",
        "Share of data within the samples' manifold; high also for noise.",
        _SHARE, None, scale="arcsine", undefined=_NO_SAMPLES, draws="evaluation.sample_draws",
        most=_NEIGHBOURS,
    ),
    Metric(
        "feature_accuracy", "accuracy of the feature classifier",
        "Mean test accuracy of the classifiers whose features are used to compare samples.",
        _SHARE, None, scale="arcsine", role="record",
        undefined=f"{_NO_SAMPLES}, data without labels",
    ),
    # --- cost ---
    Metric(
        "train_seconds", "training time", "Wall time of the pack divided by its number of runs.",
        "s", "lower", "everywhere", "log", "cost", undefined=_CONTROLS,
    ),
    Metric(
        "examples_per_second", "training speed",
        "Training examples per second, summed over the runs of the pack.",
        "examples/s", "higher", "everywhere", "log", "cost", undefined=_CONTROLS,
    ),
    Metric(
        "device", "device", "Device that trained the run: `cpu`, `mps` or the GPU's name.",
        "", None, "everywhere", role="cost", type="text", undefined=_CONTROLS,
    ),
    Metric(
        "peak_memory_mb", "peak memory",
        "Peak memory of the training process, or of its tensors on a CUDA GPU.",
        "MiB", "lower", "everywhere", "log", "cost", undefined=_CONTROLS,
    ),
    Metric(
        "code_version", "code version", "Digest of the training code of the run.",
        "", None, "everywhere", role="cost", type="text", undefined=_CONTROLS,
    ),
):  # fmt: skip
    register(_metric)
