"""Draw the figures of one part of a study into a folder of their own."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from vae_ablation.common.isolation import error_text, unforeseen
from vae_ablation.report.figures import style
from vae_ablation.report.figures.registry import FIGURES, FigureSpec
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import Selection, choose_latent_dims
from vae_ablation.tables.collect import write_csv

log = logging.getLogger(__name__)

ALL = "all"


def draw_figures(study_dir: Path, dataset: str, likelihood: str, out_dir: Path) -> list[Path]:
    """Draw every figure of one scope into `<out_dir>/<z2|z8|all>/<name>.png`, its data as `.csv`.

    Formats of `figures.vector` in the config stand beside them. The folder is replaced as a whole.
    A figure with an unforeseen error becomes an image of the message, the other figures are drawn,
    and the log has the traceback. After a fault of the machine the old folder stays as it was.

    Args:
        study_dir: the folder results/<study>.
        dataset: a dataset's name, or "all" for the figures of scope "study".
        likelihood: a likelihood's name, or "all" for the figures of scope "dataset".
        out_dir: folder that will hold these figures and nothing else.

    Returns:
        The files written, in `out_dir`.
    """
    results = StudyResults(Path(study_dir))
    out_dir = Path(out_dir)
    fresh = out_dir.with_name(f".{out_dir.name}.{os.getpid()}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        written = _draw_all(results, dataset, likelihood, fresh)
        _replace(out_dir, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return [out_dir / path.relative_to(fresh) for path in written]


def _draw_all(results: StudyResults, dataset: str, likelihood: str, folder: Path) -> list[Path]:
    scope = "study" if dataset == ALL else "dataset" if likelihood == ALL else "likelihood"
    whole = Selection(
        None if dataset == ALL else dataset, None if likelihood == ALL else likelihood
    )
    written: list[Path] = []
    for spec in sorted(FIGURES.values(), key=lambda spec: spec.name):
        if spec.scope != scope:
            continue
        for selection in _selections(spec, results, whole):
            written += _draw(spec, results, selection, folder)
    return written


def _draw(
    spec: FigureSpec, results: StudyResults, selection: Selection, folder: Path
) -> list[Path]:
    """Draw one figure, or say in its place that it could not be drawn."""
    vector = (results.config.get("figures") or {}).get("vector", ())
    try:
        drawing = spec.draw(results, selection)
        if drawing is None:
            return []
        written = _save(drawing.figure, folder, selection, spec.name, vector)
        write_csv(drawing.data, written[0].with_suffix(".csv"))
        return [*written, written[0].with_suffix(".csv")]
    except Exception as error:
        if not unforeseen(error):
            raise
        log.exception("figure %s could not be drawn", spec.name)
        message = (
            f"The figure {spec.name.replace('_', ' ')} could not be drawn ({error_text(error)})"
        )
        print(f"Warning: {message}; the other figures are complete.", file=sys.stderr)
        return _save(_message(f"{message}; see the log for details."), folder, selection, spec.name)


def _message(text: str) -> Figure:
    with style.context():
        fig = Figure(figsize=(6, 1.5))
        fig.text(0.02, 0.5, textwrap.fill(text, 80), va="center", parse_math=False)
    return fig


def _selections(spec: FigureSpec, results: StudyResults, whole: Selection) -> list[Selection]:
    if not spec.per_latent_dim:
        return [whole]
    dims = choose_latent_dims(whole.rows(results)["latent_dim"].dropna())
    return [Selection(whole.dataset, whole.likelihood, dim) for dim in dims]


def _save(
    fig: Figure, folder: Path, selection: Selection, name: str, vector: Sequence[str] = ()
) -> list[Path]:
    place = folder / (ALL if selection.latent_dim is None else f"z{selection.latent_dim}")
    place.mkdir(exist_ok=True)
    return style.save(fig, place / name, vector)


def _replace(out_dir: Path, fresh: Path) -> None:
    old = out_dir.with_name(f".{out_dir.name}.{os.getpid()}.old")
    if out_dir.exists():
        out_dir.rename(old)
    fresh.rename(out_dir)
    shutil.rmtree(old, ignore_errors=True)
