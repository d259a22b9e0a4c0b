"""Sentences made from the tables: STUDY LOG."""

import sys
from pathlib import Path

from vae_ablation.common.registry import load_parts
from vae_ablation.jobs.scripting import job

folder, log = sys.argv[1:]
with job(log):
    from vae_ablation.report.findings import write_findings

    load_parts()
    write_findings(Path(folder))
