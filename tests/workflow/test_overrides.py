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
