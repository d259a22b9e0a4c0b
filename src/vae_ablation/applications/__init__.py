"""Applications of trained models, one module each."""

from __future__ import annotations

import importlib
import pkgutil

from vae_ablation.applications.base import Application
from vae_ablation.store.applied import Applied

__all__ = ["APPLICATIONS", "Application", "Applied"]


def _find_applications() -> dict[str, Application]:
    """Every subclass of Application in a module of this package, by its name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    found = [cls() for cls in Application.__subclasses__()]
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


APPLICATIONS = _find_applications()
