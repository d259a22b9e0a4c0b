"""Costs of the study: STUDY LOG."""

import sys
from pathlib import Path

import pandas as pd

from vae_ablation.common.files import write_text
from vae_ablation.jobs.scripting import job
from vae_ablation.study.costs import cost_sentences, read_costs, stage_costs
from vae_ablation.study.workflow import read_frozen
from vae_ablation.tables.collect import write_csv

folder, log = sys.argv[1:]
with job(log):
    study, plan = read_frozen(Path(folder))
    costs = read_costs(study, plan)
    tables = study.folder / "tables"
    write_csv(pd.DataFrame(stage_costs(costs)), tables / "costs.csv")
    write_text(tables / "costs.txt", cost_sentences(study, plan, costs) + "\n")
