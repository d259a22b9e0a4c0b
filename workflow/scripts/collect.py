"""Gather metrics.csv: STUDY TARGET LOG CONTROLS..."""

import sys
from pathlib import Path

from vae_ablation.scripting import job
from vae_ablation.tables import collect, write_csv
from vae_ablation.workflow_state import read_frozen

folder, target, log, *controls = sys.argv[1:]
with job(log):
    _, plan = read_frozen(Path(folder))
    write_csv(collect(Path(folder), plan, map(Path, controls)), Path(target))
