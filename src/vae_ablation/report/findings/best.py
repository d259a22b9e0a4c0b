"""The best arm by one column, and the arms that do not differ significantly from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Cell, Estimate, Evidence, Row
from vae_ablation.report.findings.finding import Finding, figure_of, finder
from vae_ablation.study.metrics import described

CRITERION = "validation_elbo"
"""The rate has weight 1 in every arm; `validation_objective` cannot rank arms across β."""


@dataclass(frozen=True)
class Ranking:
    """The best of some arms by one column.

    Attributes:
        metric: the column.
        best: the arm with the best mean over seeds.
        value: its mean.
        ranked: number of arms with a value.
        rivals: arms that do not differ significantly from the best, the nearest first, with their
            difference from it (theirs minus the best's, paired by seed).
    """

    metric: str
    best: Cell
    value: Estimate
    ranked: int
    rivals: tuple[tuple[Cell, Estimate], ...]


def rank(evidence: Evidence, cells: Iterable[Cell], metric: str) -> Ranking | None:
    """The best cell by a metric; None where none has a value."""
    values = {cell: value for cell in cells if (value := evidence.estimate(cell, metric))}
    if not values:
        return None
    sign = described(metric).sign
    order = sorted(values, key=lambda cell: -sign * values[cell].mean)
    best = order[0]
    differences = [(cell, evidence.difference(cell, best, metric)) for cell in order[1:]]
    rivals = tuple((cell, gap) for cell, gap in differences if gap and gap.sign == 0)
    return Ranking(metric, best, values[best], len(values), rivals)


@finder
def best_arm(evidence: Evidence) -> Iterator[Finding]:
    """For each likelihood: the arm chosen on validation data, with its scores on the test split."""
    for likelihood in sorted({cell.likelihood for cell in evidence.cells}):
        cells = [cell for cell in evidence.cells if cell.likelihood == likelihood]
        found = rank(evidence, cells, CRITERION)
        if found and found.ranked > 1:
            yield _best_arm(evidence, cells, found)


def _best_arm(evidence: Evidence, cells: Sequence[Cell], found: Ranking) -> Finding:
    best = found.best
    chosen = (
        f"With {words.the(best.likelihood)}, {words.arm(best)} has the highest validation ELBO of "
        f"{found.ranked} arms, {words.estimate(found.value, ' nats')}. {_rivals(found)}"
    )
    sentences = [chosen, _on_test(evidence, best), *_notes(evidence, cells, best)]
    return Finding(
        kind="best_arm",
        headline=_best_headline(found),
        sentence=" ".join(text for text in sentences if text),
        dataset=evidence.dataset,
        conclusive=found.value.n > 1 and not found.rivals,
        evidence={
            "arms": found.ranked,
            "measure": evidence.column(best.likelihood, "measure"),
            "pca nll": evidence.control("pca", "nll", best.latent_dim, best.likelihood),
            "rows": _best_rows(evidence, found),
        },
        **figure_of(("heatmaps",), evidence, best),
    )


def _best_headline(found: Ranking) -> str:
    name = words.capital(words.likelihood(found.best.likelihood))
    best = f"{name}: {words.arm(found.best)} has the best validation ELBO"
    return f"{best}{_within_noise(found)}"


def _within_noise(found: Ranking) -> str:
    """The end of a headline: what makes the best arm uncertain."""
    if found.value.n < 2:
        return ", with one seed"
    n = len(found.rivals)
    return f"; {words.count(n, 'other arm')} {'is' if n == 1 else 'are'} within noise" if n else ""


def _certainty(found: Ranking) -> str:
    """A sentence on the differences from the best arm where it has no rivals."""
    if found.value.n < 2:
        return "With one seed, differences between arms cannot be tested."
    return "Its difference from every other arm is significant (paired by seed)."


def _rivals(found: Ranking) -> str:
    if not found.rivals or found.value.n < 2:
        return _certainty(found)
    sign = described(found.metric).sign
    behind = [
        f"{words.arm(cell)}, {'lower' if sign > 0 else 'higher'} by "
        f"{words.estimate(gap.negative if sign > 0 else gap, words.unit(found.metric))}"
        for cell, gap in found.rivals[:2]
    ]
    rest = len(found.rivals) - len(behind)
    behind += [f"and {words.count(rest, 'more arm')}"] if rest else []
    return f"Not significantly different: {'; '.join(behind)}."


def _on_test(evidence: Evidence, best: Cell) -> str:
    """NLL and ELBO on the test split, with their base measure and limits."""
    scores = [_score(evidence, best, metric) for metric in ("nll", "elbo")]
    if not any(scores):
        return ""
    measure = words.measure(evidence.column(best.likelihood, "measure"))
    limits = evidence.column(best.likelihood, "limits")
    terms = ", ".join(part for part in (measure, limits) if part)
    return f"On the test split it has {words.join(filter(None, scores))} ({terms})."


def _score(evidence: Evidence, cell: Cell, name: str) -> str:
    """`an NLL of at most 12.3 nats (…)`: a score, or a bound where any run has only a bound."""
    found, metric = evidence.estimate(cell, name), described(name)
    if found is None:
        return ""
    bounds = evidence.count(cell, metric.bound.flag) if metric.bound else 0
    limit = f"{metric.bound.words} " if metric.bound and bounds else ""
    note = f"a loose bound in {bounds} of {words.count(found.n, 'run')}" if bounds else ""
    return f"an {metric.label} of {limit}{words.estimate(found, metric.suffix, note)}"


def _notes(evidence: Evidence, cells: Sequence[Cell], best: Cell) -> Iterator[str]:
    pca = evidence.control("pca", "nll", best.latent_dim, best.likelihood)
    if pca is not None:
        yield (
            "Probabilistic PCA of the same latent dimension has an exact NLL of "
            f"{words.number(pca)} nats."
        )
    if "False" in evidence.column(best.likelihood, "proper"):
        yield "The score is a cross-entropy, not a likelihood: it can only rank these arms."
    edges = list(_edges(cells, best))
    if edges:
        yield f"This is {words.join(edges)} studied, so the optimum may lie outside the grid."


def _edges(cells: Sequence[Cell], best: Cell) -> Iterator[str]:
    """Ends of the grid on which the best arm lies."""
    if best.arm.kind == "beta":
        betas = sorted({cell.arm.beta for cell in cells if cell.arm.kind == "beta"})
        if len(betas) > 1 and best.arm.beta in (betas[0], betas[-1]):
            yield f"the {'smallest' if best.arm.beta == betas[0] else 'largest'} β"
    dims = sorted({cell.latent_dim for cell in cells})
    if len(dims) > 1 and best.latent_dim in (dims[0], dims[-1]):
        yield f"the {'smallest' if best.latent_dim == dims[0] else 'largest'} latent dimension"


def _best_rows(evidence: Evidence, found: Ranking) -> list[Row]:
    gaps = {found.best: None, **dict(found.rivals)}
    return [
        cell.row
        | _part(evidence, cell, found.metric)
        | _part(evidence, cell, "nll")
        | _part(evidence, cell, "elbo")
        | (gap.row("behind by") if gap else {"n": found.value.n})
        for cell, gap in gaps.items()
    ]


def _part(evidence: Evidence, cell: Cell, metric: str) -> Row:
    found, bound = evidence.estimate(cell, metric), described(metric).bound
    flagged = {bound.flag: evidence.count(cell, bound.flag)} if bound else {}
    return (found.ends(metric) if found else {}) | flagged


@finder
def samples(evidence: Evidence) -> Iterator[Finding]:
    """Arm with the samples closest to held-out data."""
    found = rank(evidence, evidence.cells, "sample_fid")
    if found is None or found.ranked < 2:
        return
    floor = evidence.estimate(found.best, "sample_fid_floor")
    yield Finding(
        kind="samples",
        headline=words.capital(
            f"{words.whole(found.best)} has the best samples{_within_noise(found)}"
        ),
        sentence=" ".join(filter(None, [
            _nearest(found, floor), _others(found), _collapsed(evidence), _SELECTED,
        ])),
        dataset=evidence.dataset,
        conclusive=found.value.n > 1 and not found.rivals,
        evidence={"ranked": found.ranked, "rivals": len(found.rivals),
                  "rows": _ranking_rows(evidence, found, ("sample_fid", "sample_fid_floor"))},
        **figure_of(("heatmaps",), evidence, found.best),
    )  # fmt: skip


def _nearest(found: Ranking, floor: Estimate | None) -> str:
    """The best samples, and the distance between held-out and training data."""
    known = words.number(floor.mean) if floor else ""
    beside = f"; the distance between held-out and training data is {known}" if floor else ""
    return (
        f"Samples from {words.whole(found.best)} are closest to held-out data, with a Fréchet "
        f"distance of {words.estimate(found.value)}, the smallest of {found.ranked} arms{beside}."
    )


def _others(found: Ranking) -> str:
    if not found.rivals or found.value.n < 2:
        return _certainty(found)
    names = [words.whole(cell) for cell, _ in found.rivals]
    return f"Not significantly different (paired by seed): {words.few(names)}."


_SELECTED = "The arm was selected on this column, so its score is optimistic."


def _collapsed(evidence: Evidence) -> str:
    """The best samples among arms without an active unit."""
    values = [
        value
        for cell in evidence.cells
        if (units := evidence.estimate(cell, "active_units")) and units.mean == 0
        if (value := evidence.estimate(cell, "sample_fid"))
    ]
    if not values:
        return ""
    nearest = min(values, key=lambda value: value.mean)
    return f"The smallest distance of a collapsed arm is {words.estimate(nearest)}."


def _ranking_rows(evidence: Evidence, found: Ranking, metrics: Sequence[str]) -> list[Row]:
    rows = []
    collapsed = [
        cell
        for cell in evidence.cells
        if (units := evidence.estimate(cell, "active_units")) and units.mean == 0
    ]
    for cell in dict.fromkeys([found.best, *(cell for cell, _ in found.rivals), *collapsed]):
        value = evidence.estimate(cell, metrics[0])
        if value:
            further = {name: evidence.estimate(cell, name) for name in metrics[1:]}
            known = {name: part.mean for name, part in further.items() if part}
            rows.append(cell.row | value.row(metrics[0]) | known)
    return rows


@finder
def disentanglement(evidence: Evidence) -> Iterator[Finding]:
    """Arm with the best disentanglement of the known factors, by each measure."""
    found = [
        ranking
        for metric in ("mig", "dci_disentanglement", "sap")
        if (ranking := rank(evidence, evidence.cells, metric)) and ranking.ranked > 1
    ]
    if not found:
        return
    leaders = {ranking.best for ranking in found}
    separated = all(ranking.value.n > 1 and not ranking.rivals for ranking in found)
    lead = words.whole(found[0].best)
    yield Finding(
        kind="disentanglement",
        headline=f"{words.capital(lead)} has the best disentanglement" if len(leaders) == 1
        else "Measures of disentanglement disagree on the best arm",
        sentence=" ".join([*map(_disentangled, found), _SELECTED]),
        dataset=evidence.dataset,
        conclusive=separated and len(leaders) == 1,
        evidence={"rows": [_leader_row(ranking) for ranking in found]},
        **figure_of(("heatmaps",), evidence, found[0].best),
    )  # fmt: skip


def _disentangled(found: Ranking) -> str:
    return (
        f"{words.metric_name(found.metric)} is highest of {found.ranked} arms with "
        f"{words.whole(found.best)}, {words.estimate(found.value)}. {_others(found)}"
    )


def _leader_row(found: Ranking) -> Row:
    counts = {"arms": found.ranked, "not separated": len(found.rivals)}
    return {"metric": found.metric} | found.best.row | found.value.row("mean") | counts
