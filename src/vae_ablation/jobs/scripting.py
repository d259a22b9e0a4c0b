"""The frame of every rule's script: a log, and one sentence for a fault that the user can mend."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import yaml

from vae_ablation.common.errors import UserError, out_of_memory
from vae_ablation.common.job_logs import log_failure
from vae_ablation.study.costs import CostNote
from vae_ablation.study.plugins import use_plugins

_ROOM = "free some space (vae-ablation prune lists results that no config wants any more)"
_FAULTS = {
    errno.ENOSPC: ("no space is left on the disk", _ROOM),
    errno.EDQUOT: ("the disk quota is used up", _ROOM),
    errno.EFBIG: ("the file grows larger than is allowed here", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "work on one that can be written"),
    errno.EACCES: ("permission is denied", "let this user read and write it"),
    errno.EPERM: ("permission is denied", "let this user read and write it"),
    errno.ESTALE: ("the network file system has lost it", "wait until it is back"),
    errno.EIO: ("the disk or the network reports an error", "have it looked at"),
}
"""Faults of the machine by error number: what happened, and what to do."""

_BY_MESSAGE = {
    "No space left on device": errno.ENOSPC,
    "Not enough free space to write": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
    "Read-only file system": errno.EROFS,
    "Permission denied": errno.EACCES,
    "Stale file handle": errno.ESTALE,
    "Input/output error": errno.EIO,
}
"""Messages of libraries that hide the error number."""


def machine_fault(error: BaseException, place: Path) -> str | None:
    """One sentence about a fault of the machine: a full disk, a missing permission, no memory.

    Args:
        error: what was raised.
        place: a folder that was written to, named where the error names no file.

    Returns:
        None where the error is another one, such as a mistake in the program.
    """
    message = " ".join(str(error).split())
    if out_of_memory(error):
        return (
            f"this machine's memory did not suffice ({message[:120] or 'no size is known'}); lower "
            "packs.memory_gb or packs.max_runs, or give the job more memory, and run the same "
            "command again."
        )
    number = _fault_number(error, message)
    if number is None:
        return None
    what, remedy = _FAULTS[number]
    return f"{_named(error, place)}: {what}; {remedy}, and run the same command again."


def _fault_number(error: BaseException, message: str) -> int | None:
    """The error number of a fault in `_FAULTS`."""
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and number in _FAULTS:
        return number
    if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
        return next((n for words, n in _BY_MESSAGE.items() if words in message), None)
    return None


def _named(error: BaseException, place: Path) -> Path:
    """The file of an error; without one, of the folders that are written to the fullest.

    A file that has not got its own name yet is named by its folder.
    """
    name = getattr(error, "filename", None)
    if isinstance(name, str) and name:
        path = Path(name)
        return path.parent if path.name.startswith(".") else path
    return min((place, Path(tempfile.gettempdir())), key=_free)


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return sys.maxsize


def prepare_caches() -> None:
    """Send the caches of matplotlib and numba to scratch where HOME cannot be written."""
    try:
        writable = os.access(Path.home(), os.W_OK)
    except RuntimeError:  # this user has no home
        writable = False
    if writable:
        return
    scratch = _own_scratch()
    for name, variable in (("matplotlib", "MPLCONFIGDIR"), ("numba", "NUMBA_CACHE_DIR")):
        folder = scratch / name
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault(variable, str(folder))


def _own_scratch() -> Path:
    """A folder for caches that nobody else can write to: numba runs what it finds there."""
    scratch = Path(tempfile.gettempdir()) / f"vae-ablation-{os.getuid()}"
    scratch.mkdir(mode=0o700, exist_ok=True)
    status = scratch.lstat()
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    if ours and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return scratch
    return Path(tempfile.mkdtemp(prefix="vae-ablation-"))


@contextmanager
def job(log_file: str) -> Iterator[None]:
    """Run a job: log to `log_file`; a fault that the user can mend is one sentence and status 1.

    Args:
        log_file: path of the rule's log, which holds the traceback of anything unforeseen.
    """
    path, cost = Path(log_file), CostNote()
    try:
        _open_log(path)
        prepare_caches()
        _know_plugins(_written_to(path))
        yield
        with suppress(OSError):  # a note that cannot be written does not undo what was done
            cost.write(path)
    except UserError as error:
        log_failure(str(error))
        _end(str(error))
    except SystemExit as stopped:
        if isinstance(stopped.code, int) and stopped.code > 128:
            _leave(stopped.code)
        raise
    except Exception as error:
        logging.exception("unforeseen")
        sentence = machine_fault(error, _written_to(path))
        log_failure(sentence or f"{type(error).__name__}: {error}")
        if sentence is None:
            raise
        _end(sentence)


def _know_plugins(study: Path) -> None:
    """Know the plug-ins of the study that a job is of, without importing them."""
    config = study / "config.yaml"
    if config.is_file():
        use_plugins(yaml.safe_load(config.read_text(encoding="utf-8")).get("plugins", ()))


def _leave(status: int) -> NoReturn:
    """End a job that a signal has stopped, without the seconds that unloading torch takes."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)


def _written_to(log: Path) -> Path:
    """The study of a log, or the folder of prepared data in which it lies."""
    return next((folder.parent for folder in log.parents if folder.name == "logs"), log.parent)


def _open_log(path: Path) -> None:
    logging.raiseExceptions = False  # a log on a full disk is no fault of its own
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(
            filename=path, filemode="w", level=logging.INFO, format="%(asctime)s %(message)s"
        )
    except OSError:
        logging.basicConfig(handlers=[logging.NullHandler()])
        raise


def _end(sentence: str) -> None:
    print(f"Error: {sentence}", file=sys.stderr)
    raise SystemExit(1) from None
