"""The report of a study: STUDY TARGET LOG."""

import sys
from pathlib import Path

from vae_ablation.common.registry import load_parts
from vae_ablation.jobs.scripting import job

folder, target, log = sys.argv[1:]
with job(log):
    from vae_ablation.report.page.build import write_report

    load_parts()
    write_report(Path(folder), Path(target))
