"""Tables as pages of the report: STUDY LOG."""

import sys
from pathlib import Path

from vae_ablation.common.workflow_files import GUIDE
from vae_ablation.jobs.scripting import job
from vae_ablation.report.pages import write_pages

folder, log = sys.argv[1:]
with job(log):
    write_pages(Path(folder), GUIDE)
