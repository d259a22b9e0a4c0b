"""config/README.md says what the schema says."""

from __future__ import annotations

from pathlib import Path

from vae_ablation.common.settings import schema
from vae_ablation.study.config_reference import reference

REPOSITORY = Path(__file__).parents[2]


def test_the_reference_in_the_repository_is_that_of_the_schema() -> None:
    """After a change of the schema: make docs."""
    assert (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8") == reference()


def test_every_key_at_every_depth_has_a_row_with_its_meaning() -> None:
    rows = reference().splitlines()

    def check(rule: dict) -> None:
        parts = (rule, rule.get("items"), rule.get("additionalProperties"))
        for part in (one for one in parts if isinstance(one, dict)):
            for key, inner in part.get("properties", {}).items():
                meaning = " ".join(inner["description"].split()).replace("|", "\\|")
                assert any(r.startswith(f"| `{key}` |") and meaning in r for r in rows), key
                check(inner)

    check(schema())


def test_rows_have_four_cells() -> None:
    for row in reference().splitlines():
        if row.startswith("|"):
            assert row.replace("\\|", "").count("|") == 5, row
