"""What a Snakemake user relies on (promises 1 to 4 and 6), each by really running Snakemake."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vae_ablation.common.files import read_json, write_json
from workflow.place import TABLE, TINY, Place, result_bytes

BETA, KL_OFF = "digits/gaussian/z2/beta0.5", "digits/gaussian/z2/kl-off"
GAUSSIAN = [f"{arm}/seed{seed}" for arm in (BETA, KL_OFF) for seed in (0, 1)]
LOGISTIC = "digits/discretized_logistic/z2/beta1/seed0"


def only_new(before: dict, after: dict) -> set[str]:
    """Runs that are there after and were not before; the others must be untouched."""
    assert {run: after[run] for run in before} == before
    return set(after) - set(before)


def copy_of(finished: Place, folder: Path) -> Place:
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Place(folder, finished.checkout)


def two_at_a_time(check: Callable[[Any], None], cases: Iterable[Any]) -> None:
    """Most of a small job is start-up on one core, and there are two."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, cases))


# --- 1: the dry run ------------------------------------------------------------------------------


def test_dry_run_shows_the_fan_out_and_why_runs_train_and_writes_nothing(fresh: Place) -> None:
    call = fresh.call("-n")
    assert call.plan == ("Study tiny: 5 runs wanted, 0 trained, 5 to train in 2 packs (5 new).")
    assert call.jobs == {
        "prepare": 1, "controls": 1, "features": 1, "train": 2, "evaluate": 2, "collect": 1,
        "embed": 1, "summarize": 1, "contrasts": 1, "findings": 1, "figures": 3,
        "costs": 1, "report": 1, "all": 1,
    }  # fmt: skip
    assert fresh.files() == {"study.yaml"}


def test_second_call_has_nothing_to_do(place: Place) -> None:
    before = {path: (place.folder / path).lstat().st_mtime_ns for path in place.files()}
    call = place.call()
    assert call.plan == "Study tiny: 5 runs wanted, all trained."
    assert "Nothing to be done" in call.text
    after = {path: (place.folder / path).lstat().st_mtime_ns for path in place.files()}
    assert {path for path in before if before[path] != after[path]} <= {"study.yaml"}


# --- 2: what trains, and what does not ------------------------------------------------------------


def test_another_beta_trains_its_runs_alone_and_comes_and_goes(place: Place) -> None:
    before = place.held()
    place.config["grids"][0]["beta"] = [0.5, 2]
    call = place.call(TABLE)
    assert call.plan == "Study tiny: 7 runs wanted, 5 trained, 2 to train in 1 pack (2 new)."
    new = {"digits/gaussian/z2/beta2/seed0", "digits/gaussian/z2/beta2/seed1"}
    with_beta = place.held()
    assert only_new(before, with_beta) == new
    assert set(place.metrics().index) == set(with_beta)
    full = (place.folder / TABLE).read_bytes()

    place.config["grids"][0]["beta"] = [0.5]
    call = place.call(TABLE)
    assert (call.to_train, call.jobs) == (0, {"collect": 1})
    assert set(place.metrics().index) == set(before)
    assert place.held() == with_beta

    place.config["grids"][0]["beta"] = [0.5, 2]
    call = place.call(TABLE)
    assert (call.to_train, call.jobs) == (0, {"collect": 1})
    assert (place.folder / TABLE).read_bytes() == full
    assert place.held() == with_beta


NEW_VALUES: dict[str, tuple[list[Any], set[str]]] = {
    "seed": ([0, 1, 2], {f"{BETA}/seed2", f"{KL_OFF}/seed2"}),
    "latent_dim": ([2, 3], {run.replace("z2", "z3") for run in GAUSSIAN}),
    "likelihood": (
        ["gaussian", "continuous_bernoulli"],
        {run.replace("gaussian", "continuous_bernoulli") for run in GAUSSIAN},
    ),
}


def test_another_value_of_an_axis_trains_its_runs_alone(tmp_path: Path, finished: Place) -> None:
    def add_value(axis: str) -> None:
        place = copy_of(finished, tmp_path / axis)
        before = place.held()
        values, new = NEW_VALUES[axis]
        place.config["grids"][0][axis] = values
        call = place.call("--until", "train")
        assert call.plan.endswith(f"5 trained, {len(new)} to train in 1 pack ({len(new)} new).")
        assert call.jobs["train"] == 1
        assert only_new(before, place.held()) == new

    two_at_a_time(add_value, NEW_VALUES)


def test_edited_captions_figures_and_scripts_train_nothing(
    place: Place, own_checkout: Path
) -> None:
    before = place.held()
    captions = own_checkout / "workflow" / "report"
    (captions / "figures" / "samples.rst").write_text("Another caption.", encoding="utf-8")
    (captions / "arms.rst").write_text("Another caption.", encoding="utf-8")
    scripts = own_checkout / "workflow" / "scripts"
    for script in scripts.glob("*.py"):
        os.utime(script)
    assert place.call("-n").jobs == {}

    (scripts / "train.py").write_text(
        (scripts / "train.py").read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8"
    )
    source = own_checkout / "src" / "vae_ablation" / "report" / "figures" / "style.py"
    source.write_text(source.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    call = place.call("results/tiny/figures/digits/all")
    assert (call.to_train, call.jobs) == (0, {"figures": 1})
    assert place.held() == before


def test_evaluation_setting_and_data_prepared_again_train_nothing(place: Place) -> None:
    before, table = place.held(), place.metrics()
    shutil.rmtree(place.folder / "results" / ".data")
    assert "Nothing to be done" in place.call("-n").text

    place.config["evaluation"] = {"nll_samples": 16}
    call = place.call(TABLE)
    assert call.to_train == 0
    assert call.jobs == {"prepare": 1, "features": 1, "controls": 1, "evaluate": 2, "collect": 1}
    assert place.held() == before
    after = place.metrics()
    assert (after["nll"] != table["nll"]).all()
    assert (after["distortion"] == table["distortion"]).all()

    # Back again: that evaluation lies there already, and the links have to return to it.
    place.config["evaluation"] = {"nll_samples": 8}
    call = place.call(TABLE)
    assert call.jobs == {"collect": 1}
    assert (place.metrics()["nll"] == table["nll"]).all()


def test_training_setting_trains_every_run_again(place: Place) -> None:
    before = place.held()
    place.config["training"]["learning_rate"] = 0.002
    call = place.call("--until", "train")
    assert call.plan.endswith("5 to train in 2 packs (5 settings changed).")
    after = place.held()
    assert set(after) == set(before)
    for run, held in after.items():
        assert held.digest != before[run].digest
        assert held.pack != before[run].pack


def test_training_code_is_kept_retrained_or_refused(place: Place, own_checkout: Path) -> None:
    source = own_checkout / "src" / "vae_ablation" / "models" / "objectives.py"
    source.write_text(source.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    assert place.call("-n").to_train == 0
    place.config["on_code_change"] = "retrain"
    assert place.call("-n").plan.endswith("(5 training code changed).")
    place.config["on_code_change"] = "error"
    call = place.call("-n", status=1)
    assert "on_code_change" in call.text
    assert "Traceback" not in call.text


def test_a_refused_call_ends_with_its_reason_and_no_report(place: Place) -> None:
    assert (place.study / "report.html").is_file()
    (described,) = place.folder.glob("results/.data/*/dataset.json")
    write_json(described, read_json(described) | {"code_version": "0ld0c0de0000"})
    place.config["on_code_change"] = "error"
    place.write_config()
    done = subprocess.run(
        ["bash", str(place.checkout / "workflow" / "run.sh"), str(Path(sys.executable).parent),
         place.config_name, "2", "local"],
        cwd=place.folder, env=place.environment(), text=True, timeout=900, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith("set on_code_change to keep or retrain.")


def test_studies_share_data_whatever_they_call_them(place: Place) -> None:
    place.config |= {"study": "second", "datasets": {"numbers": TINY["datasets"]["digits"]}}
    call = place.call("-n", "results/second/tables/metrics.csv")
    assert call.jobs == {"controls": 1, "features": 1, "train": 2, "evaluate": 2, "collect": 1}


@pytest.mark.parametrize("change", [{"binarize": "static"}, {"max_examples": 130}])
def test_other_data_train_again_even_before_they_are_prepared(
    place: Place, change: dict[str, Any]
) -> None:
    place.config["grids"] = [{"likelihood": ["gaussian"], "beta": [0.5]}]
    place.config["datasets"]["digits"] |= change
    assert place.call("-n", TABLE).plan.endswith("(1 data of digits changed).")


# --- 3: deleting one run --------------------------------------------------------------------------


def delete_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def delete_with_trailing_slash(folder: Path) -> None:
    assert os.system(f"rm -rf '{folder}/'") == 0


def delete_link(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def delete_target(folder: Path) -> None:
    (folder / "model.safetensors").resolve().unlink()


WAYS = [delete_folder, delete_with_trailing_slash, delete_link, delete_target]


def remake_deleted(place: Place, delete: Callable[[Path], None]) -> None:
    """Delete one run in one way: it alone is made again, and has the bytes it had."""
    run = f"{BETA}/seed0"
    before, was = place.held(), result_bytes(place.run_folder(run))
    others = {path: result_bytes(place.run_folder(path)) for path in before if path != run}
    delete(place.run_folder(run))
    call = place.call("--until", "evaluate")
    assert call.to_train == 1, delete.__name__
    assert call.jobs["train"] == call.jobs["evaluate"] == 1
    after = place.held()
    assert set(after) == set(before)
    assert {path: after[path] for path in others} == {path: before[path] for path in others}
    assert after[run].pack != before[run].pack
    assert result_bytes(place.run_folder(run)) == was
    assert {path: result_bytes(place.run_folder(path)) for path in others} == others


def test_a_deleted_run_is_made_again_alone_and_with_equal_bytes(
    tmp_path: Path, finished: Place
) -> None:
    def delete_and_remake(way: Callable[[Path], None]) -> None:
        remake_deleted(copy_of(finished, tmp_path / way.__name__), way)

    two_at_a_time(delete_and_remake, WAYS)


def test_a_run_that_lost_a_link_of_its_evaluation_is_made_again(place: Place) -> None:
    (place.run_folder(LOGISTIC) / "codes.npz").unlink()
    call = place.call("-n", TABLE)
    assert call.plan.endswith("4 trained, 1 to train in 1 pack (1 files missing).")
    assert call.jobs == {"train": 1, "evaluate": 1, "collect": 1}


# --- 4: runs that diverge or fail -----------------------------------------------------------------

BREAKS_SEED_7 = """
import sys

if any(argument.endswith("scripts/train.py") for argument in sys.orig_argv):
    from vae_ablation.training import pack as training

    class Broken(training.VAE):
        def __init__(self, observed, likelihood, latent_dim, options, seed, *further):
            if seed == 7:
                raise RuntimeError("broken on purpose")
            super().__init__(observed, likelihood, latent_dim, options, seed, *further)

    training.VAE = Broken
"""


def test_diverged_and_failed_runs_take_neither_pack_nor_study_down(place: Place) -> None:
    before = place.held()
    (place.folder / "breaks").mkdir()
    (place.folder / "breaks" / "sitecustomize.py").write_text(BREAKS_SEED_7, encoding="utf-8")
    place.env["PYTHONPATH"] = str(place.folder / "breaks")
    place.config["packs"] = {"fork": False}  # so that Python starts, and reads sitecustomize
    place.config["grids"] += [
        {"beta": [2.0, 1.0e300], "seed": [0]},
        {"beta": [2.0], "seed": [7]},
    ]
    fine, failed, diverged = (
        f"digits/gaussian/z2/{name}" for name in ("beta2/seed0", "beta2/seed7", "beta1e+300/seed0")
    )
    call = place.call()
    assert call.plan.endswith("3 to train in 1 pack (3 new).")
    table = place.metrics()
    assert table.loc[fine, "status"] == "ok"
    assert table.loc[failed, ["status", "reason"]].tolist() == [
        "failed", "RuntimeError: broken on purpose",
    ]  # fmt: skip
    assert table.loc[diverged, "status"] == "diverged"
    assert "not finite in epoch 1" in table.loc[diverged, "reason"]
    assert (table.loc[list(before), "status"] == "ok").all()
    assert only_new(before, place.held()) >= {fine}
    page = (place.study / "report.html").read_text("utf-8")
    assert "broken on purpose" in page

    # Failed runs are tried again on the next call, and only they.
    place.config["retry_failed"] = False
    kept = place.call("-n")
    assert kept.to_train == 0
    assert "Nothing to be done" in kept.text
    place.config["retry_failed"] = True
    place.env.clear()
    now = place.held()
    again = place.call(TABLE)
    assert again.plan.endswith("7 trained, 1 to train in 1 pack (1 failed before).")
    assert place.metrics().loc[failed, "status"] == "ok"
    after = place.held()
    assert after[diverged] == now[diverged]
    assert only_new({run: now[run] for run in now if run != failed}, after) == {failed}


# --- 6: one job per run ---------------------------------------------------------------------------


def test_one_job_per_run_gives_the_bytes_of_packs(fresh: Place, finished: Place) -> None:
    fresh.config["packs"] = {"max_runs": 1}
    fresh.config["grids"] = [TINY["grids"][0] | {"seed": [1]}]
    call = fresh.call("--until", "evaluate")
    assert call.plan == "Study tiny: 2 runs wanted, 0 trained, 2 to train in 2 packs (2 new)."
    assert call.jobs["train"] == call.jobs["evaluate"] == 2
    for run in (f"{BETA}/seed1", f"{KL_OFF}/seed1"):
        assert result_bytes(fresh.run_folder(run)) == result_bytes(finished.run_folder(run)), run
