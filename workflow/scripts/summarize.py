"""Summarize metrics.csv over seeds: STUDY METRICS TARGET LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job
from vae_ablation.report.overview import write_overview
from vae_ablation.study.missing import missing_results
from vae_ablation.study.workflow import read_frozen
from vae_ablation.tables.collect import read_metrics, summarize, write_csv

folder, source, target, log = sys.argv[1:]
with job(log):
    metrics = read_metrics(Path(source))
    write_csv(summarize(metrics), Path(target))
    study, plan = read_frozen(Path(folder))
    missing = missing_results(study, plan) if study.config["allow_missing"] else ()
    margin = study.config["statistics"]["converged_drift"]
    write_overview(Path(folder), metrics, missing, margin)
