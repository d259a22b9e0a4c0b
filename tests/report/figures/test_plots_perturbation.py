from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from vae_ablation.report.figures import FIGURES, Selection, StudyResults, style
from vae_ablation.report.figures.modalities import protein_table
from vae_ablation.report.figures.perturbation import Bar, draw_bars, method_bars
from vae_ablation.study.axes import ArmName

ARMS = {"beta1": 1.0, "beta4": 4.0, "kl-off": 0.0}
LIKELIHOODS = ("negative_binomial", "poisson")
SUBJECTS = ("p1+p3", "p2+p3", "T cells:p3")
GENES = 60
PROTEINS = tuple(f"protein{i + 1:02d}" for i in range(6))
DIRECTIONS = ("RNA → protein", "protein → RNA", "both → protein", "both → RNA")
SCORE = {"beta1": 0.9, "beta4": 0.8, "kl-off": 0.6}


def run_rows() -> list[dict[str, Any]]:
    return [
        {
            "run": f"cells/{likelihood}/z8/{arm}/seed{seed}", "model": "vae", "dataset": "cells",
            "likelihood": likelihood, "latent_dim": 8, "arm": arm, "beta": beta, "kl": beta > 0,
            "posterior": "gaussian", "seed": seed, "status": "ok", "reason": None,
            "measure": "count/mass", "proper": True,
        }
        for likelihood in LIKELIHOODS for arm, beta in ARMS.items() for seed in (0, 1)
    ]  # fmt: skip


def scores(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Planted scores: a level for each arm, less 0.05 for the second seed."""
    level = SCORE[row["arm"]] - 0.05 * row["seed"]
    found = []
    for k, subject in enumerate(SUBJECTS):
        for metric in ("r2", "r2_top", "delta_pearson"):
            found.append(("perturbation", subject, "vae", metric, level - 0.1 * k))
            found.append(("perturbation", subject, "raw_difference", metric, 0.7))
        found.append(("perturbation", subject, "control", "r2", -0.9))
        found.append(("perturbation", subject, "truth", "effect_p", (0.005, 0.01, 0.4)[k]))
    for k, subject in enumerate((*DIRECTIONS, *PROTEINS)):
        alone = "both" not in subject
        found.append(("modalities", subject, "vae", "pearson", level - 0.05 * k))
        found += [("modalities", subject, m, "pearson", 0.5) for m in ("ridge", "knn") if alone]
    axes = {name: row[name] for name in row if name not in {"model", "status", "reason"}}
    names = ("application", "subject", "method", "metric", "value")
    return [axes | dict(zip(names, one, strict=True)) for one in found]


def arrays(row: dict[str, Any]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    control = rng.gamma(2, 0.8, (len(SUBJECTS), GENES))
    change = rng.normal(0, 1, control.shape) * (rng.random(control.shape) < 0.2)
    true = np.maximum(control + change, 0)
    predicted = true + rng.normal(0, 1 - SCORE[row["arm"]], true.shape)
    measured = rng.gamma(3, 0.6, (80, len(PROTEINS)))
    found = {
        "perturbation/true": true,
        "perturbation/control": control,
        "perturbation/vae": predicted,
        "perturbation/raw_difference": true,
        "perturbation/top": np.argsort(-np.abs(change), axis=1)[:, :12],
        "perturbation/subjects": np.array(SUBJECTS),
        "perturbation/genes": np.array([f"gene{i:03d}" for i in range(GENES)]),
        "modalities/proteins": np.array(PROTEINS),
        "modalities/measured": measured,
        "modalities/predicted": measured + rng.normal(0, 0.4, measured.shape),
        "modalities/labels": rng.integers(0, 3, 80),
    }
    return {name: values.astype(np.float32) if values.dtype.kind == "f" else values
            for name, values in found.items()}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    rows = run_rows()
    tables = tmp_path / "tables"
    tables.mkdir()
    pd.DataFrame(rows).to_csv(tables / "metrics.csv", index=False)
    table = pd.DataFrame([score for row in rows for score in scores(row)])
    table.to_csv(tables / "applications.csv", index=False)
    for row in rows:
        folder = tmp_path / "runs" / row["run"]
        folder.mkdir(parents=True)
        np.savez(folder / "applications.npz", **arrays(row))
    return tmp_path


def change_table(study: Path, change: Any) -> None:
    path = study / "tables" / "applications.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def draw(study: Path, name: str, likelihood: str = "negative_binomial") -> Figure | None:
    drawn = FIGURES[name].draw(StudyResults(study), Selection("cells", likelihood, 8))
    return drawn and drawn.figure


def drawn(study: Path, name: str) -> Figure:
    found = draw(study, name)
    assert isinstance(found, Figure)
    return found


def titled(fig: Figure, title: str) -> Axes:
    (ax,) = [ax for ax in fig.axes if ax.get_title() == title]
    return ax


def bar_lengths(ax: Axes) -> list[float]:
    return [bar.get_width() for bar in ax.patches]


def texts(fig: Figure) -> list[str]:
    return [text.get_text() for text in fig.texts]


def test_predicted_is_drawn_against_real_with_the_way_from_the_control(study):
    fig = drawn(study, "perturbation")
    stored = arrays(run_rows()[0])
    ax = titled(fig, "T cells:p3\nβ = 1")
    genes, ways, top = ax.collections
    np.testing.assert_allclose(
        genes.get_offsets(), np.stack([stored[f"perturbation/{n}"][2] for n in ("true", "vae")], 1)
    )
    chosen = stored["perturbation/top"][2]
    assert len(top.get_offsets()) == len(chosen) == 12
    for gene, way in zip(chosen, ways.get_segments(), strict=True):
        x = stored["perturbation/true"][2, gene]
        ends = [stored[f"perturbation/{name}"][2, gene] for name in ("control", "vae")]
        np.testing.assert_allclose(way, [[x, ends[0]], [x, ends[1]]], rtol=1e-6)
    assert to_hex(top.get_facecolor()[0]) == style.arm_color(ArmName(1, "beta", {}))
    names = {text.get_text() for text in ax.texts}
    assert names
    assert names <= {f"gene{gene:03d}" for gene in chosen[:5]}


def test_a_transfer_and_a_combination_are_shown_for_both_arms(study):
    titles = [ax.get_title() for ax in drawn(study, "perturbation").axes[:4]]
    assert titles == [
        "T cells:p3\nβ = 1", "T cells:p3\nKL off", "p1+p3\nβ = 1", "p1+p3\nKL off",
    ]  # fmt: skip


def test_bars_are_means_over_conditions_and_seeds(study):
    fig = drawn(study, "perturbation")
    ax = titled(fig, "change, all genes (r)")
    # Levels 0.9 and 0.85 of two seeds, less 0, 0.1 and 0.2 for the three conditions.
    assert bar_lengths(ax) == pytest.approx([0.775, 0.475, 0.7])
    dots = ax.lines[0].get_xdata()
    np.testing.assert_allclose(dots, [0.8, 0.75])
    assert [t.get_text() for t in ax.texts] == ["0.77", "0.47", "0.70", "undefined"]
    shown = [name for name in texts(fig) if name.startswith("VAE") or name in
             {"raw difference", "no change"}]  # fmt: skip
    assert shown == ["VAE, β = 1", "VAE, KL off", "raw difference", "no change"]


def test_conditions_with_a_measurable_effect_are_counted(study):
    assert any(
        "With a measurable effect: 2." in text for text in texts(drawn(study, "perturbation"))
    )


def test_a_score_far_below_0_is_cut_off_and_written(study):
    ax = titled(drawn(study, "perturbation"), "R², all genes")
    assert bar_lengths(ax)[-1] == -0.25
    assert ax.texts[-1].get_text() == "−0.90"


def test_a_baseline_counts_once_however_many_runs_repeat_it():
    table = pd.DataFrame(
        {"subject": ["a", "b"] * 3 + ["c"], "method": "ridge", "arm": "beta1",
         "seed": [0, 0, 1, 1, 2, 2, 0], "value": [0.0, 0.6, 0.0, 0.6, 0.0, 0.6, 0.3]}
    )  # fmt: skip
    table["metric"] = "pearson"
    names = {"ridge": "ridge regression", "knn": "15 neighbours"}
    (bar,) = method_bars(table, [], names, "pearson")
    assert bar.values == pytest.approx([0.3])
    assert bar.chance is None
    nulls = table.assign(metric="pearson_null_95", value=table["value"] / 3)
    (bar,) = method_bars(pd.concat([table, nulls]), [], names, "pearson")
    assert bar.values == pytest.approx([0.3])
    assert bar.chance == pytest.approx(0.1)


def test_what_chance_reaches_is_an_upright_line_on_its_bar():
    ax = Figure().add_subplot()
    draw_bars(
        ax, [Bar("a", "#000000", np.array([0.4]), 0.25), Bar("b", "#000000", np.array([0.4]))]
    )
    (line,) = [c.get_segments() for c in ax.collections]
    np.testing.assert_allclose(line, [[[0.25, -0.42], [0.25, 0.42]]])


def test_what_is_undefined_is_said_and_not_drawn_as_0():
    ax = Figure().add_subplot()
    draw_bars(ax, [Bar("a", "#000000", np.empty(0)), Bar("b", "#000000", np.array([0.4]))])
    assert [(t.get_text(), t.get_position()[1]) for t in ax.texts] == [("undefined", 0),
                                                                      ("0.40", 1)]  # fmt: skip
    assert bar_lengths(ax) == [0.4]


def test_modalities_show_every_protein_with_its_correlation(study):
    fig = drawn(study, "modalities")
    ax = titled(fig, "each protein, from RNA")
    assert [label.get_text() for label in ax.get_yticklabels()] == list(PROTEINS)
    on, off, knn, ridge = (line.get_xdata() for line in ax.lines)
    np.testing.assert_allclose(on, [0.875 - 0.05 * (4 + i) for i in range(6)])
    np.testing.assert_allclose(off, [0.575 - 0.05 * (4 + i) for i in range(6)])
    np.testing.assert_allclose([ridge, knn], 0.5)


def test_proteins_are_ordered_by_how_well_they_are_predicted():
    pearson = pd.DataFrame(
        {"subject": ["a", "b", "c", "b"], "method": ["vae", "vae", "vae", "ridge"],
         "arm": "beta1", "value": [0.1, 0.9, 0.5, 0.7]}
    )  # fmt: skip
    found = protein_table(pearson, ["a", "b", "c"], ["beta1"])
    assert list(found.index) == ["b", "c", "a"]
    assert found["ridge"].dropna().to_dict() == {"b": 0.7}
    many = [f"protein{i}" for i in range(100)]
    wide = pd.DataFrame({"subject": many, "method": "vae", "arm": "beta1",
                         "value": np.linspace(1, 0, 100)})  # fmt: skip
    shown = list(protein_table(wide, many, ["beta1"]).index)
    assert len(shown) == 24
    assert (shown[0], shown[-1]) == ("protein0", "protein99")


def test_modalities_have_a_block_of_bars_for_each_direction(study):
    fig = drawn(study, "modalities")
    blocks = [ax for ax in fig.axes if ax.patches]
    assert [bar_lengths(ax) for ax in blocks] == [
        pytest.approx([0.875, 0.575, 0.5, 0.5]),
        pytest.approx([0.825, 0.525, 0.5, 0.5]),
        pytest.approx([0.775, 0.475]),
        pytest.approx([0.725, 0.425]),
    ]


def test_measured_proteins_are_drawn_against_predicted_ones(study):
    stored = arrays(run_rows()[0])
    ax = titled(drawn(study, "modalities"), "protein01")
    np.testing.assert_allclose(
        ax.collections[0].get_offsets(),
        np.stack([stored[f"modalities/{name}"][:, 0] for name in ("measured", "predicted")], 1),
    )


@pytest.mark.parametrize("name", ["perturbation", "modalities"])
def test_a_study_without_the_application_has_no_such_figure(study, name):
    other = {"perturbation": "modalities", "modalities": "perturbation"}[name]
    change_table(study, lambda table: table[table["application"] == other])
    assert draw(study, name) is None
    assert draw(study, other) is not None
    (study / "tables" / "applications.csv").unlink()
    assert draw(study, other) is None


def test_only_runs_with_scores_are_shown(study):
    # Of two architectures one has no modalities: its arm comes first and must not be picked.
    change_table(study, lambda t: t[(t["application"] != "modalities") | (t["arm"] != "beta1")])
    ax = titled(drawn(study, "modalities"), "protein01")
    assert to_hex(ax.collections[0].get_facecolor()[0]) == style.arm_color(ArmName(4, "beta", {}))


@pytest.mark.parametrize("name", ["perturbation", "modalities"])
def test_the_figures_stand_under_biology_with_a_caption(name):
    assert FIGURES[name].category == "Biology"
    caption = Path("workflow/report/figures") / f"{name}.rst"
    assert caption.read_text(encoding="utf-8").startswith("**")
