"""Contrasts, importance of axes, undominated arms and failures: STUDY LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job

folder, log = sys.argv[1:]
with job(log):
    from vae_ablation.tables.write import write_statistics

    write_statistics(Path(folder))
