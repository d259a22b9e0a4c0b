"""Holes against planted gaps, an aggregate that is the prior, and planted programmes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from vae_ablation.applications.forbidden_states import (
    ForbiddenStates,
    RealProfiles,
    draw_prior,
    forbidden_pairs,
    misfit,
)
from vae_ablation.data.base import TEST, TRAIN, Cells, Dataset, Observed
from vae_ablation.models.priors import Prior, StandardNormal
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import Posterior
from vae_ablation.store.applied import Applied

SETTINGS = {"samples": 2000}
GENES = 20


def posterior_of(mean: np.ndarray, std: float) -> Posterior:
    z = torch.tensor(mean, dtype=torch.float32)
    return Posterior(z, torch.full_like(z, float(np.log(std))))


class Given:
    """Posteriors are given for each cell; a code decodes to what `profile` says, exactly.

    The first two counts of a cell are its number, in two digits of base 1,000.
    """

    def __init__(self, codes: np.ndarray, std: float, posterior: str = "gaussian") -> None:
        self.codes, self.std = codes, std
        self.run = SimpleNamespace(condition="none", posterior=posterior, latent_dim=codes.shape[1])
        self.prior: Prior = StandardNormal.of(codes.shape[1])

    def encode(self, x: Any, context: Any = None, present: Any = None) -> Posterior:
        digits = np.asarray(x)[:, :2].astype(int)
        return posterior_of(self.codes[1000 * digits[:, 0] + digits[:, 1]], self.std)

    def decode(self, z: Any, context: Any = None) -> Any:
        return SimpleNamespace(mean=torch.tensor(profile(np.asarray(z, float)) * context[:, :1]))


def profile(z: np.ndarray) -> np.ndarray:
    """Shares of expression at codes: right, left and upper half have a programme each."""
    right = 1 / (1 + np.exp(-3 * z[:, :1]))
    left = 1 / (1 + np.exp(3 * z[:, :1]))
    top = 1 / (1 + np.exp(-3 * z[:, 1:2])) if z.shape[1] > 1 else 0 * right
    programmes = [np.repeat(part, 6, 1) for part in (right, left, top)]
    rates = np.concatenate(programmes, axis=1) + 0.02
    return np.pad(rates / rates.sum(1, keepdims=True), ((0, 0), (2, 0)))


def cells(codes: np.ndarray, std: float, **model: Any) -> tuple[Given, Dataset]:
    """Half of the cells train, half are tested; but for their numbers, counts are exact."""
    n = len(codes)
    x = 1e9 * profile(codes)
    x[:, :2] = np.stack([np.arange(n) // 1000, np.arange(n) % 1000], axis=1)
    split = np.where(np.arange(n) % 2, TEST, TRAIN).astype(np.int8)
    data = Dataset(
        "made", x.astype(np.float32), None, split, np.zeros(n, np.int64),
        Observed((GENES,), None, counts=True, classes=1), False, "made",
        cells=Cells(tuple(f"g{i}" for i in range(GENES)), ("all",)),
    )  # fmt: skip
    return Given(codes, std, **model), data


def score(applied: Applied, metric: str, method: str = "vae") -> float | None:
    found = [
        row["value"] for row in applied.scores if (row["method"], row["metric"]) == (method, metric)
    ]
    return found[0] if found else None


def clusters(n: int = 1200) -> np.ndarray:
    """Two tight clusters, left and right of a gap where most of the prior is."""
    rng = np.random.default_rng(0)
    centre = np.where(np.arange(n)[:, None] // 2 % 2, [1.6, 0.0], [-1.6, 0.0])
    return centre + 0.15 * rng.normal(size=(n, 2))


# --- holes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_an_aggregate_that_is_the_prior_leaves_a_hundredth(latent):
    std = 0.6
    rng = np.random.default_rng(0)
    codes = np.sqrt(1 - std**2) * rng.normal(size=(4000, latent))
    train, held_out = posterior_of(codes[:2000], std), posterior_of(codes[2000:], std)
    draws = draw_prior(train, held_out, 20_000, stream(0, "test"))
    assert draws.hole.mean() == pytest.approx(0.01, abs=0.006)


def test_the_density_is_that_of_the_mixture_and_holes_are_below_its_percentile():
    codes = clusters(40)
    draws = draw_prior(posterior_of(codes[::2], 0.3), posterior_of(codes[1::2], 0.3), 500,
                       stream(0, "test"))  # fmt: skip
    each = [stats.multivariate_normal(mean, 0.09).pdf(draws.z) for mean in codes[::2]]
    np.testing.assert_allclose(draws.log_q, np.log(np.mean(each, axis=0)), rtol=1e-4)
    assert (draws.hole == (draws.log_q < draws.threshold)).all()


def test_a_planted_gap_is_a_hole_and_decodes_to_no_cell():
    model, data = cells(clusters(), 0.15)
    applied = ForbiddenStates().apply(model, data, SETTINGS, 0)
    # What two discs of three posterior widths hold of the prior is little.
    assert score(applied, "hole_rate") > 0.8
    assert score(applied, "distance_ratio") > 2
    assert score(applied, "hole_auroc") > 0.9
    ratio = score(applied, "hole_distance") / score(applied, "inside_distance")
    assert score(applied, "distance_ratio") == pytest.approx(ratio)
    side = applied.arrays["map_side"]
    hole = applied.arrays["map"] < applied.arrays["threshold"]
    centre, right = np.abs(side).argmin(), np.abs(side - 1.6).argmin()
    assert hole[centre, centre]
    assert not hole[centre, right]
    assert hole[right, centre]


def test_codes_that_fill_the_prior_decode_to_cells_everywhere():
    rng = np.random.default_rng(1)
    model, data = cells(0.8 * rng.normal(size=(3000, 2)), 0.6)
    applied = ForbiddenStates().apply(model, data, SETTINGS, 0)
    assert score(applied, "hole_rate") < 0.03
    held_out = score(applied, "inside_distance", "held_out")
    assert score(applied, "inside_distance") < 4 * held_out + 0.5


def test_a_prior_that_is_one_hole_has_no_inside():
    model, data = cells(clusters() + 100, 0.05)
    applied = ForbiddenStates().apply(model, data, SETTINGS, 0)
    assert score(applied, "hole_rate") == 1
    assert score(applied, "hole_distance") > 0
    for metric in ("inside_distance", "distance_ratio", "hole_auroc"):
        assert score(applied, metric) is None
    assert "gene_inside" not in applied.arrays


def test_a_point_posterior_has_no_density_and_no_scores():
    model, data = cells(clusters(200), 0.1, posterior="point")
    applied = ForbiddenStates().apply(model, data, SETTINGS, 0)
    assert applied == Applied(reason="needs posteriors with a density, and a point has none")


def test_draws_depend_on_the_seed_alone():
    model, data = cells(clusters(300), 0.15)
    same, again, other = (
        ForbiddenStates().apply(model, data, SETTINGS, seed) for seed in (0, 0, 1)
    )
    assert same.scores == again.scores
    assert same.scores != other.scores


def test_it_needs_cells():
    _, data = cells(clusters(20), 0.1)
    assert ForbiddenStates().missing(data) is None
    assert "no cells" in str(ForbiddenStates().missing(replace(data, cells=None)))


# --- what no real cell is ------------------------------------------------------------------------


def test_programmes_that_exclude_each_other_are_a_forbidden_pair():
    rng = np.random.default_rng(0)
    left = rng.integers(0, 2, (300, 1))
    shared = rng.integers(0, 2, (300, 1))
    real = np.concatenate([left, 1 - left, shared], axis=1) * 4.0
    both = np.tile([4.0, 4.0, 0.0], (50, 1))
    pairs, share = forbidden_pairs(np.concatenate([both, real[:50]]), real)
    assert pairs.tolist() == [[0, 1]]
    assert share.tolist() == [0.5]
    nothing, _ = forbidden_pairs(real[:50], real)
    assert nothing.shape == (0, 2)


def test_the_misfit_is_that_from_the_nearest_profile():
    real = np.array([[0.0, 0.0], [10.0, 10.0]])
    found = misfit(np.array([[1.0, 0.0], [9.0, 12.0]]), real)
    np.testing.assert_allclose(found, [1, np.sqrt(2)])


def test_a_real_profile_is_the_log_of_its_neighbourhoods_mean():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 15)
    counts = rng.poisson(50 * (1 + group[:, None] * np.array([0, 5, 9, 0])))
    logs = np.log1p(counts).astype(np.float32)
    expected = [np.log1p(counts[group == g].mean(0)) for g in (0, 1)]
    real = RealProfiles(logs)
    np.testing.assert_allclose(real.profiles[[0, -1]], expected, rtol=1e-5)
    np.testing.assert_allclose(real.distance(np.array(expected)), 0, atol=1e-4)


def test_genes_and_pairs_of_the_gap_carry_names():
    model, data = cells(clusters(), 0.15)
    arrays = ForbiddenStates().apply(model, data, SETTINGS, 0).arrays
    right, left = ({f"g{i}" for i in range(*ends)} for ends in ((2, 8), (8, 14)))
    assert len(arrays["pairs"]) == 6
    for pair in arrays["pairs"]:
        assert len(right & set(pair)) == len(left & set(pair)) == 1
    # Both programmes are half on in a band around 0, which a tenth of the prior and more is in.
    assert arrays["pair_holes"][0] > 0.1
    assert (arrays["gene_holes"][:6] > arrays["gene_inside"][:6]).all()
    for name, values in arrays.items():
        assert values.dtype.kind in "fiuU", name


class Right(StandardNormal):
    """N((4, 0), I)."""

    name = "right"
    standard = False

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return super().log_prob(z - torch.tensor([4.0, 0.0]))

    def at(self, noise: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return noise + torch.tensor([4.0, 0.0])


def test_holes_are_those_of_the_runs_own_prior() -> None:
    codes = np.random.default_rng(0).normal(size=(400, 2))
    model, dataset = cells(codes, 0.3)
    usual = ForbiddenStates().apply(model, dataset, {"samples": 500}, 0)  # type: ignore[arg-type]
    model.prior = Right.of(2)
    moved = ForbiddenStates().apply(model, dataset, {"samples": 500}, 0)  # type: ignore[arg-type]
    assert "map_prior" not in usual.arrays
    rates = [
        next(row["value"] for row in one.scores if row["metric"] == "hole_rate")
        for one in (usual, moved)
    ]
    assert rates[0] < 0.1
    assert rates[1] > 0.8
    side, inside = moved.arrays["map_side"], moved.arrays["map_prior"] > 0
    x, y = np.meshgrid(side, side)
    assert abs(x[inside].mean() - 4) < 0.2
    assert abs(np.hypot(x[inside] - 4, y[inside]).max() - np.sqrt(-2 * np.log(0.05))) < 0.25
