"""Data sources, one module each, and the preparation that turns a source into a dataset."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from vae_ablation.data.base import Source

_NOT_SOURCES = {
    *("base", "cells_file", "codes", "counts", "covariates", "csv_files", "examples"),
    *("hdf5_files", "kinds"),
    *("labels", "loading", "mapped", "prepare", "splits"),
}
"""Modules of this package that hold no source; some import torch, which planning has no need of."""


def _subclasses(cls: type[Source]) -> Iterator[type[Source]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def _find_sources() -> dict[str, Source]:
    """Every subclass of Source in a module of this package, by its name."""
    for module in pkgutil.iter_modules(__path__):
        if module.name not in _NOT_SOURCES:
            importlib.import_module(f"{__name__}.{module.name}")
    named = (cls for cls in _subclasses(Source) if hasattr(cls, "name"))  # type: ignore[type-abstract]
    found = [cls() for cls in named]
    return {source.name: source for source in sorted(found, key=lambda source: source.name)}


SOURCES = _find_sources()
