"""Applications of trained models, one module each."""

from __future__ import annotations

import importlib
import pkgutil

from vae_ablation.applications.base import APPLICATIONS, Application
from vae_ablation.store.applied import Applied

__all__ = ["APPLICATIONS", "Application", "Applied"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
