"""Gather what models were applied to: STUDY LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job
from vae_ablation.study.workflow import read_frozen
from vae_ablation.tables.collect import collect_applications, write_csv

folder, log = sys.argv[1:]
with job(log):
    collected = collect_applications(*read_frozen(Path(folder)))
    write_csv(collected, Path(folder) / "tables" / "applications.csv")
