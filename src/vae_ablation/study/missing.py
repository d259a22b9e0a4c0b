"""Missing results, each with the error sentence of the job that failed. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vae_ablation.common.files import read_json, write_json
from vae_ablation.common.job_logs import failure_sentence
from vae_ablation.study.plan import Plan, Run, Study
from vae_ablation.study.workflow import Workflow

NOTE = ".failed"
"""File in results/<study> that a call leaves when jobs have failed: missing results, and why.

The next call plans other packs, whose logs are others.
"""


@dataclass(frozen=True)
class Missing:
    """A result that no job has made.

    Attributes:
        job: the job, in words.
        dataset: the dataset that it is about.
        runs: paths of the runs that it is about; none for controls.
        essential: whether these runs have no evaluation without it.
        reason: the sentence of the job, with its log.
    """

    job: str
    dataset: str
    runs: tuple[str, ...]
    essential: bool
    reason: str

    def __str__(self) -> str:
        count = len(self.runs)
        about = f" ({count} run{'s' if count > 1 else ''})" if count else ""
        return f"{self.reason}{about}"


def missing_results(study: Study, plan: Plan) -> list[Missing]:
    """All missing results; those that the last failed call has noted come first.

    Args:
        study: the study.
        plan: the plan of a call that has ended, or that trains nothing (allow_missing).
    """
    noted = noted_failures(study, plan)
    known = {(one.essential, run) for one in noted for run in one.runs}
    known_jobs = {one.job for one in noted}
    further = []
    for one in _absent(study, plan):
        runs = tuple(run for run in one.runs if (one.essential, run) not in known)
        if runs or not (one.runs or one.job in known_jobs):
            further.append(Missing(one.job, one.dataset, runs, one.essential, one.reason))
    return noted + further


def noted_failures(study: Study, plan: Plan) -> list[Missing]:
    """Results that the last failed call has noted and that are still missing."""
    try:
        notes = [
            Missing(**one | {"runs": tuple(one["runs"])}) for one in read_json(study.folder / NOTE)
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    still = list(_absent(study, plan))
    missing = {(one.essential, run) for one in still for run in one.runs}
    jobs = {one.job for one in still}
    kept = []
    for note in notes:
        runs = tuple(run for run in note.runs if (note.essential, run) in missing)
        if runs or (not note.runs and note.job in jobs):
            kept.append(Missing(note.job, note.dataset, runs, note.essential, note.reason))
    return kept


def note_failures(study: Study, plan: Plan) -> None:
    """Write down the results that a failed call leaves missing, for the calls that follow."""
    missing = missing_results(study, plan)
    write_json(study.folder / NOTE, [asdict(one) for one in missing])


def _absent(study: Study, plan: Plan) -> Iterator[Missing]:
    """Results that are not on the disk, by the job of this plan that should have made them."""
    for dataset in sorted(study.data):
        packs = {pack: [item.run for item in items] for pack, items in plan.packs.items()
                 if items[0].run.data == dataset}  # fmt: skip
        if _is_prepared(study, dataset):
            yield from _of_dataset(study, plan, dataset, packs)
            continue
        waiting = [
            run
            for pack, runs in packs.items()
            for run in runs
            if not study.evaluation_folder(pack).is_dir()
        ]
        if waiting:
            log = study.prepared[dataset] / "prepare.log"
            yield _missing(f"preparation of dataset {dataset}", log, dataset, waiting)


def _of_dataset(
    study: Study, plan: Plan, dataset: str, packs: Mapping[str, list[Run]]
) -> Iterator[Missing]:
    """Missing results of a dataset that is prepared."""
    logs, waiting = study.folder / "logs", []
    for pack, runs in packs.items():
        evaluated, applied = study.evaluation_folder(pack), study.applications_folder(pack)
        if not (study.folder / "packs" / pack / "train").is_dir():
            yield _missing("training", logs / "train" / f"{pack}.log", dataset, runs)
        elif not evaluated.is_dir() and study.features_path(dataset).is_file():
            log = logs / "evaluate" / f"{pack}-{evaluated.name}.log"
            yield _missing("evaluation", log, dataset, runs)
        elif not evaluated.is_dir():
            waiting += runs
        elif study.applies(runs[0]) and not applied.is_dir():
            log = logs / "apply" / f"{pack}-{applied.name}.log"
            yield _missing("applications", log, dataset, runs, essential=False)
    if waiting:
        log = logs / "features" / f"{dataset}-{study.features_path(dataset).stem}.log"
        yield _missing(f"features of dataset {dataset}", log, dataset, waiting)
    controls = Workflow(study, plan, "").controls_path(dataset)
    if not controls.is_file():
        log = logs / "controls" / f"{dataset}-{controls.stem}.log"
        yield _missing(f"controls of dataset {dataset}", log, dataset, [], essential=False)
    for arm in (one for one in study.external if dataset in study.data_of(one.dataset)):
        rows = Workflow(study, plan, "").external_path(arm, dataset)
        if not rows.is_file():
            log = logs / "external" / dataset / f"{arm.name}-{rows.stem}.log"
            job = f"external arm {arm.name} on dataset {dataset}"
            yield _missing(job, log, dataset, [], essential=False)


def _is_prepared(study: Study, dataset: str) -> bool:
    folder = study.prepared[dataset]
    return all((folder / name).is_file() for name in ("arrays.npz", "dataset.json"))


def _missing(
    job: str, log: Path, dataset: str, runs: list[Run], *, essential: bool = True
) -> Missing:
    sentence = failure_sentence(log)
    if sentence is None:
        reason = f"{job}: its job did not end well, or was not started; see {log}"
    else:
        reason = f"{job} failed (see {log}): {sentence}"
    return Missing(job, dataset, tuple(run.path for run in runs), essential, reason)
