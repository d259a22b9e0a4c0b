"""What the page says fits what the study has: captions, headings, references, units."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from report.page.studies import GRID, made_rows, ten_axes, write_study
from study_rows import product
from vae_ablation.report.page.build import design, report
from vae_ablation.report.page.contents import Contents
from vae_ablation.report.page.sections import Section, sections

Rows = list[dict[str, Any]]


def html(folder: Path, rows: Rows, **config: Any) -> str:
    """The page of a study of rows, without its scripts and data."""
    text = report(write_study(folder / "results" / "made", rows, **config))
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


def sections_of(folder: Path, rows: Rows) -> dict[str, Section]:
    contents = Contents(write_study(folder / "results" / "made", rows))
    return {one.id: one for one in sections(contents.arms, contents.has)}


def test_one_run_has_neither_intervals_nor_switches_nor_other_arms(tmp_path: Path) -> None:
    text = html(tmp_path, made_rows([GRID[0]]))
    assert "Every arm was trained once: there are no intervals, and no difference" in text
    assert "The switches above" not in text
    assert "The only arm has a rate of" in text
    for said in ("95 % intervals as crosses", "grey:", "Grey:", "Orange", "Choose a point"):
        assert said not in text


def test_one_seed_has_arms_but_no_intervals(tmp_path: Path) -> None:
    text = html(tmp_path, made_rows([one for one in GRID if one["seed"] == 0]))
    assert "The switches above drive every figure" in text
    assert "grey: the other levels of one axis" in text
    assert "Orange squares: no KL term" in text
    assert "with 95 %" not in text


def test_seeds_have_intervals(tmp_path: Path) -> None:
    text = html(tmp_path, made_rows(GRID))
    assert "with the runs as small dots and 95 % intervals as crosses; grey: the other" in text
    assert "Blue: the levels chosen above, with 95 % intervals over seeds" in text
    assert "Intervals are 95 % confidence intervals over seeds." in text


def test_a_study_of_failed_runs_compares_nothing(tmp_path: Path) -> None:
    text = html(tmp_path, made_rows(GRID, "diverged"))
    assert "No run ended well, so nothing can be compared." in text
    assert re.findall(r'<section id="(\w+)"', text) == [
        "answer", "map", "trust", "paper", "tables", "provenance",
    ]  # fmt: skip
    assert "seeds</b>" not in text
    assert "intervals cover" not in text


def test_no_heading_says_its_sections_name_again(tmp_path: Path) -> None:
    for rows in (made_rows([GRID[0]]), made_rows(GRID), made_rows(GRID, "failed"), ten_axes()):
        folder = tmp_path / str(len(rows)) / rows[0]["status"]
        found = sections_of(folder, rows)
        assert all(one.heading != one.name for one in found.values())


def test_headings_agree_with_their_nouns(tmp_path: Path) -> None:
    rows = made_rows(product(kl_warmup_epochs=[0, 8], latent_dim=[2, 4], seed=[0, 1]))
    found = sections_of(tmp_path, rows)
    assert found["kl_warmup_epochs"].heading == "What the epochs of KL warm-up do"
    assert found["latent_dim"].heading == "What the latent dimension does"


def test_an_axis_that_never_varies_by_itself_has_no_figure(tmp_path: Path) -> None:
    pairs = [("mlp", 2), ("conv", 4)]
    rows = made_rows([
        {"architecture": name, "latent_dim": dim, "seed": seed}
        for name, dim in pairs for seed in (0, 1)
    ])  # fmt: skip
    found = sections_of(tmp_path, rows)["architecture"]
    assert found.figures == []
    assert found.text == (
        "No two arms differ in the architecture alone, so no figure compares its levels."
    )


def test_the_reference_of_a_setting_is_the_studys_own(tmp_path: Path) -> None:
    key = "training.learning_rate"
    rows = made_rows(product(**{key: [1e-4, 1e-3, 3e-3]}, seed=[0, 1]))

    def reference(folder: str, **config: Any) -> str:
        contents = Contents(write_study(tmp_path / folder / "results" / "made", rows, **config))
        axis = next(one for one in contents.axes if one.axis.name == key)
        return axis.levels[axis.reference].id

    assert reference("own", training={"learning_rate": 1e-3}) == "0.001"
    assert reference("other", training={"learning_rate": 3e-3}) == "0.003"
    asked = {"grids": [{key: [1e-4]}], "statistics": {"reference": {key: 1e-4}}}
    assert reference("asked", training={"learning_rate": 1e-3}, **asked) == "0.0001"


@pytest.mark.parametrize(
    ("observed", "unit"),
    [
        ([{"shape": [8, 8]}], "intensity²"),
        ([{"shape": [30], "counts": True}], "counts²"),
        ([{"shape": [10], "real": True}], "standardised²"),
        ([{"shape": [8, 8]}, {"shape": [10], "real": True}], "data units²"),
    ],
)
def test_errors_have_the_unit_of_the_data(
    observed: list[dict[str, Any]], unit: str, tmp_path: Path
) -> None:
    contents = Contents(write_study(tmp_path / "results" / "made", made_rows(GRID[:3])))
    contents.__dict__["datasets"] = {
        str(k): {"observed": one, "test": 120 + k} for k, one in enumerate(observed)
    }
    assert contents.to_json()["metrics"]["mse"]["unit"] == unit
    sizes = "120 or 121" if len(observed) > 1 else "120"
    assert f"scores are of the {sizes} test examples" in design(contents)


def test_the_design_names_models_made_elsewhere(tmp_path: Path) -> None:
    contents = Contents(write_study(tmp_path / "results" / "made", made_rows(GRID[:3])))
    assert "elsewhere" not in design(contents)
    contents.__dict__["config"] = {**contents.config, "external": {"nmf": {}, "scvi": {}}}
    assert "beside models made elsewhere (nmf and scvi); scores" in design(contents)


def test_findings_of_several_data_sets_name_theirs(tmp_path: Path) -> None:
    finding = {"section": "beta", "headline": "H", "text": "T.", "verdict": "worse",
               "lead": True, "caveats": ["In 3 of 9 runs it is a bound."]}  # fmt: skip
    both = [{**one, "dataset": name} for one in GRID[:12] for name in ("digits", "other")]
    findings = [finding | {"dataset": name} for name in ("digits", "other")]
    text = report(write_study(tmp_path / "results" / "made", made_rows(both), findings))
    tag = '<span class="tag"><bdi>{}</bdi></span> '
    assert f"<div>{tag.format('digits')}<b>H.</b>" in text
    assert f"<div>{tag.format('other')}<b>H.</b>" in text
    assert f"<small>β {tag.format('digits')}</small>H</h2>" in text
    caveats = re.findall(r'<p class="note" data-when="[^"]*(digits|other)[^"]*">.*In 3 of 9', text)
    assert caveats == ["digits", "other"]
    alone = report(
        write_study(tmp_path / "one" / "results" / "made", made_rows(GRID), findings[:1])
    )
    assert '<span class="tag">' not in alone
