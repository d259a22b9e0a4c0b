"""Figures of a study: tables, codes and pictures in, matplotlib figures out; no model code.

Every module of this package is imported when one of the names below is first asked for, so that a
new figure registers itself: a function under `registry.figure` in any module is all that it needs
in code. Those who only read results (`results.py`) import neither figures nor matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_ablation.report.figures.draw import draw_figures
    from vae_ablation.report.figures.registry import FIGURES, FigureSpec, heading
    from vae_ablation.report.figures.results import StudyResults
    from vae_ablation.report.figures.selection import (
        Selection,
        choose_arms,
        choose_latent_dims,
        umap_runs,
    )

_HOMES = {
    "FIGURES": "registry",
    "FigureSpec": "registry",
    "heading": "registry",
    "StudyResults": "results",
    "Selection": "selection",
    "choose_arms": "selection",
    "choose_latent_dims": "selection",
    "umap_runs": "selection",
    "draw_figures": "draw",
}
__all__ = [
    "FIGURES",
    "FigureSpec",
    "Selection",
    "StudyResults",
    "choose_arms",
    "choose_latent_dims",
    "draw_figures",
    "heading",
    "umap_runs",
]


def __getattr__(name: str) -> Any:
    """A name of `__all__`, once every module is imported."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
