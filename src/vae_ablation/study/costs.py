"""Costs of a study: seconds and memory of its jobs, and estimates for further runs. No torch."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_ablation.common.files import read_json, write_json
from vae_ablation.study.plan import Plan, Study
from vae_ablation.study.progress import duration
from vae_ablation.study.run import Run

PER_RUN = ("train", "evaluate", "apply")
"""Stages whose cost grows with the number of runs."""


class CostNote:
    """Measures this process from now on."""

    def __init__(self) -> None:
        self.began = time.time()

    def write(self, log: Path) -> None:
        """Note what the job of a log took, in costs/ beside logs/; nothing where there is none.

        Args:
            log: results/<study>/logs/<stage>.log or results/<study>/logs/<stage>/<job>.log.
        """
        logs = next((folder for folder in log.parents if folder.name == "logs"), None)
        if logs is None:
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        peak = used.ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10)
        cost = {
            "seconds": round(time.time() - self.began, 3),
            "cpu_seconds": round(sum(os.times()[:4]), 3),
            "peak_memory_mb": round(peak, 1),
        }
        write_json(logs.parent / "costs" / log.relative_to(logs).with_suffix(".json"), cost)


@dataclass(frozen=True)
class Cost:
    """Cost of one job: wall and CPU seconds, and memory at its peak, MB."""

    stage: str
    job: str
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float


def read_costs(study: Study, plan: Plan) -> list[Cost]:
    """The jobs that made what is there now."""
    current = {
        **dict.fromkeys(plan.packs, "train"),
        **{f"{pack}-{study.eval_hash}": "evaluate" for pack in plan.packs},
        **{f"{pack}-{study.apply_hash}": "apply" for pack in plan.packs},
    }
    costs = []
    for path in sorted((study.folder / "costs").rglob("*.json")):
        stage = path.relative_to(study.folder / "costs").parts[0].removesuffix(".json")
        if stage in PER_RUN and current.get(path.stem) != stage:
            continue
        try:
            costs.append(Cost(stage, path.stem, **read_json(path)))
        except (OSError, ValueError, TypeError):
            continue  # a note that a fault cut short is no reason to stop
    return costs


def stage_costs(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """Rows of costs.csv: per stage jobs, seconds, share of all seconds; the dearest first."""
    stages: dict[str, list[Cost]] = {}
    for cost in costs:
        stages.setdefault(cost.stage, []).append(cost)
    total = sum(cost.seconds for cost in costs)
    rows = [
        {
            "stage": stage,
            "jobs": len(jobs),
            "seconds": round(sum(cost.seconds for cost in jobs), 3),
            "cpu_seconds": round(sum(cost.cpu_seconds for cost in jobs), 3),
            "share": round(sum(cost.seconds for cost in jobs) / total, 4),
            "longest_seconds": max(cost.seconds for cost in jobs),
            "peak_memory_mb": max(cost.peak_memory_mb for cost in jobs),
        }
        for stage, jobs in stages.items()
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


def cost_sentences(study: Study, plan: Plan, costs: Sequence[Cost]) -> str:
    """The total, the dearest stage, and what one more seed of every arm would take."""
    if not costs:
        return "No job has been measured."
    first = stage_costs(costs)[0]
    arms = {(item.run.data, item.run.pack_key, item.run.arm) for item in plan.planned}
    each = seconds_per_run(study, plan, costs)
    seed = sum(each.get(key, each[""]) for _, key, _ in arms) if each else 0.0
    return (
        f"The jobs that made these results took {duration(sum(cost.seconds for cost in costs))} "
        f"in all, {100 * first['share']:.0f} % of it in the stage {first['stage']}. One more seed "
        f"of {'the only arm' if len(arms) == 1 else f'each of the {len(arms)} arms'} would take "
        f"about {duration(seed)} of computing. "
        "Jobs run side by side: the study itself took less time than their sum."
    )


def seconds_per_run(study: Study, plan: Plan, costs: Sequence[Cost]) -> dict[str, float]:
    """Seconds of training, evaluation and application per run, by pack key; "" is all runs' mean.

    Empty where no pack of the plan has been measured.
    """
    suffixes = {"train": "", "evaluate": f"-{study.eval_hash}", "apply": f"-{study.apply_hash}"}
    seconds: dict[str, float] = defaultdict(float)
    for cost in costs:
        if cost.stage in suffixes:
            seconds[cost.job.removesuffix(suffixes[cost.stage])] += cost.seconds
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for pack, items in plan.packs.items():
        for key in (items[0].run.pack_key, ""):
            sums[key][0] += seconds.get(pack, 0.0)
            sums[key][1] += len(items) if pack in seconds else 0
    return {key: taken / runs for key, (taken, runs) in sums.items() if runs}


def further_price(study: Study, plan: Plan, runs: Sequence[Run]) -> str:
    """Number of further runs and what they will take: `8 runs, about 12 s of computing`."""
    each = seconds_per_run(study, plan, read_costs(study, plan))
    seconds = sum(each.get(run.pack_key, each[""]) for run in runs) if each else None
    price = f", about {duration(seconds)} of computing" if seconds is not None else ""
    return f"{len(runs)} run{'' if len(runs) == 1 else 's'}{price}"


def time_line(study: Study, plan: Plan) -> str | None:
    """About how much computing is to come, by what runs of this study took; None if unknown."""
    each = seconds_per_run(study, plan, read_costs(study, plan))
    if not each or not plan.to_train:
        return None
    total = sum(each.get(item.run.pack_key, each[""]) for item in plan.to_train)
    known = len(plan.planned) - len(plan.to_train)
    return (
        f"Time: about {duration(total)} of computing to come for {len(plan.to_train)} runs, "
        f"judged by {known} runs of this study."
    )
