"""The whole chain against a closed form: a linear VAE is probabilistic PCA (ORACLES, section 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from vae_ablation.data.prepare import load_dataset
from vae_ablation.tables.collect import read_metrics
from workflow.place import TABLE, Place

BETAS = [0.9, 2.25, 4]
SIGMA = 1 / 3
Linear = tuple[Place, pd.DataFrame]


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Linear:
    """The digits-sized sibling of workflow/studies/oracle_ppca.yaml, and its metrics.csv."""
    place = Place(tmp_path_factory.mktemp("linear"), checkout)
    place.config |= {
        "datasets": {"digits": {"source": "sklearn-digits", "validation": 0.02, "test": 0.5}},
        "grids": [
            {"latent_dim": [20], "beta": BETAS, "kl": [True, False]},
            {"latent_dim": [20], "kl": [False], "posterior": ["fixed"]},
        ],
        "model": {
            "hidden": [],
            "center": True,
            "gaussian_scale": "fixed",
            "gaussian_sigma": SIGMA,
        },
        "training": {
            "epochs": 1500,
            "batch_size": 2000,
            "learning_rate": 0.02,
            "learning_rate_schedule": "cosine",
        },
    }
    place.call(TABLE)
    return place, read_metrics(place.folder / TABLE).set_index("run")


@pytest.mark.parametrize("beta", BETAS)
def test_linear_arms_reach_the_optimum_on_held_out_rows(beta: float, linear: Linear) -> None:
    place, metrics = linear
    arm = metrics.loc[f"digits/gaussian/z20/beta{beta:g}/seed0"]
    best = metrics.loc[f"digits/optimum/z20/beta{beta:g}"]
    with np.load(place.study / "runs" / str(arm.name) / "examples.npz") as examples:
        draws = 16 * len(examples["distortion"])
        # of the Monte-Carlo mean over all draws; the spread over examples is no smaller
        error = 3 * examples["distortion"].std() / np.sqrt(draws)
    assert abs(arm["rate"] - best["rate"]) <= max(0.03, 0.01 * best["rate"])
    assert abs(arm["distortion"] - best["distortion"]) <= 0.05 + error
    assert arm["mse"] == pytest.approx(best["mse"], rel=0.02)


@pytest.mark.parametrize("beta", BETAS)
def test_active_units_are_the_eigenvalues_above_beta(beta: float, linear: Linear) -> None:
    place, metrics = linear
    (folder,) = (place.folder / "results" / ".data").iterdir()
    x = load_dataset("digits", folder).observe("train").astype(np.float64)
    assert x.max() <= 1
    assert len(load_digits().data) > len(x) > 800
    values = np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True))[::-1][:20] / SIGMA**2
    doubtful = int((np.abs(values / beta - 1) <= 0.05).sum())
    found = metrics.loc[f"digits/gaussian/z20/beta{beta:g}/seed0", "active_units"]
    assert abs(found - (values > beta).sum()) <= doubtful
    # the exact optimum has its own row, whose units are counted on held-out rows
    best = metrics.loc[f"digits/optimum/z20/beta{beta:g}", "active_units"]
    assert abs(best - (values > beta).sum()) <= doubtful


def test_what_scale_alone_does_is_seen_apart_from_what_the_kl_term_does(
    linear: Linear,
) -> None:
    """Without the KL term a free posterior narrows; a fixed one can only move its means apart."""
    _, metrics = linear
    free, fixed = (metrics.loc[f"digits/gaussian/z20/{arm}/seed0"] for arm in OFF)
    assert fixed["posterior_std"] == pytest.approx(1)
    assert free["posterior_std"] < 0.5
    assert fixed["code_rms"] > 1.3 * free["code_rms"]
    assert fixed["code_rms"] > 2
    assert "digits/optimum/z20/kl-off" not in metrics.index


OFF = ("kl-off", "kl-off-fixed")
