"""The command line, on a small study folder written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml

from vae_ablation.cli import main
from vae_ablation.common.files import write_json
from vae_ablation.report.methods import methods_paragraph
from vae_ablation.report.overview import write_overview
from vae_ablation.study.config import resolve_config
from vae_ablation.study.run import expand_runs
from vae_ablation.tables.collect import run_columns

RAW = {
    "study": "small",
    "grids": [{"likelihood": ["gaussian"], "beta": [0.5, 2], "kl": [True, False], "seed": [0, 1]}],
    "training": {"epochs": 7, "learning_rate": 0.02},
}
STATES = {"beta0.5/seed0": "ok", "beta0.5/seed1": "diverged", "kl-off/seed0": "failed"}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """results/small with one run ok, one diverged, one failed, the others missing."""
    monkeypatch.chdir(tmp_path)
    config = resolve_config(RAW, tmp_path / "config.yaml")
    folder = tmp_path / "results" / "small"
    plan = []
    rows = []
    for run in expand_runs(config["grids"]):
        spec = run.to_json()
        plan.append({"run": spec, "pack": "p", "train_hash": "h", "reason": None})
        status = STATES.get(f"{run.arm}/seed{run.seed}", "missing")
        if status == "missing":
            continue
        record = {
            "run": spec,
            "path": run.path,
            "status": status,
            "reason": "" if status == "ok" else f"because of {status}",
            "train_hash": "h",
            "pack": "p",
            "train_seconds": 2.0,
            "device": "cpu",
            "data_checksum": "c",
            "code_version": "v",
            "versions": {"torch": "9.8.7"},
            "model": config["model"],
            "training": config["training"],
        }
        write_json(folder / "runs" / run.path / "run.json", record)
        measure = "grey/density" if run.seed == 0 else "grey17/mass-open"
        metrics = {"elbo": -1.5 - run.seed, "measure": measure, "rate_per_dim": [1.0, 0.5]}
        write_json(folder / "runs" / run.path / "metrics.json", metrics)
        rows.append(
            {"model": "vae", **spec, "run": run.path, "status": status, "proper": True}
            | {"reason": record["reason"], "drift": 0.001, "train_seconds": 2.0, "device": "cpu"}
        )
    write_json(folder / "plan.json", {"config_path": "config.yaml", "runs": plan})
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "tables").mkdir()
    metrics = pd.DataFrame(rows)
    metrics.to_csv(folder / "tables" / "metrics.csv", index=False)
    write_overview(folder, metrics)
    return folder


def test_status_counts_every_state_and_tells_why(study, capsys):
    assert main(["status", "small"]) == 0
    out = capsys.readouterr().out
    assert "6 runs in 1 packs" in out
    for state, count in {"ok": 1, "missing": 3, "diverged": 1, "failed": 1}.items():
        assert f"{state:9} {count}" in out
    assert "diverged: digits/gaussian/z2/beta0.5/seed1: because of diverged" in out


def test_a_run_that_another_pack_holds_is_missing(study, capsys):
    path = study / "runs/digits/gaussian/z2/beta0.5/seed0/run.json"
    write_json(path, json.loads(path.read_text()) | {"pack": "another"})
    main(["status", "small"])
    out = capsys.readouterr().out
    assert "missing   4" in out
    assert "settings or data changed" in out


def test_an_unknown_study_is_one_sentence_that_names_the_known_ones(study, capsys):
    assert main(["status", "nope"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "'nope'" in err
    assert "small" in err


def test_the_module_is_the_command_line_too(tmp_path):
    command = [sys.executable, "-m", "vae_ablation.cli", "status", "absent"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: study 'absent': not found in results/")


def test_compare_shows_differences_and_warns_of_different_measures(study, capsys):
    base = "results/small/runs/digits/gaussian/z2/beta0.5"
    assert main(["compare", f"{base}/seed0", f"{base}/seed1"]) == 0
    out = capsys.readouterr().out
    elbo = next(line for line in out.splitlines() if line.startswith("elbo")).split()
    assert elbo == ["elbo", "-1.5", "-2.5", "-1"]
    assert "learning_rate" not in out
    assert "not comparable" in out


def test_compare_refuses_a_folder_that_is_no_run(study, capsys):
    assert main(["compare", "results", "results"]) == 1
    assert "run.json" in capsys.readouterr().err


def test_export_packs_tables_config_environment_and_methods(study, tmp_path):
    assert main(["export", "small", "--output", str(tmp_path / "out.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        names = set(archive.namelist())
        environment = archive.read("small/environment.txt").decode()
    expected = {"tables/metrics.csv", "config.yaml", "methods.md", "environment.txt"}
    assert {f"small/{name}" for name in expected} <= names
    assert "torch==" in environment


def test_export_without_tables_is_refused_and_writes_nothing(study, tmp_path, capsys):
    (study / "tables" / "metrics.csv").unlink()
    assert main(["export", "small", "--output", str(tmp_path / "out.zip")]) == 1
    assert "no tables" in capsys.readouterr().err
    assert not (tmp_path / "out.zip").exists()


def test_methods_name_the_settings_and_the_failures(study):
    data = next(iter((study.parent / ".data").glob("*")), None)
    assert data is None
    from vae_ablation.study.workflow import read_frozen

    frozen, _ = read_frozen(study)
    write_json(
        frozen.prepared["digits"] / "dataset.json",
        {"shape": [8, 8], "levels": 17, "binary": False, "checksum": "c"}
        | {"sizes": {"train": 11, "validation": 22, "test": 33}},
    )
    text = methods_paragraph(study)
    for fact in (
        "7 epochs",
        "learning rate 0.02",
        "β in {0.5}",
        "no KL term",
        "11 train, 22 validation and 33 test examples",
        "1 run diverged and 1 failed",
        "torch 9.8.7",
        "Primary metrics were NLL, rate, active units, probe accuracy and sample Fréchet distance",
        "two one-sided t tests",
        "adjusted within each question by Holm's method",
    ):
        assert fact in text


def test_methods_say_when_results_were_looked_at(study):
    data = study.parent / ".data"
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["statistics"]["looks"] = [3, 5, 7]
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    text = methods_paragraph(study)
    assert "looked at with 3, 5 and 7 seeds, each look at 1/3 of the level of 0.05" in text
    assert not data.exists()


def test_study_name_is_read_from_the_config(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("study: thesis\n")
    assert main(["study-name", str(tmp_path / "c.yaml")]) == 0
    assert capsys.readouterr().out == "thesis\n"


def test_a_missing_config_is_one_sentence(tmp_path, capsys):
    assert main(["study-name", str(tmp_path / "none.yaml")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(Path(tmp_path).iterdir())


def test_seeds_wants_looks_that_were_stated_before(study, capsys):
    assert main(["seeds", "small"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "seeds is null and statistics.looks is empty" in error


def test_seeds_names_the_next_round_its_price_and_its_grids(study, capsys):
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["statistics"]["looks"] = [2, 4]
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["seeds", "small"]) == 1
    assert "has no tables yet" in capsys.readouterr().err
    row = {"question": "beta", "scope": "pooled", "dataset": "digits", "level": "2", "n": 2,
           "metric": "nll", "family": "primary", "verdict": "undecided", "look": 2}  # fmt: skip
    pd.DataFrame([row]).to_csv(study / "tables" / "contrasts.csv", index=False)
    rows = [run_columns(run) | {"status": "ok"} for run in expand_runs(config["grids"])]
    pd.DataFrame(rows).to_csv(study / "tables" / "metrics.csv", index=False)
    assert main(["seeds", "small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Undecided: nll: beta 2"
    assert lines[1].startswith("The next round: 4 runs")
    assert [line.split("beta: ")[1] for line in lines[2:]] == [
        "[0.5], seed: [2, 3]}", "[2.0], seed: [2, 3]}",
    ]  # fmt: skip
