"""What a study will take on the disk, told before it begins. No torch."""

from __future__ import annotations

import shutil
from pathlib import Path

from vae_ablation.files import read_json
from vae_ablation.study import Plan, Planned, Study, run_size

FIGURE_BYTES = 20_000_000
"""Figures, tables and report of a study: 15 to 40 MB were seen."""
RUN_BYTES = 80_000
"""Pictures, film, history and records of a run: 30 to 150 kB were seen."""


def disk_bytes(study: Study, plan: Plan) -> int:
    """Bytes that the runs to train will take, with what is made from them.

    Data that are not prepared yet have an unknown number of examples: the estimate is then low.
    """
    if not plan.to_train:
        return 0
    return FIGURE_BYTES + sum(_run_bytes(study, item) for item in plan.to_train)


def _run_bytes(study: Study, item: Planned) -> int:
    """Weights, codes and the rest of a run, and its share of two checkpoints."""
    run = item.run
    observed = study.observed[run.dataset]
    weights, _ = run_size(run, observed, study.config)
    sizes = _sizes(study.prepared[run.dataset] / "dataset.json")
    coded = sizes["test"] + (sum(sizes.values()) if observed.counts else 0)
    return RUN_BYTES + 4 * weights * (1 + 2 * 3) + 4 * coded * (2 * run.latent_dim + 2)


def _sizes(path: Path) -> dict[str, int]:
    return read_json(path)["sizes"] if path.is_file() else {"test": 0}


def disk_line(study: Study, plan: Plan) -> str:
    """What the study will take and what is free; a warning where that is too little."""
    there = next(path for path in (study.folder, *study.folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    wanted = disk_bytes(study, plan)
    told = f"about {size_text(wanted)} of results to come, {size_text(free)} free"
    if wanted <= free:
        return f"Disk: {told}."
    return (
        f"Warning: the disk will fill up: {told}; make room first "
        "(vae-ablation prune deletes what no config wants any more)."
    )


def size_text(count: float) -> str:
    """Bytes in the unit that reads best: `812 kB`, `3.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
