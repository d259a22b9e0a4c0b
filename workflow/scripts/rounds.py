"""Next round of seeds: STUDY TARGET LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job

folder, target, log = sys.argv[1:]
with job(log):
    from vae_ablation.tables.rounds import plan_round

    plan_round(Path(folder), Path(target))
