"""Parts of a file that `vae-ablation check` tries, and what it says of them."""

from __future__ import annotations

from pathlib import Path

from vae_ablation.jobs.part_checks import Outcome, check_file


def outcomes(folder: Path, text: str) -> list[Outcome]:
    """Outcomes of a file with this text."""
    path = folder / "my_parts.py"
    path.write_text(text, encoding="utf-8")
    return check_file(path)


def wrong(found: list[Outcome]) -> list[str]:
    """Sentences on what is wrong."""
    return [one.sentence for one in found if one.verdict == "wrong"]
