"""Figures of denoising and of predictive checks, against the tables and arrays that they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import stats

from vae_ablation.report.figures import FIGURES, Selection, StudyResults, style
from vae_ablation.report.figures.denoising import limits, seed_means

LIKELIHOODS = ("negative_binomial", "poisson", "zero_inflated_negative_binomial")
AXES = ["run", "dataset", "likelihood", "latent_dim", "arm", "beta", "kl", "posterior", "seed"]
BASELINES = {"gene_mean": 1.3, "log_pca": 1.15, "observed": 9.0}
QUALITY = {"negative_binomial": 0.9, "poisson": 1.1, "zero_inflated_negative_binomial": 0.95}
METRICS = {
    "thin": [("removed", "poisson_deviance"), ("all", "mean_absolute_error"), ("all", "spearman"),
             ("all", "truth_spearman"), ("all", "rmse")],
    "zero": [(subject, metric) for subject in ("zeroed", "left_alone")
             for metric in ("median_absolute_error", "poisson_deviance", "spearman")],
}  # fmt: skip


def denoising_rows(run: Any, kind: str) -> list[dict[str, Any]]:
    worse = 0.1 * abs(np.log10(run["beta"])) if run["kl"] else 0.4
    values = {"vae": QUALITY[run["likelihood"]] + worse + 0.02 * run["seed"], **BASELINES}
    return [
        {**run[AXES], "application": "denoising", "subject": subject, "method": method,
         "metric": metric, "value": value if "spearman" not in metric else 1 / (1 + value)}
        for subject, metric in METRICS[kind] for method, value in values.items()
    ]  # fmt: skip


def cells_of(likelihood: str, rng: Any, genes: int = 150, cells: int = 300) -> Any:
    """Counts that a model of this likelihood would simulate of zero-inflated cells."""
    mean = np.geomspace(0.05, 60, genes) * np.random.default_rng(0).lognormal(0, 0.3, (cells, 1))
    if likelihood == "poisson":
        return rng.poisson(0.8 * mean)
    drawn = rng.poisson(mean * rng.gamma(2.0, 0.5, mean.shape))
    if likelihood == "negative_binomial":
        return rng.poisson(0.8 * mean * rng.gamma(1.0, 1.0, mean.shape))
    return drawn * (rng.random(mean.shape) > 0.2)


def arrays_of(whose: str, counts: Any) -> dict[str, Any]:
    empty = counts == 0
    return {
        f"predictive_checks/{whose}_zero_fraction": empty.mean(0),
        f"predictive_checks/{whose}_mean": counts.mean(0),
        f"predictive_checks/{whose}_variance": counts.var(0),
        f"predictive_checks/{whose}_cell_zero_fraction": np.quantile(
            empty.mean(1), np.linspace(0, 1, 101)
        ),
    }


def check_rows(run: Any, arrays: dict[str, Any]) -> list[dict[str, Any]]:
    seen, mine = (arrays[f"predictive_checks/{of}_zero_fraction"] for of in ("observed", "vae"))
    found = {"zero_inflation": (seen - mine).mean(), "coverage": 0.87, "log_variance_rmse": 0.31,
             "log_cv2_rmse": 0.42, "cell_zero_fraction_ks": 0.53}  # fmt: skip
    return [
        {**run[AXES], "application": "predictive_checks", "subject": "all", "method": "vae",
         "metric": metric, "value": value} for metric, value in found.items()
    ]  # fmt: skip


def write_applications(study: Path, kind: str) -> Path:
    metrics = pd.read_csv(study / "tables" / "metrics.csv")
    fine = metrics[(metrics["model"] == "vae") & (metrics["status"] == "ok")]
    rows: list[dict[str, Any]] = []
    for _, run in fine.iterrows():
        rng = np.random.default_rng([int(run["seed"]), LIKELIHOODS.index(run["likelihood"])])
        observed = cells_of("zero_inflated_negative_binomial", np.random.default_rng(99))
        arrays = arrays_of("observed", observed)
        arrays |= arrays_of("vae", cells_of(run["likelihood"], rng))
        np.savez(study / "runs" / run["run"] / "applications.npz", **arrays)
        rows += denoising_rows(run, kind) + check_rows(run, arrays)
    pd.DataFrame(rows).to_csv(study / "tables" / "applications.csv", index=False)
    return study


@pytest.fixture(scope="module")
def make(synthetic: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def build(kind: str = "thin", **changes: Any) -> StudyResults:
        plan = {"dataset": "cells", "likelihoods": LIKELIHOODS, "latent_dims": (4,),
                "seeds": (0, 1, 2), "pictures": False, "umap": False} | changes  # fmt: skip
        study = synthetic.build(tmp_path_factory.mktemp("cells") / "study", synthetic.Plan(**plan))
        return StudyResults(write_applications(study, kind))

    return build


@pytest.fixture(scope="module")
def thin(make: Any) -> StudyResults:
    return make("thin")


@pytest.fixture(scope="module")
def zero(make: Any) -> StudyResults:
    return make("zero")


def draw(results: StudyResults, name: str, dim: int = 4) -> Any:
    drawn = FIGURES[name].draw(results, Selection("cells", None, dim))
    return drawn and drawn.figure


def panel(fig: Any, subject: str, label: str) -> Any:
    (ax,) = [
        ax for ax in fig.axes if ax.get_title() == subject and ax.get_ylabel().startswith(label)
    ]
    return ax


def color(likelihood: str) -> str:
    return style.likelihood_styles(LIKELIHOODS)[likelihood][0]


def points(ax: Any, of: str) -> dict[float, float]:
    """Points of one colour without a line: place of the arm, rounded, and value."""
    (line,) = [
        line for line in ax.lines
        if line.get_linestyle() == "None" and to_hex(line.get_color()) == of
    ]  # fmt: skip
    return {round(x): y for x, y in line.get_xydata()}


def test_denoising_has_the_panels_of_the_kind_of_corruption(thin, zero):
    titles = [(ax.get_title(), ax.get_ylabel()) for ax in draw(thin, "denoising").axes]
    assert titles == [
        ("removed molecules", "Poisson deviance (nats)"),
        ("all clean counts", "mean |error| (log1p)"),
        ("all clean counts", "rank correlation"),
        ("all clean counts", "rank correlation with truth"),
    ]
    titles = [(ax.get_title(), ax.get_ylabel()) for ax in draw(zero, "denoising").axes]
    assert titles == [
        ("counts that were zeroed", "median |error| (log1p)"),
        ("counts that were zeroed", "Poisson deviance (nats)"),
        ("counts that were zeroed", "rank correlation"),
        ("counts left unchanged", "median |error| (log1p)"),
        ("counts left unchanged", "Poisson deviance (nats)"),
    ]


def test_denoising_shows_means_over_seeds_with_student_intervals(thin):
    ax = panel(draw(thin, "denoising"), "all clean counts", "mean |error|")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["KL off", "0.1", "1", "4"]
    table = thin.applications
    table = table[(table["metric"] == "mean_absolute_error") & (table["method"] == "vae")]
    for likelihood in LIKELIHOODS:
        shown = points(ax, color(likelihood))
        for place, arm in enumerate(["kl-off", "beta0.1", "beta1", "beta4"]):
            rows = table[(table["likelihood"] == likelihood) & (table["arm"] == arm)]
            assert shown[place] == pytest.approx(rows["value"].mean())
    found = seed_means(table)
    one = found[(found["likelihood"] == "poisson") & (found["arm"] == "beta1")].iloc[0]
    half = stats.t.ppf(0.975, 2) * stats.sem([1.1, 1.12, 1.14])
    assert (one["low"], one["high"]) == pytest.approx((1.12 - half, 1.12 + half))
    ends = [s[:, 1] for c in ax.collections for s in c.get_segments()]
    assert any(np.allclose(end, [one["low"], one["high"]]) for end in ends)


def test_baselines_are_lines_and_one_far_outside_is_written_at_the_edge(thin):
    ax = panel(draw(thin, "denoising"), "all clean counts", "mean |error|")
    levels = [line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1
              and len(line.get_ydata()) == 2]  # fmt: skip
    assert levels == pytest.approx([1.3, 1.15])
    assert [text.get_text() for text in ax.texts] == ["observed counts 9.00 ↑", ""]
    assert ax.get_ylim()[1] < 9


def test_only_arms_of_the_same_latent_dimension_are_compared(make):
    both = make("thin", latent_dims=(2, 4), seeds=(0,), likelihoods=LIKELIHOODS[:2])
    table = both.applications
    table.loc[table["latent_dim"] == 2, "value"] *= 3
    ax = panel(draw(both, "denoising", 4), "all clean counts", "mean |error|")
    assert max(points(ax, color("poisson")).values()) < 2
    # One seed has no interval.
    assert not [s for c in ax.collections for s in c.get_segments() if len(s)]


def test_an_interval_of_two_seeds_does_not_hide_the_means():
    found = pd.DataFrame({"mean": [1.0, 1.1], "low": [-7.0, np.nan], "high": [9.0, np.nan]})
    low, high = limits(found, [1.2, 40.0])
    assert -0.1 < 1.2 - high < 0
    assert 0.8 < low < 1.0


def test_simulated_and_observed_genes_are_those_of_the_arrays(thin):
    fig = draw(thin, "predictive_checks")
    assert len(fig.axes) == 4 * len(LIKELIHOODS)
    for i, likelihood in enumerate(LIKELIHOODS):
        arrays = thin.applied(f"cells/{likelihood}/z4/beta1/seed0", "predictive_checks")
        zeros, variance, cv2, cells = fig.axes[i :: len(LIKELIHOODS)]
        shown = zeros.collections[0]
        expected = np.c_[arrays["observed_zero_fraction"], arrays["vae_zero_fraction"]]
        np.testing.assert_allclose(shown.get_offsets(), expected)
        assert to_hex(shown.get_facecolor()[0]) == color(likelihood)
        for k, whose in enumerate(("observed", "vae")):
            mean, var = arrays[f"{whose}_mean"], arrays[f"{whose}_variance"]
            np.testing.assert_allclose(variance.collections[k].get_offsets(), np.c_[mean, var])
            there = mean > 0
            np.testing.assert_allclose(
                np.ma.filled(cv2.collections[k].get_offsets(), np.nan)[there],
                np.c_[mean, var / np.where(there, mean, 1) ** 2][there],
            )
            np.testing.assert_allclose(
                cells.lines[k].get_xdata(), arrays[f"{whose}_cell_zero_fraction"]
            )
    texts = [text.get_text() for text in fig.texts]
    assert texts.count("β = 1, 87 % inside 90 %") == 3


def test_panels_of_a_row_share_their_limits_and_say_their_score(thin):
    fig = draw(thin, "predictive_checks")
    for row in range(4):
        axes = fig.axes[3 * row : 3 * row + 3]
        assert len({ax.get_ylim() for ax in axes}) == len({ax.get_xlim() for ax in axes}) == 1
    said = [ax.texts[0].get_text() for ax in fig.axes[1::3]]
    table = thin.applications
    mine = table[(table["run"] == "cells/poisson/z4/beta1/seed0")]
    missing = mine.loc[mine["metric"] == "zero_inflation", "value"].iloc[0]
    assert missing > 0.1
    assert said == [f"missing zeros {style.number(missing)}", "RMSE of ln variance 0.31",
                    "RMSE of ln CV² 0.42", "KS distance 0.53"]  # fmt: skip


def test_the_line_of_a_poisson_has_its_variance_equal_to_its_mean(thin):
    fig = draw(thin, "predictive_checks")
    _, variance, cv2, _ = fig.axes[::3]
    x, y = variance.lines[0].get_data()
    np.testing.assert_allclose(x, y)
    x, y = cv2.lines[0].get_data()
    np.testing.assert_allclose(x * y, 1)


def test_a_likelihood_whose_runs_diverged_has_no_column_and_is_named_below(make):
    lost = tuple(
        f"cells/poisson/z4/{arm}/seed{seed}"
        for arm in ("kl-off", "beta0.1", "beta1", "beta4") for seed in (0, 1, 2)
    )  # fmt: skip
    fig = draw(make("thin", diverged=lost), "predictive_checks")
    assert len(fig.axes) == 8
    texts = [text.get_text() for text in fig.texts]
    assert any("3 of 9 runs diverged" in text for text in texts)
    assert "poisson" not in texts


def test_where_nothing_was_applied_there_is_no_figure(thin, tmp_path, make):
    other = Selection("digits", None, 4)
    assert FIGURES["denoising"].draw(thin, other) is None
    assert FIGURES["predictive_checks"].draw(thin, other) is None
    without = make("thin", seeds=(0,))
    for path in (without.study_dir / "runs").rglob("applications.npz"):
        path.unlink()
    assert draw(without, "predictive_checks") is None


@pytest.mark.parametrize("name", ["denoising", "predictive_checks"])
def test_the_figures_are_biology_with_a_caption(name):
    spec = FIGURES[name]
    assert (spec.scope, spec.category, spec.per_latent_dim) == ("dataset", "Biology", True)
    captions = Path(__file__).parents[3] / "workflow/report/figures"
    assert len((captions / f"{name}.rst").read_text(encoding="utf-8")) > 300
