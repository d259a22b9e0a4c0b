"""UMAP coordinates of the chosen runs: STUDY INDEX LOG."""

import sys
from pathlib import Path

from vae_ablation.jobs.scripting import job

folder, index, log = sys.argv[1:]
with job(log):
    from vae_ablation.report.embedding import embed_study

    embed_study(Path(folder), Path(index))
