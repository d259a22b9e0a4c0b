"""Registry of parts: one decorator for every kind, in the package and from outside it.

A part is a class with a `name`, a docstring and, where it has settings of its own, `options`: a
mapping of keys to their JSON schema. It derives from the class of its kind (`Likelihood`, say),
whose `registry` it enters under `@register`. Imports no torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from vae_ablation.common.errors import UserError

T = TypeVar("T")
Class = TypeVar("Class", bound=type)

Rule = Mapping[str, Any]
Options = Mapping[str, Rule] | tuple[str, ...] | frozenset[str]
"""Settings of a part: keys with their JSON schema. An empty rule, or a bare name, means a key that
the config's schema has already."""

NAME = re.compile(r"[a-z][a-z0-9_-]{0,59}")
RESERVED = frozenset({"all", "none"})
"""Names that paths of results use for something else."""


class PartError(UserError, ValueError):
    """A class that cannot be registered."""


@dataclass(frozen=True)
class Plugin:
    """A Python file outside the package that registers parts.

    Attributes:
        path: the file.
        module: its name in an installed package; empty for a file that a config names.
        digest: of the file and of the modules beside it that it imports.
    """

    path: Path
    module: str
    digest: str

    @property
    def label(self) -> str:
        """Name in errors."""
        return self.module or str(self.path)


class Registry(dict[str, T], Generic[T]):
    """Parts of one kind by name.

    Args:
        kind: its name in errors.
        make: the entry of a class; an instance unless given.
    """

    def __init__(self, kind: str, make: Callable[[Any], T] | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.make: Callable[[Any], T] = make or (lambda cls: cls())
        REGISTRIES[kind] = self

    def add(self, cls: type) -> None:
        """Register a class under its name.

        Raises:
            PartError: it has no docstring or no allowed name, or the name is taken.
        """
        name = _checked_name(cls, self.kind)
        self._refuse_taken(name)
        self.put(name, self.make(cls), cls.__module__)

    def put(self, name: str, entry: T, module: str) -> None:
        """Register an entry.

        Args:
            name: of the part.
            entry: what the registry holds of it.
            module: where it is defined.

        Raises:
            PartError: the name is taken by another part.
        """
        self._refuse_taken(name)
        # a file from outside may be the first to import a module of the package
        if _loading is not None and not module.startswith(_PACKAGE):
            key = self.kind, name
            ORIGINS[key] = _entries[key] = _loading
        self[name] = entry

    def _refuse_taken(self, name: str) -> None:
        own = _loading is not None and _entries.get((self.kind, name)) == _loading
        if name in self and not own:
            raise taken(self.kind, name)


def taken(kind: str, name: str) -> PartError:
    """The error of a second part of a name."""
    origin = _entries.get((kind, name)) or ORIGINS.get((kind, name))
    owner = origin.label if origin else "the package"
    return PartError(f"the {kind} {name!r} is there already, from {owner}; allowed: another name")


REGISTRIES: dict[str, Registry[Any]] = {}
"""Registries by kind, as far as their modules are imported."""
PLUGINS: dict[str, Plugin] = {}
"""Files outside the package whose parts are known, by path."""
ORIGINS: dict[tuple[str, str], Plugin] = {}
"""File of each part from outside the package, by kind and name."""

_PACKAGE = f"{__name__.partition('.')[0]}."
_entries: dict[tuple[str, str], Plugin] = {}  # entries of registries that a file has put there
_loading: Plugin | None = None
_loaded: dict[Path, tuple[str, ModuleType]] = {}


def register(cls: Class) -> Class:
    """Register the class below as a part of the kind that it derives from.

    Raises:
        PartError: it derives from none, or cannot be registered; see `Registry.add`.
    """
    registry = getattr(cls, "registry", None)
    if not isinstance(registry, Registry):
        raise PartError(
            f"class {cls.__name__} is registered and is not a part; allowed: a class that derives "
            "from Likelihood, Prior, PosteriorKind, Architecture, Objective, Source, MetricFamily, "
            "ExternalModel, Application, Figure or Question"
        )
    registry.add(cls)
    return cls


def _checked_name(cls: type, kind: str) -> str:
    name = cls.__dict__.get("name")
    if not isinstance(name, str):
        raise PartError(f"class {cls.__name__} has no name; allowed: name = 'text' in its body")
    if complaint := name_complaint(name, kind):
        raise PartError(f"class {cls.__name__} has {complaint}")
    if not (cls.__doc__ or "").strip():
        raise PartError(f"class {cls.__name__} has no docstring; allowed: one sentence at least")
    return name


def name_complaint(name: str, kind: str) -> str | None:
    """Reason why a part cannot have this name, to follow its class; None where it can."""
    loose = kind in {"metric family"}
    if (loose and name.strip()) or (NAME.fullmatch(name) and name not in RESERVED):
        return None
    return (
        f"the name {name!r}; allowed: small letters, digits, '_' and '-', beginning with a letter "
        f"(and none of {', '.join(sorted(RESERVED))})"
    )


def digests(used: Iterable[tuple[str, str]]) -> list[str]:
    """Digests of the files of some parts, by kind and name; those of the package have none."""
    return sorted({ORIGINS[part].digest for part in used if part in ORIGINS})


def kind_digests(*kinds: str) -> list[str]:
    """Digests of the files that have parts of these kinds."""
    return digests(part for part in ORIGINS if part[0] in kinds)


@contextmanager
def registering(plugin: Plugin) -> Iterator[None]:
    """A context in which parts that are registered are a file's."""
    global _loading
    before, _loading = _loading, plugin
    try:
        yield
    finally:
        _loading = before


def withdraw(plugin: Plugin) -> None:
    """Forget a file and its parts."""
    PLUGINS.pop(str(plugin.path), None)
    for kind, name in [part for part, origin in ORIGINS.items() if origin == plugin]:
        del ORIGINS[kind, name]
        if _entries.pop((kind, name), None):
            REGISTRIES[kind].pop(name, None)
    _loaded.pop(plugin.path, None)


def load_parts() -> None:
    """Import every known file from outside the package, whose parts then do their work.

    Raises:
        UserError: importing it ends in an error, or a part cannot be registered.
    """
    for plugin in list(PLUGINS.values()):
        if _loaded.get(plugin.path, ("",))[0] != plugin.digest:
            _loaded[plugin.path] = plugin.digest, _imported(plugin)


def _imported(plugin: Plugin) -> ModuleType:
    with registering(plugin):
        try:
            if plugin.module:
                return importlib.import_module(plugin.module)
            return _imported_file(plugin.path)
        except PartError as error:
            raise UserError(f"{plugin.label}: {error}.") from None
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            what = f"{type(error).__name__}: {reason}"
            raise UserError(f"{plugin.label}: importing it ended in an error ({what}).") from error


def _imported_file(path: Path) -> ModuleType:
    """A file as a module of a name of its own; modules beside it can be imported."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"vae_ablation_parts_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
