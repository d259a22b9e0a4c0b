"""Digests of code: a stage's module, every module that it imports, and the files beside them.

Read with `ast` and the standard library alone, and without importing anything, since the Snakefile
asks on every call. Docstrings, comments, layout and imports for type checkers do not count.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from vae_ablation.common.files import write_atomic

PACKAGE = Path(__file__).parents[1]
BEYOND = frozenset(
    {
        "vae_ablation.study.plan",
        "vae_ablation.study.workflow",
        "vae_ablation.data",
        "vae_ablation.jobs.scripting",
    }
)
"""Modules at which a closure ends: they plan runs, list sources of data, and log a script's errors.

Which run a result is of is known by its path, and which data by their checksum.
"""
_WALKERS = {"iter_modules", "walk_packages"}

Import = tuple[int, str, str]
"""Dots of a relative import, module, and the name that is taken from it (empty: the module)."""


@dataclass(frozen=True)
class Source:
    """One Python file as far as digests need it.

    Attributes:
        digest: of its syntax tree without docstrings and positions.
        imports: what it may import; text that could be the name of a module counts.
        walks: it imports whatever modules its package holds (a registry of parts).
    """

    digest: str
    imports: tuple[Import, ...]
    walks: bool


def code_digest(
    *roots: str | Path,
    package: Path = PACKAGE,
    beyond: Collection[str] = BEYOND,
    length: int = 12,
) -> str:
    """Hex digest of the code that runs when these modules run.

    Args:
        roots: names of modules of the package, or Python files outside it: scripts, plug-ins.
        package: folder of the package.
        beyond: modules at which the closure ends; they do not count.
        length: of the digest.
    """
    contents = _contents(roots, package, beyond)
    parts = sorted(f"{name} {digest}" for name, digest in contents.items())
    _keep_notes()
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:length]


def outside_digest(path: Path, module: str = "", length: int = 12) -> str:
    """Hex digest of a Python file outside the package and of its own modules that it imports.

    Args:
        path: the file.
        module: its name in an installed package, whose modules are its own; of a file without, they
            are the modules in its folder.
        length: of the digest.
    """
    above = max(len(module.split(".")) - 1, 0) + (path.name == "__init__.py")
    root = path.parents[above]
    reached: dict[Path, str] = {}
    waiting = [path]
    while waiting:
        one = waiting.pop()
        if one not in reached:
            source = _read(one)
            reached[one] = source.digest
            waiting.extend(_beside(source, one, root, module.partition(".")[0]))
    _keep_notes()
    parts = sorted(f"{one.relative_to(root)} {digest}" for one, digest in reached.items())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:length]


def _beside(source: Source, path: Path, root: Path, package: str) -> Iterator[Path]:
    """Files that a source outside the package imports from below `root`."""
    for dots, module, attribute in source.imports:
        if not dots and package and module.partition(".")[0] != package:
            continue
        base = path.parents[dots - 1] if dots else root
        place = base.joinpath(*module.split(".")) if module else base
        for one in (place / attribute, place) if attribute.isidentifier() else (place,):
            files = [one.with_name(f"{one.name}.py"), one / "__init__.py"]
            yield from (file for file in files if file.is_file() and file.is_relative_to(root))


def import_closure(
    *roots: str | Path, package: Path = PACKAGE, beyond: Collection[str] = BEYOND
) -> set[str]:
    """Names of the modules that these import, directly or through others, and their own.

    A module counts wherever its import stands: at the top, within a function, or as its name in
    text (`import_module("vae_ablation.x")`). A package that imports all of its modules brings them
    all. Of the packages around an imported module only their own code counts, not what they import
    for others: `vae_ablation.data.base` does not bring every source.

    Args:
        roots: as for `code_digest`.
        package: folder of the package.
        beyond: modules at which the closure ends; they are not in it.
    """
    reached: set[str] = set()
    waiting = [name for root in roots for name in _named(root, package)]
    while waiting:
        name = waiting.pop()
        if name not in reached and name not in beyond:
            reached.add(name)
            waiting.extend(_imported(name, package))
    return reached


def _named(root: str | Path, package: Path) -> Iterable[str]:
    """Modules at which the walk begins: the root itself, or what a file outside imports."""
    if isinstance(root, str):
        if _file(root, package) is None:
            raise ModuleNotFoundError(f"no module {root} in {package}")
        return [root]
    return _targets(_read(root), "", package)


def _imported(name: str, package: Path) -> set[str]:
    """Modules of the package that a module imports."""
    path = _file(name, package)
    assert path is not None
    source = _read(path)
    is_package = path.name == "__init__.py"
    within = name if is_package else name.rpartition(".")[0]
    targets = set(_targets(source, within, package))
    return targets | _siblings(name, path.parent) if is_package and source.walks else targets


def _siblings(name: str, folder: Path) -> set[str]:
    """Every module in a package's folder."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    return {f"{name}.{stem}" for stem in modules | packages}


def _targets(source: Source, within: str, package: Path) -> Iterator[str]:
    """Modules of the package that a source's imports name; `within` is the package around it."""
    for dots, module, attribute in source.imports:
        base = module
        if dots:
            parents = within.split(".")
            kept = parents[: len(parents) - dots + 1]
            base = ".".join([*kept, module] if module else kept)
        # in `from a import b`, b may be a module
        for name in (f"{base}.{attribute}", base) if attribute else (base,):
            if _file(name, package) is not None:
                yield name
                break


def _file(name: str, package: Path) -> Path | None:
    """File of a module of the package; None for other modules and other names."""
    first, *rest = name.split(".")
    if first != package.name:
        return None
    place = os.path.join(package, *rest)  # asked so often that pathlib would take most of the time
    for path in (os.path.join(place, "__init__.py"), f"{place}.py"):
        if os.path.isfile(path):
            return Path(path)
    return None


def _contents(
    roots: Iterable[str | Path], package: Path, beyond: Collection[str]
) -> dict[str, str]:
    """Digest of every file that counts, by its path."""
    roots = list(roots)
    names = import_closure(*roots, package=package, beyond=beyond)
    around = {above for name in names for above in _packages_around(name)}
    contents = {}
    for name in names | around:
        path = _file(name, package)
        if path is not None:
            contents[name] = _read(path).digest
    for name in (names | around) - {package.name}:
        path = _file(name, package)
        if path is not None and path.name == "__init__.py":
            contents |= _data_files(path.parent, package)
    extra = [(root.name, _read(root).digest) for root in roots if isinstance(root, Path)]
    return contents | {f"{name} {digest}": digest for name, digest in extra}


def _packages_around(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


def _data_files(folder: Path, package: Path) -> dict[str, str]:
    """Digests of a package's files that are not Python: pages, styles, scripts of the browser."""
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix[:3] != ".py"]
    return {
        path.relative_to(package).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.startswith(".")
    }


def _read(path: Path) -> Source:
    """A Python file, read once as long as it stays the same."""
    stat = path.stat()
    return _read_once(path, stat.st_mtime_ns, stat.st_size)


@cache
def _read_once(path: Path, changed_ns: int, size: int) -> Source:
    content = path.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    notes = _notes()
    if key not in notes:
        try:
            notes[key] = _parsed(content)
        except (SyntaxError, ValueError):  # the job that imports it says so better
            return Source(key, (), False)
        _unsaved.append(key)
    return notes[key]


def _parsed(content: bytes) -> Source:
    with _without_collector():
        tree = ast.parse(content)
        scan = _Scan()
        scan.node(tree)
    digest = hashlib.sha256("\0".join(scan.words).encode()).hexdigest()
    return Source(digest, tuple(sorted(scan.imports)), scan.walks)


_NOTES = Path(cache_from_source(__file__)).with_suffix(".json")
"""Files that were parsed before, by the digest of their bytes; beside Python's own bytecode."""
_MOST_NOTES = 1000
_unsaved: list[str] = []


@cache
def _notes() -> dict[str, Source]:
    try:
        notes = json.loads(_NOTES.read_text(encoding="utf-8"))
        if notes["reader"] != _reader():
            return {}
        return {key: _source(value) for key, value in notes["sources"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


@cache
def _reader() -> str:
    """Digest of this module, which makes the notes."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _source(value: dict[str, Any]) -> Source:
    imports = tuple((int(dots), str(module), str(name)) for dots, module, name in value["imports"])
    return Source(str(value["digest"]), imports, bool(value["walks"]))


def _keep_notes() -> None:
    """Save what was parsed, where bytecode may be saved; failing that, it is parsed again."""
    if not _unsaved or sys.dont_write_bytecode:
        return
    _unsaved.clear()
    latest = list(_notes().items())[-_MOST_NOTES:]
    sources = {key: asdict(source) for key, source in latest}
    text = json.dumps({"reader": _reader(), "sources": sources})
    with suppress(OSError):
        write_atomic(_NOTES, lambda stream: stream.write(text.encode()))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Without the garbage collector, which doubles the time that a syntax tree takes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Scan:
    """One pass over a syntax tree: its words in order, and what it imports.

    Fields that are empty are left out, since versions of Python differ in which there are.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.imports: set[Import] = set()
        self.walks = False

    def node(self, node: ast.AST) -> None:
        if _is_text(node):
            return
        if isinstance(node, ast.If) and _for_type_checkers(node.test):
            self.field(node.orelse)
            return
        self.note(node)
        self.words.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in {"ctx", "kind", "type_comment"}:
                self.words.append(name)
                self.field(value)
        self.words.append(")")

    def field(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.node(value)
        elif isinstance(value, list):
            for item in value:
                self.field(item)
            self.words.append("]")
        else:
            self.words.append(repr(value))

    def note(self, node: ast.AST) -> None:
        """Keep what a node imports."""
        if isinstance(node, ast.Import):
            self.imports |= {(0, alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            self.imports |= {(node.level, node.module or "", alias.name) for alias in node.names}
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and _could_be_module(node.value):
                self.imports.add((0, node.value, ""))
        elif isinstance(node, (ast.Name, ast.Attribute)):
            name = node.id if isinstance(node, ast.Name) else node.attr
            self.walks |= name in _WALKERS


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text and nothing else: a docstring, of a constant too."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _could_be_module(text: str) -> bool:
    """Whether a text has the form of a dotted name."""
    return "." in text and all(part.isidentifier() for part in text.split("."))


def _for_type_checkers(test: ast.expr) -> bool:
    name = test.id if isinstance(test, ast.Name) else getattr(test, "attr", "")
    return name == "TYPE_CHECKING"
