"""Control rows of one dataset: STUDY DATASET TARGET LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job

folder, dataset, target, log = sys.argv[1:]
with job(log):
    from vae_ablation.jobs.controls import controls_job

    controls_job(Path(folder), dataset, Path(target))
