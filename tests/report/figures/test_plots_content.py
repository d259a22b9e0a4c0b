"""What the figures show, held against numbers computed here from the files of the study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Circle

from vae_ablation.report.figures import FIGURES, Selection, StudyResults, style
from vae_ablation.report.figures.curves import over_seeds
from vae_ablation.report.figures.latent import scatter
from vae_ablation.report.figures.layout import mosaic


def draw(
    study: Path, name: str, likelihood: str | None = "gaussian", dim: int | None = None
) -> Any:
    return FIGURES[name].draw(StudyResults(study), Selection("digits", likelihood, dim))


def rows(study: Path, **wanted: Any) -> pd.DataFrame:
    table = pd.read_csv(study / "tables" / "metrics.csv")
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def lines_of(ax: Axes, arm: str) -> list[Any]:
    return [line for line in ax.lines if line.get_label() == arm]


def test_loss_curves_are_the_means_over_seeds_and_the_band_their_range(study):
    fig = draw(study, "loss_curves", dim=2)
    folder = study / "runs/digits/gaussian/z2/beta0.1"
    histories = [pd.read_csv(folder / f"seed{seed}" / "history.csv") for seed in (0, 1)]
    for ax, term in zip(fig.axes, ("distortion", "rate", "objective"), strict=True):
        for split, style_name in (("train", "--"), ("validation", "-")):
            values = np.array([h[h["split"] == split][term] for h in histories])
            (line,) = [x for x in lines_of(ax, "beta0.1") if x.get_linestyle() == style_name]
            np.testing.assert_allclose(line.get_ydata(), values.mean(0), rtol=1e-9)
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 13))
    band = fig.axes[0].collections[1].get_paths()[0].vertices
    shown = np.array([h[h["split"] == "validation"]["distortion"] for h in histories])
    assert band[:, 1].min() == pytest.approx(shown.min())
    assert band[:, 1].max() == pytest.approx(shown.max())


def test_a_seed_that_stopped_early_keeps_its_last_value():
    def history(values: list[float]) -> pd.DataFrame:
        epochs = range(1, len(values) + 1)
        return pd.DataFrame({"epoch": epochs, "split": "train", "rate": values})

    epochs, values = over_seeds([history([4, 2, 1]), history([6.0])], "train", "rate")
    np.testing.assert_array_equal(epochs, [1, 2, 3])
    np.testing.assert_array_equal(values, [[4, 6], [2, 6], [1, 6]])


def test_kl_on_off_has_common_axes_that_hold_every_code_and_the_prior(study):
    axes = draw(study, "kl_on_off", dim=2).axes
    on, off = (ax for ax in axes if ax.get_title() in {"KL on, β = 1", "KL off"})
    assert on.get_xlim() == off.get_xlim() == on.get_ylim() == off.get_ylim()
    for ax, arm in ((on, "beta1"), (off, "kl-off")):
        with np.load(study / f"runs/digits/gaussian/z2/{arm}/seed0/codes.npz") as codes:
            mean, std = codes["mean"], codes["std"][0, 0]
        assert ax.get_xlim()[1] > np.abs(mean).max()
        np.testing.assert_allclose(ax.collections[0].get_offsets(), mean)
        widths = ax.collections[1].get_widths()
        np.testing.assert_allclose(widths, np.full(60, 2 * std), rtol=1e-5)
        circles = [patch for patch in ax.patches if isinstance(patch, Circle)]
        assert [(c.center, c.radius) for c in circles] == [((0, 0), 1), ((0, 0), 2)]


def test_kl_on_off_shows_the_numbers_of_the_table(study):
    shown = [text.get_text() for text in draw(study, "kl_on_off", dim=2).texts]
    for arm in ("beta1", "kl-off"):
        for metric in ("code_rms", "rate", "posterior_std", "mse"):
            values = rows(study, likelihood="gaussian", latent_dim=2, arm=arm)[metric].to_numpy()
            assert style.number(values.mean()) in shown
    rate = rows(study, likelihood="gaussian", latent_dim=2, arm="kl-off")["rate"]
    assert f"{style.number(rate.min())} to {style.number(rate.max())}" in shown


def test_the_rate_distortion_plane_shows_means_and_intervals(study):
    fig = draw(study, "rate_distortion", None)
    table = rows(study, likelihood="gaussian", latent_dim=4, model="vae")
    ax = fig.axes[1]
    assert ax.get_title().startswith("gaussian")
    arms = ["beta0.1", "beta1", "beta4"]
    expected = [table[table["arm"] == arm][["rate", "distortion"]].mean() for arm in arms]
    np.testing.assert_allclose(ax.lines[1].get_xydata(), np.array(expected), rtol=1e-9)
    values = table[table["arm"] == "kl-off"]["distortion"].to_numpy()
    # Student t, 1 degree of freedom, 97.5 %: 12.706; standard error of two values: |a − b| / 2.
    half = 12.7062 * abs(values[0] - values[1]) / 2
    vertical = ax.collections[4].get_segments()[0]
    assert np.ptp(vertical[:, 1]) / 2 == pytest.approx(half, rel=1e-4)


def test_likelihoods_have_distortion_axes_of_their_own(study):
    logistic, gaussian = draw(study, "rate_distortion", None).axes
    assert logistic.get_ylim() != gaussian.get_ylim()
    assert not logistic.get_shared_y_axes().joined(logistic, gaussian)


def test_kl_off_is_not_joined_to_the_curve(study):
    for ax in draw(study, "rate_distortion", None).axes:
        for line in ax.lines:
            assert len(line.get_xdata()) == 3


def test_likelihoods_are_compared_on_shared_columns_against_the_rate(study):
    fig = draw(study, "likelihood_comparison", None, 4)
    labels = [ax.get_ylabel() for ax in fig.axes]
    assert labels[0] == "MSE (intensity²)"
    assert not any("ELBO" in label or "NLL" in label or "distortion" in label for label in labels)
    curve = next(x for x in fig.axes[0].lines if x.get_color() == "#0077bb")
    table = rows(study, likelihood="gaussian", latent_dim=4)
    expected = [
        table[table["arm"] == arm][["rate", "mse"]].mean() for arm in ("beta0.1", "beta1", "beta4")
    ]
    np.testing.assert_allclose(curve.get_xydata(), np.array(expected), rtol=1e-9)


def test_controls_are_lines_where_they_have_the_column(study):
    fig = draw(study, "likelihood_comparison", None, 4)
    levels = {
        ax.get_ylabel(): [x.get_ydata()[0] for x in ax.lines if x.get_color() == "#333333"]
        for ax in fig.axes
    }
    assert levels["MSE (intensity²)"] == [0.06 / 4]
    np.testing.assert_allclose(levels["15-NN accuracy (0–1)"], [0.5 + 0.08, 0.97, 0.34])
    assert levels["active units (dimensions)"] == []


def test_deterministic_arms_stand_at_the_edge(make_study):
    study = make_study(latent_dims=(2,), point=True)
    ax = draw(study, "likelihood_comparison", None, 2).axes[0]
    marked = [
        line for line in ax.lines if line.get_marker() == "<" and line.get_color() == "#0077bb"
    ]
    expected = rows(study, likelihood="gaussian", arm="point")["mse"].mean()
    np.testing.assert_allclose(marked[0].get_ydata(), [expected])


def test_heatmap_cells_are_the_means_over_seeds(study):
    fig = draw(study, "heatmaps")
    ax = next(ax for ax in fig.axes if ax.get_title() == "rate (nats)")
    table = rows(study, likelihood="gaussian", model="vae")
    means = table.groupby(["arm", "latent_dim"])["rate"].mean()
    arms = ["kl-off", "beta0.1", "beta1", "beta4"]
    expected = [[means[arm, dim] for dim in (2, 4)] for arm in arms]
    np.testing.assert_allclose(np.ma.filled(ax.images[0].get_array(), np.nan)[:4], expected)
    assert ax.images[0].get_clim() == pytest.approx(
        (np.min(expected[1:]), np.max(expected[1:])), rel=1e-9
    )


def test_heatmaps_say_why_a_cell_has_no_number(make_study):
    runs = tuple(f"digits/gaussian/z2/beta1/seed{seed}" for seed in (0, 1))
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), diverged=runs)
    axes = {ax.get_title(): [t.get_text() for t in ax.texts] for ax in draw(study, "heatmaps").axes}
    # Rows: KL off, β = 0.1, β = 1, β = 4.
    assert axes["rate (nats)"][2] == "×"
    assert axes["active units (dimensions)"][0] == "–"
    assert axes["NLL (nats) ↓"][0].startswith("≤")
    assert not axes["NLL (nats) ↓"][1].startswith("≤")


def test_a_control_is_not_scored_against_another_measure(study):
    def last_row(likelihood: str) -> list[float]:
        fig = draw(study, "heatmaps", likelihood)
        ax = next(ax for ax in fig.axes if ax.get_title() == "NLL (nats) ↓")
        return list(np.ma.filled(ax.images[0].get_array(), np.nan)[-1])

    assert last_row("gaussian") == [-52.0, -54.0]
    assert -52.0 not in last_row("discretized_logistic")


def test_kl_per_dimension_sorts_each_run_before_the_mean(study):
    fig = draw(study, "kl_per_dimension")
    folder = study / "runs/digits/gaussian/z4/beta1"
    rates = [json.loads((folder / f"seed{s}/metrics.json").read_text()) for s in (0, 1)]
    expected = np.mean([np.sort(rate["rate_per_dim"])[::-1] for rate in rates], axis=0)
    (line,) = lines_of(fig.axes[1], "beta1")
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert fig.axes[0].get_ylim() == fig.axes[1].get_ylim()


def test_an_arm_keeps_its_colour_in_every_study_and_figure(make_study):
    small = make_study(likelihoods=("gaussian",), latent_dims=(2,), betas=(1.0, 2.0), seeds=(0,))
    large = make_study(
        likelihoods=("gaussian",), latent_dims=(2,), betas=(0.01, 0.3, 1.0, 50.0), seeds=(0,)
    )

    def colors(study: Path, arm: str) -> set[str]:
        found = {
            line.get_color()
            for name in ("loss_curves", "kl_per_dimension")
            for ax in draw(study, name, dim=2).axes
            for line in lines_of(ax, arm)
        }
        titles = {ax.get_title(): ax for ax in draw(study, "samples", dim=2).axes}
        label = {"beta1": "β = 1 ", "kl-off": "KL off "}[arm]
        panel = next(ax for title, ax in titles.items() if title.startswith(label))
        return {to_hex(color) for color in found | {panel.spines["left"].get_edgecolor()}}

    for arm in ("beta1", "kl-off"):
        assert colors(small, arm) == colors(large, arm)
        assert len(colors(small, arm)) == 1


def test_the_latent_plane_shows_the_codes_and_the_prior(study):
    fig = draw(study, "latent_space", dim=2)
    assert [ax.get_title() for ax in fig.axes] == ["KL off", "β = 0.1", "β = 1", "β = 4"]
    for ax, arm in zip(fig.axes, ("kl-off", "beta0.1", "beta1", "beta4"), strict=True):
        with np.load(study / f"runs/digits/gaussian/z2/{arm}/seed0/codes.npz") as codes:
            np.testing.assert_allclose(ax.collections[0].get_offsets(), codes["mean"])
        assert [patch.radius for patch in ax.patches if isinstance(patch, Circle)] == [1, 2]
        assert ax.get_xlim()[1] > 2


def test_above_two_dimensions_the_embedding_is_shown_without_a_prior(study):
    fig = draw(study, "latent_space", dim=4)
    assert [ax.get_title() for ax in fig.axes] == ["β = 1", "KL off"]
    with np.load(study / "umap/digits__gaussian__z4__kl-off__seed0.npz") as stored:
        np.testing.assert_allclose(fig.axes[1].collections[0].get_offsets(), stored["embedding"])
    assert not any(isinstance(patch, Circle) for ax in fig.axes for patch in ax.patches)


def test_points_have_the_colour_of_their_label_and_none_is_grey():
    fig = draw_scatter(np.array([5, 9, -1]), [5, 9])
    found = [to_hex(color) for color in fig.collections[0].get_facecolors()]
    assert found == [style.class_color(0), style.class_color(1), "#9a9a9a"]
    assert [text.get_text() for text in fig.texts] == ["5", "9"]


def draw_scatter(labels: np.ndarray, classes: list[int]) -> Axes:
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    scatter(ax, np.arange(2.0 * len(labels)).reshape(-1, 2), labels, classes)
    return ax


def test_reconstructions_are_the_stored_pictures_under_the_originals(study):
    fig = draw(study, "reconstructions", dim=2)
    picture = fig.axes[0].images[0].get_array()
    with np.load(study / "runs/digits/gaussian/z2/beta4/seed0/pictures.npz") as stored:
        originals, beta4 = stored["originals"], stored["reconstructions"]
    assert not np.array_equal(originals, beta4)
    # 8 × 8 images are enlarged three times, with a line of one pixel after each.
    # Rows: originals, KL off, β = 0.1, β = 1, β = 4.
    pitch = 25
    for k, left in enumerate(range(0, 10 * pitch, pitch)):
        np.testing.assert_array_equal(picture[0:24:3, left : left + 24 : 3], originals[k])
        last = picture[4 * pitch : 4 * pitch + 24 : 3, left : left + 24 : 3]
        np.testing.assert_array_equal(last, beta4[k])
    mse = rows(study, run="digits/gaussian/z2/kl-off/seed0")["mse"].iloc[0]
    assert style.number(mse) in [text.get_text() for text in fig.texts]


def test_a_mosaic_keeps_rows_columns_and_shape():
    images = np.arange(2 * 3 * 30 * 40, dtype=np.uint32).reshape(2, 3, 30, 40) % 200
    picture = mosaic(images.astype(np.uint8))
    assert picture.shape == (2 * 30 + 2, 3 * 40 + 2 * 2)
    np.testing.assert_array_equal(picture[32:62, 84:124], images[1, 2])
    assert (picture[30:32] == 217).all()
    plain = mosaic(images.astype(np.uint8), lines=False)
    np.testing.assert_array_equal(plain[30:60, 80:120], images[1, 2])


def test_the_first_seed_that_ended_well_is_shown(make_study):
    study = make_study(
        likelihoods=("gaussian",), latent_dims=(2,), diverged=("digits/gaussian/z2/beta1/seed0",)
    )
    fig = draw(study, "latent_space", dim=2)
    ax = next(ax for ax in fig.axes if ax.get_title() == "β = 1")
    with np.load(study / "runs/digits/gaussian/z2/beta1/seed1/codes.npz") as codes:
        np.testing.assert_allclose(ax.collections[0].get_offsets(), codes["mean"])
