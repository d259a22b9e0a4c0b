"""Files of the workflow that come with the package: rules, scripts, schema, captions and studies.

In a checkout `src/vae_ablation/workflow` is a link to `workflow/`; in a wheel it is that folder.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
WORKFLOW = PACKAGE / "workflow"
SCHEMA = WORKFLOW / "schemas" / "config.schema.yaml"
REPORT = PACKAGE / "report"
PAGE_PARTS = (".html", ".css", ".js")
"""Suffixes of templates, styles and scripts below REPORT."""
CAPTIONS = WORKFLOW / "report" / "figures"


def script_file(rule: str) -> Path:
    """The script that a rule runs."""
    return WORKFLOW / "scripts" / f"{rule}.py"
