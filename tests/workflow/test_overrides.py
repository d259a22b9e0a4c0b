"""`snakemake --config key=value`: texts get the type of their key, names stay as written."""

from __future__ import annotations

import pytest

from workflow.place import Call, Place
from workflow.test_calls import complaint


def dry(place: Place, *entries: str, status: int = 0) -> Call:
    return place.call("--dry-run", "--config", *entries, status=status)


def test_a_dry_run_accepts_text_forms_and_nested_values(fresh: Place) -> None:
    call = dry(
        fresh,
        "allow_missing=true",
        "retry_failed=False",
        "study=007",
        'training={"epochs": 3, "gradient_clip": 1e1, "early_stopping_patience": null}',
        "model={hidden: [4]}",
    )
    assert "Study 007: 5 runs wanted, 0 trained, 5 to train" in call.text
    assert "results/007/tables/metrics.csv" in call.text
    assert not (fresh.folder / "results").exists()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("allow_missing=maybe", ["allow_missing is 'maybe'", "true or false"]),
        ("training={epochs: many}", ["training.epochs is 'many'", "a whole number at least 1"]),
    ],
)
def test_a_text_without_a_reading_is_one_sentence(
    fresh: Place, entry: str, words: list[str]
) -> None:
    sentence = complaint(dry(fresh, entry, status=1))
    for word in words:
        assert word in sentence


def test_jobs_find_a_study_whose_name_looks_like_a_number(fresh: Place) -> None:
    fresh.call("--until", "features", "--config", "study=007")
    assert (fresh.folder / "results" / "007" / "plan.json").is_file()
    assert not (fresh.folder / "results" / "7").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("study: tiny\ngrids: [{}]\nstudy: other\n", ["study.yaml: the key study occurs twice",
                                                     "in line 1 and in line 3"]),
        ("datasets: {1: {}, '1': {}}\n", ["datasets has the name 1 in line 1", "'1'"]),
        ('{"training": {"epochs": 1,\n"epochs": 2}}', ["training.epochs occurs twice"]),
        ("datasets: {no: {}}\n", ["datasets has the name no", "YAML reads as false", "'no'"]),
    ],
)  # fmt: skip
def test_what_snakemake_loses_of_a_config_file_is_one_sentence(
    fresh: Place, monkeypatch: pytest.MonkeyPatch, content: str, words: list[str]
) -> None:
    file = fresh.folder / fresh.config_name
    monkeypatch.setattr(fresh, "write_config", lambda: file.write_text(content, "utf-8"))
    sentence = complaint(fresh.call("--dry-run", status=1))
    for word in words:
        assert word in sentence
    assert not (fresh.folder / "results").exists()
