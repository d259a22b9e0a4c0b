"""The best likelihood, on the metrics that all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vae_ablation.report.findings import words
from vae_ablation.report.findings.best import CRITERION, rank
from vae_ablation.report.findings.evidence import (
    Cell,
    Estimate,
    Evidence,
    Row,
    dims_of,
    over_seeds,
    paired,
    reference_arm,
)
from vae_ablation.report.findings.finding import Finding, figure_of, finder
from vae_ablation.study.metrics import described

FIGURES = ("likelihood_comparison", "heatmaps")
CONTROLS = {"raw": "the raw data", "pca": "PCA", "untrained": "an untrained encoder"}

Lines = dict[str, list[Cell]]
"""The β arms of each likelihood at one latent dimension, in the order of β."""


@finder
def likelihoods(evidence: Evidence) -> Iterator[Finding]:
    """Likelihoods compared on MSE at matched rate, and on samples and probe at their best β."""
    for variant in sorted({variant for _, variant in evidence.settings}):
        lines = _lines(evidence, variant)
        if len(lines) < 2:
            continue
        matched = _at_matched_rate(evidence, lines)
        yield from [matched] if matched else []
        yield from _at_best(evidence, lines)


def _lines(evidence: Evidence, variant: str) -> Lines:
    """The largest latent dimension that at least two likelihoods share."""
    found = {
        likelihood: [cell for cell in cells if cell.arm.kind == "beta"]
        for (likelihood, own), cells in evidence.settings.items()
        if own == variant
    }
    counts = [dim for cells in found.values() for dim in dims_of(cells)]
    shared = [dim for dim in counts if counts.count(dim) > 1]
    if not shared:
        return {}
    lines = {
        name: [cell for cell in cells if cell.latent_dim == max(shared)]
        for name, cells in found.items()
    }
    return {name: line for name, line in lines.items() if line}


def rate_range(evidence: Evidence, lines: Lines) -> tuple[float, float] | None:
    """Range of rates covered by the arms of every likelihood and seed; None if empty."""
    ends = [
        (rates.min(), rates.max())
        for line in lines.values()
        for rates in _by_arm(evidence, line, "rate").values()
    ]
    low, high = (max(end[0] for end in ends), min(end[1] for end in ends)) if ends else (1.0, 0.0)
    return (float(low), float(high)) if low < high else None


def _by_arm(evidence: Evidence, line: Sequence[Cell], metric: str) -> dict[Any, pd.Series]:
    """A metric over the arms of one line, by seed."""
    table = pd.DataFrame({cell.arm: evidence.by_seed(cell, metric) for cell in line})
    known = table[table.notna().sum(axis=1) > 1]
    return {seed: row.dropna() for seed, row in known.iterrows()}


def at_rate(evidence: Evidence, line: Sequence[Cell], metric: str, rate: float) -> pd.Series:
    """A metric at a given rate, by seed: linear between the two arms whose rates bracket it."""
    rates, values = (_by_arm(evidence, line, name) for name in ("rate", metric))
    found = {}
    for seed in sorted(rates.keys() & values.keys()):
        curve = pd.DataFrame({"rate": rates[seed], "value": values[seed]}).dropna()
        curve = curve.sort_values("rate")
        if len(curve) > 1 and curve["rate"].iloc[0] <= rate <= curve["rate"].iloc[-1]:
            found[seed] = float(np.interp(rate, curve["rate"], curve["value"]))
    return pd.Series(found, dtype=float)


def _matched_rate(evidence: Evidence, lines: Lines) -> float | None:
    """Median over likelihoods of the rate at the reference β, within the range that all cover."""
    within = rate_range(evidence, lines)
    rates = [
        found.mean
        for line in lines.values()
        for cell in line
        if cell.arm == reference_arm(line) and (found := evidence.estimate(cell, "rate"))
    ]
    return float(np.clip(np.median(rates), *within)) if within and rates else None


def _at_matched_rate(evidence: Evidence, lines: Lines) -> Finding | None:
    rate = _matched_rate(evidence, lines)
    if rate is None:
        return None
    values = {
        name: at_rate(evidence, line, evidence.error_metric, rate) for name, line in lines.items()
    }
    values = {name: found for name, found in values.items() if len(found)}
    if len(values) < 2:
        return None
    first = next(iter(lines.values()))[0]
    compared = _Compared(evidence.error_metric, values, first.latent_dim)
    return Finding(
        kind="likelihoods_mse",
        headline=compared.headline("has the best reconstruction at matched rate"),
        sentence=f"At latent dimension {first.latent_dim} and a matched rate of "
        f"{words.number(rate)} nats (interpolated between arms for each seed), "
        f"{compared.sentence()}",
        dataset=evidence.dataset,
        conclusive=compared.conclusive,
        evidence={"rate": rate, "rows": compared.rows({})},
        **figure_of(FIGURES, evidence, first),
    )


def _at_best(evidence: Evidence, lines: Lines) -> Iterator[Finding]:
    """Samples and probe, with β chosen for each likelihood on validation data."""
    rankings = {name: rank(evidence, line, CRITERION) for name, line in lines.items()}
    best = {name: found.best for name, found in rankings.items() if found}
    titles = {
        "sample_fid": "has the best samples",
        "probe_accuracy": "has the best accuracy of a linear probe",
    }
    for metric, title in titles.items():
        values = {name: evidence.by_seed(cell, metric) for name, cell in best.items()}
        values = {name: found for name, found in values.items() if len(found)}
        if len(values) < 2:
            continue
        dim = next(iter(best.values())).latent_dim
        compared = _Compared(metric, values, dim)
        arms = "; ".join(_chosen(evidence, best[name]) for name in values)
        yield Finding(
            kind=f"likelihoods_{metric}",
            headline=compared.headline(title),
            sentence=f"At latent dimension {dim}, with β chosen by validation ELBO for each "
            f"likelihood ({arms}), {compared.sentence()}{_beside(evidence, metric, dim)}",
            dataset=evidence.dataset,
            conclusive=compared.conclusive,
            evidence=_controls(evidence, metric, dim)
            | {"rows": _at_best_rows(evidence, compared, best)},
            **figure_of(FIGURES, evidence, next(iter(best.values()))),
        )


def _chosen(evidence: Evidence, cell: Cell) -> str:
    """A chosen arm with its rate: these arms are not at matched rate."""
    rate = evidence.estimate(cell, "rate")
    known = f", rate {words.number(rate.mean)} nats" if rate else ""
    return f"{words.likelihood(cell.likelihood)} {cell.arm.label}{known}"


def _controls(evidence: Evidence, metric: str, dim: int) -> dict[str, float]:
    found = {model: evidence.control(model, metric, dim) for model in CONTROLS}
    return {model: value for model, value in found.items() if value is not None}


def _beside(evidence: Evidence, metric: str, dim: int) -> str:
    known = _controls(evidence, metric, dim)
    parts = [f"{CONTROLS[model]} {words.number(value)}" for model, value in known.items()]
    return f" For comparison: {words.join(parts)}." if parts else ""


def _at_best_rows(evidence: Evidence, compared: _Compared, best: Mapping[str, Cell]) -> list[Row]:
    rates = {name: evidence.estimate(cell, "rate") for name, cell in best.items()}
    return [
        row | ({"rate": rate.mean} if (rate := rates[row["likelihood"]]) else {})
        for row in compared.rows(best)
    ]


class _Compared:
    """Likelihoods compared on one metric, by seed.

    Args:
        metric: the column.
        values: likelihood → its values, indexed by seed; at least two, none empty.
        latent_dim: the latent dimension.
    """

    def __init__(self, metric: str, values: Mapping[str, pd.Series], latent_dim: int) -> None:
        self.metric, self.latent_dim = metric, latent_dim
        self.sign = described(metric).sign
        means: dict[str, Estimate] = {
            name: mean for name, found in values.items() if (mean := over_seeds(found))
        }
        self.order = sorted(means, key=lambda name: (-self.sign * means[name].mean, name))
        self.means = means
        self.gaps = {
            name: gap
            for name in self.order[1:]
            if (gap := paired(values[name], values[self.order[0]]))
        }

    @property
    def conclusive(self) -> bool:
        """Whether the best differs significantly from every other."""
        return len(self.gaps) == len(self.order) - 1 and all(g.sign for g in self.gaps.values())

    def headline(self, title: str) -> str:
        """The best and those not significantly worse; a question if those are all."""
        first = [name for i, name in enumerate(self.order) if not i or not self._differs(name)]
        if len(first) == len(self.order):
            return f"Inconclusive: which likelihood {title}"
        return words.capital(f"{words.join(map(words.the, first), 'or')} {title}")

    def sentence(self) -> str:
        best = self.order[0]
        name, unit = words.metric_name(self.metric), words.unit(self.metric)
        extreme = "highest" if self.sign > 0 else "lowest"
        start = (
            f"{words.the(best)} has the {extreme} {name}, {words.estimate(self.means[best], unit)}"
        )
        return f"{start}; {words.join(map(self._other, self.order[1:]))}."

    def _differs(self, name: str) -> bool:
        return name in self.gaps and self.gaps[name].sign != 0

    def _other(self, name: str) -> str:
        if name not in self.gaps:
            return f"{words.the(name)} has no seed in common with it"
        gap = self.gaps[name]
        text = words.estimate(gap if self.sign < 0 else gap.negative, words.unit(self.metric))
        note = "" if self._differs(name) else ", not significant"
        return f"{words.the(name)} is worse by {text}{note}"

    def rows(self, arms: Mapping[str, Cell]) -> list[Row]:
        """A row of evidence for each likelihood, the best first."""
        return [
            {"likelihood": name, "latent_dim": self.latent_dim}
            | ({"arm": arms[name].arm} if name in arms else {})
            | self.means[name].ends(self.metric)
            | (self.gaps[name].row("difference to the best") if name in self.gaps
               else {"n": self.means[name].n})
            for name in self.order
        ]  # fmt: skip
