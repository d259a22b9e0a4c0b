"""The figures that explain: holes, collapse and effects, against their files."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy import stats

from vae_ablation.evaluation.aggregate import PRIOR_REACH
from vae_ablation.report.figures import FIGURES, Selection, StudyResults, layout, style
from vae_ablation.report.figures.aggregate import hole_field
from vae_ablation.report.figures.effects import effect_limits, margin_band, mark_ratios
from vae_ablation.report.figures.layout import Sheet, evenly, log_ticks
from vae_ablation.study.axes import ArmName

COLORS = {
    name: style.arm_color(ArmName(beta, kind, {}))
    for name, beta, kind in (("beta1", 1, "beta"), ("kl-off", 0, "kl-off"))
}


def draw(
    study: Path, name: str, likelihood: str | None = "gaussian", dim: int | None = None
) -> Any:
    drawn = FIGURES[name].draw(StudyResults(study), Selection("digits", likelihood, dim))
    return drawn and drawn.figure


def arrays(study: Path, arm: str, dim: int, name: str = "pictures") -> dict[str, Any]:
    folder = study / f"runs/digits/gaussian/z{dim}/{arm}/seed0"
    with np.load(folder / f"{name}.npz") as stored:
        return dict(stored)


def texts(fig: Any) -> list[str]:
    return [text.get_text() for text in fig.texts]


def cell(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """One 8 × 8 image of a mosaic: enlarged three times, with a line of one pixel after each."""
    return picture[25 * row : 25 * row + 24 : 3, 25 * column : 25 * column + 24 : 3]


def test_collapse_map_counts_active_units_of_the_beta_arms_alone(study):
    fig = draw(study, "collapse_map")
    ax = fig.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.1", "1", "4"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["2", "4"]
    table = pd.read_csv(study / "tables" / "metrics.csv")
    table = table[(table["likelihood"] == "gaussian") & (table["model"] == "vae")]
    counts = table.groupby(["latent_dim", "beta"])["active_units"].mean()
    cells = iter(text.get_text() for text in ax.texts)
    for dim in (2, 4):
        for beta in (0.1, 1.0, 4.0):
            count = counts[dim, beta]
            assert next(cells) == f"{style.count(count)} of {dim}\n{100 * count / dim:.0f} %"
    assert ax.collections[0].get_clim() == (0, 1)
    share = [counts[dim, beta] / dim for dim in (2, 4) for beta in (0.1, 1.0, 4.0)]
    np.testing.assert_allclose(np.ravel(ax.collections[0].get_array()), share)


def test_a_lost_cell_of_the_collapse_map_is_crossed_and_a_variant_has_its_own_map(make_study):
    runs = tuple(f"digits/gaussian/z2/beta1/seed{seed}" for seed in (0, 1))
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), diverged=runs)
    (ax,) = draw(study, "collapse_map").axes[:1]
    assert [(t.get_text(), t.get_position()) for t in ax.texts if t.get_text() == "×"] == [
        ("×", (1.5, 0.5))
    ]
    for name in ("metrics", "summary"):
        path = study / "tables" / f"{name}.csv"
        table = pd.read_csv(path).assign(architecture="mlp")
        four = table[table["arm"] == "beta4"]
        other = four.assign(arm="beta4-conv", architecture="conv")
        pd.concat([table, other]).to_csv(path, index=False)
    titles = [ax.get_title() for ax in draw(study, "collapse_map").axes]
    assert [title for title in titles if title != "active"] == ["", "conv"]


def segments(collection: Any) -> np.ndarray:
    """Ends and height of horizontal bars, [bars, 3]."""
    return np.array([[s[0, 0], s[1, 0], s[0, 1]] for s in collection.get_segments() if len(s)])


def test_effects_show_the_numbers_of_the_contrasts(study):
    fig = draw(study, "effects")
    table = pd.read_csv(study / "tables" / "contrasts.csv")
    table = table[(table["likelihood"] == "gaussian") & table["primary"]]
    titles = [ax.get_title().split("\n")[0] for ax in fig.axes]
    assert titles == ["rate", "NLL", "active units", "probe accuracy"]
    wanted = table[(table["metric"] == "nll") & (table["question"] != "latent_dim")]
    across = table[(table["metric"] == "nll") & (table["question"] == "latent_dim")]
    across = across[across["arm"].isin(["beta1", "kl-off"])]
    both = pd.concat([wanted, across])
    ax = fig.axes[1]
    seeds = segments(ax.collections[0])
    points = np.concatenate([found.get_offsets() for found in ax.collections[1:]])
    assert len(seeds) == len(points) == len(both) == 8
    np.testing.assert_allclose(np.sort(points[:, 0]), np.sort(both["effect"]))
    for column, found in (("effect_low", seeds[:, 0]), ("effect_high", seeds[:, 1])):
        np.testing.assert_allclose(np.sort(found), np.sort(both[column]))
    (band,) = (patch for patch in ax.patches if patch.get_width() == pytest.approx(1.0))
    assert band.get_x() == pytest.approx(-0.5)
    row = both[(both["arm"] == "beta4") & (both["latent_dim"] == 2)]
    name = next(text for text in fig.texts if text.get_text() == "β = 4")
    height = fig.get_figheight()
    down = height * (1 - name.get_position()[1]) - height * (1 - ax.get_position().y1)
    at = seeds[np.isclose(seeds[:, 2], down)]
    np.testing.assert_allclose(at[0, :2], row[["effect_low", "effect_high"]].to_numpy()[0])
    assert "against β = 1" in texts(fig)
    assert "against latent 4" in texts(fig)
    assert "Pairs of seeds: 2." in texts(fig)


def test_an_endless_interval_does_not_hide_the_means():
    table = pd.DataFrame(
        {"effect": [1.0, 2.0], "effect_low": [-500.0, 1.5], "effect_high": [500.0, 2.5],
         "scale": "identity"}
    )  # fmt: skip
    low, high = effect_limits(table)
    assert -3 < low < 0
    assert 2.5 < high < 5
    narrow = table.assign(effect_low=table["effect"], effect_high=table["effect"])
    low, high = effect_limits(narrow)
    assert -0.2 < low < 0
    assert 2 < high < 2.2
    low, high = effect_limits(narrow.assign(scale="log"))
    assert 0.9 < low < 1
    assert 2 < high < 2.2


def test_ratios_have_a_band_of_ratios():
    rows = {"scale": "log", "margin": np.log(1.25), "reference_mean": [3.0, 8.0]}
    assert margin_band(pd.DataFrame(rows)) == pytest.approx((0.8, 1.25))
    assert margin_band(pd.DataFrame({**rows, "margin": np.nan})) is None


def test_the_aggregate_posterior_is_the_stored_density_beside_the_prior(study):
    fig = draw(study, "aggregate_posterior", dim=2)
    panels = [ax for ax in fig.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == ["KL off", "β = 0.1", "β = 1", "β = 4"]
    stored = arrays(study, "beta4", 2, "density")
    ax = panels[-1]
    image = ax.images[0]
    low, high, _, _ = image.get_extent()
    assert (low, high) == (stored["side"][0], stored["side"][-1])
    shown = stored["log_q"] > -14
    np.testing.assert_array_equal(image.get_array()[shown], stored["log_q"][shown])
    radii = [patch.radius for patch in ax.patches if isinstance(patch, Circle)]
    np.testing.assert_allclose(stats.chi2.cdf(np.square(radii), 2), [0.5, 0.95])
    assert ax.get_xlim()[1] > radii[1]


def test_hatched_is_what_lies_below_the_stored_level_within_the_prior(study):
    stored = arrays(study, "beta1", 2, "density")
    inside = np.hypot(*np.meshgrid(stored["hole_side"], stored["hole_side"])) < PRIOR_REACH
    below = stored["hole_log_q"] < stored["hole_level"]
    np.testing.assert_array_equal(hole_field(stored) > 0, below & inside)
    assert 0 < (below & inside).sum() < inside.sum()


def test_the_aggregate_posterior_is_of_planes_and_of_posteriors_with_a_width(make_study):
    study = make_study(likelihoods=("gaussian",), latent_dims=(2, 4), seeds=(0,), point=True)
    assert draw(study, "aggregate_posterior", dim=4) is None
    titles = [ax.get_title() for ax in draw(study, "aggregate_posterior", dim=2).axes]
    assert "KL off" in titles
    assert "deterministic" not in titles


def test_evenly_spaced_positions_include_both_ends():
    shown = evenly(100, 24)
    assert len(set(shown)) == 24
    assert (shown[0], shown[-1]) == (0, 99)
    np.testing.assert_array_equal(evenly(7, 24), np.arange(7))
    assert len(evenly(0, 24)) == 0


def test_what_was_not_written_yet_draws_nothing(make_study):
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), seeds=(0,), pictures=False,
                       statistics=False)  # fmt: skip
    assert draw(study, "effects", dim=2) is None
    results = StudyResults(study)
    for table in (results.contrasts, results.importance, results.pareto, results.failures):
        assert table.empty
    assert results.snapshots("digits/gaussian/z2/beta1/seed0") is None


def test_data_that_are_no_images_have_no_pictures_and_still_a_contrast(make_study):
    study = make_study()
    for path in study.rglob("pictures.npz"):
        np.savez(path)
    assert draw(study, "kl_on_off", dim=2) is not None


def test_classes_of_cells_are_named_in_the_legend(make_study):
    study = make_study()
    for path in study.rglob("codes.npz"):
        arrays = dict(np.load(path))
        names = [f"type {label}" for label in range(arrays["labels"].max() + 1)]
        np.savez(path, **arrays, label_names=np.array(names))
    fig = draw(study, "latent_space", dim=2)
    found = {text.get_text() for legend in fig.legends for text in legend.get_texts()}
    assert {"0 type 0", "1 type 1"} <= found


def test_numbers_that_name_classes_stand_alone(make_study):
    """A position beside them would be taken for a label."""
    study = make_study()
    for path in study.rglob("codes.npz"):
        arrays = dict(np.load(path))
        names = [str(1000 * label + 7) for label in range(arrays["labels"].max() + 1)]
        np.savez(path, **arrays, label_names=np.array(names))
    fig = draw(study, "latent_space", dim=2)
    found = {text.get_text() for legend in fig.legends for text in legend.get_texts()}
    assert {"label 7", "label 1007"} <= found
    written = {text.get_text() for text in fig.axes[0].texts}
    assert {"7", "1007"} <= written
    assert not {"0", "1"} & written


def test_small_print_takes_a_line_and_no_more():
    plain, noted = (Sheet(6, 2, ("title", "below"), note=note) for note in ("", "Pairs: 3."))
    assert noted.height - plain.height == pytest.approx(0.23)
    assert noted.height < 2.5


def test_no_module_gives_one_name_two_values():
    for path in Path(layout.__file__).parents[2].rglob("*.py"):
        body = ast.parse(path.read_text("utf-8")).body
        plain = [target for one in body if isinstance(one, ast.Assign) for target in one.targets]
        noted = [one.target for one in body if isinstance(one, ast.AnnAssign)]
        names = [one.id for one in (*plain, *noted) if isinstance(one, ast.Name)]
        assert len(names) == len(set(names)), path


def test_effects_fit_a_page_and_write_no_name_over_another(study):
    fig = draw(study, "effects")
    assert fig.get_figheight() < 8
    FigureCanvasAgg(fig).draw()
    boxes = [text.get_window_extent() for text in fig.texts]
    titles = [ax.title.get_window_extent() for ax in fig.axes]
    for written in (boxes, titles):
        for i, one in enumerate(written):
            assert not any(one.overlaps(other) for other in written[i + 1 :])


def test_ticks_of_logarithms_are_plain_numbers(study):
    fig = Figure()
    ax = fig.add_subplot()
    ax.set(yscale="log", ylim=(1e-6, 1e6))
    log_ticks(ax.yaxis)
    FigureCanvasAgg(fig).draw()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert {"1e−6", "0.001", "1", "1000", "1e6"} >= {*names[1:-1]}
    assert len(names) >= 3
    assert style.power(0.0001) == "0.0001"


def test_likelihoods_have_their_proper_names():
    assert style.plain("log_normal_gaussian") == "log-normal Gaussian"
    assert style.plain("my_own") == "my_own"


@pytest.mark.parametrize(
    ("low", "high", "names"),
    [
        (0.9, 2.2, ["×1", "×2"]),
        (0.2, 8, ["×0.3", "×1", "×3"]),
        (1e-4, 20, ["×0.0001", "×0.01", "×1"]),
    ],
)
def test_an_axis_of_ratios_has_a_few_marks_with_1_among_them(low, high, names):
    fig = Figure()
    ax = fig.add_subplot()
    ax.set(xscale="log", xlim=(low, high))
    mark_ratios(ax, ratios=True)
    FigureCanvasAgg(fig).draw()
    assert [label.get_text() for label in ax.get_xticklabels()] == names


def test_names_of_axes_stay_on_the_sheet(study):
    for name in ("effects", "dose_response", "collapse_map"):
        fig = draw(study, name)
        FigureCanvasAgg(fig).draw()
        for ax in fig.axes:
            assert ax.yaxis.label.get_window_extent().x0 >= 0, (name, ax.get_ylabel())
