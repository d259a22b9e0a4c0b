"""Features of one dataset, in which samples are compared with it: STUDY DATASET LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job

folder, dataset, log = sys.argv[1:]
with job(log):
    from vae_ablation.jobs.features import features_job

    features_job(Path(folder), dataset)
