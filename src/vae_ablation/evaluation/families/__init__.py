"""Registered families of metrics, a module for each group of columns."""

from __future__ import annotations

import importlib
import pkgutil

from vae_ablation.evaluation.family import FAMILIES

__all__ = ["FAMILIES"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
