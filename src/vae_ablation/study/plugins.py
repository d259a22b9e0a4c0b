"""Plug-ins of a study: their parts become levels of axes, keys of the schema and columns. No torch.

Planning reads a plug-in's declarations and never runs it: a stand-in with what the class says
literally is registered in its place. What only its code knows (the shape of the data of a source,
the size of a network) is asked of a process of its own. Jobs replace stand-ins by the real classes
(`common.registry.load_parts`).
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from vae_ablation.common import registry
from vae_ablation.common.closure import outside_digest
from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import ORIGINS, PLUGINS, PartError, Plugin, Rule
from vae_ablation.common.settings import schema as file_schema
from vae_ablation.common.workflow_files import CAPTIONS
from vae_ablation.data import SOURCES
from vae_ablation.models.architectures import ARCHITECTURES
from vae_ablation.models.external import EXTERNAL_MODELS
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.objectives import OBJECTIVES
from vae_ablation.models.posteriors import POSTERIORS
from vae_ablation.models.priors import PRIORS
from vae_ablation.study import axes
from vae_ablation.study.axes import AXES, Axis
from vae_ablation.study.declared import Declared, declared_parts
from vae_ablation.study.metrics import METRICS, Metric
from vae_ablation.study.metrics import register as register_metric
from vae_ablation.study.part_answers import ask

_PLANNED: Mapping[str, registry.Registry[Any]] = {
    one.kind: one
    for one in (
        *(SOURCES, LIKELIHOODS, ARCHITECTURES, POSTERIORS, PRIORS, OBJECTIVES),
        EXTERNAL_MODELS,
    )
}
"""Registries in which stand-ins are put."""
GROUP = f"{__name__.partition('.')[0]}.parts"
"""Entry points of installed packages, whose value is the module that registers parts."""
SECTION_OF = {
    **dict.fromkeys(("likelihood", "prior", "posterior", "architecture"), "model"),
    "objective": "training",
    "source": "datasets",
}
"""Section of the config that holds the settings of parts of a kind."""
LEVELS = ("posterior", "architecture", "objective", "prior")
"""Axes whose levels are registered parts, named in the schema."""

_ASKED: Mapping[str, Collection[str]] = {
    "likelihood": {"unsupported", "outputs", "reads", "proper", "measure", "active_limits"},
    "architecture": {"unsupported", "reads", "size"},
    "source": {"check_options", "content", "known_labels", "describe", "label_names"},
}
"""Methods that planning calls, by kind."""
_BARE = ("posterior", "architecture", "objective")
"""Axes of which an arm's name shows the level alone, so that no two may share one."""

_declared: dict[str, list[tuple[Plugin, Declared]]] = {}
_metrics: dict[str, Plugin] = {}


def use_plugins(files: Iterable[str]) -> None:
    """Know the parts of these files, of installed packages, and of no others.

    Args:
        files: absolute paths.

    Raises:
        UserError: a file cannot be read, or one of its parts cannot be registered.
    """
    wanted = {str(plugin.path): plugin for plugin in [*_installed(), *_given(files)]}
    for path, plugin in list(PLUGINS.items()):
        if wanted.get(path) != plugin:
            _forget(plugin)
    for path, plugin in wanted.items():
        if path not in PLUGINS:
            _declare(plugin)
    axes.PLUGGED.clear()
    axes.PLUGGED.update(_setting_axes())


def add_plugins(files: Iterable[str]) -> None:
    """Know the parts of these files too; see `use_plugins`."""
    known = [path for path, plugin in PLUGINS.items() if not plugin.module]
    use_plugins(dict.fromkeys([*known, *files]))


def _given(files: Iterable[str]) -> Iterator[Plugin]:
    for file in files:
        path = Path(file)
        if not path.is_file():
            raise UserError(f"{path}: no plug-in can be read here (no such file).")
        yield Plugin(path, "", outside_digest(path))


@cache
def _installed() -> tuple[Plugin, ...]:
    """Modules of installed packages that register parts."""
    modules = dict.fromkeys(point.value for point in entry_points(group=GROUP))
    files = {module: _file_of(module) for module in modules}
    return tuple(
        Plugin(path, module, outside_digest(path, module)) for module, path in files.items()
    )


def _file_of(module: str) -> Path:
    """File of a module, found without importing the packages around it."""
    spec: ModuleSpec | None = None
    places: Sequence[str] | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), places)
        if spec is None:
            break
        places = spec.submodule_search_locations
    if spec is None or spec.origin is None:
        raise UserError(f"{module}: no module of this name is installed (entry point {GROUP}).")
    return Path(spec.origin)


def _forget(plugin: Plugin) -> None:
    registry.withdraw(plugin)
    _declared.pop(str(plugin.path), None)
    for name in [name for name, origin in _metrics.items() if origin == plugin]:
        del _metrics[name]
        METRICS.pop(name, None)


# --- declarations ---------------------------------------------------------------------------------


def _declare(plugin: Plugin) -> None:
    """Register what a file declares, or nothing of it."""
    parts = declared_parts(plugin.path)
    PLUGINS[str(plugin.path)] = plugin
    _declared[str(plugin.path)] = [(plugin, part) for part in parts]
    try:
        for part in parts:
            with registry.registering(plugin):
                _register(plugin, part)
    except PartError as error:
        _forget(plugin)
        raise UserError(f"{plugin.label}: {str(error).rstrip('.')}.") from None
    except BaseException:
        _forget(plugin)
        raise


def _register(plugin: Plugin, part: Declared) -> None:
    name = _checked_name(part)
    key = part.kind, name
    if key in ORIGINS or _known(*key):
        raise registry.taken(*key)
    ORIGINS[key] = plugin
    _check_rules(part)
    for metric in part.attributes.get("metrics", ()):
        _register_metric(plugin, part, metric)
    if part.base is not None:
        _PLANNED[part.kind].add(_stand_in(plugin, part))


def _checked_name(part: Declared) -> str:
    name = part.attributes.get("name")
    if not isinstance(name, str):
        raise PartError(f"{part.label} has no name; allowed: name = 'text' in its body")
    if complaint := registry.name_complaint(name, part.kind):
        raise PartError(f"{part.label} has {complaint}")
    if part.kind in _BARE and axes.like_a_trace(name.replace("_", "-")):
        raise PartError(
            f"{part.label} has the name {name!r}, which in an arm's name would read like another "
            "axis; allowed: another name"
        )
    if not part.doc.strip():
        raise PartError(f"{part.label} has no docstring; allowed: one sentence at least")
    return name


def _known(kind: str, name: str) -> bool:
    """Whether a name is taken, as far as planning can see."""
    alike = _BARE if kind in _BARE else (kind,)
    known = {one.replace("_", "-") for each in alike for one in _PLANNED.get(each, ())}
    if name.replace("_", "-") in known:  # an arm's name shows both as -
        return True
    if kind == "application":
        return name in file_schema()["properties"]["applications"]["properties"]
    return kind == "figure" and (CAPTIONS / f"{name}.rst").is_file()


def _register_metric(plugin: Plugin, part: Declared, metric: object) -> None:
    if not isinstance(metric, Metric):
        raise PartError(f"metrics of {part.label} hold {metric!r}; allowed: Metric(…)")
    if complaint := metric.complaint():
        raise PartError(f"{part.label} has a metric whose {complaint}")
    try:
        register_metric(metric)
    except ValueError as error:
        raise PartError(f"{part.label}: {error}") from None
    _metrics[metric.name] = plugin


def _stand_in(plugin: Plugin, part: Declared) -> type:
    """A class that says what the declared one says; what only its code knows is asked."""
    assert part.base is not None
    asked = set(_ASKED.get(part.kind, ())) & part.methods
    if part.kind == "architecture" and not part.attributes.get("padded", part.base.padded):  # type: ignore[attr-defined]
        asked.add("size")
    name = part.attributes["name"]
    body = {
        **part.attributes,
        **{method: _asking(plugin, part.kind, name, method) for method in asked},
        "__doc__": part.doc,
        "__module__": f"declared by {plugin.label}",
    }
    cls: type = type(part.base)(part.label.split()[1], (part.base,), body)
    for method in getattr(cls, "__abstractmethods__", ()):
        setattr(cls, method, _not_loaded)
    abc.update_abstractmethods(cls)
    return cls


def _asking(plugin: Plugin, kind: str, name: str, method: str) -> Callable[..., Any]:
    def asking(self: object, *arguments: Any) -> Any:
        return ask(plugin, kind, name, method, arguments)

    return asking


def _not_loaded(self: object, *arguments: Any, **named: Any) -> Any:
    raise AssertionError("a stand-in does no work: load_parts comes first")


# --- settings -------------------------------------------------------------------------------------


def _parts() -> Iterator[tuple[Plugin, Declared]]:
    return (each for parts in _declared.values() for each in parts)


def _check_rules(part: Declared) -> None:
    numbers, metrics = (part.attributes.get(name, ()) for name in ("numbers", "metrics"))
    _check_attributes(part)
    if numbers and not (
        isinstance(numbers, Mapping) and all(isinstance(v, (int, float)) for v in numbers.values())
    ):
        raise PartError(f"numbers of {part.label} are {numbers!r}; allowed: names with numbers")
    if not isinstance(metrics, (tuple, list)):
        raise PartError(
            f"metrics of {part.label} are a {type(metrics).__name__}; allowed: (Metric(…), …)"
        )
    options = part.attributes.get("options", ())
    if not isinstance(options, (Mapping, tuple, list, frozenset)):
        raise PartError(f"options of {part.label} are {options!r}; allowed: a mapping of keys")
    for key, rule in _rules(part).items():
        _check_rule(f"option {key!r} of {part.label}", key, rule)
    if section := SECTION_OF.get(part.kind):
        _check_keys(part, section, options)


_FLAGS = (
    *("mass", "counts", "real", "dispersed", "unbounded", "deterministic", "reads_epoch"),
    *("padded", "packable", "codes", "essential", "per_latent_dim", "log_counts"),
)
_NAMES = ("limits", "names", "warmed")
_SCOPES = ("likelihood", "dataset", "study")


def _check_attributes(part: Declared) -> None:
    """Refuse attributes of a type or value that nothing could be made of."""
    values = part.attributes
    version = values.get("version", 1)
    rules = [
        *((name, isinstance(values.get(name, True), bool), "True or False") for name in _FLAGS),
        *((name, _are_names(values.get(name, ())), "a tuple of names") for name in _NAMES),
        ("version", isinstance(version, int) and not isinstance(version, bool), "a whole number"),
        ("scope", values.get("scope", "study") in _SCOPES, ", ".join(_SCOPES)),
    ]
    if part.kind == "objective":
        rules += _rules_of_terms(part)
    if part.kind == "likelihood":
        known = {*values.get("options", ()), *_keys("model")}
        rules += [("limits", known >= {*values.get("limits", ())}, "names of its options")]
    if part.kind == "metric family":
        rules += [("metrics", bool(values.get("metrics")), "(Metric(…), …)")]
    for name, right, allowed in rules:
        if not right:
            shown = f"is {values[name]!r}" if name in values else "is not there"
            raise PartError(f"{name} of {part.label} {shown}; allowed: {allowed}")


def _are_names(value: object) -> bool:
    listed = isinstance(value, (tuple, list, frozenset))
    return listed and all(isinstance(one, str) for one in value)  # type: ignore[attr-defined]


def _rules_of_terms(part: Declared) -> list[tuple[str, bool, str]]:
    """Rules of the names of an objective's terms and of its numbers, with what they allow."""
    base = part.base
    names, numbers = (
        part.attributes.get(name, getattr(base, name)) for name in ("names", "numbers")
    )
    warms = set(part.attributes.get("warmed", ())) <= {*numbers}
    return [
        ("names", {"distortion", "rate"} <= {*names}, "distortion, rate and further names"),
        ("warmed", warms, "names of its numbers"),
    ]


def _check_keys(part: Declared, section: str, options: Iterable[str]) -> None:
    """Keys that a section has already have no schema here, and others have one."""
    known, own = _keys(section), _rules(part)
    for key in options:
        if key in known and key in own:
            raise PartError(
                f"option {key!r} of {part.label} is a key of {section} already; allowed: another "
                f"name, or {{}} for the key as it is"
            )
        if key not in known and key not in own:
            raise PartError(
                f"option {key!r} of {part.label} has no schema and is not a key of {section}; "
                "allowed: a mapping with type, default and description"
            )
    for _, other in _parts():
        for key, rule in _rules(other).items() if SECTION_OF.get(other.kind) == section else ():
            if key in own and rule != own[key]:
                raise PartError(f"option {key!r} of {part.label} is another one's with other rules")


def _check_rule(where: str, key: str, rule: object) -> None:
    if not key.isidentifier() or not isinstance(rule, Mapping) or "default" not in rule:
        raise PartError(f"{where} is {rule!r}; allowed: a mapping with type, default, description")
    try:
        Draft202012Validator.check_schema(rule)
    except SchemaError as error:
        raise PartError(f"{where} is not JSON schema ({error.message})") from None
    if not Draft202012Validator(rule).is_valid(rule["default"]):
        raise PartError(f"{where} has the default {rule['default']!r}, which it does not allow")


def _keys(section: str) -> Mapping[str, Any]:
    """The keys of a section in the config's own schema."""
    rule: Mapping[str, Any] = file_schema()["properties"][section]
    rule = rule["additionalProperties"] if section == "datasets" else rule
    found: Mapping[str, Any] = rule["properties"]
    return found


def _rules(part: Declared) -> dict[str, Rule]:
    """JSON schema of a part's own settings; numbers of an objective that are not axes are some."""
    options = part.attributes.get("options", ())
    rules = dict(options) if isinstance(options, Mapping) else {}
    own = {key: rule for key, rule in rules.items() if rule}
    if part.kind == "objective":
        for name, default in part.attributes.get("numbers", {}).items():
            if name not in AXES and name not in _keys("training"):
                own.setdefault(name, {"type": "number", "default": default})
    return own


def _setting_axes() -> dict[str, Axis]:
    """Axes of the settings of models and training that parts bring along."""
    found = {}
    for _, part in _parts():
        section = SECTION_OF.get(part.kind)
        numbers = part.attributes.get("numbers", {}) if part.kind == "objective" else {}
        for key, rule in _rules(part).items() if section in ("model", "training") else ():
            numeric = rule.get("type") in ("number", "integer")
            found[f"{section}.{key}"] = Axis(
                f"{section}.{key}",
                str(rule.get("title", key.replace("_", " "))),
                trace=key.replace("_", "-"),
                shapes=key not in numbers,
                scale=_scale(rule) if numeric else "category",
            )
    return found


def _scale(rule: Rule) -> axes.Scale:
    positive = "exclusiveMinimum" in rule and rule["exclusiveMinimum"] >= 0
    return "log" if positive or rule.get("minimum", 0) > 0 else "linear"


def state() -> tuple[tuple[str, str], ...]:
    """Key that changes with the known plug-ins."""
    return tuple((path, plugin.digest) for path, plugin in PLUGINS.items())


def compose_(schema: dict[str, Any]) -> None:
    """Add the settings and names of plug-ins to a schema, which is overwritten."""
    properties = schema["properties"]
    datasets = properties["datasets"]["additionalProperties"]["properties"]
    places = {"datasets": datasets}
    places |= {name: properties[name]["properties"] for name in ("model", "training")}
    for _, part in _parts():
        if part.kind in SECTION_OF:
            described = {key: _described(part, key, rule) for key, rule in _rules(part).items()}
            places[SECTION_OF[part.kind]].update(described)
        elif part.kind == "application":
            blocks = properties["applications"]["properties"]
            blocks[part.attributes["name"]] = _block(part)
    grid = properties["grids"]["items"]["properties"]
    for axis in LEVELS:
        names = [*_PLANNED[axis]]
        if names != grid[axis]["items"]["enum"]:
            grid[axis]["items"] = {"enum": names}
            grid[axis]["description"] += _lines(axis)


def _described(part: Declared, key: str, rule: Rule) -> dict[str, Any]:
    """A rule with a description, which says whose it is."""
    name = part.attributes["name"]
    return {"description": f"{part.kind} {name}: {key.replace('_', ' ')}.", **rule}


def _block(part: Declared) -> dict[str, Any]:
    """The rule of an application's block."""
    name = part.attributes["name"]
    own = {"$ref": f"#/properties/applications/properties/{name}"}
    datasets = {
        "description": "Other settings for single datasets, by name; null leaves it out there.",
        "type": "object",
        "additionalProperties": own,
        "default": {},
    }
    rules = {key: _described(part, key, rule) for key, rule in _rules(part).items()}
    return {
        "description": first_sentence(part.doc),
        "type": ["object", "null"],
        "additionalProperties": False,
        "default": None,
        "properties": {"datasets": datasets, **rules},
    }


def _lines(axis: str) -> str:
    """The parts from outside of an axis, a sentence each."""
    own = [(part.attributes["name"], part.doc) for _, part in _parts() if part.kind == axis]
    return "".join(f" {name}: {first_sentence(doc)}" for name, doc in own)


def first_sentence(doc: str) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join(doc.strip().split("\n\n")[0].split())


def described_parts() -> list[tuple[str, str, str]]:
    """Kind, name and first sentence of every part from outside the package, and of metrics."""
    found = [
        (part.kind, str(part.attributes["name"]), first_sentence(part.doc)) for _, part in _parts()
    ]
    return found + [
        ("metric", name, METRICS[name].description or f"{METRICS[name].label}.")
        for name in _metrics
    ]


def captions() -> dict[str, str]:
    """Captions of figures from outside the package: the docstrings of their classes."""
    own = (part for _, part in _parts() if part.kind == "figure")
    return {part.attributes["name"]: part.doc for part in own}


# --- digests --------------------------------------------------------------------------------------


def training_keys(objective: str) -> set[str]:
    """Keys of the training section that plug-ins brought along and this objective does not read."""
    foreign = {key for _, part in _parts() if part.kind == "objective" for key in _rules(part)}
    own = OBJECTIVES[objective]
    return foreign - {*own.options, *own.numbers}


def model_parts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kind and name of each part that a run is made of."""
    kinds = ("likelihood", "architecture", "posterior", "prior", "objective")
    return [(kind, str(run[kind])) for kind in kinds]
