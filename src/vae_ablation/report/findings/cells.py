"""Findings about cells: likelihoods of counts, and applications of the models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from vae_ablation.report.findings import words
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
from vae_ablation.tables.collect import detected

COUNTS = "counts/mass given library"
"""The measure within which likelihoods of counts are compared in nats."""


@dataclass(frozen=True)
class Question:
    """A finding about one application.

    Attributes:
        application: its name.
        subject: the only subject that counts, or "" for the mean over all.
        metric: of applications.csv; the higher the better where `sign` is 1, the lower where −1.
        sign: see metric.
        methods: the model's own methods.
        done: the task, as the start of a sentence.
        score: the metric in words.
        better, worse: headlines, where the model is better than the best baseline and where not.
        tested: a subject in words, where the table has a test of its true effect (effect_p); only
            subjects with a significant effect count, and without any there is no finding.
    """

    application: str
    subject: str
    metric: str
    sign: int
    methods: tuple[str, ...]
    done: str
    score: str
    better: str
    worse: str
    tested: str = ""


QUESTIONS = (
    Question(
        "denoising", "zeroed", "mean_absolute_error", -1, ("vae",),
        "Prediction of counts set to 0 before training",
        "mean absolute error of log-normalised counts",
        "Denoising recovers zeroed counts better than any baseline",
        "Denoising recovers zeroed counts no better than the best baseline",
    ),
    Question(
        "denoising", "removed", "poisson_deviance", -1, ("vae",),
        "Prediction of molecules removed before training",
        "mean Poisson deviance",
        "Denoising recovers removed molecules better than any baseline",
        "Denoising recovers removed molecules no better than the best baseline",
    ),
    Question(
        "trajectory", "", "pseudotime_spearman", 1, ("straight", "density"),
        "Ordering of held-out cells along a latent path between two states",
        "rank correlation with the true position",
        "A latent path orders cells better than a line between mean expressions",
        "A latent path orders cells no better than a line between mean expressions",
        "path",
    ),
    Question(
        "perturbation", "", "delta_pearson", 1, ("vae",),
        "Prediction of held-out perturbations by latent arithmetic",
        "correlation of predicted with true changes in expression",
        "Latent arithmetic predicts unseen perturbations better than adding expression differences",
        "Latent arithmetic predicts unseen perturbations no better than adding expression "
        "differences",
        "held-out condition",
    ),
    Question(
        "modalities", "RNA → protein", "pearson", 1, ("vae",),
        "Prediction of proteins from RNA alone",
        "mean correlation over proteins",
        "The model predicts proteins better than any baseline",
        "The model predicts proteins no better than the best baseline",
        "direction",
    ),
)  # fmt: skip


@finder
def counts(evidence: Evidence) -> Iterator[Finding]:
    """Likelihoods of counts compared on held-out ELBO and on simulated zeros."""
    cells = _reference_cells(evidence)
    shared = {
        cell: evidence.by_seed(cell, "elbo")
        for cell in cells
        if evidence.column(cell.likelihood, "measure") == COUNTS
    }
    shared = {cell: values for cell, values in shared.items() if len(values)}
    if len(shared) < 2:
        return
    order = sorted(shared, key=lambda cell: -shared[cell].mean())
    best, second = order[:2]
    lead = paired(shared[best], shared[second])
    first = over_seeds(shared[best])
    if lead is None or first is None:
        return
    others = [
        f"{words.the(cell.likelihood)} is worse by {words.estimate(short, ' nats')}"
        for cell in order[1:]
        if (short := paired(shared[best], shared[cell]))
    ]
    sure = lead.sign > 0
    name, other = words.the(best.likelihood), words.the(second.likelihood)
    yield Finding(
        kind="counts",
        headline=f"{words.capital(name)} fits the counts best"
        if sure
        else f"{words.capital(name)} and {other} do not differ significantly in fit to the counts",
        sentence=f"At {words.arm(best)}, {name} has the highest held-out ELBO, "
        f"{words.estimate(first, ' nats')}; {words.join(others)}.{_uncertain(lead)}"
        f"{_zeros(evidence, order)}",
        dataset=evidence.dataset,
        conclusive=sure,
        evidence={"rows": [_row(cell, "elbo", over_seeds(shared[cell])) for cell in order]},
        **figure_of(("predictive_checks", "heatmaps"), evidence, best),
    )


def _uncertain(lead: Estimate) -> str:
    if lead.low is None:
        return " With one seed, these differences cannot be tested."
    return "" if lead.sign > 0 else " The first difference is not significant."


def _zeros(evidence: Evidence, cells: list[Cell]) -> str:
    """Error of the zero fraction per gene under each likelihood, as a sentence."""
    errors = {
        cell: over_seeds(
            _scores(evidence, cell, "predictive_checks", "zero_fraction_error", ["all"])
        )
        for cell in cells
    }
    known = [(cell, error) for cell, error in errors.items() if error is not None]
    parts = [f"{words.number(error.mean)} with {words.the(c.likelihood)}" for c, error in known]
    return f" The simulated zero fraction per gene is off by {words.join(parts)}." if parts else ""


def _reference_cells(evidence: Evidence) -> list[Cell]:
    """The arm with β nearest to 1 of each likelihood, at the largest latent dimension they share.

    Only arms without a variant.
    """
    plain_cells = [cell for cell in evidence.cells if not cell.arm.variant]
    by_likelihood: dict[str, list[Cell]] = {}
    for cell in plain_cells:
        by_likelihood.setdefault(cell.likelihood, []).append(cell)
    if not by_likelihood:
        return []
    shared = set.intersection(*(set(dims_of(cells)) for cells in by_likelihood.values()))
    if not shared:
        return []
    found = []
    for cells in by_likelihood.values():
        own = [cell for cell in cells if cell.latent_dim == max(shared)]
        arm = reference_arm(own)
        found += [cell for cell in own if cell.arm == arm]
    return found


def _row(cell: Cell, name: str, found: Estimate | None) -> Row:
    return {**cell.row, **({} if found is None else found.row(name))}


def _scores(
    evidence: Evidence,
    cell: Cell,
    application: str,
    metric: str,
    subjects: Sequence[str],
    methods: tuple[str, ...] = ("vae",),
) -> pd.Series:
    """A score of a cell's runs by seed, mean over methods and subjects (all if none are named)."""
    table = evidence.applications
    if table.empty:
        return pd.Series(dtype=float)
    keep = (table["application"] == application) & (table["metric"] == metric)
    keep &= (table["likelihood"] == cell.likelihood) & (table["arm"] == cell.arm)
    keep &= (table["latent_dim"] == cell.latent_dim) & table["method"].isin(methods)
    rows = table[keep & table["subject"].isin(subjects)] if subjects else table[keep]
    return rows.groupby("seed")["value"].mean()


@finder
def applications(evidence: Evidence) -> Iterator[Finding]:
    """Each application compared with its best baseline, at the arm with β nearest to 1."""
    if evidence.applications.empty:
        return
    for question in QUESTIONS:
        yield from _answer(evidence, question)


def _methods(evidence: Evidence, question: Question) -> list[str]:
    table = evidence.applications
    keep = (table["application"] == question.application) & (table["metric"] == question.metric)
    return sorted(set(table.loc[keep, "method"].astype(str)))


def _answer(evidence: Evidence, question: Question) -> Iterator[Finding]:
    cell = _answering_cell(evidence, question)
    if cell is None:
        return
    subjects = _subjects_with_effect(evidence, cell, question)
    if subjects is None:
        return
    found = {
        method: _scores(
            evidence, cell, question.application, question.metric, subjects.names, (method,)
        )
        for method in _methods(evidence, question)
    }
    own = _best(found, question, lambda method: method in question.methods)
    rival = _best(found, question, lambda method: method not in question.methods)
    if own is None or rival is None:
        return
    lead = paired(question.sign * found[own], question.sign * found[rival])
    mine, theirs = over_seeds(found[own]), over_seeds(found[rival])
    if lead is None or mine is None or theirs is None:
        return
    chance = _chance(evidence, cell, question, subjects.names, {own: mine, rival: theirs})
    method = "" if question.methods == ("vae",) else f" ({own.replace('_', ' ')} path)"
    yield Finding(
        kind=question.application,
        headline=question.better if lead.sign > 0 else question.worse,
        sentence=f"{question.done}: for {words.whole(cell)}{method} the {question.score} is "
        f"{words.estimate(mine)}, compared with {words.estimate(theirs)} for "
        f"{rival.replace('_', ' ')}, the best baseline; {_lead(lead)}.{chance}{subjects.note}",
        dataset=evidence.dataset,
        conclusive=lead.sign != 0 and not chance,
        evidence={"subjects": subjects.tested, "rows": _evidence_rows(cell, question, found)},
        **figure_of((question.application,), evidence, cell),
    )


def _chance(
    evidence: Evidence,
    cell: Cell,
    question: Question,
    subjects: Sequence[str],
    found: Mapping[str, Estimate],
) -> str:
    """A sentence where no method's score is above the 95th percentile of permutations."""
    metric = f"{question.metric}_null_95"
    limits = {
        method: over_seeds(
            _scores(evidence, cell, question.application, metric, subjects, (method,))
        )
        for method in found
    }
    known = {method: limit.mean for method, limit in limits.items() if limit is not None}
    if not known or any(found[method].mean > limit for method, limit in known.items()):
        return ""
    reached = " and ".join(words.number(limit) for limit in known.values())
    return f" Neither is above what chance reaches in 5 % of permutations ({reached})."


def _lead(lead: Estimate) -> str:
    """`the model is better by …`, the lead over a baseline in words."""
    if lead.mean > 0:
        return f"the model is better by {words.estimate(lead)}"
    return f"the model is worse by {words.estimate(lead.negative)}"


@dataclass(frozen=True)
class _Subjects:
    """Subjects of a finding on an application.

    Attributes:
        names: subjects that count; empty for all.
        tested: number of subjects tested for an effect; None without a test.
        note: a sentence on subjects without an effect; empty where there are none.
    """

    names: list[str]
    tested: int | None = None
    note: str = ""


def _subjects_with_effect(evidence: Evidence, cell: Cell, question: Question) -> _Subjects | None:
    """Subjects with a significant true effect in every run of a cell; None without any."""
    if not question.tested:
        return _Subjects([question.subject] if question.subject else [])
    table = evidence.applications
    keep = (table["application"] == question.application) & (table["metric"] == "effect_p")
    keep &= (table["likelihood"] == cell.likelihood) & (table["arm"] == cell.arm)
    rows = table[keep & (table["latent_dim"] == cell.latent_dim)]
    rows = rows[rows["subject"] == question.subject] if question.subject else rows
    tests = rows.groupby("subject")["value"].max()
    names = detected(tests)
    if not names:
        return None
    left_out = len(tests) - len(names)
    note = f" Of {words.count(len(tests), question.tested)}, {left_out} showed no measurable effect"
    note += " and were excluded." if left_out > 1 else " and was excluded."
    return _Subjects(names, len(tests), note if left_out else "")


def _answering_cell(evidence: Evidence, question: Question) -> Cell | None:
    """The arm of a finding: β nearest to 1, KL on, chosen on the validation split.

    Arms without a variant come first, then arms of objective mvae, which is meant for predicting
    one modality from the other.
    """
    table = evidence.applications
    rows = table[(table["application"] == question.application) & table["kl"].astype(bool)]
    rows = rows[(rows["metric"] == question.metric) & rows["method"].isin(question.methods)]
    if question.subject:
        rows = rows[rows["subject"] == question.subject]
    keys = {evidence.cell(a, b, c) for a, b, c in rows[_CELL].itertuples(index=False)}
    cells = [cell for cell in evidence.cells if cell in keys]
    near = [
        cell
        for cell in cells
        if cell.arm == reference_arm([other for other in cells if other.setting == cell.setting])
    ]
    usual = [cell for cell in near if not cell.arm.variant]
    apart = [cell for cell in near if cell.arm.further.get("objective") == "mvae"]
    candidates = usual or apart or near
    return _chosen(evidence, candidates) if candidates else None


def _chosen(evidence: Evidence, cells: list[Cell]) -> Cell:
    """The largest latent dimension and, of likelihoods in one measure, the best validation ELBO."""

    def preference(cell: Cell) -> tuple[bool, int, float]:
        elbo = evidence.estimate(cell, "validation_elbo")
        ranked = evidence.column(cell.likelihood, "measure") == COUNTS
        return ranked, cell.latent_dim, elbo.mean if elbo and ranked else float("-inf")

    return max(cells, key=preference)


_CELL = ["likelihood", "latent_dim", "arm"]


def _best(
    found: Mapping[str, pd.Series], question: Question, wanted: Callable[[str], bool]
) -> str | None:
    """The wanted method with the best mean."""
    known = {name: values.mean() for name, values in found.items() if wanted(name) and len(values)}
    return max(known, key=lambda name: question.sign * known[name], default=None)


def _evidence_rows(cell: Cell, question: Question, found: Mapping[str, pd.Series]) -> list[Row]:
    rows = []
    for method, values in found.items():
        estimate = over_seeds(values)
        if estimate is not None:
            row = {**cell.row, "method": method, **estimate.row(question.metric)}
            rows.append(row | {"arm": cell.arm.label if method in question.methods else ""})
    return rows


@finder
def holes_in_cells(evidence: Evidence) -> Iterator[Finding]:
    """Decoded profiles in holes of the aggregate posterior."""
    cells = [
        cell
        for cell in _reference_cells(evidence)
        if len(_scores(evidence, cell, "forbidden_states", "distance_ratio", ["all"]))
    ]
    if not cells:
        return
    cell = _chosen(evidence, cells)
    ratio, rate = (
        over_seeds(_scores(evidence, cell, "forbidden_states", metric, ["all"]))
        for metric in ("distance_ratio", "hole_rate")
    )
    if ratio is None or rate is None:
        return
    sure = ratio.low is not None and ratio.low > 1
    yield Finding(
        kind="forbidden_states",
        headline="Holes in the latent space decode to profiles far from any real cell"
        if sure
        else "Profiles decoded from holes are not significantly farther from real cells",
        sentence=f"For {words.whole(cell)}, {words.estimate(rate)} of the prior's draws fall "
        "into holes of the aggregate posterior; a profile decoded there is "
        f"{words.estimate(ratio)} times as far from the nearest real cell as one decoded outside.",
        dataset=evidence.dataset,
        conclusive=sure,
        evidence={"rows": [_row(cell, "distance_ratio", ratio), _row(cell, "hole_rate", rate)]},
        **figure_of(("forbidden_states",), evidence, cell),
    )
