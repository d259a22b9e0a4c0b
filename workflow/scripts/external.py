"""Rows of an arm made elsewhere: STUDY DATASET ARM TARGET LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job

folder, dataset, arm, target, log = sys.argv[1:]
with job(log):
    from vae_ablation.jobs.external import external_job

    external_job(Path(folder), dataset, arm, Path(target))
