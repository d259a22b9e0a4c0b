"""How the workflow may be called, and what it says to those who call it wrongly."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workflow.place import TINY, Call, Place

REPOSITORY = Path(__file__).parents[2]


def complaint(call: Call) -> str:
    """The one sentence that a user reads."""
    assert call.status != 0
    assert "Traceback" not in call.text
    sentences = [line for line in call.text.splitlines() if line.startswith("Error: ")]
    assert len(sentences) == 1, call.text
    return sentences[0]


def change_grid(**axes: Any) -> dict[str, Any]:
    return {"grids": [{"likelihood": ["gaussian"], **axes}]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainning": {}}, ["trainning", "training"]),
        (change_grid(beta=[-1]), ["grids[0].beta[0]", "-1", "at least 0"]),
        (change_grid(latent_dim=[100]), ["latent_dim is 100", "1 to 64"]),
        (
            {"datasets": {"digits": {"source": "npz", "path": "absent.npz"}}},
            ["datasets.digits", "absent.npz"],
        ),
    ],
)
def test_wrong_config_ends_in_one_sentence_and_writes_nothing(
    fresh: Place, change: dict[str, Any], words: list[str]
) -> None:
    fresh.config |= change
    sentence = complaint(fresh.call("-n", status=1))
    assert [word for word in ["study.yaml", *words] if word not in sentence] == []
    assert fresh.files() == {"study.yaml"}


def test_another_config_takes_a_study_over_only_with_adopt(place: Place) -> None:
    place.config_name = "other.yaml"
    sentence = complaint(place.call("-n", status=1))
    assert "study.yaml" in sentence
    assert "adopt: true" in sentence
    place.config["adopt"] = True
    assert place.call("-n").to_train == 0


def test_config_and_results_may_move_together(finished: Place, tmp_path: Path) -> None:
    moved = Place(tmp_path / "elsewhere", finished.checkout)
    shutil.copytree(finished.folder, moved.folder, symlinks=True)
    call = moved.call()
    assert "Nothing to be done" in call.text


MODULE = """
module vae:
    snakefile: "{checkout}/Snakefile"
    {more}
    config: {config}

use rule * from vae as vae_*

onstart:
    vae.onstart()
"""


def call_module(place: Place, more: str, *arguments: str) -> Call:
    config = TINY | change_grid()
    snakefile = MODULE.format(checkout=place.checkout, more=more, config=config)
    (place.folder / "Snakefile").write_text(snakefile, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=place.folder,
        env=place.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return Call(done.returncode, done.stdout)


def test_as_a_module_with_a_config_of_its_own(fresh: Place) -> None:
    call = call_module(fresh, "", "--until", "vae_train")
    assert call.status == 0, call.text
    assert call.plan == "Study tiny: 1 runs wanted, 0 trained, 1 to train in 1 pack (1 new)."
    assert fresh.record("digits/gaussian/z2/beta1/seed0")["status"] == "ok"


@pytest.mark.parametrize(
    "more", ['prefix: "below"', 'replace_prefix: {"results/": "below/results/"}']
)
def test_as_a_module_with_a_prefix_all_files_lie_below_it(fresh: Place, more: str) -> None:
    call = call_module(fresh, more, "--until", "vae_evaluate")
    assert call.status == 0, call.text
    assert {path.name for path in fresh.folder.iterdir()} == {".snakemake", "Snakefile", "below"}
    (measured,) = fresh.folder.glob("below/results/tiny/runs/**/metrics.json")
    assert measured.stat().st_size
    again = call_module(fresh, more, "-n", "--until", "vae_evaluate")
    assert again.plan == "Study tiny: 1 runs wanted, all trained."
    assert "total        0" in again.text


def test_the_default_study_is_planned_from_elsewhere(fresh: Place) -> None:
    shutil.copy(fresh.checkout / "config.yaml", fresh.folder)
    where = ["--snakefile", str(fresh.checkout / "Snakefile"), "--directory", str(fresh.folder)]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *where, "-n"],
        cwd="/", env=fresh.environment(), capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    call = Call(0, done.stdout + done.stderr)
    assert call.to_train >= 100
    assert fresh.files() == {"config.yaml"}


def test_lint_finds_nothing(fresh: Place) -> None:
    call = fresh.call("--lint")
    assert "Congratulations, your workflow is in a good condition!" in call.text


def test_rules_are_formatted() -> None:
    pytest.importorskip("snakefmt")
    places = [str(REPOSITORY / "Snakefile"), str(REPOSITORY / "workflow")]
    done = subprocess.run(
        [sys.executable, "-m", "snakefmt", "--check", *places],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
