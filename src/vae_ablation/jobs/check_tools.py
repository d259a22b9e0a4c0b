"""Tools of the checks of parts: random streams, global state, files written, arrays changed."""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from hashlib import sha256
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

Settings = Mapping[str, Any]
Found = tuple[str, str]
"""Verdict (ok, note or wrong) and sentence."""
Check = Callable[[str, Settings], Iterator[Found]]


def judged(right: bool, fine: str, bad: str) -> Found:
    """A verdict by whether something is right."""
    return ("ok", fine) if right else ("wrong", bad)


# --- what is drawn from where ---------------------------------------------------------------------


def global_streams() -> list[Any]:
    """State of the global random streams of torch, NumPy and Python."""
    numbers = np.random.get_state()  # noqa: NPY002 - who draws from it is what is asked
    return [torch.default_generator.get_state().tolist(), repr(numbers), random.getstate()]


def drawn_from(act: Callable[[], object]) -> list[str]:
    """Global streams that something draws from."""
    before = global_streams()
    act()
    pairs = zip(("torch", "NumPy", "Python"), before, global_streams(), strict=True)
    return [name for name, one, other in pairs if one != other]


def without_streams(streams: list[str], what: str) -> Found:
    """The verdict on global streams that something drew from."""
    return judged(
        not streams,
        f"nothing in {what} is drawn from a global stream",
        f"something in {what} is drawn from the global stream of {' and '.join(streams)}; allowed: "
        "the generator that is given, or none",
    )


def effects(act: Callable[[], object]) -> Iterator[str]:
    """Sentences on what importing a file does to others."""
    before = _global_state()
    streams = drawn_from(act)
    after = _global_state()
    if changed := [name for name in _SEEN_BY_ALL if before[name] != after[name]]:
        yield (
            f"importing it changes {' and '.join(changed)}, which every other part shares; wanted: "
            "as it was"
        )
    if streams:
        yield f"importing it draws from or seeds the global stream of {' and '.join(streams)}"


# --- what is left behind --------------------------------------------------------------------------


_SEEN_BY_ALL = (
    *("the working directory", "torch's default dtype", "torch's number of threads"),
    *("torch's gradient mode", "torch's deterministic algorithms", "NumPy's handling of errors"),
)
"""Global state that importing no library changes."""


def _global_state() -> dict[str, Any]:
    """State that a part could change for others, by name."""
    return {
        "the working directory": os.getcwd(),
        "environment variables": dict(os.environ),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "NumPy's handling of errors": np.geterr(),
        "NumPy's print options": {**np.get_printoptions()},
        "matplotlib's settings": dict(mpl.rcParams),
        "filters of warnings": list(warnings.filters),
        "the level of the root logger": logging.getLogger().level,
        "the path of modules": list(sys.path),
        "the streams of output": (sys.stdout, sys.stderr),
    }


@dataclass
class Traces:
    """What something left behind.

    Attributes:
        changed: global state that differs.
        files: files that were written and are still there.
    """

    changed: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def verdicts(self, what: str) -> Iterator[Found]:
        """Verdicts on both."""
        yield judged(
            not self.changed,
            f"{what} leaves global state as it was",
            f"{what} changes {' and '.join(self.changed)}, which every other part shares; wanted: "
            "as it was",
        )
        yield judged(
            not self.files,
            f"{what} leaves no file",
            f"{what} leaves files: {', '.join(self.files[:3])}; wanted: none, since what it gives "
            "is stored for it",
        )


_opened: set[str] | None = None
_hooked = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook that notes files which are opened for writing while `traced` is entered."""
    if _opened is None:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = any(letter in str(mode or "") for letter in "wax+")
        if (writes or flags & (os.O_WRONLY | os.O_RDWR)) and isinstance(path, (str, os.PathLike)):
            _opened.add(os.path.abspath(path))
    elif event == "os.mkdir":
        _opened.add(os.path.abspath(arguments[0]))


_CACHES = ("__pycache__", ".cache", "/dev/", "/proc/")


@contextmanager
def traced() -> Iterator[Traces]:
    """A context in a folder of its own; what was left behind is known after it, and undone."""
    global _opened, _hooked
    if not _hooked:
        sys.addaudithook(_note)  # it cannot be taken away, and is idle outside
        _hooked = True
    found, before, here = Traces(), _global_state(), os.getcwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        inside = {**_global_state()}
        _opened = set()
        try:
            yield found
        finally:
            seen, _opened = _opened, None
            after = _global_state()
            found.changed += [name for name, value in inside.items() if after[name] != value]
            kept = [
                path
                for path in sorted(seen)
                if os.path.exists(path)
                and not any(cache in path for cache in (*_CACHES, mpl.get_cachedir()))
            ]
            found.files += [
                os.path.relpath(path, folder) if path.startswith(folder) else path for path in kept
            ]
            _restore(before, here)


def _restore(state: Mapping[str, Any], folder: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(state["environment variables"])
    torch.set_default_dtype(state["torch's default dtype"])
    torch.set_num_threads(state["torch's number of threads"])
    torch.set_grad_enabled(state["torch's gradient mode"])
    torch.use_deterministic_algorithms(state["torch's deterministic algorithms"])
    np.seterr(**state["NumPy's handling of errors"])
    logging.getLogger().setLevel(state["the level of the root logger"])
    sys.path[:] = state["the path of modules"]
    sys.stdout, sys.stderr = state["the streams of output"]
    warnings.filters[:] = state["filters of warnings"]  # type: ignore[index]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mpl.rcParams.update(state["matplotlib's settings"])


# --- what is changed ------------------------------------------------------------------------------


def fingerprint(value: Any, depth: int = 3) -> dict[str, str]:
    """Digests of the arrays and tensors in an object, by their place in it."""
    return dict(_fingerprints(value, "", depth))


def _fingerprints(value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        yield place, sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    elif depth and isinstance(value, Mapping):
        for name, one in value.items():
            yield from _fingerprints(one, f"{place}.{name}".lstrip("."), depth - 1)
    elif depth and isinstance(value, (list, tuple)):
        for i, one in enumerate(value):
            yield from _fingerprints(one, f"{place}[{i}]", depth - 1)
    elif depth and is_dataclass(value):
        for one in fields(value):
            part = getattr(value, one.name)
            yield from _fingerprints(part, f"{place}.{one.name}".lstrip("."), depth - 1)


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Places of arrays that differ, of those that were there before."""
    return [place for place, digest in before.items() if after.get(place, digest) != digest]
