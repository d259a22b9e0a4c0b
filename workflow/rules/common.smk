import logging
import os
import shlex
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

from vae_ablation.study.config import with_overrides
from vae_ablation.study.costs import time_line
from vae_ablation.study.disk import disk_line
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import stable_hash
from vae_ablation.jobs.forkserver import start_forkservers
from vae_ablation.jobs.interruption import Interruption
from vae_ablation.study.missing import NOTE, missing_results, note_failures
from vae_ablation.report.overview import read_captions, read_overview
from vae_ablation.study.progress import start_progress
from vae_ablation.jobs.scripting import machine_fault
from vae_ablation.study.plan import pack_limit
from vae_ablation.study.workflow import Workflow

BASE = Path(str(workflow.current_basedir)).parents[1]


def open_state():
    """The planned study in the main process, its frozen copy in jobs on other nodes."""
    if workflow.modifier.path_modifier.replace_prefix("results") != "results":
        raise UserError("prefix: is not supported in a module statement; use --directory instead.")
    given = workflow.config_settings
    settings = with_overrides(config, given.config_args or [], given.config)
    if not workflow.is_main_process:
        return Workflow.frozen(settings.get("study", "default"))
    if drawn():
        settings = {**settings, "allow_missing": True}  # a report is made over what is there
    files = [Path(path) for path in workflow.configfiles]
    origin = files[-1] if files else Path("config")
    foreign = workflow.modifier.skip_configfile  # a module's config is part of another one
    return Workflow.planned(settings, origin, [] if foreign else files, lenient=goes_on())


def goes_on():
    """Whether this call goes on past what fails; Snakemake does not tell it before it has a plan."""
    said = {"-k", "--keep-going"} & set(sys.argv)
    return bool(said or drawn() or os.environ.get("VAE_ABLATION_KEEP_GOING"))


def drawn():
    """Whether this call draws a report."""
    return any(argument.startswith("--report") for argument in sys.argv)


logging.raiseExceptions = False  # Snakemake's log may lie on a disk that has become full
FORKSERVERS = []  # kept, since they end when they are let go
INTERRUPTION = Interruption(FORKSERVERS, lambda: workflow.persistence.unlock())
if workflow.is_main_process:
    INTERRUPTION.listen()
try:
    STATE = open_state()
    if workflow.is_main_process and (STATE.plan.to_train or not workflow.dryrun):
        STATE.check_place()
except UserError as error:
    # The sentence alone, without the line of this file that Snakemake would name.
    sys.exit(f"Error: {error}")
STUDY = STATE.study.folder
REPORT_HINT = f"Report: snakemake --report {STUDY}/report.html"
FAILED = STUDY / NOTE
LENIENT = STATE.study.config["allow_missing"]
MISSING_HINT = (
    "Tables and report over what is there: the same command with --config allow_missing=true"
)
AGAIN_HINT = "The data were prepared again: run the same command once more to go on."


def finished():
    """Whether there are tables. Where only the code that prepares data has changed, Snakemake
    (9.27) prepares them and overlooks missing results that depend on them as ancient() files."""
    return all(path.exists() for path in TABLES)


def tell_missing():
    """Name what is missing, and end with status 1 where the call was for everything."""
    missing = missing_results(STATE.study, STATE.plan) if LENIENT else []
    for one in missing:
        logger.error(f"Missing: {one}")
    if missing and not part_wanted():
        sys.exit(1)


def part_wanted():
    """Whether the call named targets, or where to stop."""
    wanted = workflow.dag_settings
    return bool(wanted.targets or wanted.until or wanted.omit_from)


if workflow.is_main_process:
    for dataset, sentence in STATE.study.unreadable.items():
        logger.warning(f"Dataset {dataset} cannot be prepared: {sentence}")
    logger.info(f"Study {STUDY.name}: {STATE.plan.summary()}.")
    for note in STATE.study.notes():
        logger.info(note)
    if STATE.plan.to_train:
        logger.info(disk_line(STATE.study, STATE.plan))
        if measured := time_line(STATE.study, STATE.plan):
            logger.info(measured)
    if STATE.plan.other_code:
        logger.info(STATE.plan.code_line())
    config["overview"] = read_overview(STUDY)
    config["captions"] = read_captions(BASE / "workflow" / "report" / "figures")


def forks_pay():
    """Whether jobs start as forks: on this machine, in this environment, and where there are some."""
    own = workflow.deployment_settings.deployment_method
    wanted = STATE.study.config["packs"]["fork"] and STATE.plan.to_train
    return bool(wanted and workflow.local_exec and not own)


def first_embedding():
    """Whether this study has codes to embed and no embedding yet."""
    deep = any(item.run.latent_dim > 2 for item in STATE.plan.planned)
    return deep and not (STUDY / "umap" / "index.json").exists()


def begin():
    """Freeze the study, for jobs on other nodes, and forget what the last call said of itself."""
    INTERRUPTION.remote = not workflow.local_exec
    INTERRUPTION.listen()  # again, since Snakemake's scheduler has taken SIGTERM
    try:
        STATE.freeze()
        if not LENIENT:
            FAILED.unlink(missing_ok=True)
        start_progress(STUDY / ".progress", STATE.plan)
        if forks_pay():
            whole, threads = not part_wanted(), STATE.study.config["packs"]["threads"]
            FORKSERVERS.extend(
                start_forkservers(STUDY, threads, figures=whole, embed=whole and first_embedding())
            )
    except OSError as error:
        sys.exit(f"Error: {machine_fault(error, STUDY) or error}")


def wanted_hash():
    """Changes with the runs that the tables are about, and with what of them is missing, and why."""
    missing = missing_results(STATE.study, STATE.plan) if LENIENT else []
    return stable_hash([STATE.wanted_hash, *map(str, missing)]) if missing else STATE.wanted_hash


wildcard_constraints:
    pack="[A-Za-z0-9_-]+",
    dataset="[A-Za-z0-9_-]+",
    likelihood="[a-z_]+",
    hash="[0-9a-f]+",


def prepared(dataset):
    """Files of a dataset's prepared data; `ancient`, since a checksum and not a date says whether
    they changed."""
    folder = STATE.study.prepared[dataset]
    return [ancient(folder / "arrays.npz"), ancient(folder / "dataset.json")]


def pack_dataset(wildcards):
    """Prepared data of a pack's dataset."""
    return prepared(STATE.plan.packs[wildcards.pack][0].run.dataset)


def pack_features(wildcards):
    """Features in which samples of a pack's runs are compared with their dataset."""
    return STATE.study.features_path(STATE.plan.packs[wildcards.pack][0].run.dataset)


FULL_PACK_MINUTES = 60


def pack_fill(pack):
    """How much of a full pack a pack is; a half at least, since small ones cost more a run."""
    runs = [item.run for item in STATE.plan.packs[pack]]
    if runs[0].dataset in STATE.study.unreadable:
        return 1
    full = pack_limit(runs[0], STATE.study.observed[runs[0].dataset], STATE.study.config)
    return min(1, max(0.5, len(runs) / full))


def pack_memory(wildcards, attempt):
    """Memory of a job on a pack, MB: for Python, torch and Snakemake, and for its runs."""
    runs_mb = 1024 * STATE.study.config["packs"]["memory_gb"] * pack_fill(wildcards.pack)
    return attempt * int(1500 + runs_mb)


def pack_minutes(wildcards, attempt):
    """Time that a scheduler gives a job on a pack; profiles may say otherwise."""
    return attempt * int(FULL_PACK_MINUTES * pack_fill(wildcards.pack))


def trainable():
    """Packs that training may write, as a pattern; every pack where a report draws the rules."""
    packs = {item.pack for item in STATE.plan.planned if item.reason or drawn()}
    return "|".join(sorted(packs)) or "(?!)"


def script(name, forked=True):
    """The command that runs a script on this study, in a fork of the server if there is one.

    A param that depends on the input is not recorded: neither a moved checkout nor another Python
    makes anything again.
    """
    in_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    python = ["env", f"PYTHONPATH={BASE / 'src'}", "python"] if in_conda else [sys.executable]
    client = ["-S", str(BASE / "workflow" / "forked.py")] if forked else []
    path = BASE / "workflow" / "scripts" / f"{name}.py"
    command = shlex.join([*python, *client, str(path), str(STUDY)])
    # what a terminal sends to all processes at once is for Snakemake alone, which ends its jobs
    command = f"trap '' INT HUP; {command}"
    return lambda wildcards, input: command


def figure_labels(wildcards):
    """A row per dataset, likelihood and latent dimension of the report's overview."""
    return {
        "figure": wildcards.figure.replace("_", " ").replace("kl ", "KL "),
        "dataset": wildcards.dataset,
        "likelihood": wildcards.likelihood.replace("_", " "),
        # padded, since the report sorts labels as text (and fails on numbers)
        "latent dimension": f"{wildcards.latent.removeprefix('z'):\u2007>3}",
    }


def figure_category(wildcards):
    """Heading of a figure; the drawing code is imported only when a report is made."""
    from vae_ablation.report.figures.registry import heading

    return heading(wildcards.figure)


def embedded(wildcards):
    """Only figures of one likelihood show UMAP coordinates."""
    return [] if wildcards.likelihood == "all" else [STUDY / "umap" / "index.json"]
