"""UMAP coordinates of the codes of chosen runs, kept per run."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.files import file_digest, stable_hash, write_atomic, write_json
from vae_ablation.common.isolation import Isolated
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import umap_runs

log = logging.getLogger(__name__)

EMBED_VERSION = 2
SEED = 0
EXACT = 20_000
"""Most codes whose nearest neighbours are searched exactly, and not by UMAP, which compiles its own
search for 7 s and longer."""


def embed(means: NDArray[np.floating]) -> NDArray[np.float32]:
    """UMAP (McInnes, Healy and Melville 2018) with a fixed seed: codes [n, latent] → [n, 2].

    Three codes or fewer, of which it can make nothing, keep their first two dimensions; a second
    one that is not there is 0.
    """
    if len(means) < 4:
        flat = np.pad(means, ((0, 0), (0, max(0, 2 - means.shape[1]))))
        return np.asarray(flat[:, :2], dtype=np.float32)
    import umap

    neighbours = min(15, len(means) - 1)
    known = nearest(means, neighbours) if len(means) <= EXACT else (None, None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn.2. .knn_search_index. is not an NNDesc")
        reducer = umap.UMAP(
            n_neighbors=neighbours, random_state=SEED, n_jobs=1, precomputed_knn=known
        )
        return np.asarray(reducer.fit_transform(means), dtype=np.float32)


def nearest(
    means: NDArray[np.floating], count: int
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Each code's `count` nearest, itself among them, and their distances: [n, count] both."""
    from sklearn.neighbors import NearestNeighbors

    distances, places = NearestNeighbors(n_neighbors=count).fit(means).kneighbors(means)
    return places, distances


def compile_umap() -> None:
    """Compile what `embed` will run, which takes UMAP far longer than a fit; forks share it."""
    # a fork of a process that has used GNU OpenMP would be ended by it
    os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")
    embed(np.random.default_rng(SEED).normal(size=(60, 4)).astype(np.float32))


def embed_study(folder: Path, index: Path) -> None:
    """Embed the chosen runs' codes in one process, since UMAP compiles anew in each.

    Coordinates whose codes have not changed are kept; those of other runs go. A run whose codes are
    not finite, or in which an error arises that nobody foresaw, has none; the log says why.

    Args:
        folder: results/<study>.
        index: JSON file to write: run path → digest of the codes; the .npz files lie beside it.
    """
    part = Isolated("UMAP")
    chosen = [
        run
        for run in umap_runs(StudyResults(folder).metrics)
        if part(run, partial(_embed_run, folder, run, embedding_path(index.parent, run)), False)
    ]
    _remove_others(index.parent, chosen)
    digests = {run: file_digest(embedding_path(index.parent, run)) for run in chosen}
    write_json(index, digests)


def embedding_path(folder: Path, run: str) -> Path:
    """Path of the coordinates of a run."""
    return folder / f"{run.replace('/', '__')}.npz"


def _embed_run(folder: Path, run: str, target: Path) -> bool:
    """Whether the coordinates of a run's codes lie at `target`."""
    codes = folder / "runs" / run / "codes.npz"
    key = stable_hash([EMBED_VERSION, file_digest(codes)])
    if target.is_file():
        with np.load(target, allow_pickle=False) as kept:
            if str(kept["key"]) == key:
                return True
    with np.load(codes, allow_pickle=False) as arrays:
        means = arrays["mean"]
    if not np.isfinite(means).all():
        log.warning("%s has no coordinates: its codes are not finite", run)
        return False
    coordinates = embed(means)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, embedding=coordinates, key=np.array(key))
    write_atomic(target, lambda stream: stream.write(buffer.getbuffer()))
    return True


def _remove_others(folder: Path, runs: Iterable[str]) -> None:
    wanted = {embedding_path(folder, run).name for run in runs}
    for path in folder.glob("*.npz"):
        if path.name not in wanted:
            path.unlink()
