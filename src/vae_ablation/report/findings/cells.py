"""Findings about cells: applications beside their best baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vae_ablation.report.findings.evidence import Evidence, matching
from vae_ablation.report.findings.finding import Finding, finder
from vae_ablation.report.findings.likelihoods import CELL, COUNTS, arm_words, arms_of
from vae_ablation.report.findings.quotes import Phrase, join, phrase, say
from vae_ablation.report.findings.replicates import Score, by_seed, score
from vae_ablation.study.axes import distance_to_one
from vae_ablation.tables.collect import detected
from vae_ablation.tables.verdicts import rejected


@dataclass(frozen=True)
class Task:
    """A finding about one application.

    Attributes:
        application: its name.
        subject: the only subject that counts, or "" for the mean over all.
        metric: of applications.csv; the higher the better where `sign` is 1, the lower where −1.
        sign: see metric.
        method: the model's own method.
        done: the task, as the start of a sentence.
        score: the metric in words.
        better, worse: headlines, where the model is better or worse than the best baseline.
        tested: a subject in words, where the table has a test of its true effect (effect_p); only
            subjects with a significant effect count, and without any there is no finding.
    """

    application: str
    subject: str
    metric: str
    sign: int
    method: str
    done: str
    score: str
    better: str
    worse: str
    tested: str = ""


TASKS = (
    Task(
        "denoising", "zeroed", "mean_absolute_error", -1, "vae",
        "Prediction of counts set to zero before training",
        "mean absolute error of log-normalised counts",
        "Denoising recovers zeroed counts better than the best baseline",
        "Denoising recovers zeroed counts worse than the best baseline",
    ),
    Task(
        "denoising", "removed", "poisson_deviance", -1, "vae",
        "Prediction of molecules removed before training",
        "mean Poisson deviance",
        "Denoising recovers removed molecules better than the best baseline",
        "Denoising recovers removed molecules worse than the best baseline",
    ),
    Task(
        "trajectory", "", "pseudotime_spearman", 1, "density",
        "Ordering of held-out cells along a latent path between two states",
        "rank correlation with the true position",
        "A latent path orders cells better than the best baseline",
        "A latent path orders cells worse than the best baseline",
        "path",
    ),
    Task(
        "perturbation", "", "delta_pearson", 1, "vae",
        "Prediction of held-out perturbations by latent arithmetic",
        "correlation of predicted with true changes in expression",
        "Latent arithmetic predicts unseen perturbations better than the best baseline",
        "Latent arithmetic predicts unseen perturbations worse than the best baseline",
        "held-out condition",
    ),
    Task(
        "modalities", "RNA → protein", "pearson", 1, "vae",
        "Prediction of proteins from RNA alone",
        "mean correlation over proteins",
        "The model predicts proteins better than the best baseline",
        "The model predicts proteins worse than the best baseline",
        "direction",
    ),
)  # fmt: skip
_OWN = {"trajectory": ("straight", "density")}
"""Methods of the model beside the one that answers, which are no baselines."""


@dataclass(frozen=True)
class _Answer:
    """A task with what it rests on: the arm, the model's score, the baseline's, the difference."""

    task: Task
    arm: Mapping[str, Any]
    own: Score
    rival: Score
    baseline: str
    lead: Score
    note: Phrase

    @property
    def better(self) -> bool:
        """Whether the model's mean is better."""
        return bool(self.task.sign * self.lead.values.mean() > 0)


@finder
def applications(evidence: Evidence) -> Iterator[Finding]:
    """Applications beside their best baselines, tested at 5 % over all tasks (Holm)."""
    answers = [answer for task in TASKS if (answer := _answer(evidence, task))]
    decided = rejected({i: answer.lead.p for i, answer in enumerate(answers)})
    for i, answer in enumerate(answers):
        yield _finding(evidence, answer, i in decided)


def _answer(evidence: Evidence, task: Task) -> _Answer | None:
    table = evidence.table("applications")
    if table.empty:
        return None
    rows = matching(table, {"application": task.application, "metric": task.metric})
    arm = _arm(evidence, rows[rows["method"] == task.method], task)
    subjects = None if arm is None else _subjects(evidence, arm, task)
    if arm is None or subjects is None:
        return None
    names, note = subjects
    where = {"dataset": evidence.dataset, "application": task.application, "metric": task.metric,
             **arm, **({"subject": names} if names else {})}  # fmt: skip
    means = {
        method: task.sign * float(by_seed(rows, "value", {**where, "method": method}).mean())
        for method in sorted(set(rows["method"].astype(str)))
        if method not in (task.method, *_OWN.get(task.application, ()))
    }
    known = {method: mean for method, mean in means.items() if mean == mean}
    if not known:
        return None
    baseline = max(known, key=lambda method: known[method])
    mine, theirs = ({**where, "method": method} for method in (task.method, baseline))
    scores = [score("applications", rows, "value", one, other)
              for one, other in ((mine, None), (theirs, None), (mine, theirs))]  # fmt: skip
    if any(one is None for one in scores):
        return None
    own, rival, lead = (one for one in scores if one is not None)
    return _Answer(task, arm, own, rival, baseline, lead, note)


def _finding(evidence: Evidence, answer: _Answer, decided: bool) -> Finding:
    task = answer.task
    head = task.better if answer.better else task.worse
    if not decided:
        head = f"{task.done}: no difference from the best baseline is shown"
    sign = task.sign if answer.better else -task.sign
    path = f" ({task.method} path)" if task.method != "vae" else ""
    text = say(
        "{done}: {arm}{path}, the {score} is {own}, that of {rival}, the best baseline, {theirs}. "
        "The model is {way} by {lead}{n}.{note}",
        done=task.done, arm=arm_words(evidence, answer.arm), path=path, score=task.score,
        own=answer.own.phrase(), rival=answer.baseline.replace("_", " "),
        theirs=answer.rival.phrase(), way="better" if answer.better else "worse",
        lead=answer.lead.phrase(sign), note=answer.note,
        n=", which is not significant" if not decided else "",
    )  # fmt: skip
    topic = "/".join(filter(None, ("applications", task.application, task.subject)))
    return Finding(
        evidence.dataset, topic,
        "applications", phrase(head), text,
        ("better" if answer.better else "worse") if decided else "",
        [{"method": method, "mean": mean, "ci_low": low, "ci_high": high, "n": n}
         for method, (n, mean, low, high) in (
             (task.method, answer.own.interval), (answer.baseline, answer.rival.interval))],
        rank=int(decided),
    )  # fmt: skip


def _subjects(
    evidence: Evidence, arm: Mapping[str, Any], task: Task
) -> tuple[list[str], Phrase] | None:
    """Subjects with a significant true effect in every run, all where none is tested; else None."""
    if not task.tested:
        return ([task.subject] if task.subject else []), Phrase()
    where = {"application": task.application, "metric": "effect_p", **arm}
    where |= {"subject": task.subject} if task.subject else {}
    tests = matching(evidence.table("applications"), where).groupby("subject")["value"].max()
    names = detected(tests)
    if not names:
        return None
    left_out = sorted(set(map(str, tests.index)) - set(names))
    if not left_out:
        return names, Phrase()
    return names, say(" Without a measurable effect and left out: {names}.", names=join(left_out))


def _arm(evidence: Evidence, rows: Any, task: Task) -> dict[str, Any] | None:
    """The arm of a finding: KL on, β nearest to 1, chosen on the validation split.

    Arms without a variant come first, then arms of objective mvae, which is meant for predicting
    one modality from the other; then the largest latent dimension and, of likelihoods in one
    measure, the best validation ELBO.
    """
    rows = rows[rows["subject"] == task.subject] if task.subject else rows
    rows = rows[(rows["kl"].astype(str) == "True") & (rows["posterior"] == "gaussian")]
    cells = list(rows[[*CELL, "beta"]].drop_duplicates().itertuples(index=False, name=None))
    if not cells:
        return None
    names = arms_of(evidence)

    def preference(cell: tuple[Any, ...]) -> tuple[Any, ...]:
        likelihood, dim, arm, beta = cell
        name = names[str(arm)]
        where = dict(zip(CELL, cell, strict=False))
        elbo = evidence.numbers("validation_elbo", matching(evidence.ok, where)).mean()
        ranked = _measure(evidence, likelihood) == COUNTS and elbo == elbo
        variant = 0 if not name.variant else 1 if name.further.get("objective") == "mvae" else 2
        return variant, distance_to_one(float(beta)), not ranked, -dim, -elbo if ranked else 0.0

    return dict(zip(CELL, sorted(cells, key=preference)[0], strict=False))


def _measure(evidence: Evidence, likelihood: str) -> str:
    rows = evidence.ok[evidence.ok["likelihood"] == likelihood]
    return ", ".join(sorted(set(rows["measure"].dropna().astype(str))))


@finder
def holes(evidence: Evidence) -> Iterator[Finding]:
    """Profiles decoded in holes of the aggregate posterior, against profiles decoded elsewhere."""
    task = Task("forbidden_states", "all", "distance_ratio", 1, "vae", "", "", "", "")
    rows = evidence.table("applications")
    if rows.empty:
        return
    where = {"application": task.application, "metric": task.metric}
    arm = _arm(evidence, matching(rows, where), task)
    if arm is None:
        return
    where |= {"dataset": evidence.dataset, **arm, "subject": "all"}
    found = score("applications", rows, "value", where)
    if found is None or not found.interval[2] > 1:
        return
    yield Finding(
        evidence.dataset, "applications/forbidden_states", "applications",
        phrase("Holes in the latent space decode to profiles further from real cells"),
        say("{arm}, a profile decoded in a hole of the aggregate posterior is {ratio} times as far "
            "from the nearest real cell as one decoded outside.",
            arm=arm_words(evidence, arm).capital(), ratio=found.phrase()),
        "higher",
        [{**arm, "distance_ratio": found.interval[1], "n": found.interval[0]}],
    )  # fmt: skip
