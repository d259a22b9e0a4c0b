"""Axes of a study: one definition for each, from which everything else about it is generated.

A grid takes the axes named here and every key of the config's sections `model` and `training`, as
`model.hidden` or `training.learning_rate`. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any, Literal

Level = Any
"""A value of an axis: text, number, boolean, None, or a tuple of numbers."""

Scale = Literal["category", "linear", "log"]

SECTIONS = ("model", "training")
"""Sections of the config whose keys can stand in a grid."""


@dataclass(frozen=True)
class Axis:
    """One axis of a grid.

    Attributes:
        name: the key in a grid and the column in tables: `beta`, or a dotted key of the config.
        label: the name for people: axis labels, methods paragraph, report.
        default: the level that leaves no trace in an arm's name; a key of the config has the
            study's own setting instead.
        trace: an arm's name shows a level as this and the level; empty where the level's text
            says enough (`conv`).
        shapes: whether it shapes tensors or steps, so that its levels cannot share a pack.
        scale: category, or an ordered axis and how it is drawn.
        nearness: key of a level: of several, the reference is the one with the smallest.
    """

    name: str
    label: str
    default: Level = None
    trace: str = ""
    shapes: bool = True
    scale: Scale = "category"
    nearness: Callable[[Level], Any] | None = None

    @property
    def ordered(self) -> bool:
        """Whether its levels have an order."""
        return self.scale != "category"

    @property
    def is_setting(self) -> bool:
        """Whether it is a key of the config's model or training section."""
        return "." in self.name

    def traced(self, level: Level) -> str:
        """The part of an arm's name that a level has, where it is not the default."""
        return f"{self.trace}{_trace_text(level, bool(self.trace))}"

    def reference(self, levels: Iterable[Level], wanted: Level = None) -> Level:
        """The level that the others are compared with.

        Args:
            levels: those that a study has, at least one.
            wanted: the level that the config or the study's settings name; it counts if it is
                among them, and else the default, the nearest or the first in order.
        """
        known = sorted(levels, key=level_order)
        for candidate in (wanted, self.default):
            if candidate is not None and candidate in known:
                return candidate
        return min(known, key=self.nearness) if self.nearness else known[0]


def distance_to_one(beta: float) -> tuple[float, float]:
    """Distance of β from 1 on the log axis; of two as far, the smaller is the nearer."""
    return abs(log10(beta)) if beta else float("inf"), beta


_STANDING = (
    Axis("dataset", "data set"),
    Axis("likelihood", "likelihood"),
    Axis("latent_dim", "latent dimension", scale="log", nearness=lambda level: -level),
    Axis("beta", "β", shapes=False, scale="log", nearness=distance_to_one),
    Axis("kl", "KL term", True, shapes=False),
    Axis("posterior", "posterior", "gaussian"),
    Axis("seed", "seed", shapes=False),
    Axis("architecture", "architecture", "mlp"),
    Axis("objective", "training objective", "elbo"),
    Axis("importance_samples", "draws of z per example in training", 1, trace="k", scale="log"),
    Axis("condition", "condition of encoder and decoder", "none", trace="given"),
    Axis(
        "kl_warmup_epochs",
        "epochs of KL warm-up",
        0,
        trace="warmup",
        shapes=False,
        scale="linear",
        nearness=lambda level: level,
    ),
    Axis("dispersion", "dispersion of counts", "gene"),
    Axis("train_examples", "training examples", None, trace="n", scale="log"),
)

_SETTINGS = {
    axis.name: axis
    for axis in (
        Axis("model.hidden", "hidden layers", trace="hidden"),
        Axis("model.channels", "channels of convolutions", trace="channels"),
        Axis("model.center", "encoder's input centred", trace="center"),
        Axis("model.activation", "activation", trace="activation"),
        Axis("model.posterior_sigma", "σ of fixed posteriors", trace="q-sigma", scale="log"),
        Axis("model.gaussian_scale", "Gaussian likelihood's σ", trace="scale"),
        Axis("model.gaussian_sigma", "fixed σ of the Gaussian", trace="sigma", scale="log"),
        Axis("model.scale_floor", "lower bound of learned scales", trace="floor", scale="log"),
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
    )
}

AXES: dict[str, Axis] = {axis.name: axis for axis in _STANDING}
"""The axes that every study has, in the order of a run's levels."""

NOT_AXES = {
    "training.device": "it changes no result",
    "training.kl_warmup_epochs": "its axis is kl_warmup_epochs",
}
"""Keys of the sections that cannot stand in a grid, and why."""


def axis_of(name: str) -> Axis:
    """Axis of a column or a grid's key; a key of the config without an entry is a plain axis."""
    known = AXES.get(name) or _SETTINGS.get(name)
    if known is not None:
        return known
    key = name.partition(".")[2]
    return Axis(name, key.replace("_", " "), trace=key.replace("_", "-"))


def axis_order(name: str) -> tuple[int, int, str]:
    """Sort key of axes: those that every study has, then keys of the config."""
    for group, names in enumerate((list(AXES), list(_SETTINGS))):
        if name in names:
            return group, names.index(name), name
    return 2, 0, name


def axis_columns(columns: Iterable[object]) -> list[str]:
    """The columns of a table that are axes, in the order of axes."""
    found = [name for name in map(str, columns) if name in AXES or is_setting(name)]
    return sorted(found, key=axis_order)


def is_setting(name: str) -> bool:
    """Whether a column or a grid's key is a key of the config's model or training section."""
    return name.partition(".")[0] in SECTIONS and "." in name


def as_level(value: Any) -> Level:
    """A value of the config as a level: lists are tuples, so that levels can be told apart."""
    return tuple(as_level(item) for item in value) if isinstance(value, (list, tuple)) else value


def as_setting(level: Level) -> Any:
    """A level as a value of the config or of JSON."""
    return [as_setting(item) for item in level] if isinstance(level, tuple) else level


def level_text(level: Level) -> str:
    """A level in words and tables: `512x256`, `0.003`, `none`, `linear`."""
    if isinstance(level, tuple):
        return "x".join(f"{item:g}" for item in level) or "linear"
    if level is None:
        return "none"
    if isinstance(level, bool):
        return str(level).lower()
    return f"{level:g}" if isinstance(level, (int, float)) else str(level)


def level_cell(level: Level) -> Any:
    """A level as the cell of a table: numbers stay numbers, the others are text."""
    return level if isinstance(level, (bool, int, float)) else level_text(level)


def _trace_text(level: Level, after_word: bool) -> str:
    if isinstance(level, bool):
        return "-on" if level else "-off"
    text = level_text(level).replace("_", "-")
    numeric = isinstance(level, (int, float)) or (isinstance(level, tuple) and level)
    return text if numeric or not after_word else f"-{text}"


def level_order(level: Level) -> tuple[int, Any]:
    """Sort key of levels of one axis, whatever their types: None, then numbers, tuples, text."""
    if level is None:
        return 0, 0
    if isinstance(level, (bool, int, float)):
        return 1, level
    return (2, level) if isinstance(level, tuple) else (3, str(level))


class ArmName(str):
    """The name of an arm, `beta0.5-conv`, that carries what it stands for.

    Nothing reads a name back: what an arm is comes from the levels of its axes.

    Attributes:
        kind: `beta`, `kl-off` or `point`.
        beta: weight of the KL term; 0 without one.
        variant: what further axes append to the name, e.g. `-conv`; empty without any.
    """

    kind: str
    beta: float
    variant: str

    def __new__(cls, base: str, further: Sequence[str], beta: float) -> ArmName:
        """The name of an arm.

        Args:
            base: `kl-off`, `point` or the text of a β.
            further: texts of the other axes that differ from their default.
            beta: the weight of the KL term.
        """
        name = super().__new__(cls, "-".join([base, *further]))
        name.kind = base if base in {"kl-off", "point"} else "beta"
        name.beta = beta
        name.variant = "".join(f"-{part}" for part in further)
        return name

    def __getnewargs__(self) -> tuple[str, list[str], float]:  # type: ignore[override]
        """What copying and pickling call the constructor with."""
        base = self.removesuffix(self.variant)
        return base, [self.variant[1:]] if self.variant else [], self.beta


def base_name(beta: float, kl: bool, posterior: str) -> str:
    """How an arm's name begins: `beta0.5`, `kl-off` or `point`."""
    if posterior == "point":
        return "point"
    return f"beta{beta:g}" if kl else "kl-off"


def arm_names(table: Any) -> dict[str, ArmName]:
    """The arms of a table with the columns arm, beta, kl and posterior, by their text.

    Args:
        table: a pandas DataFrame, such as metrics.csv; rows without an arm do not count.
    """
    known = table.dropna(subset=["arm"]).drop_duplicates("arm")
    found = {}
    for text, beta, kl, posterior in known[["arm", "beta", "kl", "posterior"]].values:
        base = base_name(float(beta), str(kl) == "True", str(posterior))
        further = text.removeprefix(base).removeprefix("-")
        found[str(text)] = ArmName(base, [further] if further else [], float(beta))
    return found


def varied(levels: Mapping[str, Iterable[Level]]) -> list[str]:
    """Names of the axes that have more than one level, in the order of axes."""
    found = [name for name, values in levels.items() if len(set(values)) > 1]
    return sorted(found, key=axis_order)
