"""Posterior collapse over β, and gains from a larger latent dimension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import (
    Cell,
    Estimate,
    Evidence,
    Row,
    dims_of,
    reference_arm,
)
from vae_ablation.report.findings.finding import Finding, figure_of, finder
from vae_ablation.study.metrics import described

Setting = tuple[str, str]


@dataclass(frozen=True)
class Collapse:
    """Active units over β at one latent dimension.

    Attributes:
        cells: the β arms with active units, by β.
        units: their active units.
        start: position of the first arm of those, up to the largest β, without an active unit in
            any seed; None where the largest β has active units.
        split: the cells in which some seeds have no active unit and others have.
    """

    cells: tuple[Cell, ...]
    units: tuple[Estimate, ...]
    start: int | None
    split: tuple[Cell, ...]

    @property
    def beta(self) -> float | None:
        """The smallest β from which the posterior is collapsed."""
        return None if self.start is None else self.cells[self.start].arm.beta


def collapse_over_beta(evidence: Evidence, cells: Sequence[Cell]) -> Collapse | None:
    """Collapse over β of the cells of one setting and latent dimension; None without β arms."""
    found = {
        cell: units
        for cell in sorted(cells, key=lambda cell: cell.arm.beta)
        if cell.arm.kind == "beta" and (units := evidence.estimate(cell, "active_units"))
    }
    if not found:
        return None
    active = [units.mean > 0 for units in found.values()]
    start = max((i + 1 for i, any_active in enumerate(active) if any_active), default=0)
    seeds = {cell: evidence.by_seed(cell, "active_units") for cell in found}
    split = tuple(c for c, units in seeds.items() if (units == 0).any() and (units > 0).any())
    start_or_none = start if start < len(found) else None
    return Collapse(tuple(found), tuple(found.values()), start_or_none, split)


@finder
def collapse(evidence: Evidence) -> Iterator[Finding]:
    """Smallest β without an active unit; settings that agree share a finding."""
    groups: dict[tuple[tuple[int, float | None], ...], dict[Setting, dict[int, Collapse]]] = {}
    for setting, cells in evidence.settings.items():
        by_dim = {
            dim: found
            for dim in dims_of(cells)
            if (found := collapse_over_beta(evidence, [c for c in cells if c.latent_dim == dim]))
        }
        if by_dim:
            key = tuple((dim, found.beta) for dim, found in by_dim.items())
            groups.setdefault(key, {})[setting] = by_dim
    for group in groups.values():
        yield _collapse(evidence, group, alone=len(groups) == 1)


def _collapse(
    evidence: Evidence, group: dict[Setting, dict[int, Collapse]], alone: bool
) -> Finding:
    first = next(iter(group.values()))
    names = words.join(map(words.setting, group))
    nouns = words.join(map(words.the_setting, group))
    text = " ".join(
        [f"With {nouns}, {_onset(first)}.", *_active(group), *_split(group)],
    )
    lead = "" if alone else f"{words.capital(names)}: "
    return Finding(
        kind="collapse",
        headline=words.capital(lead + _collapse_headline(first)),
        sentence=text,
        dataset=evidence.dataset,
        conclusive=not any(found.split for dims in group.values() for found in dims.values()),
        evidence={"rows": [row for dims in group.values() for row in _collapse_rows(dims)]},
        **figure_of(("collapse_map", "heatmaps"), evidence, _largest(first).cells[0]),
    )


def _largest(by_dim: dict[int, Collapse]) -> Collapse:
    return by_dim[max(by_dim)]


def _collapse_headline(by_dim: dict[int, Collapse]) -> str:
    starts = sorted({found.beta for found in by_dim.values() if found.beta is not None})
    if not starts:
        largest = max(found.cells[-1].arm.beta for found in by_dim.values())
        return f"no collapse up to β = {largest:g}"
    if len(starts) == 1 and all(found.beta is not None for found in by_dim.values()):
        return f"the posterior has collapsed at β = {starts[0]:g}"
    if len(starts) == 1:
        return f"the posterior collapses at β = {starts[0]:g} for some latent dimensions only"
    ends = " or ".join(f"{beta:g}" for beta in starts)
    return f"the posterior collapses at β = {ends}, depending on the latent dimension"


def _onset(by_dim: dict[int, Collapse]) -> str:
    """Onset of collapse; latent dimensions with the same onset share a clause."""
    clauses: dict[str, list[int]] = {}
    for dim, found in by_dim.items():
        clauses.setdefault(_onset_clause(found), []).append(dim)
    return words.join(
        f"{clause} at latent dimension{'s' if len(dims) > 1 else ''} {words.join(map(str, dims))}"
        for clause, dims in clauses.items()
    )


def _onset_clause(found: Collapse) -> str:
    if found.start is None:
        return f"no arm collapses up to β = {found.cells[-1].arm.beta:g}"
    here = f"β = {found.cells[found.start].arm.beta:g}"
    above = " and above" if found.start < len(found.cells) - 1 else ""
    if found.start == 0:
        return f"no unit is active in any seed at {here} (the smallest studied){above}"
    before = f"{found.cells[found.start - 1].arm.beta:g}"
    return f"no unit is active in any seed at {here}{above}, but some are at β = {before},"


def _active(group: dict[Setting, dict[int, Collapse]]) -> Iterator[str]:
    """Active units at the reference β and the largest latent dimension, by setting."""
    parts: dict[str, list[str]] = {}
    for setting, by_dim in group.items():
        found = _largest(by_dim)
        i = _reference(found)
        count = f"{words.setting(setting)} {words.estimate(found.units[i], note=_fall(found))}"
        parts.setdefault(words.arm(found.cells[i]), []).append(count)
    for arm, counts in parts.items():
        yield f"Active units at {arm}: {words.join(counts)}."


def _reference(found: Collapse) -> int:
    reference = reference_arm(found.cells)
    return next(i for i, cell in enumerate(found.cells) if cell.arm == reference)


def _fall(found: Collapse) -> str:
    """The smallest β with fewer active units than the smallest β studied, before collapse."""
    full = found.units[0].mean
    fewer = (
        cell for cell, units in zip(found.cells, found.units, strict=True) if units.mean < full
    )
    cell = next(fewer, None)
    if cell is None or found.cells.index(cell) == found.start:
        return ""
    return f"units begin to drop out at {cell.arm.label}"


def _split(group: dict[Setting, dict[int, Collapse]]) -> Iterator[str]:
    cells = [c for by_dim in group.values() for found in by_dim.values() for c in found.split]
    if cells:
        names = words.few([words.whole(cell) for cell in cells])
        yield f"Seeds disagree (some have active units, others have none) for {names}."


def _collapse_rows(by_dim: dict[int, Collapse]) -> list[Row]:
    return [
        cell.row | {"beta": cell.arm.beta} | units.row("active_units")
        for found in by_dim.values()
        for cell, units in zip(found.cells, found.units, strict=True)
    ]


@dataclass(frozen=True)
class Payoff:
    """Gain of the largest latent dimension over each smaller one, for one arm.

    Attributes:
        metric: the score.
        largest: the cell with the largest latent dimension.
        gains: smaller latent dimension → gain of the largest over it, paired by seed.
        enough: the smallest latent dimension beyond which no gain is significant.
    """

    metric: str
    largest: Cell
    gains: dict[int, Estimate]
    enough: int


def payoff(evidence: Evidence, cells: Sequence[Cell], metric: str) -> Payoff | None:
    """Gains from a larger latent dimension in one setting; None where a contrast is missing."""
    arm = reference_arm(cells)
    line = sorted((c for c in cells if c.arm == arm), key=lambda c: c.latent_dim)
    if len(line) < 2:
        return None
    found = [evidence.contrast("latent_dim", cell, metric) for cell in line[:-1]]
    known = [difference for pair in found if pair for difference in pair[1:]]
    if len(known) < len(line) - 1:
        return None
    sign = described(metric).sign
    # The contrast is the smaller code minus the largest; the gain is counted the other way.
    gains = {
        cell.latent_dim: gap.negative if sign > 0 else gap
        for cell, gap in zip(line, known, strict=False)
    }
    paying = [dim for dim, gain in gains.items() if gain.sign > 0]
    rest = [c.latent_dim for c in line if not paying or c.latent_dim > max(paying)]
    return Payoff(metric, line[-1], gains, rest[0])


@finder
def latent_dim(evidence: Evidence) -> Iterator[Finding]:
    """Latent dimension without a further gain, in NLL where it is tight, else ELBO; and in MSE."""
    scores = [
        found
        for cells in evidence.settings.values()
        if (found := payoff(evidence, cells, "nll") or payoff(evidence, cells, "elbo"))
    ]
    errors = [
        found
        for cells in evidence.settings.values()
        if (found := payoff(evidence, cells, evidence.error_metric))
    ]
    for group, topic in ((scores, "score"), (errors, "mse")):
        if group:
            yield _latent_dim(evidence, group, topic)


def _latent_dim(evidence: Evidence, group: list[Payoff], topic: str) -> Finding:
    sentences = [_payoff(found) for found in group]
    if topic == "score":
        sentences += _explained(evidence, group)
    return Finding(
        kind=f"latent_dim_{topic}",
        headline=_payoff_headline(group),
        sentence=" ".join(sentences),
        dataset=evidence.dataset,
        conclusive=all(any(gain.sign for gain in found.gains.values()) for found in group),
        evidence={"rows": [row for found in group for row in _payoff_rows(evidence, found)]},
        **figure_of(("heatmaps",), evidence, group[0].largest),
    )


def _payoff_headline(group: list[Payoff]) -> str:
    metric = words.join(sorted({words.metric_name(found.metric) for found in group}))
    if not any(gain.sign for found in group for gain in found.gains.values()):
        return f"{metric}: no latent dimension differs significantly from the largest"
    enough = {found.enough for found in group}
    if len(enough) > 1:
        return f"{metric}: the last latent dimension with a gain depends on the likelihood"
    if enough == {found.largest.latent_dim for found in group}:
        return f"{metric}: gains up to latent dimension {enough.pop()}, the largest studied"
    return f"{metric}: no significant gain beyond latent dimension {enough.pop()}"


def _payoff(found: Payoff) -> str:
    largest = found.largest.latent_dim
    dims = sorted(found.gains)
    start = f"{words.capital(words.setting(found.largest.setting))}, {found.largest.arm.label}"
    if found.enough == largest:
        return f"{start}: {_gain(found, dims[-1])}, so the largest latent dimension is the best."
    below = [dim for dim in dims if dim < found.enough]
    rest = f"; {_gain(found, below[-1])}" if below else ""
    return f"{start}: {_gain(found, found.enough)}, {_seen(found.gains[found.enough])}{rest}."


def _seen(gain: Estimate) -> str:
    if gain.n < 2:
        return "which cannot be tested with one seed"
    return "so the largest latent dimension is worse" if gain.sign < 0 else "not significant"


def _gain(found: Payoff, dim: int) -> str:
    gain, unit = found.gains[dim], words.unit(found.metric)
    verb = "worsens" if gain.mean < 0 else "improves"
    size = words.estimate(gain.negative if gain.mean < 0 else gain, unit)
    name = words.metric_name(found.metric)
    return f"from {dim} to {found.largest.latent_dim} the {name} {verb} by {size}"


def _explained(evidence: Evidence, group: list[Payoff]) -> list[str]:
    """Active units at the largest latent dimension: unused dimensions bring no gain."""
    parts = [
        f"{words.setting(found.largest.setting)} {words.estimate(units)}"
        for found in group
        if found.largest.latent_dim == group[0].largest.latent_dim
        if (units := evidence.estimate(found.largest, "active_units"))
    ]
    dim = group[0].largest.latent_dim
    return [f"Active units at latent dimension {dim}: {words.join(parts)}."] if parts else []


def _payoff_rows(evidence: Evidence, found: Payoff) -> list[Row]:
    rows = []
    for dim in [*found.gains, found.largest.latent_dim]:
        cell = Cell(found.largest.likelihood, dim, found.largest.arm)
        units = evidence.estimate(cell, "active_units")
        gain = found.gains.get(dim)
        row = cell.row | {"metric": found.metric}
        row |= gain.row("gain of the largest") if gain else {}
        rows.append(row | (units.ends("active_units") if units else {}))
    return rows
