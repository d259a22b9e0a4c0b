"""A study of ten thousand runs through the whole workflow, training and evaluation stubbed.

Training is replaced by fresh weights, and a pack's evaluation by that of its first run with noise
added, so that what is timed is the workflow: planning, the DAG, tables, statistics and figures.
Prints wall and CPU seconds and the peak memory of each call, then the seconds of each rule's jobs.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from reporting import markdown_table, provenance

ROOT = Path(__file__).parents[1]
STUB = """
import sys

if any(word.endswith(("scripts/train.py", "scripts/evaluate.py")) for word in sys.orig_argv):
    import dataclasses
    import numpy as np
    from vae_ablation import evaluation
    from vae_ablation.jobs import train as jobs
    from vae_ablation.models.vae import VAE
    from vae_ablation.training.pack import TrainingResult

    def train_pack(runs, dataset, options, settings, *further):
        results = []
        for run in runs:
            model = VAE.of(run, dataset.observed, options)
            weights = {name: leaf.detach().clone() for name, leaf in model.state_dict().items()}
            fall = np.linspace(1, 0, settings["epochs"])[:, None] ** 2
            history = 50 + fall * np.arange(1, 7) + run.seed
            results.append(TrainingResult(run, "ok", "", weights, history, len(history)))
        return results

    real = evaluation.evaluate_pack

    def evaluate_pack(runs, models, histories, *further):
        (first,) = real(runs[:1], models[:1], histories[:1], *further)
        found = []
        for run in runs:
            noise = np.random.default_rng(abs(hash(run.path)) % 2**32)
            metrics = {
                name: value * (1 + 0.05 * noise.standard_normal()) + 0.1 * np.log1p(run.beta)
                if isinstance(value, float) else value
                for name, value in first.metrics.items()
            }
            found.append(dataclasses.replace(first, run=run, metrics=metrics))
        return found

    jobs.train_pack = train_pack
    evaluation.evaluate_pack = evaluate_pack
"""


def config(seeds: int, per_pack: int) -> dict[str, object]:
    """600 arms of digits with this many seeds."""
    return {
        "study": "growth",
        "datasets": {"digits": {"source": "sklearn-digits"}},
        "grids": [
            {
                "likelihood": ["discretized_logistic", "gaussian", "continuous_bernoulli"],
                "latent_dim": [1, 2, 3, 4, 5, 6, 8, 10, 12, 16],
                "beta": [0.01 * 2**power for power in range(20)],
                "seed": list(range(seeds)),
            }
        ],
        "model": {"hidden": [16]},
        "training": {"epochs": 20},
        "evaluation": {"nll_samples": 8},
        "packs": {"max_runs": per_pack, "fork": False},
    }


def call(folder: Path, *arguments: str) -> tuple[str, list[object]]:
    """Call Snakemake; its output, and wall seconds, CPU seconds, MB at the peak of one process."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", "growth.yaml", "--cores", "all", "--scheduler", "greedy"]
    paths = os.pathsep.join([str(folder / "stub"), str(ROOT / "src")])
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stdout[-4000:])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    wall = time.perf_counter() - began
    return done.stdout, [f"{wall:.1f}", f"{cpu:.1f}", f"{used.ru_maxrss / 1024:.0f}"]


def seconds_by_rule(text: str) -> list[list[object]]:
    """Rule, jobs, and the longest job in seconds, from Snakemake's time stamps."""
    began: dict[str, tuple[str, float]] = {}
    longest: dict[str, list[float]] = {}
    now, rule = 0.0, ""
    for line in text.splitlines():
        if stamp := re.match(r"\[(\w+ \w+ +\d+ [\d:]+ \d+)\]", line):
            now = time.mktime(time.strptime(stamp[1]))
        elif started := re.match(r"(?:local)?rule (\w+):", line):
            rule = started[1]
        elif number := re.match(r" +jobid: (\d+)", line):
            began[number[1]] = (rule, now)
        elif ended := re.match(r"Finished jobid: (\d+)", line):
            name, since = began[ended[1]]
            longest.setdefault(name, []).append(now - since)
    return [[name, len(times), f"{max(times):.0f}"] for name, times in longest.items()]


def main() -> None:
    """Time the calls that a large study makes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=17, help="600 runs each")
    parser.add_argument("--per-pack", type=int, default=340)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="growth-"))
    (folder / "stub").mkdir()
    (folder / "stub" / "sitecustomize.py").write_text(STUB, encoding="utf-8")
    (folder / "growth.yaml").write_text(yaml.safe_dump(config(options.seeds, options.per_pack)))
    rows = []
    text, seconds = call(folder, "-n", "--quiet")
    rows.append(["`-n`, nothing there", *seconds])
    text, seconds = call(folder)
    rows.append(["the whole graph", *seconds])
    rules = seconds_by_rule(text)
    text, seconds = call(folder, "-n", "--quiet")
    rows.append(["`-n`, all there", *seconds])
    text, seconds = call(folder, "--report", "snakemake-report.html")
    rows.append(["report", *seconds])
    size = (folder / "snakemake-report.html").stat().st_size / 1e6
    print(provenance(["snakemake", "torch", "vae-ablation"]))
    print(f"{600 * options.seeds} runs; the report has {size:.0f} MB\n")
    print(markdown_table(["call", "wall s", "CPU s", "peak MB"], rows))
    print(markdown_table(["rule", "jobs", "longest s"], rules))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
