"""What both benchmarks print: the machine, the command, and tables in Markdown."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path


def cpu_model() -> str:
    """The CPU's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def provenance(packages: Sequence[str]) -> str:
    """The command, the machine and the versions behind the numbers, as Markdown lines."""
    command = shlex.join(["python", *sys.argv])
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = f", load before the start {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"- Command: `{command}`\n"
        f"- Machine: {cpu_model()}, {usable_cores()} cores{load}; {platform.platform()}\n"
        f"- Versions: Python {platform.python_version()}, {versions}\n"
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; cells are shown as they are."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"
