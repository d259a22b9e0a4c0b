"""Findings: their type, and the registry of functions that make them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import quote

import pandas as pd

from vae_ablation.common.isolation import Isolated
from vae_ablation.common.registry import Registry
from vae_ablation.report.figures import FIGURES
from vae_ablation.report.figures.selection import choose_latent_dims
from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Cell, Evidence


@dataclass(frozen=True)
class Finding:
    """One result of a study, with its evidence.

    Attributes:
        kind: the question answered, e.g. ``collapse``.
        headline: the answer in a few words.
        sentence: the answer with its numbers, intervals and n.
        dataset: name of the dataset.
        likelihood: of its figure; None where the figure shows all likelihoods.
        latent_dim: of its figure; None where the figure shows all latent dimensions.
        figure: name of its figure in the registry of figures; None without one.
        conclusive: whether the evidence decides the question.
        evidence: ``rows``, a table of every number in the sentence, and single numbers.
    """

    kind: str
    headline: str
    sentence: str
    dataset: str
    likelihood: str | None = None
    latent_dim: int | None = None
    figure: str | None = None
    conclusive: bool = True
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def figure_path(self) -> str | None:
        """The figure's path in the study folder, its parts quoted; None without a figure."""
        if self.figure is None:
            return None
        dim = "all" if self.latent_dim is None else f"z{self.latent_dim}"
        parts = (self.dataset, self.likelihood or "all", dim, f"{self.figure}.png")
        return "/".join(["figures", *(quote(part, safe="") for part in parts)])


Finder = Callable[[Evidence], Iterator[Finding]]

_FINDERS: Registry[Finder] = Registry("question", lambda cls: cls().answer)


class Question(ABC):
    """A question about one dataset that a study's tables answer: a finder as a class.

    Attributes:
        name: kind of its findings.
    """

    registry: ClassVar[Registry[Finder]] = _FINDERS
    name: ClassVar[str]

    @abstractmethod
    def answer(self, evidence: Evidence) -> Iterator[Finding]:
        """Its findings; none where the tables cannot answer it."""


ORDER = (
    "best_arm", "collapse", "kl_off_codes", "kl_off_holes", "kl_off_samples",
    "kl_off_reconstruction", "latent_dim", "counts", "likelihoods", "applications",
    "holes_in_cells", "importance", "point",
    "disentanglement", "samples", "failures", "convergence", "loose_bounds",
)  # fmt: skip
"""Reading order of the finders; any other comes after these."""


def finder(function: Finder) -> Finder:
    """Register a function that answers one question about one dataset."""
    _FINDERS.put(function.__name__, function, function.__module__)
    return function


def findings(
    metrics: pd.DataFrame,
    summary: pd.DataFrame,
    contrasts: pd.DataFrame | None,
    importance: pd.DataFrame | None,
    config: dict[str, Any],
    applications: pd.DataFrame | None = None,
) -> list[Finding]:
    """All findings of a study, by dataset and in reading order.

    A question that the tables cannot answer (a column, an arm or a table is absent) has no finding.

    Args:
        metrics: metrics.csv.
        summary: summary.csv.
        contrasts: contrasts.csv, or None where there is none.
        importance: importance.csv, or None where there is none.
        config: the resolved config.
        applications: applications.csv, or None where there is none.
    """
    runs = metrics[metrics["model"] == "vae"]
    found: list[Finding] = []
    for dataset in sorted(set(runs["dataset"].astype(str))):
        evidence = Evidence(dataset, metrics, summary, contrasts, importance, config, applications)
        for name in sorted(_FINDERS, key=_place):
            found += [with_weakness(finding, evidence) for finding in _answers(name, evidence)]
    return found


def _answers(name: str, evidence: Evidence) -> list[Finding]:
    """Findings of one finder, or one that reports its unforeseen error."""
    part = Isolated(f"findings on {evidence.dataset}")
    nothing: list[Finding] = []
    found = part(name, lambda: list(_FINDERS[name](evidence)), nothing)
    if not part.reasons:
        return found
    headline = f"The finding {name.replace('_', ' ')} could not be computed"
    sentence = (
        f"Error: {part.reasons[0]}. The other findings are complete; see the log for details."
    )
    return [Finding(name, headline, sentence, evidence.dataset, conclusive=False)]


FACTS = ("failures", "convergence", "loose_bounds")
"""Kinds that only count runs."""


def with_weakness(finding: Finding, evidence: Evidence) -> Finding:
    """A finding with the weaknesses of its runs in its sentence, and conclusive only without them.

    The same rule for all kinds: every arm has at least two seeds, and more than half of the runs
    had converged. Runs that had not converged are counted in any case.
    """
    if finding.kind in FACTS:
        return finding
    cells = evidence.cells_of(finding.evidence.get("rows", []))
    weak = evidence.weakness(cells)
    notes: list[str] = []
    counts: dict[str, int] = {}
    if finding.conclusive and weak.single:
        counts |= {"arms": weak.arms, "arms with one seed": weak.single}
        one = words.count(weak.single, "arm")
        some = "One seed each" if weak.single == weak.arms else f"One seed in {one}"
        notes.append(f"{some}: no interval, so this is not conclusive.")
    if weak.moving:
        counts |= {"runs": weak.runs, "still changing": weak.moving}
        end = "" if weak.decides or weak.single or not finding.conclusive else _UNDECIDED
        notes.append(
            f"{weak.moving} of {weak.runs} runs behind this finding had not converged, or were too "
            f"short to assess convergence{end}."
        )
    return replace(
        finding,
        sentence=" ".join([finding.sentence, *notes]),
        conclusive=finding.conclusive and weak.decides,
        evidence={**counts, **finding.evidence},
    )


_UNDECIDED = ", so this is not conclusive"


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER)), name


def figure_of(names: Sequence[str], evidence: Evidence, cell: Cell | None = None) -> dict[str, Any]:
    """Figure of a finding: the fields figure, likelihood and latent_dim.

    Args:
        names: suitable figures, the best first; the first that exists counts.
        evidence: the dataset's tables.
        cell: the arm that the figure should show; the first one where it is None.
    """
    cell = cell or next(iter(evidence.cells), None)
    name = next((name for name in names if name in FIGURES and _drawn(name, evidence, cell)), None)
    if name is None or cell is None:
        return {"figure": None}
    spec = FIGURES[name]
    likelihood = cell.likelihood if spec.scope == "likelihood" else None
    dim = _drawn_dim(name, evidence, cell) if spec.per_latent_dim else None
    return {"figure": name, "likelihood": likelihood, "latent_dim": dim}


def _drawn(name: str, evidence: Evidence, cell: Cell | None) -> bool:
    """Whether there is a figure: planes of codes take two dimensions, effects primary metrics."""
    if cell is None or name not in ("kl_on_off", "effects"):
        return True
    if name == "effects":
        return evidence.has_effects(cell.likelihood)
    planes = [c for c in evidence.cells if (c.likelihood, c.latent_dim) == (cell.likelihood, 2)]
    return {"beta", "kl-off"} <= {c.arm.kind for c in planes}


def _drawn_dim(name: str, evidence: Evidence, cell: Cell) -> int:
    """The latent dimension nearest to the cell's for which the figure is drawn."""
    rows = evidence.runs
    if FIGURES[name].scope == "likelihood":
        rows = rows[rows["likelihood"] == cell.likelihood]
    dims = [2] if name == "kl_on_off" else choose_latent_dims(rows["latent_dim"].dropna())
    return min(dims, key=lambda dim: (abs(dim - cell.latent_dim), dim))
