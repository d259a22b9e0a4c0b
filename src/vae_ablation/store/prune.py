"""Pruning: deletion of results that no config of a study wants any more. No torch."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json
from vae_ablation.study.config import read_config
from vae_ablation.study.disk import size_text
from vae_ablation.study.plan import Plan, Planned, Study, link_evaluations
from vae_ablation.study.run_files import (
    APPLICATION_FILES,
    CELL_FILE,
    EVALUATION_FILES,
    SNAPSHOTS_FILE,
    TRAIN_FILES,
)
from vae_ablation.study.started import started
from vae_ablation.study.workflow import Workflow, read_frozen, with_rounds

RUN_FILES = (*TRAIN_FILES, SNAPSHOTS_FILE, *EVALUATION_FILES, CELL_FILE, *APPLICATION_FILES)
"""Everything that a run's folder can hold."""

_TEMPORARY = re.compile(
    r"\.(.+\.(tmp|link|\d+\.(new|old))|counts\.[a-z0-9_]{8}|.+\.[a-z0-9]+\.[a-z0-9_]{8})"
)
"""Names of what a job writes before it gives it its own name; a job that was killed leaves it."""
DATA_NAME = re.compile(r"[0-9a-f]{12}")
"""Names of folders of prepared data."""


def check_idle(folder: Path) -> None:
    """Refuse to change a study's folder while Snakemake works on it.

    Args:
        folder: results/<study>.

    Raises:
        UserError: Snakemake holds its lock.
    """
    working = folder.absolute().parents[1]
    if any((working / ".snakemake" / "locks").glob("*")):
        raise UserError(
            f"{working}: snakemake is running here, so nothing is changed; wait until it has ended "
            "(or, if it was killed, call snakemake --unlock)."
        )


def present_study(folder: Path) -> Study | None:
    """The study as its config file says now, which may be more than was frozen.

    Args:
        folder: results/<study>.

    Returns:
        None where the config file is gone or describes another study.

    Raises:
        UserError: the config file is wrong.
    """
    path = folder.absolute().parents[1] / str(read_json(folder / "plan.json")["config_path"])
    if not path.is_file():
        return None
    config = read_config(path)
    if config["study"] != folder.name:
        return None
    study = with_rounds(Study(config, folder, folder.parent / ".data"))
    study.check_fit(str(path))
    return study


# --- what is wanted ------------------------------------------------------------------------------


def _wanting(folder: Path) -> list[Study]:
    """The study as frozen, and as its config file says now; neither refuses other code."""
    frozen, _ = read_frozen(folder)
    studies, present = [frozen], present_study(folder)
    if present is not None and present.config != frozen.config:
        studies.append(present)
    return [_strict(study) for study in studies]


def _strict(study: Study) -> Study:
    """In whose plan a run that failed is missing, and none is refused; `_Wanted` looks closer."""
    code = {"on_code_change": "keep"} if study.config["on_code_change"] == "error" else {}
    return replace(study, config=study.config | {"retry_failed": True} | code)


class _Wanted:
    """Parts of a study's folder that the study wants.

    Attributes:
        runs: its runs that a pack holds, whatever else may be wrong with them.
        paths: files and folders that have to stay.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        plan = study.plan()
        self.runs = [item for item in map(self._held, plan.planned) if item is not None]
        self.paths = {*self._of_packs(), *self._of_datasets(plan), *self._of_training(plan)}

    def _held(self, item: Planned) -> Planned | None:
        """A run in the pack that holds it; one that failed, say, is held until it is made again."""
        if item.reason is None:
            return item
        record = _record(self.study.run_folder(item.run))
        same = record.get("train_hash") == item.train_hash
        return replace(item, pack=str(record["pack"])) if same else None

    def _of_packs(self) -> Iterator[Path]:
        for pack in {item.pack for item in self.runs}:
            yield self.study.folder / "packs" / pack
            yield self.study.evaluation_folder(pack)
            if self.study.applied:
                yield self.study.applications_folder(pack)

    def _of_datasets(self, plan: Plan) -> Iterator[Path]:
        workflow = Workflow(self.study, plan, "")
        for data in self.study.data:
            yield self.study.features_path(data)
            yield workflow.controls_path(data)
        for arm, data in workflow.external_data:
            yield workflow.external_path(arm, data)
        yield self.study.folder / "tables" / "findings.html"
        for dataset in self.study.datasets:
            for likelihood in (*workflow.likelihoods(dataset), "all"):
                yield self.study.folder / "figures" / dataset / likelihood

    def _of_training(self, plan: Plan) -> Iterator[Path]:
        """Checkpoints from which a run that is still to be trained can go on."""
        missing = {(item.run.path, item.train_hash) for item in plan.to_train}
        for members, place in started(self.study.checkpoints, self.study.code_version):
            if missing & set(members.items()):
                yield place


def _record(folder: Path) -> dict[str, Any]:
    """A run's record, empty where none can be read."""
    try:
        record = read_json(folder / "run.json")
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and "pack" in record else {}


# --- what is left over ---------------------------------------------------------------------------

_PLACES = (
    "packs/*",
    "packs/*/evaluation/*",
    "packs/*/applications/*",
    "features/*/*.npz",
    "controls/*/*.json",
    "external/*/*/*.json",
    "figures/*/*",
    "explorer",
    "tables/*.html",
    "checkpoints/*",
    "snakemake-report.new.*",
)


@dataclass(frozen=True)
class Leftovers:
    """Files and folders that may be deleted.

    Attributes:
        paths: files and folders.
        runs: folders below runs/ that lead to packs which go, or nowhere.
        notes: what had to stay, and why: a sentence each.
        held: the runs that stay, by the study that wants them.
    """

    paths: tuple[Path, ...]
    runs: tuple[Path, ...]
    notes: tuple[str, ...]
    held: tuple[tuple[Study, Plan], ...] = field(compare=False)

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(map(_size, self.paths))


def find_leftovers(folder: Path) -> Leftovers:
    """Files of a study's folder, and prepared data beside it, that no config wants any more.

    Files are wanted by the frozen plan, or by the study's config file as it is now.

    Args:
        folder: results/<study>.

    Raises:
        UserError: no study can be read, or its config file is wrong.
    """
    studies = _wanting(folder)
    wanted = [_Wanted(study) for study in studies]
    kept = {path for one in wanted for path in one.paths}
    found = [
        path
        for place in _PLACES
        for path in folder.glob(place)
        if path not in kept and not path.name.startswith(".")
    ]
    data = studies[0].data_folder
    stored = [path for path in data.glob("*") if DATA_NAME.fullmatch(path.name)]
    hidden = [path for place in (folder, *stored) for path in place.rglob(".*")]
    found += [path for path in [*hidden, *data.glob(".*")] if _TEMPORARY.fullmatch(path.name)]
    notes: list[str] = []
    try:
        needed = _wanted_data(folder, studies)
        found += [path for path in stored if path.name not in needed]
    except (UserError, OSError) as error:
        notes.append(f"{data} is kept: {error}")
    packs = {item.pack for one in wanted for item in one.runs}
    runs = [place for place in _run_folders(folder) if _record(place).get("pack") not in packs]
    return Leftovers(
        tuple(sorted(_outermost(found))),
        tuple(sorted(runs)),
        tuple(notes),
        tuple((one.study, Plan(one.runs)) for one in wanted),
    )


def _wanted_data(folder: Path, studies: list[Study]) -> set[str]:
    """Names of the prepared data that some study beside this one, or this one, wants.

    Raises:
        UserError: another study cannot be read.
        OSError: neither can a file of its data.
    """
    configs = folder.parent.glob("*/config.yaml")
    others = [config.parent for config in configs if config.parent.name != folder.name]
    every = [*studies, *(study for other in sorted(others) for study in _wanting(other))]
    return {path.name for study in every for path in study.prepared.values()}


def _outermost(paths: Sequence[Path]) -> Iterator[Path]:
    """Each path that lies in none of the others."""
    every = set(paths)
    return (path for path in every if every.isdisjoint(path.parents))


def _run_folders(folder: Path) -> set[Path]:
    """Folders below runs/ with files or links of a run."""
    files = (path for path in (folder / "runs").rglob("*") if path.name in RUN_FILES)
    return {path.parent for path in files}


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(one.lstat().st_size for one in inside if one.is_symlink() or not one.is_dir())


# --- deleting ------------------------------------------------------------------------------------


def prune(folder: Path, yes: bool = False) -> None:
    """List results that no config wants any more, ask, and delete them.

    Args:
        folder: results/<study>.
        yes: delete without asking.

    Raises:
        UserError: Snakemake works here, there is nobody to ask, or the answer is another one.
    """
    check_idle(folder)
    found = find_leftovers(folder)
    _show(folder, found)
    if not found.paths and not found.runs:
        return
    if not yes:
        _ask(folder.name)
        check_idle(folder)
        if find_leftovers(folder) != found:
            raise UserError(f"{folder}: has changed meanwhile, so nothing was deleted; try again.")
    freed = found.size
    delete(folder, found)
    print(f"Deleted; {size_text(freed)} are free again.")


def _show(folder: Path, found: Leftovers) -> None:
    for note in found.notes:
        print(note)
    if not found.paths and not found.runs:
        print(f"Study {folder.name}: everything in {folder} is wanted; nothing to delete.")
        return
    print(f"Study {folder.name}: no config wants these any more")
    for path in found.paths:
        print(f"  {size_text(_size(path)):>9}  {path}")
    if found.runs:
        print(f"  {'links':>9}  of {len(found.runs)} runs below {folder / 'runs'}")
    print(f"  {size_text(found.size):>9}  in all")


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise UserError("prune: asks before it deletes, but there is no terminal; allowed: --yes.")
    try:
        answer = input("Type the study's name to delete all this: ")
    except EOFError:
        answer = ""
    if answer.strip() != name:
        raise UserError(f"the answer is {answer!r}, not {name}; nothing was deleted.")


def delete(folder: Path, found: Leftovers) -> None:
    """Delete leftovers: first what leads to them, then each at once or not at all.

    Args:
        folder: results/<study>.
        found: `find_leftovers`.
    """
    for study, plan in found.held:  # links may still lead to what earlier settings gave
        link_evaluations(study, plan)
    for run in found.runs:
        for name in RUN_FILES:
            (run / name).unlink(missing_ok=True)
        _remove_empty(run, folder / "runs")
    for path in found.paths:
        _delete(path)
    for link in (folder / "runs").rglob("*"):
        if link.is_symlink() and not link.exists():
            link.unlink()


def _delete(path: Path) -> None:
    """Delete a file, or a folder such that nobody ever sees a part of it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    doomed = path
    if not _TEMPORARY.fullmatch(path.name):
        doomed = path.with_name(f".{path.name}.tmp")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
    shutil.rmtree(doomed)


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder and those above it, below `top`, as far as they are empty."""
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
