"""Answers that only the code of a part from outside the package knows, asked of another process.

Planning imports no torch; a plug-in usually does. So a process of its own imports it, once per call
of the workflow and only where a question comes up that no earlier call has kept the answer to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import IO, Any

from vae_ablation.common import registry
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import stable_hash, write_atomic
from vae_ablation.common.registry import Plugin
from vae_ablation.data.base import Observed

KEPT = frozenset({"likelihood", "architecture"})
"""Kinds whose answers depend on nothing but the question and the plug-in's file."""

_answers: dict[str, Any] = {}


def ask(plugin: Plugin, kind: str, name: str, method: str, arguments: Sequence[Any]) -> Any:
    """Return value of a part's method.

    Raises:
        UserError: the part says so, or its code ends in an error.
    """
    question = {
        "plugin": [str(plugin.path), plugin.module, plugin.digest],
        "kind": kind,
        "name": name,
        "method": method,
        "arguments": [encoded(value) for value in arguments],
    }
    key = stable_hash(question)
    kept = _kept(plugin) if kind in KEPT else {}
    if key not in _answers and key not in kept:
        _answers[key] = _worker().ask(question)
        if kind in KEPT:
            kept[key] = _answers[key]
            _keep(plugin, kept)
    answer = _answers.get(key) or kept[key]
    if "error" in answer:
        raise UserError(answer["error"])
    return decoded(answer["value"])


def encoded(value: Any) -> list[Any]:
    """A value as JSON with its type."""
    if isinstance(value, Observed):
        return ["observed", value.to_json()]
    if isinstance(value, (set, frozenset)):
        return ["set", sorted(value)]
    if isinstance(value, tuple):
        return ["tuple", [encoded(item) for item in value]]
    if isinstance(value, list):
        return ["list", [encoded(item) for item in value]]
    if isinstance(value, Path):
        return ["path", str(value)]
    if isinstance(value, Mapping):
        return ["mapping", {key: encoded(item) for key, item in value.items()}]
    return ["plain", value]


def decoded(value: Sequence[Any]) -> Any:
    """The value of `encoded`."""
    kind, content = value
    if kind in ("tuple", "list"):
        items = [decoded(item) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "mapping":
        return {key: decoded(item) for key, item in content.items()}
    return _READERS[kind](content) if kind in _READERS else content


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "observed": Observed.from_json,
    "set": frozenset,
    "path": Path,
}


def _notes_of(plugin: Plugin) -> Path:
    return Path(cache_from_source(str(plugin.path))).with_suffix(".answers.json")


def _kept(plugin: Plugin) -> dict[str, Any]:
    """Answers of earlier calls, beside the plug-in's bytecode."""
    return _read(plugin, plugin.digest)


@cache
def _read(plugin: Plugin, digest: str) -> dict[str, Any]:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        notes = json.loads(_notes_of(plugin).read_text(encoding="utf-8"))
        if notes["digest"] == digest:
            return dict(notes["answers"])
    return {}


def _keep(plugin: Plugin, answers: Mapping[str, Any]) -> None:
    if sys.dont_write_bytecode:
        return
    text = json.dumps({"digest": plugin.digest, "answers": answers})
    with suppress(OSError):
        place = _notes_of(plugin)
        place.parent.mkdir(exist_ok=True)
        write_atomic(place, lambda stream: stream.write(text.encode()))


class _Worker:
    """A process that has imported the plug-ins; it ends with this one."""

    def __init__(self) -> None:
        command = "from vae_ablation.study.part_answers import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The answer: its value, or the error in a sentence."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            _worker.cache_clear()
            path, name = question["plugin"][0], question["name"]
            sentence = f"{path}: {question['method']} of {name} ended its process."
            return {"error": sentence}
        answer: dict[str, Any] = json.loads(line)
        return answer


@cache
def _worker() -> _Worker:
    return _Worker()


def serve() -> None:
    """Answer questions from standard input, a line of JSON each, until it ends."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with redirect_stdout(sys.stderr):
        for line in sys.stdin:
            _answer(json.loads(line), output)


def _answer(question: Mapping[str, Any], output: IO[str]) -> None:
    path, module, digest = question["plugin"]
    plugin = Plugin(Path(path), module, digest)
    for other in [one for one in registry.PLUGINS.values() if one != plugin]:
        registry.withdraw(other)
    registry.PLUGINS[path] = plugin
    try:
        registry.load_parts()
        part = registry.REGISTRIES[question["kind"]][question["name"]]
        arguments = [decoded(value) for value in question["arguments"]]
        answer: dict[str, Any] = {"value": encoded(getattr(part, question["method"])(*arguments))}
    except UserError as error:
        answer = {"error": str(error)}
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(".")
        what = f"{question['method']} of the {question['kind']} {question['name']!r}"
        answer = {"error": f"{plugin.label}: {what} ended in an error ({reason})."}
    print(json.dumps(answer), file=output, flush=True)
