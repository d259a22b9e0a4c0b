"""Parts of a study that figures show, capped for grids of any size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log10

import pandas as pd

from vae_ablation.report.figures.results import StudyResults
from vae_ablation.study.axes import ArmName, replicate_columns

MAX_LATENT_DIMS = 3


@dataclass(frozen=True)
class Selection:
    """Dataset, likelihood and latent dimension of one figure; None stands for all.

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
        """The selected rows of successful runs."""
        rows = self.rows(results)
        return rows[rows["status"] == "ok"]


def arms_of(table: pd.DataFrame) -> list[ArmName]:
    """The arms of a table, each once, by strength of the KL term."""
    return sorted(set(table["arm"].dropna()), key=lambda arm: arm.order)


def choose_arms(metrics: pd.DataFrame, cap: int) -> list[ArmName]:
    """At most `cap` arms (never fewer than KL off and point where present), by strength of KL.

    KL off and point always stay; then the smallest β, 1 or the nearest to it, the largest, and
    after them those farthest on the log axis from what is already chosen.
    """
    arms = arms_of(metrics)
    betas = [arm for arm in arms if arm.kind == "beta"]
    fixed = [arm for arm in arms if arm.kind != "beta"]
    chosen = fixed + _choose_betas(betas, cap - len(fixed))
    return sorted(chosen, key=lambda arm: arm.order)


def _choose_betas(betas: list[ArmName], cap: int) -> list[ArmName]:
    if cap <= 0 or not betas:
        return []
    corners = [nearest_to_one(betas), betas[0], betas[-1]]
    chosen = list(dict.fromkeys(corners))[:cap]
    while len(chosen) < min(cap, len(betas)):
        rest = [arm for arm in betas if arm not in chosen]
        chosen.append(max(rest, key=lambda arm: _distance(arm, chosen)))
    return chosen


def nearest_to_one(arms: Iterable[ArmName]) -> ArmName:
    """The β arm whose weight is nearest to 1 on the log axis."""
    return min(arms, key=lambda arm: (abs(_log_beta(arm)), arm.order))


def _log_beta(arm: ArmName) -> float:
    return log10(max(arm.beta, 1e-300))


def _distance(arm: ArmName, chosen: list[ArmName]) -> float:
    return min(abs(_log_beta(arm) - _log_beta(other)) for other in chosen)


def choose_latent_dims(dims: Iterable[float], cap: int = MAX_LATENT_DIMS) -> list[int]:
    """The smallest, the largest and the middle dimension, 2 always when there; ascending."""
    values = sorted({int(dim) for dim in dims})
    if len(values) <= cap:
        return values
    wanted = [2] if 2 in values else []
    wanted += [values[-1], values[0], values[len(values) // 2], *values]
    return sorted(list(dict.fromkeys(wanted))[:cap])


def first_runs(rows: pd.DataFrame) -> dict[ArmName, str]:
    """Run path of each arm's lowest seed among `rows`."""
    ordered = rows.sort_values(replicate_columns(rows.columns), kind="stable")
    ordered = ordered.drop_duplicates("arm")
    return dict(zip(ordered["arm"], ordered["run"].astype(str), strict=True))


def contrast_arms(arms: Iterable[ArmName]) -> list[ArmName]:
    """The two arms that stand for KL on and KL off: the β nearest to 1, and KL off if present."""
    known = list(arms)
    betas = [arm for arm in known if arm.kind == "beta"]
    on = [nearest_to_one(betas)] if betas else []
    off = sorted(arm for arm in known if arm.kind == "kl-off")[:1]
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
