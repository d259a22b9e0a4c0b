"""Numbers at each latent dimension, where those of several would not be alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vae_ablation.report.findings.evidence import Evidence, matching
from vae_ablation.report.findings.quotes import Part, Phrase, join, say
from vae_ablation.report.findings.wording import span
from vae_ablation.study.axes import axis_of

MOST = 4
"""Latent dimensions that are all named; of more the first and the last."""


def by_dimension(evidence: Evidence, table: str, column: str, where: Mapping[str, Any]) -> Phrase:
    """The smallest and largest number of some rows, at each latent dimension that they name.

    `0.62 at latent dimension 2, 0.91 to 0.93 at 8 and 0.95 at 16`; empty without a number.
    """
    rows = matching(evidence.table(table), where)
    dims = sorted({*rows["latent_dim"].dropna()}) if "latent_dim" in rows else []
    if not dims:
        return _range(evidence, table, column, where)
    parts: list[Part] = []
    for dim in dims if len(dims) <= MOST else (dims[0], dims[-1]):
        here = {**where, "latent_dim": dim}
        numbers = _range(evidence, table, column, here)
        level = evidence.quoted(table, "latent_dim", here, "max")
        if numbers and level is not None:
            label = "" if parts else f"{axis_of('latent_dim').label} "
            parts.append(say("{numbers} at {label}{dim}", numbers=numbers, label=label, dim=level))
    return join(parts)


def _range(evidence: Evidence, table: str, column: str, where: Mapping[str, Any]) -> Phrase:
    low, high = (evidence.quoted(table, column, where, how) for how in ("min", "max"))
    return Phrase() if low is None or high is None else span(low, high)
