"""What the figures show, held against numbers computed here from the files of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Circle

from vae_ablation.report.figures import FIGURES, Selection, StudyResults, style
from vae_ablation.report.figures.drawing import drawn_values
from vae_ablation.report.figures.latent import scatter
from vae_ablation.report.figures.layout import mosaic


def draw(
    study: Path, name: str, likelihood: str | None = "gaussian", dim: int | None = None
) -> Any:
    return drawing(study, name, likelihood, dim).figure


def drawing(
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
    assert ax.get_title().startswith("Gaussian")
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


def test_dose_response_shows_means_over_seeds_in_the_order_of_beta(study):
    drawn = drawing(study, "dose_response")
    ax = next(ax for ax in drawn.figure.axes if ax.get_ylabel().startswith("rate"))
    table = rows(study, likelihood="gaussian", model="vae")
    means = table.groupby(["arm", "latent_dim"])["rate"].mean()
    for line, dim in zip(
        [x for x in ax.lines if len(x.get_xdata()) == 3][::2], (2, 4), strict=True
    ):
        expected = [means[arm, dim] for arm in ("beta0.1", "beta1", "beta4")]
        np.testing.assert_allclose(line.get_ydata(), expected)
        assert (np.diff(line.get_xdata()) > 0).all(), "KL off is not joined"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["KL\noff", "0.1", "1", "4"]
    data = drawn.data.query("metric == 'rate' and latent_dim == 4").set_index("arm")["mean"]
    np.testing.assert_allclose([data[arm] for arm in ("kl-off", "beta1")],
                               [means["kl-off", 4], means["beta1", 4]])  # fmt: skip


def test_one_beta_has_no_dose_response(make_study):
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), betas=(1.0,), seeds=(0,))
    assert drawing(study, "dose_response") is None


def test_the_data_of_a_figure_are_what_it_shows(study):
    plane = drawing(study, "rate_distortion", None).data
    mine = plane.query("likelihood == 'gaussian' and latent_dim == 4").set_index("arm")
    table = rows(study, likelihood="gaussian", latent_dim=4, arm="beta1")
    assert mine.loc["beta1", "rate"] == pytest.approx(table["rate"].mean())
    assert mine.loc["beta1", "distortion"] == pytest.approx(table["distortion"].mean())
    assert mine.loc["beta1", "rate_low"] < mine.loc["beta1", "rate"]
    codes = drawing(study, "latent_space", dim=2).data
    with np.load(study / "runs/digits/gaussian/z2/beta4/seed0/codes.npz") as stored:
        own = codes[codes["arm"] == "beta4"]
        np.testing.assert_allclose(own[["x", "y"]], stored["mean"][own["example"]])
        np.testing.assert_array_equal(own["label"], stored["labels"][own["example"]])
    counts = drawing(study, "collapse_map").data
    assert set(counts["arm"]) == {"beta0.1", "beta1", "beta4"}


def test_values_of_a_bare_figure_are_read_off_its_panels():
    from matplotlib.figure import Figure

    fig = Figure()
    left, right = fig.subplots(1, 2)
    left.plot([1, 2], [3, 4], label="one\nline")
    left.set(title="first", xlabel="x", ylabel="y")
    right.scatter([5], [6])
    right.plot(["beta1", "kl-off"], [9, 10])
    right.bar([0, 1], [7, 8], width=1)
    found = drawn_values(fig)
    assert found.iloc[:2].to_numpy().tolist() == [
        ["first", "x", "y", "line", "one line", 1.0, 3.0],
        ["first", "x", "y", "line", "one line", 2.0, 4.0],
    ]
    assert found.iloc[2:4]["x"].tolist() == ["beta1", "kl-off"]
    assert found.iloc[4, 3:].tolist() == ["points", "", 5.0, 6.0]
    assert found.iloc[5:]["y"].tolist() == [7.0, 8.0]
    assert len(drawn_values(Figure())) == 0


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
