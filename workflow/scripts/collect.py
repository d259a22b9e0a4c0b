"""Gather metrics.csv: STUDY TARGET LOG CONTROLS..."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job
from vae_ablation.study.missing import missing_results
from vae_ablation.study.plan import link_evaluations
from vae_ablation.study.workflow import read_frozen
from vae_ablation.tables.collect import collect, write_csv

folder, target, log, *controls = sys.argv[1:]
with job(log):
    study, plan = read_frozen(Path(folder))
    link_evaluations(study, plan)
    missing = missing_results(study, plan) if study.config["allow_missing"] else None
    write_csv(collect(study, plan, map(Path, controls), missing), Path(target))
