"""A study from `snakemake` to its report: wall time, where it goes, and what packing wins.

The study runs in a fresh folder with the arguments of `make study`; then its report is made, then
`snakemake -n` and a call with nothing to do are timed. The same study with one run per job and no
forks (`packs: {max_runs: 1, fork: false}`), as scripts do it, follows in a folder of its own, and
every run's results are compared byte for byte. Nothing is written into the checkout.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reporting import markdown_table, provenance, usable_cores
from vae_ablation.study.config import read_config

ROOT = Path(__file__).resolve().parents[1]
COMPARED = ("model.safetensors", "history.csv", "metrics.json", "codes.npz")


@dataclass(frozen=True)
class Job:
    """One job of Snakemake's own records; times in seconds since the epoch."""

    rule: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Wall seconds."""
        return self.end - self.start


class Workplace:
    """A folder in which one study runs.

    Attributes:
        folder: Snakemake's working directory.
        study: results/<study> below it.
    """

    def __init__(self, folder: Path, config: Path, cores: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.study = folder / "results" / read_config(config)["study"]
        self._call = [
            *(sys.executable, "-m", "snakemake"),
            *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
            *("--configfile", str(config), "--cores", str(cores)),
            *("--workflow-profile", str(ROOT / "workflow" / "profiles" / "local")),
        ]

    def snakemake(self, *arguments: str) -> float:
        """Wall seconds of one call; a failure ends the benchmark with what the call said."""
        start = time.perf_counter()
        # jobs talk on stderr, which would tear our tables
        with (self.folder / "calls.log").open("a", encoding="utf-8") as log:
            done = subprocess.run(
                [*self._call, *arguments], cwd=self.folder, stdout=log, stderr=log, check=False
            )
        seconds = time.perf_counter() - start
        if done.returncode:
            tail = (self.folder / "calls.log").read_text(encoding="utf-8")[-3000:]
            raise SystemExit(f"{tail}\nError: snakemake {' '.join(arguments)} failed (see above).")
        return seconds

    def report(self) -> float:
        """Wall seconds of making the report."""
        return self.snakemake("--report", str(self.study / "snakemake-report.html"))

    def jobs(self) -> list[Job]:
        """Every job that has run here, once each, though each of its outputs has a record."""
        records = (
            json.loads(path.read_text(encoding="utf-8"))
            for path in (self.folder / ".snakemake" / "metadata").rglob("*")
            if path.is_file()
        )
        found = {tuple(r["log"]): Job(r["rule"], r["starttime"], r["endtime"]) for r in records}
        return sorted(found.values(), key=lambda job: job.start)

    def run_records(self) -> dict[str, dict[str, Any]]:
        """run.json of every run, by its path below runs/."""
        runs = self.study / "runs"
        return {
            str(path.parent.relative_to(runs)): json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(runs.rglob("run.json"))
        }


# --- where the time goes --------------------------------------------------------------------------


def covered(jobs: Iterable[Job]) -> float:
    """Seconds in which at least one of the jobs ran."""
    total, end = 0.0, float("-inf")
    for job in sorted(jobs, key=lambda job: job.start):
        total += max(0.0, job.end - max(job.start, end))
        end = max(end, job.end)
    return total


def rule_table(jobs: Sequence[Job]) -> str:
    """Per rule: jobs, their wall seconds added up, and the stretch of the study they span."""
    by_rule: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_rule[job.rule].append(job)
    begin = min(job.start for job in jobs)
    rows = [
        [
            rule,
            len(found),
            f"{sum(job.seconds for job in found):.1f}",
            f"{covered(found):.1f}",
            f"{found[0].start - begin:.0f} to {max(job.end for job in found) - begin:.0f}",
        ]
        for rule, found in by_rule.items()
    ]
    head = ["rule", "jobs", "job seconds, added up", "seconds with one running", "from, to (s)"]
    return markdown_table(head, rows)


def call_table(seconds: dict[str, float]) -> str:
    """Wall seconds of each call."""
    return markdown_table(["call", "wall s"], [[k, f"{v:.1f}"] for k, v in seconds.items()])


def measure_study(place: Workplace) -> dict[str, float]:
    """The calls of a user's day: dry run, study, report, dry run, nothing to do."""
    seconds = {"`snakemake -n`, nothing trained": place.snakemake("-n")}
    study, report = place.snakemake(), place.report()
    return seconds | {
        "`snakemake`": study,
        "`snakemake --report`": report,
        "from `snakemake` to report": study + report,
        "`snakemake -n`, all done": place.snakemake("-n"),
        "`snakemake`, all done": place.snakemake(),
    }


# --- packs against single runs --------------------------------------------------------------------


def one_run_per_job(config: Path, target: Path) -> Path:
    """Write the same study as scripts do it, with a process of its own for each run.

    read_config has made its paths absolute.
    """
    resolved = read_config(config)
    resolved["packs"] |= {"max_runs": 1, "fork": False}
    target.write_text(yaml.safe_dump(resolved), encoding="utf-8")
    return target


def training_seconds(place: Workplace) -> dict[str, float]:
    """Views of what training took: inside the jobs, the jobs, on the clock, with evaluation."""
    both = [job for job in place.jobs() if job.rule in ("train", "evaluate")]
    jobs = [job for job in both if job.rule == "train"]
    inside = sum(record["train_seconds"] for record in place.run_records().values())
    return {
        "training itself (sum of `train_seconds` in run.json)": inside,
        "training jobs, added up (with start of Python and torch)": sum(j.seconds for j in jobs),
        "clock time with a training job running": covered(jobs),
        "clock time with a training or evaluation job running": covered(both),
    }


def packing_table(packed: Workplace, single: Workplace, totals: tuple[float, float]) -> str:
    """Seconds with packs and with single runs, and their ratio."""
    left, right = training_seconds(packed), training_seconds(single)
    left["the whole `snakemake` call"], right["the whole `snakemake` call"] = totals
    rows = [
        [name, f"{left[name]:.1f}", f"{right[name]:.1f}", f"{right[name] / left[name]:.2f}×"]
        for name in left
    ]
    return markdown_table(["seconds", "packs", "one run per job", "packs win"], rows)


def differing(packed: Workplace, single: Workplace) -> list[str]:
    """Files of runs that are not the same bytes in both studies, or are in one only."""
    paths = sorted({*packed.run_records(), *single.run_records()})
    return [
        f"{path}/{name}"
        for path in paths
        for name in COMPARED
        if _content(packed.study / "runs" / path / name)
        != _content(single.study / "runs" / path / name)
    ]


def _content(path: Path) -> bytes | None:
    """A file's bytes; None where it is absent (metrics of a failed run, say)."""
    return path.read_bytes() if path.is_file() else None


def equality_line(packed: Workplace, single: Workplace) -> str:
    """Whether packing changed any byte of any run's results."""
    runs, different = len(packed.run_records()), differing(packed, single)
    if not runs:
        return "No runs to compare."
    if not different:
        return f"Same bytes in {', '.join(COMPARED)} of all {runs} runs."
    return f"**{len(different)} files of {runs} runs differ**, e.g. {', '.join(different[:3])}."


def count_line(place: Workplace) -> str:
    """Size of the study and how its runs ended."""
    records = place.run_records().values()
    packs = len({record["pack"] for record in records})
    ok = sum(record["status"] == "ok" for record in records)
    return f"{len(records)} runs ({ok} ok) in {packs} packs."


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--cores", type=int, default=usable_cores())
    parser.add_argument("--no-single", action="store_true", help="leave out one run per job")
    parser.add_argument("--keep", action="store_true", help="keep the folder that it worked in")
    return parser.parse_args()


def benchmark(folder: Path, options: argparse.Namespace) -> None:
    """Measure in `folder` and print."""
    config = options.config.resolve()
    packed = Workplace(folder / "packed", config, options.cores)
    seconds = measure_study(packed)
    print(f"- Study: {options.config.name}, {options.cores} cores; {count_line(packed)}\n")
    print(call_table(seconds))
    print(rule_table(packed.jobs()), flush=True)
    if options.no_single:
        return
    config = one_run_per_job(config, folder / "single.yaml")
    single = Workplace(folder / "single", config, options.cores)
    total = single.snakemake()
    print(packing_table(packed, single, (seconds["`snakemake`"], total)))
    print(equality_line(packed, single))


def main() -> None:
    """Measure in a temporary folder and remove it."""
    options = parse_arguments()
    print(provenance(["snakemake", "torch", "vae-ablation"]), end="", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="vae-ablation-benchmark-"))
    try:
        benchmark(folder, options)
    finally:
        if options.keep:
            print(f"Kept: {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
