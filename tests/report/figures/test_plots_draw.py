"""What is written to disk, for studies of every kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from matplotlib.text import Text

from vae_ablation.report.figures import FIGURES, Selection, StudyResults, draw_figures, style
from vae_ablation.report.figures.registry import figure

CAPTIONS = Path(__file__).parents[3] / "workflow" / "report" / "figures"
LIKELIHOOD_WIDE = {f"all/{name}" for name in ("collapse_map", "dose_response", "effects")}
PER_DIM = {"latent_space"}
PLANE = {"z2/kl_on_off", "z2/aggregate_posterior"}


def names(folder: Path, suffix: str = "png") -> set[str]:
    found = folder.rglob(f"*.{suffix}")
    return {str(path.relative_to(folder).with_suffix("")) for path in found}


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files in place of pictures, where only their names matter."""

    def touch(_: Figure, stem: Path, vector: Any = ()) -> list[Path]:
        path = stem.with_name(f"{stem.name}.png")
        path.touch()
        return [path]

    monkeypatch.setattr(style, "save", touch)


def texts(fig: Figure) -> list[str]:
    return [text.get_text() for text in fig.findobj(Text)]


def test_every_figure_of_a_likelihood_is_drawn(study, tmp_path):
    written = draw_figures(study, "digits", "gaussian", tmp_path / "out")
    expected = LIKELIHOOD_WIDE | PLANE
    expected |= {f"z{d}/{name}" for d in (2, 4) for name in PER_DIM}
    assert names(tmp_path / "out") == names(tmp_path / "out", "csv") == expected
    assert sorted(written) == sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())


def test_every_figure_of_a_dataset_is_drawn(study, tmp_path):
    draw_figures(study, "digits", "all", tmp_path / "out")
    assert names(tmp_path / "out") == {"all/rate_distortion"}


def test_vector_formats_are_written_where_the_config_asks_for_them(make_study, tmp_path):
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), seeds=(0,))
    path = study / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(config | {"figures": {"vector": ["pdf", "svg"]}}))
    for folder in ("a", "b"):
        draw_figures(study, "digits", "all", tmp_path / folder)
    for suffix in ("png", "pdf", "svg", "csv"):
        first, second = (
            (tmp_path / f / f"all/rate_distortion.{suffix}").read_bytes() for f in "ab"
        )
        assert first == second
        assert b"CreationDate" not in first


def test_the_folder_holds_nothing_stale(make_study, tmp_path, unrendered):
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), seeds=(0,), pictures=False)
    out = tmp_path / "out"
    (out / "z99").mkdir(parents=True)
    (out / "z99" / "effects.png").write_text("old")
    draw_figures(study, "digits", "gaussian", out)
    assert names(out) == LIKELIHOOD_WIDE | PLANE | {"z2/latent_space"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_figure_that_fails_leaves_the_old_folder(make_study, tmp_path, monkeypatch):
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), seeds=(0,))
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.png").write_text("old")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(style, "save", fail)
    with pytest.raises(ZeroDivisionError):
        draw_figures(study, "digits", "gaussian", out)
    assert [path.name for path in out.iterdir()] == ["old.png"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.fixture
def one_fails(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the figure latent_space end in an error."""

    def fail_with(error: Exception) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setitem(FIGURES, "latent_space", replace(FIGURES["latent_space"], draw=fail))

    return fail_with


def test_a_figure_that_fails_says_so_in_its_place_and_the_others_are_drawn(
    make_study, tmp_path, one_fails, capsys, caplog
):
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), seeds=(0,))
    draw_figures(study, "digits", "gaussian", tmp_path / "whole")
    one_fails(KeyError("$the bug"))
    draw_figures(study, "digits", "gaussian", tmp_path / "out")
    assert names(tmp_path / "out") == names(tmp_path / "whole")
    told = "The figure latent space could not be drawn (KeyError: '$the bug')"
    assert told in capsys.readouterr().err
    assert "Traceback" in caplog.text
    whole, out = ((tmp_path / f / "z2").glob("*.png") for f in ("whole", "out"))
    differ = {a.stem for a, b in zip(sorted(whole), sorted(out), strict=True)
              if a.read_bytes() != b.read_bytes()}  # fmt: skip
    assert differ == {"latent_space"}


def test_a_fault_of_the_machine_leaves_the_old_folder(make_study, tmp_path, one_fails):
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), seeds=(0,))
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.png").write_text("old")
    one_fails(OSError(28, "full"))
    with pytest.raises(OSError, match="full"):
        draw_figures(study, "digits", "gaussian", out)
    assert [path.name for path in out.iterdir()] == ["old.png"]


SMALL: dict[str, dict[str, Any]] = {
    "one example": {"n": 1, "images": np.zeros((40, 8, 8))},
    "two examples": {"n": 2, "images": np.zeros((40, 8, 8))},
    "three examples": {"n": 3, "images": np.full((40, 8, 8), 0.5)},
    "one latent dimension": {"latent_dims": (1,)},
    "one class": {"classes": np.zeros(60, np.int64)},
    "one example of a class": {"classes": (np.arange(60) == 7).astype(np.int64)},
    "no labels": {"labels": False},
    "one pixel": {"side": 1, "images": np.random.default_rng(0).uniform(0, 1, (60, 1, 1))},
    "one arm": {"betas": (1.0,), "kl_off": False, "seeds": (0,), "epochs": 1},
    "no active unit": {"betas": (1e6,)},
}


@pytest.mark.parametrize("name", SMALL)
def test_what_leaves_next_to_nothing_has_its_figures(
    name, make_study, tmp_path, capsys, unrendered
):
    plan = {"likelihoods": ("gaussian",), "latent_dims": (2, 3), "seeds": (0,)}
    study = make_study(**(plan | SMALL[name]))
    for dataset, likelihood in (("digits", "gaussian"), ("digits", "all"), ("all", "all")):
        draw_figures(study, dataset, likelihood, tmp_path / f"{dataset}-{likelihood}")
    assert capsys.readouterr().err == ""


def test_the_same_study_gives_the_same_bytes(study, tmp_path):
    results, selection = StudyResults(study), Selection("digits", "gaussian", 2)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        style.save(FIGURES["kl_on_off"].draw(results, selection).figure, tmp_path / folder / "x")
    first, second = ((tmp_path / f / "x.png").read_bytes() for f in "ab")
    assert first == second


def test_every_figure_has_a_plain_caption():
    for name in FIGURES:
        text = (CAPTIONS / f"{name}.rst").read_text(encoding="utf-8")
        assert len(text.split()) > 60, name
        assert "{{" not in text, name
        assert "{%" not in text, name
    assert {path.stem for path in CAPTIONS.glob("*.rst")} == set(FIGURES)


def test_two_figures_cannot_share_a_name():
    def effects(results: StudyResults, selection: Selection) -> None:
        return None

    with pytest.raises(ValueError, match="effects"):
        figure(scope="study", category="x")(effects)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_study_in_which_every_run_diverged_shows_nothing(name, make_study):
    seeds = (0,)
    runs = tuple(f"digits/gaussian/z2/{arm}/seed0" for arm in ("beta0.1", "beta1", "kl-off"))
    study = make_study(
        likelihoods=("gaussian",), latent_dims=(2,), betas=(0.1, 1.0), seeds=seeds, diverged=runs
    )
    likelihood = "gaussian" if FIGURES[name].scope == "likelihood" else None
    selection = Selection("digits", likelihood, 2)
    assert FIGURES[name].draw(StudyResults(study), selection) is None


def test_diverged_runs_are_left_out_and_named(make_study, tmp_path):
    reason = "cost $\\frac{$ later"
    study = make_study(
        dataset="a$b_c$^{",
        likelihoods=("gaussian",),
        latent_dims=(2,),
        diverged=("a$b_c$^{/gaussian/z2/beta1/seed1",),
        reason=reason,
    )
    written = draw_figures(study, "a$b_c$^{", "gaussian", tmp_path / "out")
    assert len(written) == 2 * len(LIKELIHOOD_WIDE | PER_DIM | PLANE)
    selection = Selection("a$b_c$^{", "gaussian", 2)
    fig = FIGURES["latent_space"].draw(StudyResults(study), selection).figure
    shown = texts(fig)
    assert any("a$b_c$^{, Gaussian" in text for text in shown)
    note = " ".join(text for text in shown if "diverged" in text or "later" in text)
    assert f"β = 1, 1 of 2 runs diverged ({reason})" in note
    dollars = [text for text in fig.findobj(Text) if "$" in text.get_text()]
    assert len(dollars) == 2
    assert not any(text.get_parse_math() for text in dollars)


def test_missing_optional_columns_and_labels_break_nothing(make_study, tmp_path):
    study = make_study(
        likelihoods=("bernoulli",),
        latent_dims=(2,),
        betas=(1.0,),
        seeds=(0,),
        labels=False,
        point=True,
        drop_columns=("knn_accuracy", "nll_loose", "measure", "reason", "mse", "silhouette"),
    )
    draw_figures(study, "digits", "bernoulli", tmp_path / "a")
    expected = LIKELIHOOD_WIDE - {"all/dose_response"} | PLANE | {"z2/latent_space"}
    assert names(tmp_path / "a") == expected
    draw_figures(study, "digits", "all", tmp_path / "b")
    assert names(tmp_path / "b") == {"all/rate_distortion"}


def test_without_umap_there_is_no_latent_space_above_two_dimensions(make_study):
    results = StudyResults(make_study(likelihoods=("gaussian",), seeds=(0,), umap=False))
    assert FIGURES["latent_space"].draw(results, Selection("digits", "gaussian", 4)) is None


def test_kl_on_off_needs_both_and_the_plane(make_study):
    draw = FIGURES["kl_on_off"].draw
    without = StudyResults(make_study(likelihoods=("gaussian",), seeds=(0,), kl_off=False))
    assert draw(without, Selection("digits", "gaussian", 2)) is None
    both = StudyResults(make_study(likelihoods=("gaussian",), seeds=(0,)))
    assert draw(both, Selection("digits", "gaussian", 4)) is None


def test_many_arms_and_dimensions_do_not_make_more_figures(make_study, tmp_path, unrendered):
    study = make_study(
        likelihoods=("gaussian",),
        latent_dims=(2, 3, 4, 5, 6, 7),
        betas=tuple(np.geomspace(0.001, 100, 15).round(4)),
        seeds=(0,),
        n=36,
        epochs=3,
        side=4,
    )
    draw_figures(study, "digits", "gaussian", tmp_path / "out")
    assert {name.split("/")[0] for name in names(tmp_path / "out")} == {"z2", "z5", "z7", "all"}
    assert len(names(tmp_path / "out")) == 8


def test_names_that_look_like_numbers_or_nothing_stay_names(make_study):
    results = StudyResults(make_study(dataset="NA", likelihoods=("gaussian",), seeds=(0,)))
    fig = FIGURES["effects"].draw(results, Selection("NA", "gaussian")).figure
    assert "NA, Gaussian" in texts(fig)


def test_an_improper_likelihood_is_marked(make_study):
    study = make_study(likelihoods=("bernoulli", "gaussian"), latent_dims=(2,), seeds=(0,))
    results = StudyResults(study)
    plane = FIGURES["rate_distortion"].draw(results, Selection("digits")).figure
    titles = [ax.get_title() for ax in plane.axes]
    assert titles == ["Bernoulli\ncross-entropy, not a likelihood", "Gaussian\ngrey/density"]
    for name in ("effects", "latent_space", "kl_on_off"):
        fig = FIGURES[name].draw(results, Selection("digits", "bernoulli", 2)).figure
        assert any("cross-entropy, not a likelihood" in text for text in texts(fig)), name
        fig = FIGURES[name].draw(results, Selection("digits", "gaussian", 2)).figure
        assert not any("cross-entropy" in text for text in texts(fig)), name


def test_results_read_absent_files_as_none(study):
    results = StudyResults(study)
    for read in (
        results.history, results.codes, results.pictures, results.rate_per_dim, results.umap
    ):  # fmt: skip
        assert read("digits/gaussian/z2/none/seed0") is None
    assert results.umap("digits/gaussian/z4/kl-off/seed0").shape == (60, 2)
    assert results.config == {"study": "synthetic"}


def test_pickled_arrays_are_refused(make_study):
    study = make_study(likelihoods=("gaussian",), latent_dims=(2,), seeds=(0,))
    run = "digits/gaussian/z2/beta1/seed0"
    bad = np.array([{"a": 1}], dtype=object)
    np.savez(study / "runs" / run / "codes.npz", mean=bad)
    with pytest.raises(ValueError, match="allow_pickle"):
        StudyResults(study).codes(run)
