"""Which arm is best: chosen by one column, with all that is not separated from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vae_ablation.report.figures.style import plain
from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Cell, Estimate, Evidence, Row
from vae_ablation.report.findings.finding import Finding, figure_of, finder
from vae_ablation.study.metrics import described

CRITERION = "validation_elbo"
"""β weighs the rate by 1 here for every arm: `validation_objective` cannot rank arms across β."""


@dataclass(frozen=True)
class Ranking:
    """The best of some arms by one column.

    Attributes:
        metric: the column.
        best: the arm with the best mean over seeds.
        value: its mean.
        ranked: how many arms have a value.
        rivals: the arms not separated from the best, the nearest first, with the difference to it
            (theirs minus the best's, paired by seed).
    """

    metric: str
    best: Cell
    value: Estimate
    ranked: int
    rivals: tuple[tuple[Cell, Estimate], ...]


def rank(evidence: Evidence, cells: Iterable[Cell], metric: str) -> Ranking | None:
    """The best cell by a metric; None where none has a value."""
    values = {cell: found for cell in cells if (found := evidence.estimate(cell, metric))}
    if not values:
        return None
    sign = described(metric).sign
    order = sorted(values, key=lambda cell: -sign * values[cell].mean)
    best = order[0]
    differences = [(cell, evidence.difference(cell, best, metric)) for cell in order[1:]]
    rivals = tuple((cell, found) for cell, found in differences if found and found.sign == 0)
    return Ranking(metric, best, values[best], len(values), rivals)


@finder
def best_arm(evidence: Evidence) -> Iterator[Finding]:
    """For each likelihood: the arm that validation chooses, and its scores on the test split."""
    for likelihood in sorted({cell.likelihood for cell in evidence.cells}):
        cells = [cell for cell in evidence.cells if cell.likelihood == likelihood]
        found = rank(evidence, cells, CRITERION)
        if found and found.ranked > 1:
            yield _best_arm(evidence, cells, found)


def _best_arm(evidence: Evidence, cells: Sequence[Cell], found: Ranking) -> Finding:
    best = found.best
    chosen = (
        f"With {plain(best.likelihood)}, {words.arm(best)} has the highest ELBO on the validation "
        f"split, {words.estimate(found.value, ' nats')}, of {found.ranked} arms. {_rivals(found)}"
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
            "pca nll": evidence.control("pca", "nll", best.latent_dim, best.likelihood),
            "rows": _best_rows(evidence, found),
        },
        **figure_of(("heatmaps",), evidence, best),
    )


def _best_headline(found: Ranking) -> str:
    name = f"{words.capital(plain(found.best.likelihood))}: {words.arm(found.best)}"
    if found.value.n < 2:
        return f"{name} leads with one seed"
    if found.rivals:
        return f"{name} leads, not separated from {words.count(len(found.rivals), 'other arm')}"
    return f"{name} is best on validation"


def _rivals(found: Ranking) -> str:
    if found.value.n < 2:
        return "One seed separates no arm from the next."
    if not found.rivals:
        return "The paired difference of every other arm excludes 0."
    sign = described(found.metric).sign
    behind = [
        f"{words.arm(cell)}, {'lower' if sign > 0 else 'higher'} by "
        f"{words.estimate(gap.negative if sign > 0 else gap, words.unit(found.metric))}"
        for cell, gap in found.rivals[:2]
    ]
    rest = len(found.rivals) - len(behind)
    behind += [f"and {words.count(rest, 'more arm')}"] if rest else []
    return f"Not separated from it: {'; '.join(behind)}."


def _on_test(evidence: Evidence, best: Cell) -> str:
    """NLL and ELBO on the test split, with measure and limits, which are part of their value."""
    scores = [_score(evidence, best, metric) for metric in ("nll", "elbo")]
    if not any(scores):
        return ""
    measure = evidence.column(best.likelihood, "measure")
    limits = evidence.column(best.likelihood, "limits")
    terms = ", ".join(part for part in (measure, limits) if part)
    return f"On the test split it has {words.join(filter(None, scores))} ({terms})."


def _score(evidence: Evidence, cell: Cell, name: str) -> str:
    """`an NLL of at most 12.3 nats (…)`: a score, as a bound where it is one in some run."""
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
        yield f"Probabilistic PCA of that dimension has an exact NLL of {words.number(pca)} nats."
    if "False" in evidence.column(best.likelihood, "proper"):
        yield "This is a cross-entropy and no likelihood: it ranks these arms and nothing else."
    edges = list(_edges(cells, best))
    if edges:
        yield f"It is {words.join(edges)} studied: the best may lie beyond."


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
    """Whose samples are nearest to held-out data, beside the distance of data from data."""
    found = rank(evidence, evidence.cells, "sample_fid")
    if found is None or found.ranked < 2:
        return
    floor = evidence.estimate(found.best, "sample_fid_floor")
    yield Finding(
        kind="samples",
        headline=f"{words.capital(words.whole(found.best))} samples best{_but(found)}",
        sentence=" ".join(filter(None, [
            _nearest(found, floor), _others(found), _collapsed(evidence), _chosen_here(),
        ])),
        dataset=evidence.dataset,
        conclusive=found.value.n > 1 and not found.rivals,
        evidence={"ranked": found.ranked, "rivals": len(found.rivals),
                  "rows": _ranking_rows(evidence, found, ("sample_fid", "sample_fid_floor"))},
        **figure_of(("heatmaps",), evidence, found.best),
    )  # fmt: skip


def _nearest(found: Ranking, floor: Estimate | None) -> str:
    """The best samples, beside the distance of held-out data from other held-out data."""
    beside = f"; data lie {words.number(floor.mean)} from other data" if floor else ""
    return (
        f"Samples of {words.whole(found.best)} are nearest to held-out data: Fréchet distance "
        f"{words.estimate(found.value)}, the smallest of {found.ranked} arms{beside}."
    )


def _but(found: Ranking) -> str:
    if found.value.n < 2:
        return ", with one seed"
    others = words.count(len(found.rivals), "other arm")
    return f", not separated from {others}" if found.rivals else ""


def _others(found: Ranking) -> str:
    if found.value.n < 2:
        return "One seed separates no arm from the next."
    if not found.rivals:
        return "Every other arm is separated from it."
    names = [words.whole(cell) for cell, _ in found.rivals]
    return f"Not separated from it, seed by seed: {words.few(names)}."


def _chosen_here() -> str:
    return "The arm is picked by the column that it is judged by, which flatters it a little."


def _collapsed(evidence: Evidence) -> str:
    """What arms without an active unit sample: all one picture."""
    values = [
        value
        for cell in evidence.cells
        if (units := evidence.estimate(cell, "active_units")) and units.mean == 0
        if (value := evidence.estimate(cell, "sample_fid"))
    ]
    if not values:
        return ""
    nearest = min(values, key=lambda value: value.mean)
    return f"Of the collapsed arms none comes nearer than {words.estimate(nearest)}."


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
    """Which arm's dimensions follow the known factors best, by each measure of it."""
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
        headline=f"{words.capital(lead)} disentangles best" if len(leaders) == 1
        else "Measures of disentanglement disagree on the best arm",
        sentence=" ".join([*map(_disentangled, found), _chosen_here()]),
        dataset=evidence.dataset,
        conclusive=separated and len(leaders) == 1,
        evidence={"rows": [_leader_row(ranking) for ranking in found]},
        **figure_of(("heatmaps",), evidence, found[0].best),
    )  # fmt: skip


def _disentangled(found: Ranking) -> str:
    return (
        f"{words.metric_name(found.metric)} is highest with {words.whole(found.best)}, "
        f"{words.estimate(found.value)}, of {found.ranked} arms. {_others(found)}"
    )


def _leader_row(found: Ranking) -> Row:
    counts = {"arms": found.ranked, "not separated": len(found.rivals)}
    return {"metric": found.metric} | found.best.row | found.value.row("mean") | counts
