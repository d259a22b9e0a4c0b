"""Workflow: files and plan of a study for the Snakefile, and frozen copies for other nodes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, stable_hash, write_json, write_text
from vae_ablation.common.registry import kind_digests
from vae_ablation.common.settings import counted
from vae_ablation.study.config import Config, config_schema, resolve_config, use_plugins_of
from vae_ablation.study.config_files import check_file
from vae_ablation.study.control_plan import ControlPlan
from vae_ablation.study.external import ExternalArm, check_arms
from vae_ablation.study.plan import Plan, Study, rule_code
from vae_ablation.study.plugins import use_plugins
from vae_ablation.study.rounds import planned_rounds

RESULTS = Path("results")
_KINDS = {
    "findings": ("question", "figure"),
    "figures": ("figure",),
    "report": ("likelihood", "prior", "architecture"),
}
"""Kinds of parts from outside the package that a rule asks, beside metrics."""
LEAST_FREE = 500_000
"""Bytes without which no call can even keep its own records."""


class Workflow:
    """A study as the workflow sees it: planned by the main process, read when frozen elsewhere."""

    def __init__(self, study: Study, plan: Plan, origin: str) -> None:
        self.study = study
        self.plan = plan
        self.origin = origin

    @classmethod
    def planned(
        cls,
        raw: Any,
        config_path: Path,
        files: Iterable[Path] = (),
        lenient: bool = False,
        results: Path = RESULTS,
    ) -> Workflow:
        """Resolve and check the config, then plan; nothing is written.

        Args:
            raw: the config as Snakemake merged it.
            config_path: the config file, named in errors.
            files: every config file that went into it, looked through for what YAML loses.
            lenient: whether a dataset that cannot be read is left to its job, which will say so;
                another one has to be readable.
            results: folder of the studies, below the working directory.

        Raises:
            UserError: the config is wrong, a dataset cannot be read, or the study folder belongs to
                another config.
        """
        use_plugins_of(raw, config_path)
        for path in files:
            check_file(path, config_schema())
        config = resolve_config(raw, config_path)
        study = open_study(config, results)
        if study.unreadable and not (study.observed and (lenient or config["allow_missing"])):
            raise UserError(next(iter(study.unreadable.values())))
        study.check_fit(str(config_path))
        study.check_applications(str(config_path))
        check_arms(study, str(config_path))
        _check_owner(study, config_path)
        return cls(study, study.plan(), os.path.relpath(config_path))

    @classmethod
    def frozen(cls, folder: Path) -> Workflow:
        """Read what the main process wrote into results/<study> when it started."""
        study, plan = read_frozen(folder)
        return cls(study, plan, str(read_json(folder / "plan.json")["config_path"]))

    def check_place(self) -> None:
        """Refuse a place where nothing can be written, before anything runs.

        Raises:
            UserError: a folder that is written to is read-only, or its disk is full.
        """
        for wanted in (Path(".snakemake"), self.study.folder, self.study.data_folder):
            there = next(path for path in (wanted, *wanted.absolute().parents) if path.exists())
            if not os.access(there, os.W_OK | os.X_OK):
                raise UserError(
                    f"{there}: cannot be written (a read-only file system, or no permission); "
                    "allowed: a working directory where results/ and .snakemake/ can be written."
                )
            free = shutil.disk_usage(there).free
            if free < LEAST_FREE:
                raise UserError(
                    f"{there}: no space is left on the disk ({free} bytes are free); free some "
                    "space (vae-ablation prune deletes results that no config wants any more)."
                )

    def freeze(self) -> None:
        """Write plan.json and config.yaml into the study's folder."""
        text = yaml.safe_dump(self.study.config, sort_keys=False, allow_unicode=True)
        write_text(self.study.folder / "config.yaml", text)
        plan = {"config_path": self.origin, **self.plan.to_json()}
        write_json(self.study.folder / "plan.json", plan)

    @property
    def wanted_hash(self) -> str:
        """Changes when a run enters, leaves or moves: the tables are then made again."""
        return stable_hash([[item.run.path, item.pack] for item in self.plan.planned])

    def code(self, rule: str) -> str:
        """Digest of a rule's code, and of the plug-ins that tables and figures show."""
        outside = kind_digests("metric family", *_KINDS.get(rule, ()))
        return "-".join([rule_code(rule), *outside])

    @property
    def evaluations(self) -> list[Path]:
        """Evaluation folders of every pack that holds a wanted run."""
        return self._wanted(map(self.study.evaluation_folder, self.plan.packs))

    @property
    def controls(self) -> list[Path]:
        """Control rows of every dataset and split, under the present settings."""
        return self._wanted(map(self.controls_path, sorted(self.study.data)))

    @property
    def external(self) -> list[Path]:
        """Rows of every arm made elsewhere, one file for each split of its data."""
        return self._wanted(self.external_path(arm, data) for arm, data in self.external_data)

    @property
    def external_data(self) -> list[tuple[ExternalArm, str]]:
        """Every arm made elsewhere, with each key of its data."""
        study = self.study
        return [(arm, data) for arm in study.external for data in study.data_of(arm.dataset)]

    @property
    def applied_packs(self) -> list[str]:
        """Packs that the config's applications are for."""
        packs = self.plan.packs.items()
        return [pack for pack, items in packs if self.study.applies(items[0].run)]

    @property
    def applications(self) -> list[Path]:
        """Folders of the applications of every pack that they are for."""
        return self._wanted(map(self.study.applications_folder, self.applied_packs))

    def _wanted(self, paths: Iterable[Path]) -> list[Path]:
        """These files; where some may be missing, those that are there."""
        lenient = self.study.config["allow_missing"]
        return [path for path in paths if not lenient or path.exists()]

    def dataset_of(self, data_hash: str) -> str:
        """Key of the data that are prepared in results/.data/<data_hash>."""
        return next(n for n, path in self.study.prepared.items() if path.name == data_hash)

    def controls_path(self, data: str) -> Path:
        """Control rows of the data of a key; the name changes with all that they depend on."""
        model = self.study.config["model"]
        plan = ControlPlan.of([run for run in self.study.runs if run.data == data], model)
        evaluation = self.study.config["evaluation"]
        drawn = counted("evaluation", {key: evaluation[key] for key in ("seed", "sample_draws")})
        parts = [plan.to_json(), plan.settings(model), drawn, self.code("controls")]
        digest = stable_hash([*parts, self.study.prepared[data].name, *plan.code()])
        return self.study.folder / "controls" / data / f"{digest}.json"

    def external_path(self, arm: ExternalArm, data: str) -> Path:
        """Rows of an arm on the data of a key; the name changes with all that they depend on."""
        evaluation = self.study.config["evaluation"]
        drawn = counted("evaluation", {key: evaluation[key] for key in ("seed", "sample_draws")})
        parts = [arm.identity(self.study.split_of(data)), drawn, self.code("external")]
        digest = stable_hash([*parts, self.study.prepared[data].name])
        return self.study.folder / "external" / data / arm.name / f"{digest}.json"

    def likelihoods(self, dataset: str) -> list[str]:
        """Likelihoods of a dataset's runs; where some may be missing, of those that are there."""
        lenient = self.study.config["allow_missing"]
        return sorted(
            {
                items[0].run.likelihood
                for pack, items in self.plan.packs.items()
                if items[0].run.dataset == dataset
                and not (lenient and not self.study.evaluation_folder(pack).exists())
            }
        )

    @property
    def shown(self) -> list[str]:
        """Datasets of which there is, or will be, something to show."""
        return [name for name in self.study.datasets if self.likelihoods(name)]


def open_study(config: Config, results: Path = RESULTS) -> Study:
    """The study of a resolved config in a folder of results, below the working directory."""
    return with_rounds(Study(config, results / config["study"], results / ".data"))


def with_rounds(study: Study) -> Study:
    """A study with the runs of the rounds of seeds that were planned for it.

    Raises:
        UserError: a file of a round is damaged.
    """
    if not study.config["seeds"]:
        return study
    looks = study.config["statistics"]["looks"]
    rounds = planned_rounds(study.folder, study.first_runs, looks)
    return replace(study, added=[run for each in rounds for run in each])


def read_frozen(folder: Path) -> tuple[Study, Plan]:
    """Study and plan as frozen in a study's folder.

    Raises:
        UserError: the folder holds no frozen study.
    """
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        use_plugins(config.get("plugins", ()))
        plan = Plan.from_json(read_json(folder / "plan.json"))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            f"{folder}: no study can be read here ({type(error).__name__}: {error}); "
            "run snakemake first."
        ) from None
    added = [item.run for item in plan.planned] if config.get("seeds") else ()
    return Study(config, folder, folder.parent / ".data", added), plan


def _check_owner(study: Study, config_path: Path) -> None:
    """A study's folder remembers its config; another config of the same name has to say adopt.

    Paths are compared as seen from the working directory: config and results may move together.
    """
    plan = study.folder / "plan.json"
    if study.config["adopt"] or not plan.is_file():
        return
    owner = os.path.relpath(read_json(plan)["config_path"])
    if owner != os.path.relpath(config_path):
        raise UserError(
            f"{config_path}: study is {study.config['study']!r}, but {study.folder} was made from "
            f"{owner}; allowed: another study name, or adopt: true to take the folder over."
        )
