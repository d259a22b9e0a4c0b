"""The latent explorer of one dataset: STUDY DATASET TARGET LOG."""

import sys
from pathlib import Path

from vae_ablation.common.registry import load_parts
from vae_ablation.jobs.scripting import job

folder, dataset, target, log = sys.argv[1:]
with job(log):
    from vae_ablation.report.explorer import write_explorers

    load_parts()
    write_explorers(Path(folder), dataset, Path(target))
