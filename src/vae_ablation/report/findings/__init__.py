"""Findings of a study, in sentences made from its tables; no model code, no torch.

Every module of this package is imported here, so that a new finding registers itself: a function
under `finding.finder` in any module is all that it needs.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from vae_ablation.report.findings.finding import Finding, findings
from vae_ablation.report.findings.page import (
    findings_page,
    front_page,
    read_findings,
    rst_text,
    write_findings,
)

__all__ = [
    "Finding",
    "findings",
    "findings_page",
    "front_page",
    "read_findings",
    "rst_text",
    "write_findings",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
