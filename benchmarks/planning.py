"""Seconds to plan 10,000 runs into packs: `python benchmarks/planning.py`."""

from __future__ import annotations

import time

from vae_ablation.study.plan import plan_packs
from vae_ablation.study.run import expand_runs

GRID = {
    "dataset": ["digits"],
    "likelihood": ["gaussian", "bernoulli", "discretized_logistic", "continuous_bernoulli"],
    "latent_dim": [2, 4, 8, 16, 32],
    "beta": [0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64],
    "kl": [True],
    "posterior": ["gaussian"],
    "seed": list(range(50)),
}


def main() -> None:
    """Print the number of runs and the seconds that their plan takes."""
    runs = expand_runs([GRID])
    started = time.perf_counter()
    hashes = {run.path: run.path for run in runs}
    reasons = dict.fromkeys(hashes, "new")
    plan_packs(runs, hashes, {}, reasons, {run.pack_key: 64 for run in runs}, set())
    print(f"{len(runs):,} runs: {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
