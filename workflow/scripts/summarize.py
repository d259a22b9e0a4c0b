"""Summarize metrics.csv over seeds: STUDY METRICS TARGET LOG."""

import sys
from pathlib import Path

from vae_ablation.overview import write_overview
from vae_ablation.scripting import job
from vae_ablation.tables import read_metrics, summarize, write_csv

folder, source, target, log = sys.argv[1:]
with job(log):
    metrics = read_metrics(Path(source))
    write_csv(summarize(metrics), Path(target))
    write_overview(Path(folder), metrics)
