"""Joining of runs from another folder of results, such as another cluster's."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import (
    UNREADABLE_NPZ,
    read_json,
    replace_link,
    write_atomic,
    write_json,
)
from vae_ablation.data.prepare import load_dataset
from vae_ablation.store.prune import DATA_NAME, RUN_FILES, check_idle, present_study
from vae_ablation.study.plan import CODE_CHANGED, Planned, Study, training_code_version
from vae_ablation.study.run import Run, canonical_run
from vae_ablation.study.run_files import APPLICATION_FILES, EVALUATION_FILES
from vae_ablation.study.workflow import read_frozen

_NEEDED = {"pack", "path", "status", "code_version", "data_hash", "epochs_kept"}
"""Keys that a record must have beside those of its hash."""
_TIMESTAMP = ".snakemake_timestamp"
"""File in which Snakemake keeps the date of a folder that a job made."""


@dataclass(frozen=True)
class Pack:
    """A pack of the other folder.

    Attributes:
        folder: packs/<pack> there.
        records: its runs' records, by path.
    """

    folder: Path
    records: Mapping[str, Mapping[str, Any]]


# --- what is here --------------------------------------------------------------------------------


class Here:
    """The folder that receives, and what it lacks.

    Attributes:
        folder: results/<study>; it need not exist.
        wanted: each run that the study wants, by path; empty where that is not known.
        held: paths of the runs whose results are here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wanted: dict[str, Planned] = {}
        self.held: set[str] = set()
        if (folder / "plan.json").is_file():
            study = present_study(folder) or read_frozen(folder)[0]
            retrain = study.config["on_code_change"] == "retrain"
            wanted = "retrain" if retrain else "keep"  # "error" would refuse to plan
            self.study = replace(study, config=study.config | {"on_code_change": wanted})
            planned = self.study.plan().planned
            self.wanted = {item.run.path: item for item in planned}
            self.held = {item.run.path for item in planned if item.reason is None}

    def lacks(self, path: str, record: Mapping[str, Any]) -> bool:
        """Whether a run of another place is to be taken over.

        A run that the study wants is taken if it is the very one and not held; any other if there
        is none of that name, so that a config which names it later finds it trained.
        """
        if path in self.held:
            return False
        if path in self.wanted:
            return self._is_wanted(self.wanted[path], record)
        return not _readable(self.folder / "runs" / path / "run.json")

    def _is_wanted(self, item: Planned, record: Mapping[str, Any]) -> bool:
        """Whether a record is of a wanted run: by the data that are, or would be, prepared here."""
        if item.reason == CODE_CHANGED and record["code_version"] != training_code_version():
            return False
        data = item.run.data
        unprepared = self.study.checksums[data] is None
        if unprepared and record["data_hash"] == self.study.prepared[data].name:
            return bool(
                record["train_hash"] == self.study.train_hash(item.run, record["data_checksum"])
            )
        return bool(record["train_hash"] == item.train_hash)

    def differing(self, pack: Pack) -> list[str]:
        """Runs of a pack that are wanted and lacking here, with other settings, data or code."""
        lacking = [path for path in pack.records if path in self.wanted and path not in self.held]
        return [
            path for path in lacking if not self._is_wanted(self.wanted[path], pack.records[path])
        ]

    def free_name(self, pack: str) -> str:
        """The pack's name, or with a number where that is taken."""
        names = itertools.chain([pack], (f"{pack}-{number}" for number in itertools.count(2)))
        return next(name for name in names if not (self.folder / "packs" / name).exists())


def _readable(path: Path) -> bool:
    try:
        read_json(path)
    except (OSError, ValueError):
        return False
    return True


# --- packs on disk -------------------------------------------------------------------------------


def read_pack(folder: Path) -> Pack:
    """The records of a pack, each checked against its place and its hash.

    Args:
        folder: packs/<pack>.

    Raises:
        UserError: the pack is damaged, or was trained by another version.
    """
    if any(path.is_symlink() for path in folder.rglob("*")):
        raise UserError(f"{folder}: holds links, which a pack never does; it is left out.")
    train = folder / "train"
    records = {
        path.parent.relative_to(train).as_posix(): _checked_record(path)
        for path in sorted(train.rglob("run.json"))
    }
    for path, record in records.items():
        if record["path"] != path:
            raise UserError(f"{train / path}: its record is of {record['path']}; it is left out.")
    if not records:
        raise UserError(f"{folder}: holds no trained run; it is left out.")
    return Pack(folder, records)


def _checked_record(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path)
        if absent := _NEEDED - record.keys():
            raise KeyError(min(absent))
        run = Run(**record["run"])
        hashes = set(_possible_hashes(run, record))
        sound = run == canonical_run(**record["run"]) and run.path == record["path"]
        digest = record["train_hash"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: the record is damaged ({type(error).__name__}: {reason}); its pack is left "
            "out."
        ) from None
    if not sound or digest not in hashes:
        raise UserError(
            f"{path}: the train hash {digest} does not fit the settings beside it: the record is "
            "damaged, or another version of vae-ablation trained the run; its pack is left out."
        )
    return dict(record)


def _possible_hashes(run: Run, record: Mapping[str, Any]) -> Iterator[str]:
    """Train hashes that a record allows: it does not record dynamic binarisation."""
    for binarize in ("none", "dynamic"):
        config = {
            "training": record["training"],
            "model": record["model"],
            "datasets": {run.dataset: {"binarize": binarize}},
        }
        yield Study(config, Path(), Path()).train_hash(run, record["data_checksum"])


def check_weights(pack: Pack) -> None:
    """Open everything that training left.

    Raises:
        UserError: a file is absent, truncated or of another model.
    """
    from vae_ablation.store.trained import load_run, read_history

    for path, record in pack.records.items():
        folder = pack.folder / "train" / path
        if record["status"] == "failed":
            continue
        load_run(folder)
        try:
            epochs = len(read_history(record, folder))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / 'history.csv'}: damaged ({error}).") from None
        snapshots = folder / "snapshots.npz"
        broken = snapshots.exists() and not _whole_archive(snapshots)
        if epochs != record["epochs_kept"] or broken:
            raise UserError(f"{folder}: history.csv or snapshots.npz is damaged.")


def _sound(folder: Path, pack: Pack) -> bool:
    """Whether an evaluation, or a folder of applications, is complete and can be read."""
    expected = EVALUATION_FILES if folder.parent.name == "evaluation" else APPLICATION_FILES
    checks: dict[str, Callable[[Path], bool]] = {
        ".json": _readable,
        ".npz": _whole_archive,
        ".h5ad": _opens_as_hdf5,
    }
    for path, record in pack.records.items():
        files = {file.name: file for file in (folder / path).glob("[!.]*")}
        if record["status"] == "ok" and not files.keys() >= set(expected):
            return False
        if not all(checks.get(file.suffix, Path.is_file)(file) for file in files.values()):
            return False
    return True


def _opens_as_hdf5(path: Path) -> bool:
    h5py = importlib.import_module("h5py")
    try:
        h5py.File(path, "r").close()
    except (OSError, RuntimeError, KeyError, ValueError):
        return False
    return True


def _whole_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except UNREADABLE_NPZ:
        return False


# --- joining -------------------------------------------------------------------------------------


def join(source: Path, folder: Path) -> None:
    """Copy whole packs with runs that are lacking here, and link these runs.

    What is here already is never changed.

    Args:
        source: results/<study> of the other machine.
        folder: results/<study> here; it need not exist.

    Raises:
        UserError: Snakemake works here, or there is nothing to take over at all.
    """
    if not (source / "packs").is_dir():
        raise UserError(f"{source}: holds no packs; allowed: a folder results/<study>.")
    if folder.exists() and source.samefile(folder):
        raise UserError(f"{source}: is the study's own folder; allowed: another one.")
    check_idle(folder)
    here = Here(folder)
    joined = left_out = 0
    for place in sorted(path for path in (source / "packs").glob("[!.]*") if path.is_dir()):
        try:
            pack = read_pack(place)
            taken = _taken(pack, source, here)
            if taken:
                check_weights(pack)
        except UserError as error:
            print(f"Left out: {error}")
            left_out += 1
            continue
        if differing := here.differing(pack):
            print(
                f"Left out: {place}: {len(differing)} of {len(pack.records)} runs have other "
                f"settings, data or code than the study wants here ({differing[0]})."
            )
        if taken:
            _take_over(pack, taken, here)
            print(f"Joined: {place}, {len(taken)} of {len(pack.records)} runs{_other_code(pack)}")
            joined += len(taken)
            _copy_data(pack, source.parent / ".data", folder.parent / ".data")
    if joined:
        _copy_by_hash(source, folder)
    missing = f" {len(here.wanted.keys() - here.held)} wanted runs are still missing."
    print(f"{joined} runs joined, {left_out} packs left out.{missing if here.wanted else ''}")


def _other_code(pack: Pack) -> str:
    """A remark where other training code made the pack: `on_code_change` decides about it."""
    versions = {record["code_version"] for record in pack.records.values()}
    return "" if versions == {training_code_version()} else " (trained by other training code)"


def _taken(pack: Pack, source: Path, here: Here) -> list[str]:
    """Runs of a pack that are taken over: wanted ones, and others that the other folder holds.

    A run that failed there is tried here.
    """
    there = {path: source / "runs" / path / "run.json" for path in pack.records}
    return [
        path
        for path, record in pack.records.items()
        if here.lacks(path, record)
        and record["status"] != "failed"
        and (path in here.wanted or _pack_of(there[path]) == pack.folder.name)
    ]


def _pack_of(record: Path) -> str | None:
    try:
        return str(read_json(record)["pack"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _take_over(pack: Pack, taken: Sequence[str], here: Here) -> None:
    """Copy a pack under a free name, link its runs, and let it appear."""
    name = here.free_name(pack.folder.name)
    target = here.folder / "packs" / name
    temporary = target.with_name(f".{name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(pack.folder / "train", temporary / "train")
        for path, record in pack.records.items():
            write_json(temporary / "train" / path / "run.json", {**record, "pack": name})
        kinds = ("applications", "evaluation")
        made = [place for kind in kinds for place in _copy_made(pack, temporary, kind)]
        for path in taken:
            last = Path("evaluation") / str(pack.records[path].get("eval_hash"))
            places = [Path("train"), *sorted(made, key=lambda place: place == last)]
            _link(
                here.folder / "runs" / path, temporary, target, [place / path for place in places]
            )
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    os.replace(temporary, target)
    here.held.update(taken)


def _copy_made(pack: Pack, temporary: Path, kind: str) -> Iterator[Path]:
    """Copy sound evaluations, or applications, of a pack, under every setting.

    They are dated now: their inputs are known by hash, but a file of that hash that was made here
    may be younger.

    Yields:
        Its place below the pack.
    """
    for folder in sorted((pack.folder / kind).glob("[!.]*")):
        if _sound(folder, pack):
            place = Path(kind) / folder.name
            shutil.copytree(folder, temporary / place)
            (temporary / place / _TIMESTAMP).touch()
            yield place
        else:
            print(f"Left out: {folder}: damaged; it is made again here.")


def _link(folder: Path, temporary: Path, target: Path, places: Collection[Path]) -> None:
    """Link the files of a run's places in a pack, in place of what a former one left."""
    for name in RUN_FILES:
        (folder / name).unlink(missing_ok=True)
    for place in places:
        for file in (temporary / place).glob("[!.]*"):
            replace_link(folder / file.name, target / place / file.name)


def _copy_data(pack: Pack, there: Path, here: Path) -> None:
    """Copy the prepared data of a pack, if they are the ones that its runs were trained on.

    Were they prepared anew, Snakemake would evaluate everything again.
    """
    record = next(iter(pack.records.values()))
    name = str(record["data_hash"])
    if not DATA_NAME.fullmatch(name) or (here / name).exists():
        return
    try:
        same = load_dataset(name, there / name).checksum == record["data_checksum"]
    except UserError:
        return
    if same:
        temporary = here / f".{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(there / name, temporary)
        os.replace(temporary, here / name)


def _copy_by_hash(source: Path, folder: Path) -> None:
    """Copy features and control rows that are not here: their names say what they hang on."""
    sound: dict[str, Callable[[Path], bool]] = {
        "features/*/*.npz": _whole_archive,
        "controls/*/*.json": _readable,
        "external/*/*/*.json": _readable,
    }
    for pattern, check in sound.items():
        for path in sorted(source.glob(pattern)):
            target = folder / path.relative_to(source)
            if not target.exists() and check(path):
                write_atomic(target, partial(_send, path))
                shutil.copystat(path, target)


def _send(path: Path, stream: BinaryIO) -> None:
    with path.open("rb") as content:
        shutil.copyfileobj(content, stream)
