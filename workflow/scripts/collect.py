"""Gather metrics.csv: STUDY TARGET LOG CONTROLS..."""

import sys
from pathlib import Path

from vae_ablation.missing import missing_results
from vae_ablation.scripting import job
from vae_ablation.study import link_evaluations
from vae_ablation.tables import collect, write_csv
from vae_ablation.workflow_state import read_frozen

folder, target, log, *controls = sys.argv[1:]
with job(log):
    study, plan = read_frozen(Path(folder))
    link_evaluations(study, plan)
    missing = missing_results(study, plan) if study.config["allow_missing"] else None
    write_csv(collect(study, plan, map(Path, controls), missing), Path(target))
