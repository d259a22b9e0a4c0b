"""One look for all figures: colours that survive colour blindness, labels with units, saving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import style as mpl_style
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from seaborn import color_palette

from vae_ablation.study.axes import ArmName
from vae_ablation.study.metrics import described
from vae_ablation.study.names import likelihood

FULL_WIDTH = 8.0
"""Width of a figure in inches: about 1000 pixels in the report at the size of its text."""
DPI = 150
GREY = "#6b6b6b"
PALE = "#d9d9d9"

_RC: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    # Names come from users: a "$" in one is a dollar. Log axes have plain formatters instead.
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
}

KL_OFF_COLOR = "#d55e00"
POINT_COLOR = "#000000"

# log10(beta) → place on the map. Steeper around 1, where studies place most of their values.
_LOG_BETA = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0)
_PLACE = (0.0, 0.05, 0.18, 0.55, 0.88, 0.95)

# Petroff (2021), "Accessible color sequences for data visualization", arXiv:2107.02270.
_CLASS_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
_CLASS_MARKERS = ("o", "^", "s", "X", "P")

# Tol (2021), "bright" and "vibrant": safe for the common kinds of colour blindness.
_LIKELIHOOD_COLORS = {
    "bernoulli": "#ee7733",
    "continuous_bernoulli": "#009988",
    "gaussian": "#0077bb",
    "discretized_logistic": "#cc3311",
    "poisson": "#ee7733",
    "negative_binomial": "#0077bb",
    "zero_inflated_negative_binomial": "#cc3311",
    "log_normal_gaussian": "#009988",
}
_OTHER_COLORS = ("#ee3377", "#33bbee", "#aa3377", "#ccbb44", "#228833", "#bbbbbb")
_LIKELIHOOD_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

NATS = "nats per example"


def context() -> AbstractContextManager[None]:
    """The project's settings over matplotlib's defaults, whatever the user's own are."""
    return mpl_style.context(["default", _RC])


def arm_color(arm: ArmName) -> str:
    """Colour of an arm as hex, a function of the arm alone: one more β recolours none."""
    if arm.kind == "kl-off":
        return KL_OFF_COLOR
    if arm.kind != "beta":
        return POINT_COLOR
    place = np.interp(np.log10(max(arm.beta, 1e-3)), _LOG_BETA, _PLACE)
    return to_hex(color_palette("viridis", as_cmap=True)(float(place)))


def arm_marker(arm: ArmName) -> str:
    """Marker of an arm: KL off and deterministic differ from every β in shape too."""
    return {"kl-off": "X", "point": "D"}.get(arm.kind, "o")


def class_color(rank: int) -> str:
    """Colour of the class with this rank among the labels; -1 (no label) is grey."""
    return "#9a9a9a" if rank < 0 else _CLASS_COLORS[rank % len(_CLASS_COLORS)]


def class_marker(rank: int) -> str:
    """Marker of a class: after ten classes the colours come again with another shape."""
    return _CLASS_MARKERS[max(rank, 0) // len(_CLASS_COLORS) % len(_CLASS_MARKERS)]


def likelihood_styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each likelihood; the known ones keep theirs in every study."""
    known = list(_LIKELIHOOD_COLORS)
    others = sorted(set(names) - set(known))
    colors = dict(_LIKELIHOOD_COLORS)
    colors |= {name: _OTHER_COLORS[i % len(_OTHER_COLORS)] for i, name in enumerate(others)}
    order = known + others
    return {
        name: (colors[name], _LIKELIHOOD_MARKERS[order.index(name) % len(_LIKELIHOOD_MARKERS)])
        for name in names
    }


def metric_label(metric: str) -> str:
    """Axis label of a metric, with its unit."""
    known = described(metric)
    return known.measured_in.replace("(nats)", f"({NATS})")


def plain(name: str) -> str:
    """A likelihood's proper name."""
    return likelihood(name)


def power(value: float) -> str:
    """A power of ten, or a round number, on a logarithmic axis: `0.001`, `100`, `1e6`."""
    text = f"{value:g}" if 1e-4 <= value < 1e5 else f"{value:.0e}".replace("e+", "e")
    return text.replace("e0", "e").replace("e-0", "e−").replace("-", "−")


def short(text: str, length: int = 40) -> str:
    """Text cut to `length` characters and to one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def count(value: float) -> str:
    """A count, or a mean of counts with one decimal."""
    if not np.isfinite(value):
        return ""
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def number(value: float) -> str:
    """A number in at most five characters or so, for cells and tables."""
    if not np.isfinite(value):
        return ""
    size = abs(value)
    if size >= 99_999.5:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e").replace("-", "−")
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    if 0 < size < 0.0995:
        digits = 3 if size >= 0.00095 else 4
    return f"{value:.{digits}f}".replace("-", "−") if size >= 5e-5 or size == 0 else "<1e−4"


def save(figure: Figure, stem: Path, vector: Sequence[str] = ()) -> list[Path]:
    """Write `<stem>.png` and vector formats; the same figure gives the same bytes (no dates).

    Args:
        figure: what is written.
        stem: path without a suffix.
        vector: `pdf`, `svg`.
    """
    undated: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None},
    }
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", *vector)]
    with context(), matplotlib.rc_context({"svg.hashsalt": stem.name}):
        # half the time of Pillow's own level, for files a thirtieth larger
        figure.savefig(paths[0], metadata=undated["png"], pil_kwargs={"compress_level": 3})
        for path in paths[1:]:
            figure.savefig(path, metadata=undated[path.suffix[1:]])
    return paths
