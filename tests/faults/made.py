"""A small study made by what the workflow's jobs call, without Snakemake; small file systems."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from vae_ablation.data.prepare import prepare_dataset
from vae_ablation.jobs.apply import apply_job
from vae_ablation.jobs.controls import controls_job
from vae_ablation.jobs.evaluate import evaluate_job
from vae_ablation.jobs.features import features_job
from vae_ablation.jobs.train import train_job
from vae_ablation.report.embedding import embed_study
from vae_ablation.report.figures import draw_figures
from vae_ablation.report.findings import write_findings
from vae_ablation.report.overview import write_overview
from vae_ablation.report.page.build import write_report
from vae_ablation.study.config import resolve_config
from vae_ablation.study.plan import Plan, Study, link_evaluations
from vae_ablation.study.progress import start_progress
from vae_ablation.study.workflow import Workflow
from vae_ablation.tables.collect import (
    collect,
    collect_applications,
    read_metrics,
    summarize,
    write_csv,
)
from vae_ablation.tables.write import write_statistics

SMALL: dict[str, Any] = {
    "study": "small",
    "datasets": {"digits": {"source": "sklearn-digits", "max_examples": 120}},
    "grids": [
        {"likelihood": ["gaussian"], "beta": [0.5], "kl": [True, False], "seed": [0, 1]},
        {"likelihood": ["discretized_logistic"], "beta": [1]},
    ],
    "model": {"hidden": [8]},
    "training": {"epochs": 1, "batch_size": 64, "device": "cpu"},
    "evaluation": {"nll_samples": 4},
}
STUDY = Path("results/small")


def planned(folder: Path, raw: Mapping[str, Any]) -> Workflow:
    """What Snakemake would plan in a working directory; study.yaml is written."""
    (folder / "study.yaml").write_text(yaml.safe_dump(dict(raw)), encoding="utf-8")
    with chdir(folder):
        return Workflow.planned(dict(raw), Path("study.yaml"))


def plan(folder: Path, raw: Mapping[str, Any] = SMALL) -> Plan:
    return planned(folder, raw).plan


def run_study(folder: Path, raw: Mapping[str, Any] = SMALL) -> Plan:
    """Prepare, train and evaluate what is missing, and say what is planned then."""
    state = planned(folder, raw)
    with chdir(folder):
        state.freeze()
        study = state.study
        start_progress(study.folder / ".progress", state.plan)
        for name in sorted({*study.datasets, *study.data}):
            prepare_dataset(study.data_options(name), study.prepared[name])
        for name in sorted(study.data):
            if not study.features_path(name).exists():
                features_job(study.folder, name)
            if not state.controls_path(name).exists():
                controls_job(study.folder, name, state.controls_path(name))
        for pack in sorted({item.pack for item in state.plan.to_train}):
            train_job(study.folder, pack)
        for pack in state.plan.packs:
            if not study.evaluation_folder(pack).exists():
                evaluate_job(study.folder, pack, study.evaluation_folder(pack))
        link_evaluations(study, state.plan)
    return plan(folder, raw)


def make_tables(folder: Path, raw: Mapping[str, Any]) -> Path:
    """Tables, findings, figures and the report, as the workflow's scripts make them.

    Returns:
        results/<study>.
    """
    state = planned(folder, raw)
    study, tables = state.study, state.study.folder / "tables"
    with chdir(folder):
        controls = state.controls
        write_csv(collect(study, state.plan, controls), tables / "metrics.csv")
        if study.applied:
            for pack in state.plan.packs:
                apply_job(study.folder, pack, study.applications_folder(pack))
            applied = collect_applications(study, state.plan)
            write_csv(applied, tables / "applications.csv")
        metrics = read_metrics(tables / "metrics.csv")
        write_csv(summarize(metrics), tables / "summary.csv")
        write_overview(study.folder, metrics)
        write_statistics(study.folder)
        write_findings(study.folder)
        embed_study(study.folder, study.folder / "umap" / "index.json")
        for name in study.datasets:
            for likelihood in (*state.likelihoods(name), "all"):
                place = study.folder / "figures" / name / likelihood
                draw_figures(study.folder, name, likelihood, place)
        write_report(study.folder, study.folder / "report.html")
    return folder / study.folder


def nothing_is_to_do(folder: Path, raw: Mapping[str, Any] = SMALL) -> bool:
    """Whether every wanted run is trained and evaluated, and a table can be made of them."""
    state = planned(folder, raw)
    with chdir(folder):
        study = state.study
        evaluated = all(study.evaluation_folder(pack).is_dir() for pack in state.plan.packs)
        fitted = all(study.features_path(name).is_file() for name in study.datasets)
        if state.plan.to_train or not evaluated or not fitted:
            return False
        rows = collect(study, state.plan, [])
    return len(rows) == len(state.plan.planned)


def opened(folder: Path, raw: Mapping[str, Any] = SMALL) -> Study:
    """The study; its paths are relative to the working directory."""
    config = resolve_config(dict(raw), folder / "study.yaml")
    return Study(config, STUDY, STUDY.parent / ".data")


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    return target


def tree(folder: Path) -> dict[str, str]:
    """Everything in a folder: where links lead, and the bytes of files."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes().hex()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


# --- file systems --------------------------------------------------------------------------------


def mount(*arguments: str) -> None:
    """Call mount, or skip the test where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of this size at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def enlarge(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that cannot be written, not even by root."""
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
