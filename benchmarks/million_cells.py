"""A million cells in an h5ad: read, filtered, stored and drawn from, in bounded memory.

A file is generated in blocks of rows. A fresh process loads it through the source h5ad and stores
it as a CountMatrix; another opens what was stored and draws random batches, as training does. Each
tells its peak memory: mapped pages of the stored counts, which the system may take back at any
time, are part of it, so the memory that is not mapped stands beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from reporting import markdown_table, provenance

GENERATED_ROWS = 20_000
BATCH = 128
OPTIONS: dict[str, Any] = {
    "layer": None,
    "label": "kind",
    "batch": "plate",
    "min_cells": 3,
    "min_counts": 1,
    "obs": [],
    "protein": None,
    "perturbation": None,
}


def peak_mib() -> float:
    """Largest resident memory of this process so far; the system counts in KiB on Linux."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def own_mib() -> float:
    """Resident memory that is not mapped from files, now (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0]) / 2**10


# --- the file ------------------------------------------------------------------------------------


def generate(path: Path, cells: int, genes: int, density: float) -> dict[str, float]:
    """Write an h5ad with random counts: a gene is found the less often the higher its number."""
    import anndata
    import h5py
    import pandas as pd

    start = time.perf_counter()
    rng = np.random.default_rng(0)

    def named(prefix: str, n: int, **columns: Any) -> pd.DataFrame:
        names = pd.Index([f"{prefix}{i}" for i in range(n)], dtype=object)
        return pd.DataFrame(columns, index=names)

    def kinds(prefix: str, n: int) -> pd.Categorical:
        names = pd.Index([f"{prefix}{i}" for i in range(n)], dtype=object)
        return pd.Categorical.from_codes(rng.integers(0, n, cells), names)

    obs = named("cell", cells, kind=kinds("kind", 10), plate=kinds("plate", 4))
    anndata.AnnData(obs=obs, var=named("gene", genes)).write_h5ad(path)
    chance = np.linspace(2 * density, 0, genes, endpoint=False, dtype=np.float32)
    with h5py.File(path, "a") as file:
        if "X" in file:
            del file["X"]
        entries = _write_counts(file.create_group("X"), cells, chance, rng)
    return {"seconds": time.perf_counter() - start, "entries": entries}


def _write_counts(group: Any, cells: int, chance: Any, rng: np.random.Generator) -> int:
    """A CSR matrix as anndata stores it, block by block."""
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.array([cells, len(chance)])
    growing = {"shape": (0,), "maxshape": (None,), "chunks": (1 << 18,)}
    data = group.create_dataset("data", dtype=np.float32, **growing)
    indices = group.create_dataset("indices", dtype=np.int32, **growing)
    lengths = [np.zeros(1, np.int64)]
    for first in range(0, cells, GENERATED_ROWS):
        rows = min(GENERATED_ROWS, cells - first)
        found = rng.random((rows, len(chance)), np.float32) < chance
        columns = np.nonzero(found)[1]
        begin, end = len(data), len(data) + len(columns)
        data.resize((end,))
        indices.resize((end,))
        data[begin:end] = 1 + rng.poisson(1.0, len(columns))
        indices[begin:end] = columns
        lengths.append(found.sum(1))
    group["indptr"] = np.cumsum(np.concatenate(lengths))
    return len(data)


# --- what is measured ----------------------------------------------------------------------------


def convert(path: Path, folder: Path, n_top_genes: int | None) -> dict[str, float]:
    """Load the file and store its counts."""
    from scipy import sparse

    from vae_ablation.data.counts import CountBlocks, CountMatrix
    from vae_ablation.data.h5ad import H5ad

    before = peak_mib()
    start = time.perf_counter()
    raw = H5ad().load({"path": str(path), "n_top_genes": n_top_genes, **OPTIONS})
    loaded, loaded_peak = time.perf_counter(), peak_mib()
    lazy = isinstance(raw.x, CountBlocks)
    blocks = raw.x.blocks() if lazy else [sparse.csr_matrix(raw.x)]
    stored = CountMatrix.write(folder, blocks, raw.x.shape[1])
    written = time.perf_counter()
    stored.digest()
    return {
        "rows": len(stored),
        "columns": stored.columns,
        "entries": len(stored.data),
        "before_mib": before,
        "load_s": loaded - start,
        "load_peak_mib": loaded_peak,
        "store_s": written - loaded,
        "digest_s": time.perf_counter() - written,
        "peak_mib": peak_mib(),
    }


def gather(folder: Path, seconds: float) -> dict[str, float]:
    """Draw random batches of rows for a while."""
    from vae_ablation.data.counts import CountMatrix

    before = peak_mib()
    stored = CountMatrix.open(folder)
    rng = np.random.default_rng(0)
    start, batches = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        stored[rng.integers(0, len(stored), BATCH)]
        batches += 1
    took = time.perf_counter() - start
    return {
        "rows_per_s": batches * BATCH / took,
        "before_mib": before,
        "own_mib": own_mib(),
        "peak_mib": peak_mib(),
    }


# --- the table -----------------------------------------------------------------------------------


def in_fresh_process(arguments: argparse.Namespace, step: str, folder: Path) -> dict[str, float]:
    """What a step tells, run in a process of its own."""
    call = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    for name in ("cells", "genes", "density", "seconds", "n_top_genes"):
        if getattr(arguments, name) is not None:
            call += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_step(arguments: argparse.Namespace) -> dict[str, float]:
    path, stored = arguments.folder / "cells.h5ad", arguments.folder / "counts"
    if arguments.step == "generate":
        return generate(path, arguments.cells, arguments.genes, arguments.density)
    if arguments.step == "convert":
        return convert(path, stored, arguments.n_top_genes)
    return gather(stored, arguments.seconds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--density", type=float, default=0.05, help="share of nonzero entries")
    parser.add_argument("--n-top-genes", type=int, help="keep highly variable genes only")
    parser.add_argument("--seconds", type=float, default=20, help="how long batches are drawn")
    parser.add_argument("--folder", type=Path, help="where the files go (a temporary folder)")
    parser.add_argument("--step", choices=["generate", "convert", "gather"], help="one step only")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if arguments.step:
        print(json.dumps(run_step(arguments)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        made = in_fresh_process(arguments, "generate", folder)
        size = (folder / "cells.h5ad").stat().st_size
        converted = in_fresh_process(arguments, "convert", folder)
        stored = sum(file.stat().st_size for file in (folder / "counts").iterdir())
        drawn = in_fresh_process(arguments, "gather", folder)
    print(provenance(["numpy", "scipy", "anndata", "h5py"]))
    print(
        f"{arguments.cells:,} cells × {arguments.genes:,} genes, {made['entries']:,} entries, "
        f"{size / 2**20:,.0f} MiB (made in {made['seconds']:.0f} s); kept: {converted['rows']:,} × "
        f"{converted['columns']:,}, {converted['entries']:,} entries, {stored / 2**20:,.0f} MiB. "
        f"Dense float32 would be {converted['rows'] * converted['columns'] * 4 / 2**20:,.0f} MiB.\n"
    )
    rows = [
        ("load (check, filter)", f"{converted['load_s']:.1f} s", converted["load_peak_mib"]),
        ("store as CountMatrix, hash", f"{converted['store_s']:.1f} s", converted["peak_mib"]),
        (
            f"batches of {BATCH} random rows",
            f"{drawn['rows_per_s']:,.0f} rows/s",
            drawn["peak_mib"],
        ),
    ]
    shown = [(what, pace, f"{peak:,.0f}") for what, pace, peak in rows]
    print(markdown_table(["step", "time or pace", "peak memory so far, MiB"], shown))
    print(
        f"The first process holds {converted['before_mib']:,.0f} MiB before it reads, the second "
        f"{drawn['before_mib']:,.0f}; of the second's memory {drawn['own_mib']:,.0f} MiB is not "
        f"mapped. SHA-256 of what is stored: {converted['digest_s']:.1f} s."
    )


if __name__ == "__main__":
    main()
