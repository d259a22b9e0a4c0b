"""Axes of a study: one definition for each, used by tables, figures, findings and docs.

A grid takes the axes named here and every key of the config's sections `model` and `training`, as
`model.hidden` or `training.learning_rate`. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, log10
from numbers import Real
from typing import Any, Literal

Level = Any
"""A value of an axis: text, number, boolean, None, or a tuple of numbers."""

Scale = Literal["category", "linear", "log"]

REPLICATES = ("split_seed", "seed")
"""Axes whose levels replicate an arm and are no part of its name."""

SECTIONS = ("model", "training")
"""Sections of the config whose keys can stand in a grid."""


@dataclass(frozen=True)
class Axis:
    """One axis of a grid.

    Attributes:
        name: the key in a grid and the column in tables: `beta`, or a dotted key of the config.
        label: the name for people: axis labels, methods paragraph, report.
        default: the level that is not part of an arm's name; for a key of the config, the study's
            own setting.
        symbol: the letter for it in formulas and narrow places, where it has one: `d`, `β`.
        trace: prefix of a level in an arm's name; empty where the level alone is clear (`conv`).
        shapes: whether it shapes tensors or steps, so that its levels cannot share a pack.
        scale: category, or the scale on which an ordered axis is drawn.
        nearness: sort key of levels; the smallest is the reference.
        words: a level in words; without it, the label and the level.
        sources: papers that introduced levels, for citations in the methods paragraph.
        held: whether questions about other axes compare at its reference level alone, since its
            levels are no settings of one model (KL off, collapse).
    """

    name: str
    label: str
    default: Level = None
    trace: str = ""
    symbol: str = field(default="", kw_only=True)
    shapes: bool = True
    scale: Scale = "category"
    nearness: Callable[[Level], Any] | None = None
    words: Callable[[Level], str] | None = None
    sources: Mapping[Level, str] = field(default_factory=dict)
    held: bool = False

    @property
    def ordered(self) -> bool:
        """Whether its levels have an order."""
        return self.scale != "category"

    @property
    def is_setting(self) -> bool:
        """Whether it is a key of the config's model or training section."""
        return "." in self.name

    def traced(self, level: Level) -> str:
        """Part of an arm's name for a level that is not the default."""
        return f"{self.trace}{_trace_text(level, bool(self.trace))}"

    def described(self, level: Level) -> str:
        """A level in words, for labels: `conditioned on batch`, `learning rate 0.003`."""
        return self.words(level) if self.words else f"{self.label} {level_text(level)}"

    def reference(self, levels: Iterable[Level], wanted: Level = None) -> Level:
        """The reference level, with which the others are compared.

        Args:
            levels: levels of the study, at least one.
            wanted: level named by the config or the study's settings, used if it is among them;
                otherwise the default, the nearest or the first in order.
        """
        known = sorted(levels, key=level_order)
        for candidate in (wanted, self.default):
            if candidate is not None and candidate in known:
                return candidate
        return min(known, key=self.nearness) if self.nearness else known[0]


def distance_to_one(beta: float) -> tuple[float, float]:
    """Distance of β from 1 on the log axis; of two as far, the smaller is the nearer."""
    return abs(log10(beta)) if beta else inf, beta


def _largest(level: Level) -> float:
    """Nearness that prefers large sizes, and to any the whole, whose size may not be known yet."""
    return -float(level) if isinstance(level, (int, float)) else -inf


_STANDING = (
    Axis("dataset", "data set"),
    Axis("likelihood", "likelihood"),
    Axis("latent_dim", "latent dimension", symbol="d", scale="log", nearness=lambda level: -level),
    Axis("beta", "β", symbol="β", shapes=False, scale="log", nearness=distance_to_one, held=True),
    Axis("kl", "KL term", True, shapes=False, held=True),
    Axis("posterior", "posterior", "gaussian", words=lambda level: f"{level} posterior", held=True),
    Axis("seed", "seed", shapes=False),
    Axis(
        "architecture",
        "architecture",
        "mlp",
        words=str,
        sources={"poe": "Wu and Goodman 2018"},
    ),
    Axis(
        "objective",
        "training objective",
        "elbo",
        words=lambda level: level.upper(),
        sources={"iwae": "Burda et al. 2016", "mvae": "Wu and Goodman 2018"},
    ),
    Axis(
        "importance_samples",
        "draws of z per training example",
        1,
        trace="k",
        scale="log",
        words=lambda level: f"{level} draws",
    ),
    Axis(
        "condition",
        "conditioning",
        "none",
        trace="given",
        words=lambda level: (
            "unconditional" if level == "none" else f"conditioned on {level.replace('+', ' and ')}"
        ),
    ),
    Axis(
        "kl_warmup_epochs",
        "epochs of KL warm-up",
        0,
        trace="warmup",
        shapes=False,
        scale="linear",
        nearness=lambda level: level,
        words=lambda level: f"KL warm-up of {level} epochs",
    ),
    Axis(
        "dispersion",
        "dispersion of counts",
        "gene",
        words=lambda level: f"dispersion per {level.replace('_', ' and ')}",
    ),
    Axis(
        "train_examples",
        "training examples",
        trace="n",
        scale="log",
        nearness=_largest,
        words=lambda level: f"{level} training examples",
    ),
    Axis(
        "prior",
        "prior",
        "standard_normal",
        trace="prior",
        words=lambda level: f"{str(level).replace('_', ' ')} prior",
    ),
    Axis("split_seed", "split of the data", trace="split", words=lambda level: f"split {level}"),
)

_SETTINGS = {
    axis.name: axis
    for axis in (
        Axis("model.hidden", "hidden layers", trace="hidden"),
        Axis("model.channels", "convolution channels", trace="channels"),
        Axis("model.blocks", "residual blocks", trace="blocks", scale="linear"),
        Axis("model.layer_norm", "layer normalisation", trace="norm"),
        Axis("model.dropout", "dropout", trace="dropout", scale="linear"),
        Axis("model.skip", "skip connections from z", trace="skip"),
        Axis("model.center", "centring of encoder inputs", trace="center"),
        Axis("model.activation", "activation", trace="activation"),
        Axis("model.posterior_sigma", "fixed posterior σ", trace="q-sigma", scale="log"),
        Axis("model.gaussian_scale", "σ of the Gaussian likelihood", trace="scale"),
        Axis(
            "model.gaussian_sigma", "fixed σ of the Gaussian likelihood", trace="sigma", scale="log"
        ),
        Axis("model.scale_floor", "lower bound of learned scales", trace="floor", scale="log"),
        Axis("model.student_freedom", "degrees of freedom", trace="freedom", scale="log"),
        Axis("model.logit_clamp", "bound on logits", trace="clamp", scale="log"),
        Axis("training.epochs", "epochs", trace="epochs", scale="log"),
        Axis("training.batch_size", "batch size", trace="batch", scale="log"),
        Axis("training.learning_rate", "learning rate", trace="lr", shapes=False, scale="log"),
        Axis(
            "training.learning_rate_schedule",
            "learning-rate schedule",
            trace="schedule",
            shapes=False,
        ),
        Axis("training.gradient_clip", "gradient clip", trace="clip", shapes=False, scale="log"),
        Axis(
            "training.early_stopping_patience",
            "early-stopping patience",
            trace="patience",
            shapes=False,
            scale="linear",
        ),
        Axis("training.precision", "precision of matrix products", trace="precision"),
    )
}

AXES: dict[str, Axis] = {axis.name: axis for axis in _STANDING}
"""Axes of every study, in the order of a run's levels."""

NOT_AXES = {
    "training.device": "what it changes is less than what another seed does",
    "training.kl_warmup_epochs": "its axis is kl_warmup_epochs",
}
"""Keys of the sections that cannot be in a grid, with the reason."""


PLUGGED: dict[str, Axis] = {}
"""Settings that parts from outside the package bring along, filled by `study.plugins`."""


BORROWED: dict[str, Axis] = {}
"""Axes of a table of runs from elsewhere while it is analysed, by column (`tables.foreign`)."""


def axis_of(name: str) -> Axis:
    """Axis of a column or a grid's key; a key of the config without an entry is a plain axis."""
    known = AXES.get(name) or _SETTINGS.get(name) or PLUGGED.get(name) or BORROWED.get(name)
    if known is not None:
        return known
    key = name.rpartition(".")[2]
    return Axis(name, key.replace("_", " "), trace=key.replace("_", "-"))


def like_a_trace(name: str) -> bool:
    """Whether a level without a prefix would read like another axis's part of an arm's name."""
    others = [*AXES.values(), *_SETTINGS.values(), *PLUGGED.values()]
    traces = [axis.trace for axis in others if axis.trace and name.startswith(axis.trace)]
    return any(name.removeprefix(trace)[:1] in {*"-0123456789"} - {""} for trace in traces)


def axis_order(name: str) -> tuple[int, int, str]:
    """Sort key of axes: those that every study has, then keys of the config."""
    for group, names in enumerate((list(AXES), list(_SETTINGS), list(BORROWED))):
        if name in names:
            return group, names.index(name), name
    return 3, 0, name


def axis_columns(columns: Iterable[object]) -> list[str]:
    """The columns of a table that are axes, in the order of axes."""
    named = map(str, columns)
    found = [name for name in named if name in AXES or name in BORROWED or is_setting(name)]
    return sorted(found, key=axis_order)


def replicate_columns(columns: Iterable[object]) -> list[str]:
    """Columns of a table that tell replicates of an arm apart: seed, and split if it varies."""
    known = {*map(str, columns)}
    return [name for name in REPLICATES if name in known]


def text_axes(columns: Iterable[object]) -> list[str]:
    """Columns of settings without an order, whose levels are text: `512x256`, and `16` too."""
    return [name for name in map(str, columns) if is_setting(name) and not axis_of(name).ordered]


def is_setting(name: str) -> bool:
    """Whether a column or a grid's key is a key of the config's model or training section."""
    return name.partition(".")[0] in SECTIONS and "." in name


def as_level(value: Any) -> Level:
    """A value of the config as a level: lists become tuples, which can be compared and hashed."""
    return tuple(as_level(item) for item in value) if isinstance(value, (list, tuple)) else value


def as_setting(level: Level) -> Any:
    """A level as a value of the config or of JSON."""
    return [as_setting(item) for item in level] if isinstance(level, tuple) else level


def level_text(level: Level) -> str:
    """Text of a level in sentences and tables: `512x256`, `0.003`, `none`, `linear`."""
    if isinstance(level, tuple):
        return "x".join(f"{item:g}" for item in level) or "linear"
    if level is None:
        return "none"
    if isinstance(level, bool):
        return str(level).lower()
    return f"{level:g}" if isinstance(level, Real) else str(level)


def level_cell(level: Level) -> Any:
    """A level as the cell of a table: numbers stay numbers, the others are text."""
    return level if isinstance(level, Real) else level_text(level)


def _trace_text(level: Level, after_word: bool) -> str:
    if isinstance(level, bool):
        return "-on" if level else "-off"
    text = level_text(level).replace("_", "-")
    text = text.replace("+", "-and-") if isinstance(level, str) else text
    numeric = isinstance(level, Real) or (isinstance(level, tuple) and level)
    return text if numeric or not after_word else f"-{text}"


def level_order(level: Level) -> tuple[int, Any]:
    """Sort key of levels of one axis, whatever their types: None, then numbers, tuples, text."""
    if level is None:
        return 0, 0
    if isinstance(level, Real):
        return 1, level
    return (2, level) if isinstance(level, tuple) else (3, str(level))


def objective_levels(levels: Mapping[str, Any]) -> dict[str, Any]:
    """Levels of the objective's axes in the one form that they mean together.

    KL off and point posteriors have no β, and nothing to warm up, as the importance-weighted bound
    has not; a point posterior has nothing to draw; of one sample that bound is the ELBO.
    """
    point = levels["posterior"] == "point"
    with_kl = bool(levels["kl"]) and levels["beta"] > 0 and not point
    draws = 1 if point else levels.get("importance_samples", 1)
    objective = levels.get("objective", "elbo")
    objective = "elbo" if objective == "iwae" and draws == 1 else objective
    warm = with_kl and objective != "iwae"
    return {
        "kl": with_kl,
        "beta": float(levels["beta"]) if with_kl else 0.0,
        "importance_samples": draws,
        "objective": objective,
        "kl_warmup_epochs": levels.get("kl_warmup_epochs", 0) if warm else 0,
    }


class ArmName(str):
    """Name of an arm, `beta0.5-conv`, with the levels of its axes.

    Names are never parsed.

    Attributes:
        beta: weight of the KL term; 0 without one.
        kind: `beta`, `kl-off` or `point`.
        further: the other axes that differ from their default, with the arm's level, in the order
            of the name's parts.
    """

    beta: float
    kind: str
    further: dict[str, Level]

    def __new__(
        cls, beta: float, kind: str, further: Mapping[str, Level], text: str | None = None
    ) -> ArmName:
        """Name of an arm from its attributes; `text` stands for a name that a table has."""
        base = f"beta{beta:g}" if kind == "beta" else kind
        name = super().__new__(cls, text or base + _traces(further))
        name.beta, name.kind, name.further = beta, kind, dict(further)
        return name

    def __getnewargs__(self) -> tuple[float, str, dict[str, Level], str]:  # type: ignore[override]
        """Arguments for copying and pickling."""
        return self.beta, self.kind, self.further, str(self)

    @property
    def variant(self) -> str:
        """Suffix of the name from further axes: `-conv`; empty without any."""
        return _traces(self.further)

    @property
    def variant_label(self) -> str:
        """The levels of the further axes in words; empty without any."""
        return ", ".join(axis_of(name).described(level) for name, level in self.further.items())

    @property
    def label(self) -> str:
        """Name for people: `β = 0.5`, `KL off, conditioned on batch`, `deterministic`."""
        start = {"beta": f"β = {self.beta:.4g}", "kl-off": "KL off", "point": "deterministic"}
        return ", ".join(filter(None, [start[self.kind], self.variant_label]))

    @property
    def order(self) -> tuple[int, float, str]:
        """Sort key by strength of the KL term: deterministic, KL off, then β, small to large."""
        return {"point": 0, "kl-off": 1}.get(self.kind, 2), self.beta, str(self)


def _traces(further: Mapping[str, Level]) -> str:
    return "".join(f"-{axis_of(name).traced(level)}" for name, level in further.items())


def arm_kind(kl: bool, posterior: str) -> str:
    """Kind of an arm: `beta`, `kl-off` or `point`."""
    return "point" if posterior == "point" else "beta" if kl else "kl-off"


_NOT_FURTHER = {"dataset", "likelihood", "latent_dim", "beta", "kl", *REPLICATES}
_LATE = ("kl_warmup_epochs", "train_examples")


def further_levels(levels: Mapping[str, Level]) -> dict[str, Level]:
    """Levels that an arm's name shows beside β, in their order there.

    Args:
        levels: of a run; settings only where they differ from the study's own.
    """
    named = {name: levels[name] for name in _in_name_order(levels)}
    return {n: v for n, v in named.items() if is_setting(n) or v != axis_of(n).default}


def _in_name_order(levels: Mapping[str, Level]) -> list[str]:
    """Axes that can have a part of an arm's name, in the order of the parts."""

    def place(name: str) -> tuple[bool, int, tuple[int, int, str]]:
        late = _LATE.index(name) + 1 if name in _LATE else 0
        return is_setting(name), late, axis_order(name)

    point = levels.get("posterior") == "point"
    hidden = {*_NOT_FURTHER, "posterior"} if point else _NOT_FURTHER
    return sorted((name for name in levels if name not in hidden), key=place)


def arm_names(table: Any) -> dict[str, ArmName]:
    """Arms of a table with their axes as columns, by name.

    Args:
        table: a pandas DataFrame such as metrics.csv; rows without an arm do not count.
    """
    axes = axis_columns(table.columns)
    known = table.dropna(subset=["arm"]).drop_duplicates("arm")
    return {str(row["arm"]): _arm_of(row, axes) for row in known.to_dict("records")}


def with_arms(table: Any, arms: Mapping[str, ArmName]) -> Any:
    """A table (pandas DataFrame) with arms as `ArmName`; unknown names stay text.

    Args:
        table: with the columns arm or reference_arm.
        arms: from `arm_names`.
    """
    found = {
        column: [arms.get(name, name) for name in table[column]]
        for column in ("arm", "reference_arm")
        if column in table
    }
    objects = {column: table[column].astype(object).copy() for column in found}
    for column, values in found.items():
        objects[column][:] = values
    return table.assign(**objects)


def _arm_of(row: Mapping[Any, Any], axes: Iterable[str]) -> ArmName:
    """The arm of a row; a setting counts where the name shows it, since a row has no study."""
    levels = {name: _level_of(row[name]) for name in axes}
    shown = {
        name: level
        for name, level in levels.items()
        if not is_setting(name) or f"-{axis_of(name).traced(level)}-" in f"{row['arm']}-"
    }
    kind = arm_kind(str(row["kl"]) == "True", str(row["posterior"]))
    return ArmName(float(row["beta"]), kind, further_levels(shown), str(row["arm"]))


def _level_of(cell: Any) -> Level:
    """The level that a table's cell shows: whole numbers are integers."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell
