"""First steps of a user: a folder with a config for her own data, and a call that runs it."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import write_text
from vae_ablation.common.settings import schema
from vae_ablation.common.workflow_files import WORKFLOW
from vae_ablation.data import SOURCES
from vae_ablation.data.codes import SPLITS
from vae_ablation.data.prepare import describe_observed
from vae_ablation.study.config import STUDY_NAME, resolve_config
from vae_ablation.study.disk import disk_bytes, size_text
from vae_ablation.study.first_config import Look, first_config
from vae_ablation.study.plan import Plan, Study
from vae_ablation.study.progress import duration

CONFIG = "config.yaml"
TRIAL = 8
"""Most runs that are trained together in a trial."""
TRIAL_VALUES = 8192
"""Runs × data dimensions of a trial at most; more where even two runs have more."""
SNAKEFILE = """# `snakemake --cores all` runs config.yaml by the rules of the installed package.
from vae_ablation.common.workflow_files import WORKFLOW


include: str(WORKFLOW / "rules" / "study.smk")


rule all:
    default_target: True
    input:
        FILES.everything,
"""


def start(folder: Path, source: str, path: Path | None) -> None:
    """Write a first config and a Snakefile into a folder, and say what the study would cost.

    Args:
        folder: to make; its name is the study's.
        source: of the data, as the config calls it.
        path: the user's file or folder; None for data that come with a package.

    Raises:
        UserError: the folder holds a study already, or its name or the data cannot be used.
    """
    name = Path(os.path.abspath(folder)).name
    if not STUDY_NAME.fullmatch(name):
        raise UserError(
            f"{folder}: a study cannot be called {name!r}; allowed: at most 100 letters, digits, "
            "'.', '_' and '-', starting with a letter or digit."
        )
    for file in (CONFIG, "Snakefile"):
        if (folder / file).exists():
            raise UserError(f"{folder / file}: is there already; allowed: a folder without one.")
    look = look_at(_dataset_name(source, path), source, path, folder)
    text = first_config(name, look)
    config = resolve_config(yaml.safe_load(text), folder / CONFIG)
    study = Study(config, folder / "results" / name, folder / "results" / ".data")
    study.check_fit(str(folder / CONFIG))
    plan = study.plan()
    cost = cost_line(study, plan, look)
    write_text(folder / CONFIG, text)
    write_text(folder / "Snakefile", SNAKEFILE)
    print(f"Data: {look.summary}.")
    print(f"Config: {folder / CONFIG}, with a comment on every key.")
    print(cost)
    print(f"Next: vae-ablation run {folder / CONFIG}")


def _dataset_name(source: str, path: Path | None) -> str:
    """The file's name as a name of a dataset; the source's where there is none or it is not one."""
    named = Path(os.path.abspath(path)).name if path is not None else ""
    stem = named.split(".")[0] if named else source.removeprefix("sklearn-")
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in stem)
    plain = plain.strip("-_")[:100]
    return plain if plain and plain != "all" else source


def look_at(name: str, source: str, path: Path | None, folder: Path) -> Look:
    """A first look at data.

    Args:
        name: of the dataset.
        source: as the config calls it.
        path: the user's file or folder, or None.
        folder: where the config will lie; its paths are relative to it.

    Raises:
        UserError: the data cannot be read.
    """
    rules = schema()["properties"]["datasets"]["additionalProperties"]["properties"]
    options = {key: rule.get("default") for key, rule in rules.items()} | {"source": source}
    chosen: dict[str, Any] = {"source": source}
    part = SOURCES[source]
    key = "folder" if "folder" in part.options else "path"
    if path is not None and not (path.is_dir() if key == "folder" else path.is_file()):
        raise UserError(f"{path}: there is no such {'folder' if key == 'folder' else 'file'}.")
    if path is not None:
        options[key] = str(path.parent.resolve() / path.name)
        chosen[key] = os.path.relpath(options[key], folder.resolve())
    suggested = part.suggested(options)
    options |= suggested
    observed, examples = describe_observed(options), part.count(options)
    if examples < len(SPLITS):
        raise UserError(
            f"{path}: number of examples is {examples}; allowed: at least {len(SPLITS)}, one for "
            "each split."
        )
    return Look(name, chosen | suggested, observed, examples)


def cost_line(study: Study, plan: Plan, look: Look) -> str:
    """Runs, time of training by a trial on this machine, and disk space of a new study."""
    from vae_ablation.training.trial import seconds_per_example

    options = study.config["datasets"][look.name]
    seen = look.examples * (1 - options["validation"] - options["test"])
    seen *= study.config["training"]["epochs"]
    seconds = 0.0
    together = min(TRIAL, max(2, TRIAL_VALUES // look.observed.dims))
    for key in {item.run.pack_key for item in plan.planned}:
        runs = [item.run for item in plan.planned if item.run.pack_key == key]
        each = seconds_per_example(runs[:together], look.observed, study.config)
        seconds += len(runs) * seen * each
    time = (
        f"about {duration(seconds)} of training on one core of this machine and about as long "
        "again for evaluation and figures"
        if math.isfinite(seconds)
        else "for a time that a trial could not tell"
    )
    size = size_text(disk_bytes(study, plan))
    return f"Cost: {len(plan.planned)} runs in {len(plan.packs)} packs, {time}; {size} of disk."


def run(config: Path, cores: str, profile: str, arguments: Sequence[str]) -> NoReturn:
    """Become the script that runs a study to its report: workflow/run.sh.

    A config that lies beside a Snakefile is run in its own folder, any other one here.

    Args:
        config: the study's config.
        cores: as Snakemake takes them: a number or all.
        profile: name of a profile in workflow/profiles.
        arguments: further arguments of Snakemake.

    Raises:
        UserError: there is no such file.
    """
    if not config.is_file():
        raise UserError(f"{config}: there is no such config file; vae-ablation init writes one.")
    if (config.parent / "Snakefile").is_file():
        os.chdir(config.parent)
        config = Path(config.name)
    script = str(WORKFLOW / "run.sh")
    call = [script, str(Path(sys.executable).parent), str(config), cores, profile, *arguments]
    os.execv("/usr/bin/env", ["env", "bash", *call])
