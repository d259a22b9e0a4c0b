"""The rooms of the package: each imports only from those before it, and nothing goes in circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import vae_ablation

PACKAGE = Path(vae_ablation.__file__).parent
ROOMS = [
    "common", "data", "models", "study", "training", "tables", "evaluation", "store",
    "applications", "report", "parts", "jobs", "cli",
]  # fmt: skip
MOST_FLOORS = 12


@cache
def modules() -> dict[str, Path]:
    """Files of the package by the name of their module, without the workflow's scripts."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[1] != "workflow":
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """Modules of the package that a module imports, at its top or within a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in typing:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in modules() else node.module


@cache
def graph() -> dict[str, set[str]]:
    return {
        name: {other for other in imported(path) if other in modules()} - {name}
        for name, path in modules().items()
    }


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_module_is_in_a_room() -> None:
    assert {room(name) for name in modules()} - {""} == set(ROOMS)


def test_a_room_imports_only_from_those_before_it() -> None:
    upwards = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if room(name) and room(other) and ROOMS.index(room(other)) > ROOMS.index(room(name))
    ]
    assert upwards == []


def test_no_imports_go_in_circles() -> None:
    left = {name: set(others) for name, others in graph().items()}
    while leaves := [name for name, others in left.items() if not others & left.keys()]:
        for name in leaves:
            del left[name]
    assert left == {}


def test_no_module_stands_on_more_than_so_many_others() -> None:
    @cache
    def floors(name: str) -> int:
        return 1 + max((floors(other) for other in graph()[name]), default=0)

    assert max(map(floors, graph())) <= MOST_FLOORS
