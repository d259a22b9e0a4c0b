"""A device of its own for each job of one machine, where no scheduler deals them out."""

from __future__ import annotations

import getpass
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from vae_ablation.common.errors import UserError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2


def choose_device(wanted: str) -> torch.device:
    """The device to train on; auto takes cuda, then mps, then cpu.

    Raises:
        UserError: the wanted device is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, present in there.items() if present))
    if not there[wanted]:
        present = ", ".join(name for name, ok in there.items() if ok)
        raise UserError(
            f"training.device is {wanted!r}, which this machine lacks; here: {present}."
        )
    return torch.device(wanted)


@contextmanager
def leased(names: Sequence[str], folder: Path) -> Iterator[int]:
    """Hold one of several devices that nobody else holds; waits until one is free.

    A lock of the operating system: a job that is killed gives its device back.

    Args:
        names: of the devices, the same for every job that sees them.
        folder: where their locks lie.

    Yields:
        Position of the device in `names`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(folder / f"{name}.lock") for name in names]
    while True:
        for position, lock in enumerate(locks):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                log.info("on device %s", names[position])
                yield position
            finally:
                lock.release()
            return
        time.sleep(POLL_SECONDS)


@contextmanager
def device_lease(wanted: str) -> Iterator[None]:
    """Make "cuda" mean a GPU that no other job of this user holds; nothing where none is used.

    Locks go by the GPU's own id, so that jobs which a scheduler has given different GPUs, each the
    only one that its job sees, do not wait for one another.

    Args:
        wanted: the config's training.device.
    """
    if choose_device(wanted).type != "cuda":
        yield
        return
    count = range(torch.cuda.device_count())
    names = [str(torch.cuda.get_device_properties(index).uuid) for index in count]
    folder = Path(tempfile.gettempdir()) / f"vae-ablation-devices-{getpass.getuser()}"
    with leased(names, folder) as index, torch.cuda.device(index):
        yield
