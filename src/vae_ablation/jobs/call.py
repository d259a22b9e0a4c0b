"""One call of Snakemake: its settings, and what is done as it starts, fails and ends. No torch.

Snakemake is not imported; its objects are handed over by workflow/rules/common.smk.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import write_text
from vae_ablation.common.workflow_files import CAPTIONS
from vae_ablation.jobs.commands import script_command
from vae_ablation.jobs.forkserver import start_forkservers
from vae_ablation.jobs.interruption import Interruption
from vae_ablation.jobs.scripting import machine_fault
from vae_ablation.report.overview import read_captions, read_overview
from vae_ablation.study import plugins
from vae_ablation.study.config import use_plugins_of, with_overrides
from vae_ablation.study.costs import further_price, time_line
from vae_ablation.study.disk import disk_line
from vae_ablation.study.missing import NOTE, note_failures
from vae_ablation.study.progress import start_progress
from vae_ablation.study.registration import register
from vae_ablation.study.rounds import read_round, rounds_line
from vae_ablation.study.run import Run
from vae_ablation.study.targets import Targets
from vae_ablation.study.workflow import RESULTS, Workflow

AGAIN = ".next-round"
"""File in a study's folder while a round of seeds is planned that the next call makes."""
MISSING_HINT = (
    "Tables and report over what is there: the same command with --config allow_missing=true"
)
AGAIN_HINT = "The data were prepared again: run the same command once more to go on."


class Call:
    """A call of Snakemake on one study, opened as the Snakefile is read.

    Args:
        workflow: Snakemake's object of that name.
        config: the config as Snakemake merged it.
        logger: Snakemake's logger.
        arguments: the command line.
        environment: the environment's variables.

    Attributes:
        state: the study and its plan: planned by the main process, frozen in jobs on other nodes.
        targets: files and resources that the rules ask for.
    """

    def __init__(
        self,
        workflow: Any,
        config: dict[str, Any],
        logger: logging.Logger,
        arguments: Sequence[str] = sys.argv,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._workflow = workflow
        self._config = config
        self._logger = logger
        self._arguments = arguments
        self._environment = environment
        self._servers: list[subprocess.Popen[bytes]] = []  # they end when they are let go
        self._interruption = Interruption(self._servers, lambda: workflow.persistence.unlock())

    @classmethod
    def opened(cls, workflow: Any, config: dict[str, Any], logger: logging.Logger) -> Call:
        """A call that takes signals and has its study.

        Raises:
            SystemExit: one sentence on what the user has to mend, without the line of the rules
                that Snakemake would name.
        """
        logging.raiseExceptions = False  # Snakemake's log may lie on a disk that has become full
        call = cls(workflow, config, logger)
        if call.is_main:
            call._interruption.listen()
        try:
            call.check()
        except UserError as error:
            raise SystemExit(f"Error: {error}") from None
        except OSError as error:
            raise SystemExit(f"Error: {machine_fault(error, RESULTS) or error}") from None
        if call.is_main:
            call.announce()
        return call

    # --- settings --------------------------------------------------------------------------------

    @property
    def is_main(self) -> bool:
        """Whether this is the process that plans, and not one that runs a job for it."""
        return bool(self._workflow.is_main_process)

    @property
    def draws(self) -> bool:
        """Whether this call draws a report."""
        return any(argument.startswith("--report") for argument in self._arguments)

    @property
    def goes_on(self) -> bool:
        """Whether this call goes on past what fails, which Snakemake says only after planning."""
        said = {"-k", "--keep-going"} & set(self._arguments)
        return bool(said or self.draws or self._environment.get("VAE_ABLATION_KEEP_GOING"))

    @property
    def is_partial(self) -> bool:
        """Whether the call named targets, or where to stop; known once Snakemake has a plan."""
        wanted = self._workflow.dag_settings
        return bool(wanted.targets or wanted.until or wanted.omit_from)

    @property
    def _conda(self) -> bool:
        methods = self._workflow.deployment_settings.deployment_method
        return any(method.name == "CONDA" for method in methods)

    # --- the study -------------------------------------------------------------------------------

    @cached_property
    def state(self) -> Workflow:
        """The study and its plan.

        Raises:
            UserError: the config is wrong, or this call cannot be done.
        """
        files = [Path(path) for path in self._workflow.configfiles]
        origin = files[-1] if files else Path("config")
        if self.is_main:
            use_plugins_of(self._config, origin)  # whose keys --config may set too
        given = self._workflow.config_settings
        settings = with_overrides(self._config, given.config_args or [], given.config)
        if not self.is_main:
            return Workflow.frozen(self._results / settings.get("study", "default"))
        if self.draws:
            settings = {**settings, "allow_missing": True}  # a report is made over what is there
        foreign = self._workflow.modifier.skip_configfile  # a module's config is part of another
        own = [] if foreign else files
        return Workflow.planned(settings, origin, own, self.goes_on, self._results)

    @cached_property
    def _results(self) -> Path:
        """The folder of the studies, below the prefix of a module statement.

        From here on paths have the prefix, in the rules as in the jobs, so that Snakemake is not
        to put it before them once more.
        """
        paths = self._workflow.modifier.path_modifier
        results = Path(paths.replace_prefix(f"{RESULTS}/study")).parent
        if results != RESULTS:
            paths.prefix = paths.inner_modifier = paths._prefix_replacements = None
        return results

    @cached_property
    def targets(self) -> Targets:
        """Files and resources that the rules ask for."""
        return Targets(self.state, drawn=self.draws)

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.state.study.folder

    def check(self) -> None:
        """Open the study, and refuse a place where a call that writes could not.

        Raises:
            UserError: the config is wrong, or nothing can be written here.
        """
        if self.is_main and (self.state.plan.to_train or not self._workflow.dryrun):
            self.state.check_place()

    def announce(self) -> None:
        """Say what is planned, and hand the report's templates what they show."""
        study, plan = self.state.study, self.state.plan
        for dataset, sentence in study.unreadable.items():
            self._logger.warning(f"Dataset {dataset} cannot be prepared: {sentence}")
        lines = [f"Study {self.folder.name}: {plan.summary()}.", rounds_line(study), *study.notes()]
        if plan.to_train:
            lines += [disk_line(study, plan), time_line(study, plan) or ""]
        lines.append(plan.code_line())
        for line in filter(None, lines):
            self._logger.info(line)
        self._config["overview"] = read_overview(self.folder)
        self._config["captions"] = read_captions(CAPTIONS) | plugins.captions()

    # --- jobs ------------------------------------------------------------------------------------

    def script(self, name: str, forked: bool = True) -> Callable[[Any, Any], str]:
        """A param: the command of a script on this study.

        A param that depends on the input is not recorded: neither a moved checkout nor another
        Python makes anything again.
        """
        command = script_command(name, self.folder, conda=self._conda, forked=forked)
        return lambda wildcards, input: command

    def begin(self) -> None:
        """Freeze and register the study, for jobs on other nodes, and forget the last call's notes.

        Raises:
            SystemExit: nothing can be written.
        """
        self._interruption.remote = not self._workflow.local_exec
        self._interruption.listen()  # again, since Snakemake's scheduler has taken SIGTERM
        try:
            self.state.freeze()
            register(self.state.study, self._registered)
            (self.folder / AGAIN).unlink(missing_ok=True)
            if not self.state.study.config["allow_missing"]:
                (self.folder / NOTE).unlink(missing_ok=True)
            start_progress(self.folder / ".progress", self.state.plan)
            if self._forks_pay:
                self._start_servers()
        except OSError as error:
            raise SystemExit(f"Error: {machine_fault(error, self.folder) or error}") from None

    @property
    def _registered(self) -> list[Run]:
        """Runs whose comparisons are registered: all, or with seeds in rounds the first round."""
        study, runs = self.state.study, [item.run for item in self.state.plan.planned]
        return study.first_runs if study.config["seeds"] else runs

    @property
    def _forks_pay(self) -> bool:
        """Whether jobs start as forks: here, in this environment, and if there are any."""
        own = self._workflow.deployment_settings.deployment_method
        wanted = self.state.study.config["packs"]["fork"] and self.state.plan.to_train
        return bool(wanted and self._workflow.local_exec and not own)

    def _start_servers(self) -> None:
        whole, threads = not self.is_partial, self.state.study.config["packs"]["threads"]
        embed = whole and self._first_embedding
        self._servers += start_forkservers(self.folder, threads, figures=whole, embed=embed)

    @property
    def _first_embedding(self) -> bool:
        """Whether this study has codes to embed and no embedding yet."""
        deep = any(item.run.latent_dim > 2 for item in self.state.plan.planned)
        return deep and not (self.folder / "umap" / "index.json").exists()

    # --- the end ---------------------------------------------------------------------------------

    def fail(self) -> None:
        """End a call of which jobs have failed, or that was interrupted."""
        self._interruption.leave()
        note_failures(self.state.study, self.state.plan)
        self._tell_missing()
        self._logger.info(MISSING_HINT)

    def succeed(self) -> None:
        """End a call whose jobs have all ended well, with a hint on the next command.

        Where only the code that prepares data has changed, Snakemake (9.27) prepares them and
        overlooks missing results that depend on them as ancient() files.
        """
        self._tell_missing()
        self._tell_round()
        if self.targets.report.exists():
            self._logger.info(f"Report: {self.targets.report}")
        elif not self.is_partial:
            self._logger.info(AGAIN_HINT)

    def _tell_round(self) -> None:
        """Say what the next round of seeds is, and leave a file by which run.sh makes it."""
        path = self.state.study.next_round
        if path is None or not path.is_file():
            return
        further = read_round(path)
        for line in further.lines():
            self._logger.info(line)
        if further.runs:
            write_text(self.folder / AGAIN, "")
            price = further_price(self.state.study, self.state.plan, further.runs)
            self._logger.info(f"Next round of seeds: {price}. The same command makes it.")

    def _tell_missing(self) -> None:
        """Name what is missing, and end with status 1 where the call was for everything."""
        missing = self.targets.missing
        for one in missing:
            self._logger.error(f"Missing: {one}")
        if missing and not self.is_partial:
            raise SystemExit(1)
