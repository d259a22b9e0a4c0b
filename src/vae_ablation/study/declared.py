"""Parts as a Python file declares them, read with `ast`: nothing of the file runs. No torch."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vae_ablation.common.errors import UserError
from vae_ablation.common.public import PUBLIC, home
from vae_ablation.common.registry import Registry
from vae_ablation.study.metrics import Metric

_PLANNED = frozenset(
    f"vae_ablation.models.{name}"
    for name in (
        *("likelihoods", "priors", "posteriors", "objectives", "architectures"),
        "external",
    )
)
"""Modules without torch whose classes stand for parts while a study is planned."""
_WORKING = {
    ("evaluation.family", "MetricFamily"): "metric family",
    ("applications.base", "Application"): "application",
    ("applications", "Application"): "application",
    ("report.figures.registry", "FigurePart"): "figure",
    ("report.findings.finding", "Question"): "question",
}
"""Classes of kinds that planning does not import, by their module below `vae_ablation`."""
_READ = frozenset(
    {
        *("name", "options", "limits", "mass", "counts", "dispersed", "deterministic", "names"),
        *("numbers", "warmed", "reads_epoch", "padded", "packable", "version", "own_options"),
        *("shared_options", "metrics", "codes", "essential", "scope", "category"),
        *("per_latent_dim", "log_counts", "real", "unbounded"),
    }
)
"""Attributes that planning reads, and which therefore have to be literals."""


@dataclass(frozen=True)
class Declared:
    """A registered class as its file declares it.

    Attributes:
        kind: of the part.
        base: class of the package that it derives from; None where planning does not import it.
        label: class and line, named in errors.
        doc: its docstring.
        attributes: those of the class body that planning reads.
        methods: names of the methods that it defines.
    """

    kind: str
    base: type | None
    label: str
    doc: str
    attributes: dict[str, Any] = field(default_factory=dict)
    methods: frozenset[str] = frozenset()


def declared_parts(path: Path) -> list[Declared]:
    """The registered classes of a file, in order.

    Raises:
        UserError: the file is absent or not Python, registers nothing, or a registered class is
            not a part or cannot be read without running the file.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except OSError as error:
        raise UserError(f"{path}: no plug-in can be read here ({error.strerror}).") from None
    except SyntaxError as error:
        raise UserError(f"{path}: line {error.lineno} is not Python ({error.msg}).") from None
    except ValueError as error:
        raise UserError(f"{path}: not Python ({error}).") from None
    file = _File(path, tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found = [file.part(node) for node in classes if _marked(node)]
    if not found:
        raise UserError(
            f"{path}: registers no part; allowed: classes at its top level, below @register."
        )
    return found


def _marked(node: ast.ClassDef) -> bool:
    """Whether a class is registered."""
    names = (getattr(each, "attr", getattr(each, "id", "")) for each in node.decorator_list)
    return "register" in names


class _File:
    """The classes of a file, and the names that it imports."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.path = path
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.imported = dict(_imports(tree))

    def part(self, node: ast.ClassDef) -> Declared:
        """A registered class."""
        label = f"class {node.name} in line {node.lineno}"
        known = self._base(node, set())
        if known is None:
            raise UserError(
                f"{self.path}: {label} is registered and is not a part; allowed: a class that "
                "derives from Likelihood, Prior, PosteriorKind, Architecture, Objective, Source, "
                "MetricFamily, ExternalModel, Application, Figure or Question of "
                "vae_ablation.parts."
            )
        kind, base = known
        attributes, methods = self._body(node, set())
        doc = ast.get_docstring(node) or ""
        return Declared(kind, base, label, doc, attributes, frozenset(methods))

    def _base(self, node: ast.ClassDef, seen: set[str]) -> tuple[str, type | None] | None:
        """Kind of a class, and the class of the package that it derives from."""
        for base in node.bases:
            name = ast.unparse(base)
            if name in self.classes and name not in seen:
                known = self._base(self.classes[name], {*seen, name})
            else:
                known = _known_base(*self._resolved(name))
            if known is not None:
                return known
        return None

    def _resolved(self, name: str) -> tuple[str, str]:
        """Module and attribute that a name of the file stands for."""
        first, _, rest = name.partition(".")
        module, attribute = self.imported.get(first, ("", ""))
        path = ".".join(part for part in (module, attribute, rest) if part)
        module, _, attribute = path.rpartition(".")
        return home(attribute) if module == _FACADE and attribute in PUBLIC else (module, attribute)

    def _body(self, node: ast.ClassDef, seen: set[str]) -> tuple[dict[str, Any], set[str]]:
        """Attributes that planning reads, and methods, of a class and its bases in this file."""
        attributes: dict[str, Any] = {}
        methods: set[str] = set()
        for base in map(ast.unparse, node.bases):
            if base in self.classes and base not in seen:
                above = self._body(self.classes[base], {*seen, base})
                attributes, methods = above[0] | attributes, above[1] | methods
                attributes.pop("name", None)
        for statement in node.body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                methods.add(statement.name)
            for name, value in _assigned(statement):
                if name in _READ:
                    attributes[name] = self._literal(node, name, value)
        return attributes, methods

    def _literal(self, node: ast.ClassDef, name: str, value: ast.expr) -> Any:
        try:
            return self._value(value)
        except _NotAMetric as error:
            raise UserError(
                f"{self.path}: a metric of class {node.name} in line {value.lineno} cannot be made "
                f"({error}); allowed: Metric(name, label, …)."
            ) from None
        except (ValueError, TypeError, SyntaxError, RecursionError):
            raise UserError(
                f"{self.path}: {name} of class {node.name} in line {value.lineno} cannot be read "
                "without running the file; allowed: a literal (text, numbers, lists and mappings "
                "of them), since studies are planned without torch."
            ) from None

    def _value(self, node: ast.expr) -> Any:
        """A literal, a frozenset of one, or metrics that are written with literals."""
        if isinstance(node, (ast.Tuple, ast.List)):
            items = [self._value(item) for item in node.elts]
            return tuple(items) if isinstance(node, ast.Tuple) else items
        if not isinstance(node, ast.Call):
            return ast.literal_eval(node)
        function = ast.unparse(node.func)
        arguments = [self._value(item) for item in node.args]
        named = {str(item.arg): self._value(item.value) for item in node.keywords}
        if function == "frozenset":
            return frozenset(*arguments)
        if self._resolved(function) == ("vae_ablation.study.metrics", "Metric"):
            return _metric(arguments, named)
        raise ValueError(function)


class _NotAMetric(Exception):
    """Arguments of which no metric can be made."""


def _metric(arguments: list[Any], named: dict[str, Any]) -> Metric:
    try:
        return Metric(*arguments, **named)
    except TypeError as error:
        raise _NotAMetric(str(error).removeprefix("Metric.__init__() ")) from None


_FACADE = f"{__name__.partition('.')[0]}.parts"


def _imports(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str]]]:
    """Names that a file imports at its top, with the module and the name there."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or whole, (whole, "")
        elif isinstance(node, ast.ImportFrom) and not node.level:
            every = node.module == _FACADE and node.names[0].name == "*"
            for alias in map(ast.alias, PUBLIC) if every else node.names:
                yield alias.asname or alias.name, (node.module or "", alias.name)


def _known_base(module: str, name: str) -> tuple[str, type | None] | None:
    """Kind and class of a class of the package; None where it is not a part."""
    below = module.removeprefix("vae_ablation.")
    if (below, name) in _WORKING and below != module:
        return _WORKING[below, name], None
    if module in _PLANNED or module.startswith("vae_ablation.data."):
        base = getattr(importlib.import_module(module), name, None)
        registry = getattr(base, "registry", None)
        if isinstance(base, type) and isinstance(registry, Registry):
            return registry.kind, base
    return None


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Names that a statement of a class body assigns, with their value."""
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Name):
                yield target.id, statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        yield ast.unparse(statement.target), statement.value
