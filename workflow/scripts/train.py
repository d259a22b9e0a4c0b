"""Train one pack: STUDY PACK LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job

folder, pack, log = sys.argv[1:]
with job(log):
    from vae_ablation.jobs.train import train_job

    train_job(Path(folder), pack)
