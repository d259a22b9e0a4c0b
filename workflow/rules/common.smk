from snakemake.logging import logger

from vae_ablation.jobs.call import Call

CALL = Call.opened(workflow, config, logger)
STATE = CALL.state
STUDY = CALL.folder
DATA = STATE.study.data_folder
FILES = CALL.targets
THREADS = STATE.study.config["packs"]["threads"]


wildcard_constraints:
    pack="[A-Za-z0-9._-]+",
    dataset="[A-Za-z0-9._-]+",
    arm="[A-Za-z][A-Za-z0-9_-]*",
    likelihood="[a-z][a-z0-9_-]*",
    hash="[0-9a-f]+",
