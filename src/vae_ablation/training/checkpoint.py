"""Checkpoints of packs in training: written whole, checksummed, found again by what they hold."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vae_ablation.common.files import stable_hash, write_atomic, write_json
from vae_ablation.study.started import MEMBERS, started

log = logging.getLogger(__name__)

FORMAT = 2
SUFFIX = ".checkpoint"
KEPT = 2
"""Checkpoints of a pack that stay: the last, and the one before in case the last is damaged."""
STOPPING = (signal.SIGTERM, signal.SIGINT)
_DIGEST = hashlib.sha256().digest_size


@dataclass
class RunState:
    """One run of a pack, between two steps.

    Attributes:
        metadata: status, reason, what early stopping knows, whether it still trains.
        tensors: weights, moments, states of random streams, history, pictures; by name.
    """

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass
class PackState:
    """A pack between two steps.

    Attributes:
        place: epoch, block of its noise, and first example of the next batch inside the block.
        steps: steps that Adam has taken.
        seconds: training time so far.
        drawn_on: type of the device that draws random numbers; no other can go on with them.
        runs: each run's state, by path.
    """

    place: tuple[int, int, int]
    steps: float
    seconds: float
    drawn_on: str
    runs: dict[str, RunState]

    def to_bytes(self) -> bytes:
        """A digest, then safetensors whose metadata hold everything that is no tensor."""
        tensors = {
            f"{number}/{name}": tensor.contiguous()
            for number, state in enumerate(self.runs.values())
            for name, tensor in state.tensors.items()
        }
        metadata = {
            "format": FORMAT,
            "place": self.place,
            "steps": self.steps,
            "seconds": self.seconds,
            "drawn_on": self.drawn_on,
            "runs": [[path, state.metadata] for path, state in self.runs.items()],
        }
        body = save(tensors, {"facts": json.dumps(metadata)})
        return hashlib.sha256(body).digest() + body

    @classmethod
    def from_bytes(cls, data: bytes) -> PackState:
        """Read `to_bytes` back.

        Raises:
            ValueError: the bytes are not what was written.
        """
        digest, body = data[:_DIGEST], data[_DIGEST:]
        if hashlib.sha256(body).digest() != digest:
            raise ValueError("its checksum is wrong")
        try:
            tensors = load(body)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
        length = int.from_bytes(body[:8], "little")
        metadata = json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["facts"])
        if metadata["format"] != FORMAT:
            raise ValueError(f"its format is {metadata['format']}, and this is {FORMAT}")
        runs = {path: RunState(own, {}) for path, own in metadata["runs"]}
        states = list(runs.values())
        for name, tensor in tensors.items():
            number, _, rest = name.partition("/")
            states[int(number)].tensors[rest] = tensor
        epoch, block, batch = metadata["place"]
        steps, seconds, drawn_on = (metadata[name] for name in ("steps", "seconds", "drawn_on"))
        return cls((epoch, block, batch), steps, seconds, drawn_on, runs)


class Stopped(SystemExit):
    """Training was stopped by a signal; a checkpoint holds how far it came."""


@dataclass
class Checkpointer:
    """Writes and reads the checkpoints of one job's runs, below results/<study>/checkpoints.

    A checkpoint belongs to its runs and not to their pack: a later plan may put them elsewhere.

    Attributes:
        folder: holds a folder per set of runs.
        hashes: train hash of each run of the job, by path.
        code_version: of the training code; another version's checkpoints are left alone.
        seconds: between two checkpoints; none but those that a signal asks for where it is None.
        spent: training time that loaded checkpoints stand for.
        resumed: how many were loaded.
    """

    folder: Path
    hashes: Mapping[str, str]
    code_version: str
    seconds: float | None
    spent: float = 0.0
    resumed: int = 0
    _last: float = field(default_factory=time.monotonic)
    _signal: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGUSR1 asks for a checkpoint; SIGTERM and SIGINT ask for one and then end the job."""
        before = {
            number: signal.signal(number, self._receive) for number in (*STOPPING, signal.SIGUSR1)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: object) -> None:
        self._signal = number if self._signal not in STOPPING else self._signal

    @property
    def due(self) -> bool:
        """Whether a checkpoint is to be written now."""
        if self._signal is not None:
            return True
        return self.seconds is not None and time.monotonic() - self._last >= self.seconds

    def save(self, state: PackState) -> None:
        """Write a checkpoint, and end the job where a signal asked for it.

        A disk that is full costs the checkpoint and not the training.

        Raises:
            Stopped: a signal asked the job to stop.
        """
        folder = self.folder / self._key(state.runs)
        try:
            write_json(folder / MEMBERS, self._members(state.runs))
            older = sorted(folder.glob(f"*{SUFFIX}"))
            number = int(older[-1].stem) + 1 if older else 0
            data = state.to_bytes()
            write_atomic(folder / f"{number:08d}{SUFFIX}", lambda stream: stream.write(data))
            for path in older[: -(KEPT - 1)]:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: no checkpoint was written: %s", folder, error)
        self._last = time.monotonic()
        number, self._signal = self._signal or 0, None
        if number in STOPPING:
            log.info("stopped by %s; a checkpoint holds what was done", signal.Signals(number).name)
            raise Stopped(128 + number)

    def load(self, runs: Collection[str], drawn_on: str) -> PackState | None:
        """The last sound checkpoint that holds these runs; None where there is none.

        Args:
            runs: their paths.
            drawn_on: type of the device that draws random numbers now.
        """
        wanted = self._members(runs)["runs"]
        for members, folder in started(self.folder, self.code_version):
            if wanted.items() <= members.items() and (state := _newest(folder)):
                if state.drawn_on != drawn_on:
                    log.info("%s: its random numbers are those of a %s", folder, state.drawn_on)
                    continue
                self.spent += state.seconds
                self.resumed += 1
                state.runs = {path: state.runs[path] for path in runs}
                log.info("going on from %s, epoch %d", folder, state.place[0] + 1)
                return state
        return None

    def discard(self) -> None:
        """Delete the checkpoints of this job's runs: they are trained."""
        for members, folder in started(self.folder, self.code_version):
            if members.items() <= dict(self.hashes).items():
                shutil.rmtree(folder, ignore_errors=True)

    def _members(self, runs: Collection[str]) -> dict[str, Any]:
        return {
            "runs": {path: self.hashes[path] for path in runs},
            "code_version": self.code_version,
        }

    def _key(self, runs: Collection[str]) -> str:
        return stable_hash(self._members(runs), 16)


def _newest(folder: Path) -> PackState | None:
    """The newest checkpoint of a folder that can be read; damaged ones are named in the log."""
    for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True):
        try:
            return PackState.from_bytes(path.read_bytes())
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("%s: damaged (%s); the one before is taken", path, error)
    return None
