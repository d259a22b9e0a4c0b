"""The figures there are: each registers itself under its function name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ClassVar, Literal

from matplotlib.figure import Figure

from vae_ablation.common.registry import Registry
from vae_ablation.report.figures import style
from vae_ablation.report.figures.drawing import Drawing
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import Selection

Scope = Literal["likelihood", "dataset", "study"]
Draw = Callable[[StudyResults, Selection], Figure | Drawing | None]
Drawn = Callable[[StudyResults, Selection], Drawing | None]


@dataclass(frozen=True)
class FigureSpec:
    """One kind of figure.

    Attributes:
        name: file stem of the figure and of its caption in workflow/report/figures/; the caption of
            one from outside the package is the docstring of its class.
        draw: gives the figure and its data, or None where the study has nothing to show there.
        scope: drawn once per dataset and likelihood, once per dataset, or once per study.
        category: heading of the report under which it stands.
        per_latent_dim: drawn once for each chosen latent dimension within its scope.
    """

    name: str
    draw: Drawn
    scope: Scope
    category: str
    per_latent_dim: bool


CATEGORIES = (
    "Comparison",
    "KL on against KL off",
    "Latent space",
    "Biology",
)
"""Headings in the order in which a reader meets them; another one comes after these."""


def _made(cls: type[FigurePart]) -> FigureSpec:
    """The entry of a class."""
    return FigureSpec(cls.name, _styled(cls().draw), cls.scope, cls.category, cls.per_latent_dim)


FIGURES: Registry[FigureSpec] = Registry("figure", _made)


class FigurePart(ABC):
    """A figure as a class; see `FigureSpec` for its attributes."""

    registry: ClassVar[Registry[FigureSpec]] = FIGURES
    name: ClassVar[str]
    scope: ClassVar[Scope] = "likelihood"
    category: ClassVar[str] = "Comparison"
    per_latent_dim: ClassVar[bool] = False

    @abstractmethod
    def draw(self, results: StudyResults, selection: Selection) -> Figure | Drawing | None:
        """The figure, with its data or without; None where the study has nothing to show there.

        Data of a figure without them are read off its panels.
        """


def heading(name: str) -> str:
    """Heading of a figure in the report, numbered, since the report sorts headings by name."""
    category = FIGURES[name].category
    known = category in CATEGORIES
    return f"{CATEGORIES.index(category) + 2 if known else len(CATEGORIES) + 2}. {category}"


def figure(scope: Scope, category: str, per_latent_dim: bool = False) -> Callable[[Draw], Drawn]:
    """Register a drawing function as a figure; it then runs under the project's style.

    Raises:
        PartError: two functions share a name, so that one figure would overwrite the other.
    """

    def register(draw: Draw) -> Drawn:
        name, styled = draw.__name__, _styled(draw)
        spec = FigureSpec(name, styled, scope, category, per_latent_dim)
        FIGURES.put(name, spec, draw.__module__)
        return styled

    return register


def _styled(draw: Draw) -> Drawn:
    """A drawing function that runs under the project's style, and gives data with every figure."""

    @wraps(draw)
    def styled(results: StudyResults, selection: Selection) -> Drawing | None:
        with style.context():
            drawn = draw(results, selection)
            return None if drawn is None else Drawing.of(drawn)

    return styled
