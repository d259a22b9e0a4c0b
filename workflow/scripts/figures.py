"""Draw the figures of one dataset and likelihood: STUDY DATASET LIKELIHOOD TARGET LOG."""

import sys
from pathlib import Path

from vae_ablation.common.registry import load_parts
from vae_ablation.jobs.scripting import job

folder, dataset, likelihood, target, log = sys.argv[1:]
with job(log):
    from vae_ablation.report.figures import draw_figures

    load_parts()
    draw_figures(Path(folder), dataset, likelihood, Path(target))
