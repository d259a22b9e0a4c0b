"""Curves over epochs and over latent dimensions, one per arm, the seeds as a band."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import (
    arm_handle,
    grey_handle,
    heading,
    left_out,
    panels,
    plain_log,
)
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import Selection, choose_arms, choose_latent_dims
from vae_ablation.study.axes import ArmName

MAX_CURVES = 8
LOSS_TERMS = ("distortion", "rate", "objective")
_LINES = {"train": (0, (3, 1.5)), "validation": "-"}
_SMALLEST_KL = 1e-2

Array = NDArray[np.float64]


@figure(scope="likelihood", category="Training", per_latent_dim=True)
def loss_curves(results: StudyResults, selection: Selection) -> Figure | None:
    """Distortion, rate and objective per epoch; train dashed, validation solid; seeds a band."""
    rows = selection.ok_rows(results)
    arms = [arm for arm in choose_arms(rows, MAX_CURVES) if _histories(results, rows, arm)]
    if not arms:
        return None
    legend = [arm_handle(arm) for arm in arms]
    legend += [grey_handle("validation"), grey_handle("train", linestyle=_LINES["train"])]
    fig, axes = panels(
        len(LOSS_TERMS), heading("Loss curves", selection, rows), aspect=1.1, gap=(0.5, 0.6),
        legend=legend, note=left_out(selection.rows(results)),
    )  # fmt: skip
    histories = {arm: _histories(results, rows, arm) for arm in arms}
    for ax, term in zip(axes, LOSS_TERMS, strict=True):
        _draw_term(ax, term, histories)
    axes[0].set_ylabel(style.NATS)
    return fig


def _histories(results: StudyResults, rows: pd.DataFrame, arm: ArmName) -> list[pd.DataFrame]:
    runs = rows.loc[rows["arm"] == arm, "run"]
    return [history for run in runs if (history := results.history(run)) is not None]


def _draw_term(ax: Axes, term: str, histories: dict[ArmName, list[pd.DataFrame]]) -> None:
    late: list[Array] = []
    for arm, runs in histories.items():
        for split, line in _LINES.items():
            epochs, values = over_seeds(runs, split, term)
            if len(epochs):
                _band(ax, epochs, values, arm, line)
                late.append(values[epochs >= epochs[0] + 0.04 * np.ptp(epochs)].ravel())
    ax.set(title=term, xlabel="epoch")
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    _term_scale(ax, term, np.concatenate(late) if late else np.zeros(0))


def over_seeds(runs: list[pd.DataFrame], split: str, term: str) -> tuple[Array, Array]:
    """One term of several runs on common epochs.

    A run that stopped early keeps its last value, so that the mean never changes its members.

    Returns:
        epochs [e] and values [e, runs] in nats per example.
    """
    series = [
        history.loc[history["split"] == split].set_index("epoch")[term].dropna()
        for history in runs
        if term in history
    ]
    table = pd.concat(series, axis=1).sort_index().ffill() if series else pd.DataFrame()
    return table.index.to_numpy(float), table.to_numpy(float)


def _band(ax: Axes, x: Array, values: Array, arm: ArmName, line: object) -> None:
    color = style.arm_color(arm)
    if values.shape[1] > 1 and line == "-":
        ax.fill_between(
            x, np.nanmin(values, 1), np.nanmax(values, 1), color=color, alpha=0.2, linewidth=0
        )
    width = 1.5 if line == "-" else 1.0
    ax.plot(x, np.nanmean(values, 1), color=color, linestyle=line, linewidth=width, label=arm)


def _term_scale(ax: Axes, term: str, late: Array) -> None:
    """Limits from what follows the first epochs, whose values would flatten all the rest."""
    late = late[np.isfinite(late)]
    if not late.size:
        return
    low, high = float(late.min()), float(late.max())
    if term == "rate" and high > 50:
        plain_log(ax, "y", 1, high)
        ax.set_ylim(0, high * 1.5)
        return
    margin = 0.05 * (high - low) or 0.5
    ax.set_ylim(0 if term == "rate" else low - margin, high + margin)


@figure(scope="likelihood", category="Latent space")
def kl_per_dimension(results: StudyResults, selection: Selection) -> Figure | None:
    """KL of each latent dimension, sorted, by arm; one panel per latent dimension."""
    rows = selection.ok_rows(results)
    rows = rows[rows["arm"].map(lambda arm: arm.kind != "point").astype(bool)]
    dims = choose_latent_dims(rows["latent_dim"].dropna())
    arms = choose_arms(rows, MAX_CURVES)
    spectra = {
        dim: {arm: found for arm in arms if len(found := _spectra(results, rows, dim, arm))}
        for dim in dims
    }
    spectra = {dim: found for dim, found in spectra.items() if found}
    if not spectra:
        return None
    drawn = [arm for arm in arms if any(arm in found for found in spectra.values())]
    fig, axes = panels(
        len(spectra), heading("KL per latent dimension", selection, rows), aspect=1.05,
        legend=[arm_handle(arm) for arm in drawn], note=left_out(selection.rows(results)),
    )  # fmt: skip
    high = max(float(v.max()) for found in spectra.values() for v in found.values())
    for ax, (dim, curves) in zip(axes, spectra.items(), strict=True):
        _draw_spectra(ax, dim, curves, high)
    axes[0].set_ylabel("KL (nats per example)")
    return fig


def _spectra(results: StudyResults, rows: pd.DataFrame, dim: int, arm: ArmName) -> Array:
    """Sorted KL per dimension of an arm's runs, largest first: [runs, latent]."""
    runs = rows.loc[(rows["arm"] == arm) & (rows["latent_dim"] == dim), "run"]
    rates = [rate for run in runs if (rate := results.rate_per_dim(run)) is not None]
    return np.array([np.sort(rate)[::-1] for rate in rates])


def _draw_spectra(ax: Axes, dim: int, curves: dict[ArmName, Array], high: float) -> None:
    x = np.arange(1, dim + 1)
    for arm, values in curves.items():
        color = style.arm_color(arm)
        if len(values) > 1:
            ax.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.2, linewidth=0)
        ax.plot(
            x, values.mean(0), color=color, marker=style.arm_marker(arm),
            markersize=4 if dim <= 32 else 0, label=arm,
        )  # fmt: skip
    plain_log(ax, "y", _SMALLEST_KL, high)
    ax.set_ylim(0, high * 1.5)
    ax.set(title=f"latent dimension {dim}", xlabel="dimension, sorted by KL")
    ax.set_xlim(0.5, dim + 0.5)
    if dim <= 10:
        ax.set_xticks(x)
