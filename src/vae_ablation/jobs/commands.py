"""Command lines of the workflow's scripts. No torch."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from vae_ablation.common.workflow_files import PACKAGE, WORKFLOW, script_file


def script_command(name: str, study: Path, *, conda: bool = False, forked: bool = True) -> str:
    """The shell command that runs a script on a study, up to the script's own arguments.

    Args:
        name: of the script in workflow/scripts.
        study: results/<study>.
        conda: whether jobs run in an environment that Snakemake makes, with its own Python.
        forked: whether the job starts as a fork of the study's server, if there is one.
    """
    python = ["env", f"PYTHONPATH={PACKAGE.parent}", "python"] if conda else [sys.executable]
    client = ["-S", str(WORKFLOW / "forked.py")] if forked else []
    command = shlex.join([*python, *client, str(script_file(name)), str(study)])
    # what a terminal sends to all processes at once is for Snakemake alone, which ends its jobs
    return f"trap '' INT HUP; {command}"
