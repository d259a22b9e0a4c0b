"""Data sources, one module each, and the preparation that turns a source into a dataset."""

from __future__ import annotations

import importlib
import pkgutil

from vae_ablation.data.base import SOURCES

__all__ = ["SOURCES"]

_NOT_SOURCES = {
    *("base", "cells_file", "codes", "counts", "covariates", "csv_files", "examples"),
    *("hdf5_files", "kinds"),
    *("labels", "loading", "mapped", "prepare", "splits"),
}
"""Modules of this package that hold no source; some import torch, which planning has no need of."""

for _module in pkgutil.iter_modules(__path__):
    if _module.name not in _NOT_SOURCES:
        importlib.import_module(f"{__name__}.{_module.name}")
