"""Prepare one dataset of a study: STUDY DATASET LOG."""

import sys
from pathlib import Path

from vae_ablation.common.registry import load_parts
from vae_ablation.data.prepare import prepare_dataset
from vae_ablation.jobs.scripting import job
from vae_ablation.study.workflow import read_frozen

folder, dataset, log = sys.argv[1:]
with job(log):
    study, _ = read_frozen(Path(folder))
    load_parts()
    prepare_dataset(study.data_options(dataset), study.unchanged(dataset, Path(log).parent))
