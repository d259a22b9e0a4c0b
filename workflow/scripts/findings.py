"""Sentences made from the tables: STUDY LOG."""

import sys
from pathlib import Path

from vae_ablation.scripting import job

folder, log = sys.argv[1:]
with job(log):
    from vae_ablation.findings import write_findings

    write_findings(Path(folder))
