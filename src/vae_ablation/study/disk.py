"""Estimate of the disk space that a study will take. No torch."""

from __future__ import annotations

import shutil
from pathlib import Path

from vae_ablation.common.files import read_json
from vae_ablation.study.plan import Plan, Planned, Study, run_size

FIGURE_BYTES = 20_000_000
"""Figures, tables and report of a study: 15 to 40 MB were seen."""
AT_ONCE = 4
"""Packs that train at once, each with two checkpoints of weights and both moments."""
RUN_BYTES = 80_000
"""Pictures, snapshots, history and records of a run: 30 to 150 kB were seen."""


def disk_bytes(study: Study, plan: Plan) -> int:
    """Bytes that the runs to train will take, with what is made from them.

    Data that are not prepared yet have an unknown number of examples: the estimate is then low.
    """
    if not plan.to_train:
        return 0
    readable = [item for item in plan.to_train if item.run.data not in study.unreadable]
    weights = {item: _weight_bytes(study, item) for item in readable}
    packs = [sum(weights.get(item, 0) for item in items) for items in plan.packs.values()]
    checkpoints = 2 * 3 * sum(sorted(packs)[-AT_ONCE:])
    codes = sum(_code_bytes(study, item) for item in readable)
    return FIGURE_BYTES + sum(weights.values()) + checkpoints + codes


def _weight_bytes(study: Study, item: Planned) -> int:
    return 4 * run_size(item.run, study.observed[item.run.data], study.config)[0]


def _code_bytes(study: Study, item: Planned) -> int:
    """Codes of a run and everything else that is not its weights."""
    dataset = item.run.data
    sizes = _sizes(study.prepared[dataset] / "dataset.json")
    coded = sizes["test"] + (sum(sizes.values()) if study.observed[dataset].counts else 0)
    return RUN_BYTES + 4 * coded * (2 * item.run.latent_dim + 2)


def _sizes(path: Path) -> dict[str, int]:
    return read_json(path)["sizes"] if path.is_file() else {"test": 0}


def disk_line(study: Study, plan: Plan) -> str:
    """Space that the study will take and free space; a warning where that is too little."""
    there = next(path for path in (study.folder, *study.folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    wanted = disk_bytes(study, plan)
    sizes = f"about {size_text(wanted)} of results to come, {size_text(free)} free"
    if wanted <= free:
        return f"Disk: {sizes}."
    return (
        f"Warning: the disk will fill up: {sizes}; free some space first "
        "(vae-ablation prune deletes results that no config wants any more)."
    )


def size_text(count: float) -> str:
    """Bytes in the unit that reads best: `812 kB`, `3.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
