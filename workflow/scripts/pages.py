"""Tables as pages of the report: STUDY COLUMNS_GUIDE LOG."""

import sys
from pathlib import Path

from vae_ablation.pages import write_pages
from vae_ablation.scripting import job

folder, guide, log = sys.argv[1:]
with job(log):
    write_pages(Path(folder), Path(guide))
