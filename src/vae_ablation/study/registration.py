"""The study's pre-registration: what is asked, and by which rules it will be answered."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_ablation.common.files import read_json, stable_hash, write_json
from vae_ablation.study.axes import AXES, REPLICATES, level_cell, level_text
from vae_ablation.study.metrics import described
from vae_ablation.study.questions import ALPHA, APART, POWER, Arm, Question, questions_of
from vae_ablation.study.run import Run
from vae_ablation.study.varied import VariedAxes

if TYPE_CHECKING:
    from vae_ablation.study.plan import Study

_AXES = [name for name in AXES if name not in (*REPLICATES, "train_examples")]
RULES = {
    "differences": "arm minus reference by seed, on the metric's scale; settings weigh the same",
    "primary": "Holm within a question, for differences and apart from it for equivalence",
    "exploratory": "Benjamini and Hochberg within a question",
    "equivalent": "two one-sided tests against the margin, checked before differences",
}


def registration(study: Study, runs: Iterable[Run]) -> dict[str, Any]:
    """Questions, references, primary metrics, margins and rules, with their hash.

    Margins that only the evaluation can tell (test examples, feature networks, drift) are the
    larger where they exceed a convention, and are known after it.

    Args:
        study: the study.
        runs: its wanted runs.
    """
    known = list(runs)
    statistics = study.config["statistics"]
    plan = {
        "study": study.config["study"],
        "alpha": ALPHA,
        "power": POWER,
        "rules": RULES,
        "seeds": sorted({run.seed for run in known}),
        **_splits(known),
        "looks": statistics["looks"],
        "primary_metrics": statistics["primary_metrics"],
        "margins": {name: _margin(study, name) for name in statistics["primary_metrics"]},
        "questions": [
            *(one for question, arms in _asked(study, known) for one in _answers(question, arms)),
            *_of_external(study),
        ],
    }
    return {"hash": stable_hash(plan), **plan}


def _splits(runs: Iterable[Run]) -> dict[str, list[int]]:
    """Splits of the data, where a grid has some; splits then replicate an arm, not seeds."""
    splits = {run.split_seed for run in runs if run.split_seed is not None}
    return {"splits": sorted(splits)} if splits else {}


def _margin(study: Study, name: str) -> dict[str, Any]:
    metric = described(name)
    kind = {"log": "ratio", "arcsine": "points of a share"}.get(metric.scale, "difference")
    wanted = study.config["statistics"]["margins"].get(name)
    if wanted is not None:
        return {"margin": wanted, "kind": kind, "from": "config"}
    if metric.convention is None:
        return {"margin": None, "kind": kind, "from": "evaluation"}
    return {"margin": metric.convention, "kind": kind, "from": "convention, or evaluation"}


def _asked(study: Study, runs: list[Run]) -> Iterable[tuple[Question, list[Arm]]]:
    varied = VariedAxes.of(study, runs)
    levels = [{axis: level_cell(run[axis]) for axis in _AXES} | varied.columns(run) for run in runs]
    levels = [{axis: one[axis] for axis in one if axis not in REPLICATES} for one in levels]
    arms = list(dict.fromkeys(map(Arm, levels)))
    axes = list(arms[0]) if arms else []
    return [(question, arms) for question in questions_of(axes, study.references)]


def _answers(question: Question, arms: list[Arm]) -> Iterable[dict[str, Any]]:
    """One entry for each compared level of a dataset: what pooled rows will say something of."""
    pairs = question.pairs(arms)
    for key, members in question.answering(pairs).items():
        reference = pairs[members[0]][1]
        held = {axis: level_text(reference[axis]) for axis in question.held(pairs)}
        yield {
            "question": question.name,
            **dict(zip(APART, key, strict=False)),
            "level": key[-1],
            "reference": question.reference_level(reference),
            "at": held,
            "settings": len(members),
        }


def _of_external(study: Study) -> Iterable[dict[str, Any]]:
    """One entry for each arm made elsewhere: the trained arms that it is set against."""
    for arm in study.external:
        at = {axis: level_text(level) for axis, level in arm.cells.items()}
        where = {"question": "model", "dataset": arm.dataset, "level": arm.name}
        yield {**where, "reference": "vae", "at": at}


def register(study: Study, runs: Iterable[Run]) -> None:
    """Write tables/questions.json; hashes of earlier plans of this study stay in it."""
    path = study.folder / "tables" / "questions.json"
    plan = registration(study, runs)
    earlier = _earlier(path)
    write_json(path, plan | {"earlier": [one for one in earlier if one != plan["hash"]]})


def _earlier(path: Path) -> list[str]:
    """Hashes of the plans that were registered before, the oldest first."""
    try:
        known = read_json(path)
        return list(dict.fromkeys([*known["earlier"], known["hash"]]))
    except (OSError, ValueError, KeyError, TypeError):
        return []
