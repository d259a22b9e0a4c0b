"""Which part of a study a figure shows: choices that are capped whatever the size of the grid."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import log10

import pandas as pd

from vae_ablation.plots.results import StudyResults

MAX_LATENT_DIMS = 3

_ARM = re.compile(
    r"(?:beta(?P<beta>\d+(?:\.\d+)?(?:e[+-]?\d+)?)|(?P<fixed>kl-off|point))(?P<rest>.*)"
)


@dataclass(frozen=True)
class Arm:
    """An arm read from its name.

    Attributes:
        kind: beta, kl-off or point (a name that is none of them counts as ``other``).
        beta: weight of the KL term; 0 without one.
        variant: what further axes have appended to the name, e.g. ``-conv``.
    """

    kind: str
    beta: float
    variant: str


def parse_arm(name: str) -> Arm:
    """Read an arm's name, e.g. ``beta0.5``, ``kl-off``, ``point``, ``beta1e-05-conv``."""
    match = _ARM.fullmatch(name)
    if match is None:
        return Arm("other", 0.0, name)
    kind = match["fixed"] or "beta"
    return Arm(kind, float(match["beta"] or 0), match["rest"])


def arm_order(name: str) -> tuple[int, float, str]:
    """Sort key by strength of the KL term: deterministic, KL off, then β from small to large."""
    arm = parse_arm(name)
    return {"point": 0, "kl-off": 1}.get(arm.kind, 2), arm.beta, name


@dataclass(frozen=True)
class Selection:
    """What one drawing is about; None stands for all.

    Attributes:
        dataset: name of the dataset.
        likelihood: name of the likelihood.
        latent_dim: dimensions of the code.
    """

    dataset: str | None = None
    likelihood: str | None = None
    latent_dim: int | None = None

    def rows(self, results: StudyResults) -> pd.DataFrame:
        """Rows of metrics.csv of the trained models selected, diverged ones included."""
        table = results.metrics
        keep = table["model"] == "vae"
        for column in ("dataset", "likelihood", "latent_dim"):
            value = getattr(self, column)
            if value is not None:
                keep &= table[column] == value
        return table[keep]

    def ok_rows(self, results: StudyResults) -> pd.DataFrame:
        """The selected rows whose run ended well."""
        rows = self.rows(results)
        return rows[rows["status"] == "ok"]


def choose_arms(metrics: pd.DataFrame, cap: int) -> list[str]:
    """At most `cap` arms (never fewer than KL off and point where present), in `arm_order`.

    KL off and point always stay; then the smallest β, 1 or the nearest to it, the largest, and
    after them those farthest on the log axis from what is already chosen.
    """
    names = sorted({str(name) for name in metrics["arm"].dropna()}, key=arm_order)
    betas = [name for name in names if parse_arm(name).kind == "beta"]
    fixed = [name for name in names if parse_arm(name).kind != "beta"]
    chosen = fixed + _choose_betas(betas, cap - len(fixed))
    return sorted(chosen, key=arm_order)


def _choose_betas(betas: list[str], cap: int) -> list[str]:
    if cap <= 0 or not betas:
        return []
    corners = [nearest_to_one(betas), betas[0], betas[-1]]
    chosen = list(dict.fromkeys(corners))[:cap]
    while len(chosen) < min(cap, len(betas)):
        rest = [name for name in betas if name not in chosen]
        chosen.append(max(rest, key=lambda name: _distance(name, chosen)))
    return chosen


def nearest_to_one(arms: Iterable[str]) -> str:
    """The β arm whose weight is nearest to 1 on the log axis."""
    return min(arms, key=lambda name: (abs(_log_beta(name)), arm_order(name)))


def _log_beta(name: str) -> float:
    return log10(max(parse_arm(name).beta, 1e-300))


def _distance(name: str, chosen: list[str]) -> float:
    return min(abs(_log_beta(name) - _log_beta(other)) for other in chosen)


def choose_latent_dims(dims: Iterable[float], cap: int = MAX_LATENT_DIMS) -> list[int]:
    """The smallest, the largest and the middle dimension, 2 always when there; ascending."""
    values = sorted({int(dim) for dim in dims})
    if len(values) <= cap:
        return values
    wanted = [2] if 2 in values else []
    wanted += [values[-1], values[0], values[len(values) // 2], *values]
    return sorted(list(dict.fromkeys(wanted))[:cap])


def first_runs(rows: pd.DataFrame) -> dict[str, str]:
    """Run path of each arm's lowest seed among `rows`."""
    ordered = rows.sort_values("seed", kind="stable").drop_duplicates("arm")
    return dict(zip(ordered["arm"].astype(str), ordered["run"].astype(str), strict=True))


def contrast_arms(arms: Iterable[str]) -> list[str]:
    """The two arms that stand for KL on and KL off: the β nearest to 1, and KL off if present."""
    names = list(arms)
    betas = [name for name in names if parse_arm(name).kind == "beta"]
    on = [nearest_to_one(betas)] if betas else []
    off = sorted(name for name in names if parse_arm(name).kind == "kl-off")[:1]
    return on + off


def umap_runs(metrics: pd.DataFrame) -> list[str]:
    """Runs for which UMAP is computed: a documented choice, never all of them.

    For each dataset and likelihood: each chosen latent dimension above 2, the lowest seed that
    ended well, the arm with β nearest to 1 and KL off.
    """
    ok = metrics[(metrics["model"] == "vae") & (metrics["status"] == "ok")]
    runs: list[str] = []
    for _, rows in ok.groupby(["dataset", "likelihood"], sort=True):
        for latent_dim in choose_latent_dims(rows["latent_dim"]):
            if latent_dim > 2:
                firsts = first_runs(rows[rows["latent_dim"] == latent_dim])
                runs += [firsts[arm] for arm in contrast_arms(firsts)]
    return runs
