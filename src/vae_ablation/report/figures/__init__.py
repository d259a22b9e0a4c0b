"""Figures of a study: tables, codes and pictures in, matplotlib figures out; no model code.

Every module of this package is imported here, so that a new figure registers itself: a function
under `registry.figure` in any module is all that it needs in code.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from vae_ablation.report.figures.draw import draw_figures
from vae_ablation.report.figures.registry import FIGURES, FigureSpec
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import (
    Selection,
    choose_arms,
    choose_latent_dims,
    umap_runs,
)

__all__ = [
    "FIGURES",
    "FigureSpec",
    "Selection",
    "StudyResults",
    "choose_arms",
    "choose_latent_dims",
    "draw_figures",
    "umap_runs",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
