"""Trajectories and forbidden states against the arrays and the table they are drawn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from vae_ablation.report.figures import FIGURES, Selection, StudyResults, style
from vae_ablation.report.figures.forbidden_states import HOLE, INSIDE, KINDS
from vae_ablation.report.figures.trajectory import METHODS, relative

ARMS = {"beta1": 1.0, "beta4": 4.0, "kl-off": 0.0}
STEPS, GENES, BINS = 21, 12, 5


def run_rows(latent_dim: int) -> list[dict[str, Any]]:
    return [
        {
            "run": f"cells/poisson/z{latent_dim}/{arm}/seed{seed}", "model": "vae",
            "dataset": "cells", "likelihood": "poisson", "latent_dim": latent_dim, "arm": arm,
            "beta": beta, "kl": beta > 0, "posterior": "gaussian", "seed": seed, "status": "ok",
            "reason": None, "measure": "counts/mass", "proper": True,
        }
        for arm, beta in ARMS.items() for seed in (0, 1)
    ]  # fmt: skip


def score_rows(row: dict[str, Any], truth: bool) -> list[dict[str, Any]]:
    """Planted scores of a run: a level for each method, and 0.1 more for the second seed."""
    found = []
    metrics = {"profile_error": 0.2, "unrelated_error": 0.5, "pseudotime_spearman": 0.7}
    for i, method in enumerate(METHODS):
        planted = {"path_density": 3.0} | (metrics if truth else {})
        for metric, level in planted.items():
            if metric == "path_density" and method == "linear_expression":
                continue
            value = level + 0.02 * i + 0.1 * row["seed"]
            found.append({"subject": "a → b", "method": method, "metric": metric, "value": value})
    return [row | {"application": "trajectory"} | score for score in found]


def trajectory_arrays(truth: bool, plane: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, STEPS)[:, None]
    rise = 1 / (1 + np.exp(-20 * (t - np.linspace(0, 1, GENES))))
    path = np.stack([np.cos(np.pi * (1 - t[:, 0])), np.sin(np.pi * (1 - t[:, 0]))], axis=1)
    arrays = {
        "genes": np.array([f"gene{i}" for i in range(GENES)]),
        "ends": np.array(["stem", "branch A"]),
        "straight": 2 * rise,
        "density": 3 * rise**2,
    }
    if plane:
        arrays |= {
            "plane_codes": path.repeat(5, 0) + 0.1 * rng.normal(size=(5 * STEPS, 2)),
            "plane_labels": np.repeat([0, 1, 2], 35),
            "label_names": np.array(["stem", "early", "branch A"]),
            "plane_straight": np.linspace(path[0], path[-1], STEPS),
            "plane_density": path,
        }
    if truth:
        arrays |= {"measured": 2 * rise[::5], "place": np.array([0, 0.16, 0.33, 0.68, 1])}
    return arrays


def hole_arrays(latent_dim: int, holes: int = 300) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    side = np.linspace(-3.5, 3.5, 90)
    x, y = np.meshgrid(side, side)
    arrays = {
        "distance_inside": 2 + rng.gamma(2, 0.3, 700),
        "distance_holes": 4 + rng.gamma(2, 0.5, holes),
        "distance_held_out": 1.8 + rng.gamma(2, 0.3, 200),
        "genes": np.array([f"gene{i}" for i in range(12)]),
        "gene_holes": np.linspace(1.2, 0.6, 12),
        "gene_inside": np.full(12, 0.2),
        "pairs": np.array([["gene1", "gene2"], ["gene3", "gene4"]]),
        "pair_holes": np.array([0.41, 0.27]),
    }
    if latent_dim == 2:
        arrays |= {
            "map": -0.5 * ((np.abs(x) - 1.5) ** 2 + y**2) / 0.2 - 1,
            "map_side": side,
            "threshold": np.array(-4.0),
            "codes": rng.normal(0, 0.5, (300, 2)),
            "labels": rng.integers(-1, 3, 300),
            "label_names": np.array(["a", "b", "c"]),
        }
    return arrays


def build(folder: Path, latent_dim: int = 2, truth: bool = True, **changes: Any) -> Path:
    rows = run_rows(latent_dim)
    (folder / "tables").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "tables" / "metrics.csv", index=False)
    table = [score for row in rows for score in score_rows(row, truth)]
    pd.DataFrame(table).to_csv(folder / "tables" / "applications.csv", index=False)
    shown = trajectory_arrays(truth, plane=latent_dim > 1)
    found = {f"trajectory/{name}": values for name, values in shown.items()}
    holes = hole_arrays(latent_dim) | changes
    found |= {f"forbidden_states/{name}": values for name, values in holes.items()}
    for row in rows:
        place = folder / "runs" / row["run"]
        place.mkdir(parents=True)
        np.savez(place / "applications.npz", **found)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("paths") / "study")


def draw(study: Path, name: str, latent_dim: int = 2) -> Figure:
    drawn = FIGURES[name].draw(StudyResults(study), Selection("cells", "poisson", latent_dim))
    return drawn and drawn.figure


def panel(fig: Figure, xlabel: str) -> Axes:
    (found,) = [ax for ax in fig.axes if ax.get_xlabel() == xlabel]
    return found


def texts(fig: Figure) -> list[str]:
    return [text.get_text() for text in fig.texts]


# --- trajectory ----------------------------------------------------------------------------------


def test_heat_maps_are_the_profiles_each_gene_from_0_to_1_over_all_panels(study):
    fig = draw(study, "trajectory")
    arrays = trajectory_arrays(truth=True)
    every = np.concatenate([arrays[name] for name in ("straight", "density", "measured")])
    low, high = every.min(0), every.max(0)
    for title in ("straight path", "density path", "measured"):
        (ax,) = [ax for ax in fig.axes if ax.get_title() == title]
        expected = (arrays[title.split()[0]] - low) / (high - low)
        np.testing.assert_allclose(ax.images[0].get_array(), expected.T)
    labels = [label.get_text() for label in fig.axes[3].get_yticklabels()]
    assert labels == list(arrays["genes"])
    places = [label.get_text() for label in panel(fig, "true position").get_xticklabels()]
    assert places == ["0.00", "0.16", "0.33", "0.68", "1.00"]


def test_a_gene_that_never_changes_is_0():
    (block,) = relative([np.array([[1.0, 5.0], [2.0, 5.0]])])
    np.testing.assert_array_equal(block, [[0, 1], [0, 0]])


def test_both_paths_are_drawn_over_the_codes(study):
    ax = panel(draw(study, "trajectory"), "z₁ (prior σ)")
    arrays = trajectory_arrays(truth=True)
    drawn = {to_hex(line.get_color()): line.get_xydata() for line in ax.lines}
    for method in ("straight", "density"):
        np.testing.assert_allclose(drawn[METHODS[method][1]], arrays[f"plane_{method}"])
    points = np.concatenate([c.get_offsets() for c in ax.collections])
    assert len(points) == len(arrays["plane_codes"])


def test_scores_are_means_over_seeds_with_their_range(study):
    fig = draw(study, "trajectory")
    for xlabel, level in (("RMSE of log expression", 0.2), ("Spearman with truth", 0.7)):
        ax = panel(fig, xlabel)
        for i, (_, color, _) in enumerate(METHODS.values()):
            mean = level + 0.02 * i + 0.05
            lines = [line for line in ax.lines if to_hex(line.get_color()) == color]
            np.testing.assert_allclose(lines[0].get_xdata(), mean)
            assert len(lines[0].get_xdata()) == len(ARMS)
        ranges = [c for c in ax.collections if isinstance(c, LineCollection)]
        widths = [np.ptp(segment[:, 0]) for c in ranges for segment in c.get_segments()]
        np.testing.assert_allclose(widths, 0.1)


def test_the_error_against_unrelated_cells_is_hollow(study):
    ax = panel(draw(study, "trajectory"), "RMSE of log expression")
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert sorted({round(float(line.get_xdata()[0]), 2) for line in hollow}) == [0.55, 0.57, 0.59]


def test_without_truth_the_density_along_the_paths_is_shown(tmp_path):
    fig = draw(build(tmp_path / "s", latent_dim=8, truth=False), "trajectory", 8)
    assert "measured" not in [ax.get_title() for ax in fig.axes]
    ax = panel(fig, "log density along the path (nats)")
    assert {to_hex(line.get_color()) for line in ax.lines if len(line.get_xdata())} == {
        METHODS[method][1] for method in ("straight", "density")
    }
    assert any(ax.get_xlabel() == "1st component (prior σ)" for ax in fig.axes)


def test_one_latent_dimension_has_no_plane(tmp_path):
    fig = draw(build(tmp_path / "s", latent_dim=1), "trajectory", 1)
    assert all("prior σ" not in ax.get_xlabel() for ax in fig.axes)


# --- forbidden states ----------------------------------------------------------------------------


def test_the_share_in_holes_stands_above_each_arm(study):
    shown = [text for text in texts(draw(study, "forbidden_states")) if "holes" in text]
    assert [text for text in shown if text.startswith("β = 1: 30 %")]
    assert [text for text in shown if text.startswith("KL off: 30 %")]


def test_distributions_have_the_means_of_their_distances(study):
    fig = draw(study, "forbidden_states")
    arrays = hole_arrays(2)
    ax = next(ax for ax in fig.axes if ax.get_xlabel() == "distance to nearest real profile")
    drawn = {to_hex(line.get_color()): line.get_xdata()[0] for line in ax.lines}
    expected = {color: arrays[kind].mean() for kind, (_, color) in KINDS.items()}
    assert drawn == pytest.approx(expected)


def test_the_map_hatches_what_is_below_the_threshold_within_the_prior(study):
    fig = draw(study, "forbidden_states")
    ax = next(ax for ax in fig.axes if ax.get_xlabel() == "z₁ (prior σ)")
    arrays = hole_arrays(2)
    np.testing.assert_allclose(ax.images[0].get_array(), arrays["map"])
    (hatched,) = [c for c in ax.collections if getattr(c, "hatches", None)]
    (path,) = hatched.get_paths()
    # The middle between both clusters: −0.5 · 1.5² / 0.2 − 1 nats; a cluster's own centre: −1.
    inside = path.contains_points([[0, 0], [1.5, 0], [0, 2.0], [0, 3.0]])
    assert inside.tolist() == [True, False, True, False]


def test_genes_and_pairs_are_those_of_the_arrays(study):
    fig = draw(study, "forbidden_states")
    bars = next(ax for ax in fig.axes if ax.get_title() == "distance to nearest real profile")
    widths: dict[str, list[float]] = {HOLE: [], INSIDE: []}
    for patch in bars.patches:
        widths[to_hex(patch.get_facecolor())].append(patch.get_width())
    np.testing.assert_allclose(widths[HOLE], hole_arrays(2)["gene_holes"][:6])
    np.testing.assert_allclose(widths[INSIDE], 0.2)
    assert {"gene1 + gene2", "41 %", "gene3 + gene4", "27 %"} <= set(texts(fig))


def test_above_two_dimensions_there_is_no_map(tmp_path):
    fig = draw(build(tmp_path / "s", latent_dim=8), "forbidden_states", 8)
    assert all("prior σ" not in ax.get_xlabel() for ax in fig.axes)


def test_a_prior_that_is_one_hole_is_drawn(tmp_path):
    study = build(tmp_path / "s", distance_inside=np.empty(0), pairs=np.empty((0, 2), "U1"))
    assert any("100 %" in text for text in texts(draw(study, "forbidden_states")))


# --- both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trajectory", "forbidden_states"])
def test_nothing_is_drawn_where_nothing_was_applied(name, tmp_path):
    study = build(tmp_path / "s")
    for arrays in study.rglob("applications.npz"):
        arrays.unlink()
    assert draw(study, name) is None


@pytest.mark.parametrize("name", ["trajectory", "forbidden_states"])
def test_the_same_arrays_give_the_same_bytes(name, study, tmp_path):
    for stem in ("a", "b"):
        style.save(draw(study, name), tmp_path / stem)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert FIGURES[name].category == "Biology"
