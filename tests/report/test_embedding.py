"""UMAP coordinates: made once per codes, for chosen runs only."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from vae_ablation.common.files import read_json
from vae_ablation.report import embedding

RUN = "d/gaussian/z4/beta1/seed0"


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    (folder / "tables").mkdir(parents=True)
    row = {"run": RUN, "model": "vae", "dataset": "d", "likelihood": "gaussian", "latent_dim": 4}
    row |= {"beta": 1.0, "kl": True, "posterior": "gaussian", "seed": 0, "status": "ok"}
    pd.DataFrame([row | {"arm": "beta1"}]).to_csv(folder / "tables" / "metrics.csv", index=False)
    write_codes(folder, 0)
    return folder


def write_codes(folder, seed):
    codes = folder / "runs" / RUN / "codes.npz"
    codes.parent.mkdir(parents=True, exist_ok=True)
    mean = np.random.default_rng(seed).normal(size=(30, 4)).astype(np.float32)
    np.savez(codes, mean=mean, labels=np.zeros(30, int))


@pytest.fixture
def calls(monkeypatch):
    """Replace UMAP's fit by the first two dimensions, and count the fits."""
    made = []

    def first_two(means):
        made.append(len(means))
        return means[:, :2]

    monkeypatch.setattr(embedding, "embed", first_two)
    return made


def test_coordinates_are_made_once_while_codes_stay(study, calls):
    index = study / "umap" / "index.json"
    embedding.embed_study(study, index)
    embedding.embed_study(study, index)
    assert calls == [30]
    assert list(read_json(index)) == [RUN]
    write_codes(study, 1)
    embedding.embed_study(study, index)
    assert calls == [30, 30]
    with np.load(study / "runs" / RUN / "codes.npz") as codes:
        expected = codes["mean"][:, :2]
    with np.load(embedding.embedding_path(study / "umap", RUN)) as kept:
        np.testing.assert_array_equal(kept["embedding"], expected)


def test_coordinates_of_runs_no_longer_chosen_go(study, calls):
    stale = study / "umap" / "other.npz"
    stale.parent.mkdir()
    np.savez(stale, embedding=np.zeros((1, 2)), key="x")
    embedding.embed_study(study, study / "umap" / "index.json")
    assert not stale.exists()


def test_umap_keeps_separate_clusters_apart():
    generator = np.random.default_rng(0)
    means = generator.normal(size=(60, 5)) + 40 * (np.arange(60) % 2)[:, None]
    plane = embedding.embed(means)
    centres = [plane[i::2].mean(axis=0) for i in (0, 1)]
    spread = max(np.linalg.norm(plane[i::2] - centres[i], axis=1).max() for i in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_codes_have_a_place_each(count):
    plane = embedding.embed(np.random.default_rng(0).normal(size=(count, 4)))
    assert plane.shape == (count, 2)
    assert np.isfinite(plane).all()
    assert len(np.unique(plane, axis=0)) == count


def test_more_codes_than_are_searched_exactly_are_left_to_umap(monkeypatch):
    monkeypatch.setattr(embedding, "EXACT", 10)
    monkeypatch.setattr(embedding, "nearest", pytest.fail)
    plane = embedding.embed(np.random.default_rng(2).normal(size=(40, 4)))
    assert plane.shape == (40, 2)
    assert np.isfinite(plane).all()


@pytest.mark.filterwarnings("ignore:precomputed_knn")
def test_neighbours_are_told_as_umap_would_find_them():
    import umap

    means = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
    told = umap.UMAP(
        n_neighbors=15, precomputed_knn=embedding.nearest(means, 15), random_state=0, n_jobs=1
    ).fit(means)
    alone = umap.UMAP(n_neighbors=15, random_state=0, n_jobs=1).fit(means)
    assert abs(told.graph_ - alone.graph_).max() < 1e-3


@pytest.mark.chaos
def test_a_fork_of_a_process_that_compiled_umap_embeds_to_the_same_bytes(tmp_path):
    means = np.random.default_rng(3).normal(size=(80, 8)).astype(np.float32)
    np.save(tmp_path / "means.npy", means)
    script = """
import os, sys
import numpy as np
from vae_ablation.report.embedding import compile_umap, embed
pid = 0
if sys.argv[1] == "forked":
    compile_umap()
    pid = os.fork()
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
np.save(sys.argv[1], embed(np.load("means.npy")))
"""
    for how in ("alone", "forked"):
        subprocess.run([sys.executable, "-c", script, how], cwd=tmp_path, check=True, timeout=300)
    np.testing.assert_array_equal(*(np.load(tmp_path / f"{n}.npy") for n in ("alone", "forked")))


@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_handful_of_codes_in_any_dimensions_has_a_plane(count: int, latent_dim: int) -> None:
    for codes in (
        np.ones((count, latent_dim)),
        np.random.default_rng(0).normal(size=(count, latent_dim)),
    ):
        plane = embedding.embed(codes.astype(np.float32))
        assert plane.shape == (count, 2)
        assert np.isfinite(plane).all()


@pytest.mark.parametrize("fault", ["not finite", "error"])
def test_a_run_without_coordinates_loses_nothing_else(study, calls, monkeypatch, fault):
    if fault == "not finite":
        mean = np.full((30, 4), np.nan)
        np.savez(study / "runs" / RUN / "codes.npz", mean=mean, labels=np.zeros(30, int))
    else:
        monkeypatch.setattr(embedding, "embed", lambda means: 1 / 0)
    index = study / "umap" / "index.json"
    embedding.embed_study(study, index)
    assert read_json(index) == {}
