"""Apply the models of one pack: STUDY PACK TARGET LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job

folder, pack, target, log = sys.argv[1:]
with job(log):
    from vae_ablation.jobs.apply import apply_job

    apply_job(Path(folder), pack, Path(target))
