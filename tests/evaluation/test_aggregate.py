"""The aggregate posterior against naive densities, closed forms, identities and planted holes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import brentq

from support import rate_per_dim
from vae_ablation.evaluation import aggregate, bounds
from vae_ablation.evaluation.aggregate import (
    PRIOR_REACH,
    PRIOR_SHARES,
    aggregates,
    density_in_plane,
    joined,
    log_density,
    mixture_log_prob,
)
from vae_ablation.models.priors import StandardNormal
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import Posterior


def posterior_of(means: np.ndarray, stds: np.ndarray | float) -> Posterior:
    """One run's posterior as `encode` gives it: float32, [1, n, latent]."""
    log_std = np.broadcast_to(np.log(stds), means.shape)
    return Posterior(*(torch.tensor(v, dtype=torch.float32)[None] for v in (means, log_std)))


def columns(posterior: Posterior, train: Posterior | None = None, seed: int = 0) -> dict:
    train = posterior if train is None else train
    (found,) = aggregates(posterior, train, [stream(seed, "aggregate")])
    return found.columns


def matched(n: int, std: float, latent: int, seed: int = 0) -> Posterior:
    """Posteriors whose mixture is the prior as n → ∞: μ ~ N(0, (1 − σ²)I)."""
    means = np.random.default_rng(seed).normal(size=(n, latent)) * math.sqrt(1 - std**2)
    return posterior_of(means, std)


def naive_log_prob(components: Posterior, z: np.ndarray) -> np.ndarray:
    """The mixture's log density in extended precision, [n, N, latent] at once."""
    mean, log_std, z = (
        np.asarray(v, np.longdouble) for v in (components.mean[0], components.log_std[0], z)
    )
    standard = (z[:, None] - mean) * np.exp(-log_std)
    logs = (-0.5 * standard**2 - log_std - 0.5 * np.log(2 * np.longdouble(np.pi))).sum(-1)
    top = logs.max(1)
    return top + np.log(np.exp(logs - top[:, None]).mean(1))


@pytest.mark.parametrize(
    ("spread", "log_std"), [(1, -1), (3, 0), (10, -5), (100, -10), (1000, -10), (0.01, 10)]
)
def test_the_mixture_density_is_the_naive_one_at_any_scale(spread: float, log_std: float) -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(300, 5)) * spread
    components = posterior_of(means, np.exp(log_std + rng.uniform(0, 1, means.shape)))
    own = components.mean[0, :60].double() + components.std[0, :60].double() * torch.tensor(
        rng.normal(size=(60, 5))
    )
    z = torch.cat([own, torch.tensor(rng.normal(size=(40, 5)))])
    found = mixture_log_prob(components, z[None])
    assert found.dtype == torch.float64
    np.testing.assert_allclose(
        found[0], naive_log_prob(components, z.numpy()).astype(float), rtol=1e-9, atol=1e-8
    )


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    means = torch.tensor(rng.normal(size=(3, 170, 4)))
    components = Posterior(means, torch.tensor(rng.normal(size=(3, 170, 4))))
    z = torch.tensor(rng.normal(size=(3, 230, 4)))
    monkeypatch.setattr(bounds, "_CPU_BLOCK", 2**30)
    whole = mixture_log_prob(components, z)
    for block in (1, 170 * 4, 5000, 60_000, 200_000):
        monkeypatch.setattr(bounds, "_CPU_BLOCK", block)
        np.testing.assert_allclose(mixture_log_prob(components, z), whole, rtol=1e-12)


def test_a_posterior_that_is_the_prior_holds_nothing_and_leaves_no_hole() -> None:
    found = columns(posterior_of(np.zeros((300, 3)), 1.0))
    assert found["mutual_information"] == pytest.approx(0, abs=1e-12)
    assert found["marginal_kl"] == pytest.approx(0, abs=1e-12)
    assert found["mi_ceiling"] == pytest.approx(math.log(300))
    assert found["mi_saturated"] is False
    assert found["hole_rate"] == pytest.approx(0.01, abs=0.01)


def test_the_hole_rate_of_the_prior_is_a_hundredth_on_average() -> None:
    same = posterior_of(np.zeros((500, 2)), 1.0)
    rates = [columns(same, seed=seed)["hole_rate"] for seed in range(30)]
    # threshold and share each have a binomial error of 0.0022
    assert np.mean(rates) == pytest.approx(0.01, abs=4.5 * 0.0032 / math.sqrt(30))


@pytest.mark.parametrize("std", [0.3, 0.6, 0.9])
def test_codes_that_fill_the_prior_have_the_closed_form_information(std: float) -> None:
    found = columns(matched(10_000, std, 2), matched(10_000, std, 2, seed=1))
    assert abs(found["marginal_kl"]) < 0.03
    # per dimension ½ ln(1/σ²), a Gaussian channel's capacity
    assert found["mutual_information"] == pytest.approx(-2 * math.log(std), abs=0.05)
    assert found["mi_saturated"] is False
    assert found["hole_rate"] == pytest.approx(0.01, abs=0.01)


# --- parts of the marginal KL --------------------------------------------------------------------


def correlated(n: int, cov: np.ndarray, mean: np.ndarray, std: float, seed: int) -> Posterior:
    """Posteriors whose mixture is N(mean, cov) as n → ∞: μ ~ N(mean, cov − σ²I)."""
    inner = cov - std**2 * np.eye(len(cov))
    draws = np.random.default_rng(seed).multivariate_normal(mean, inner, n)
    return posterior_of(draws, std)


@pytest.mark.parametrize(
    ("cov", "mean"),
    [
        ([[1.0, 0.8], [0.8, 1.0]], [0.0, 0.0]),
        ([[1.5, 0.0], [0.0, 0.7]], [0.5, -1.0]),
        ([[2.0, -0.9], [-0.9, 1.2]], [1.0, 0.0]),
    ],
)
def test_the_marginal_kl_of_a_gaussian_falls_into_its_closed_form_parts(
    cov: list[list[float]], mean: list[float]
) -> None:
    """Chen et al. (2018): total correlation −½ log |corr|, and a KL to N(0, 1) per dimension."""
    covariance, centre = np.array(cov), np.array(mean)
    variances = np.diag(covariance)
    correlation = -0.5 * (np.linalg.slogdet(covariance)[1] - np.log(variances).sum())
    single = 0.5 * (variances + centre**2 - 1 - np.log(variances))
    parts = [correlated(4000, covariance, centre, 0.4, seed) for seed in (1, 2)]
    noise = [stream(0, "parts")]
    (found,) = aggregates(parts[0], parts[1], noise, mixture=joined(*parts))
    assert found.columns["total_correlation"] == pytest.approx(correlation, abs=0.06)
    assert found.columns["dimension_kl"] == pytest.approx(single.sum(), abs=0.13)
    total = found.columns["total_correlation"] + found.columns["dimension_kl"]
    assert total == pytest.approx(found.columns["marginal_kl"], abs=0.13)
    information = 0.5 * (np.linalg.slogdet(covariance)[1] - 4 * math.log(0.4))
    assert found.columns["mutual_information"] == pytest.approx(information, abs=0.1)


def test_parts_of_few_posteriors_add_up_exactly_as_their_draws_are_the_same() -> None:
    rng = np.random.default_rng(3)
    few = posterior_of(rng.normal(size=(1024, 3)), rng.uniform(0.3, 1.0, (1024, 3)))
    z, _ = aggregate._draw(few, [stream(0, "few")])
    whole = mixture_log_prob(few, z)[0].numpy()
    single = aggregate.marginal_log_probs(few, z)[0].numpy()
    for d in range(3):
        one = posterior_of(few.mean[0, :, [d]].numpy(), few.std[0, :, [d]].double().numpy())
        np.testing.assert_allclose(single[:, d], naive_log_prob(one, z[0, :, [d]]), atol=1e-4)
    assert (whole - single.sum(1)).mean() == pytest.approx(0, abs=0.1)


def test_needles_far_from_0_have_marginals_of_their_own() -> None:
    codes = posterior_of(np.random.default_rng(0).normal(size=(300, 2)) * 1000, math.exp(-10))
    z, _ = aggregate._draw(codes, [stream(0, "needles")])
    found = aggregate.marginal_log_probs(codes, z)
    # each z lies in its own needle alone: log(1/N) − log σ − ½ log 2πe on average
    height = -math.log(300) + 10 - 0.5 * math.log(2 * math.pi) - 0.5
    assert found.mean().item() == pytest.approx(height, abs=0.1)


def test_dimensions_that_tell_nothing_are_not_active_by_information() -> None:
    """Of five dimensions two carry ½ ln(1/σ²) nats each; one varies much below its own width."""
    rng = np.random.default_rng(1)
    stds = np.array([0.3, 0.9, 1.0, 1.0, 1.0])
    spread = np.sqrt(1 - stds**2)
    spread[3] = 0.05
    codes, others = (posterior_of(rng.normal(size=(2000, 5)) * spread, stds) for _ in range(2))
    found = aggregates(codes, others, [stream(0, "active")], mixture=joined(codes, others))
    assert found[0].columns["active_units_mi"] == 2


def test_information_counts_units_at_any_scale_of_the_codes() -> None:
    rng = np.random.default_rng(1)
    means = rng.normal(size=(500, 3)) * [1, 1, 1e-3]
    for scale in (0.01, 100):
        found = columns(posterior_of(scale * means, 0.5 * scale))
        assert found["active_units_mi"] == 2


def test_all_splits_are_components_and_the_held_out_ones_are_never_thinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_out, *others = (matched(n, 0.5, 2, seed=n) for n in (50, 30, 200))
    assert joined(held_out, *others).mean.shape == (1, 280, 2)
    monkeypatch.setattr(aggregate, "COMPONENTS", 40)
    thinned = joined(held_out, *others)
    assert thinned.mean.shape == (1, 90, 2)
    assert torch.equal(thinned.mean[:, :50], held_out.mean)


def test_more_posteriors_raise_information_that_few_hold_down() -> None:
    """The bias by ln N: the truth, a Gaussian channel's, is nearer with all splits."""
    truth = -3 * math.log(0.25)
    few, rest = matched(100, 0.25, 3), matched(3000, 0.25, 3, seed=1)
    alone = columns(few, rest)["mutual_information"]
    (whole,) = aggregates(few, rest, [stream(0, "aggregate")], mixture=joined(few, rest))
    assert alone < whole.columns["mutual_information"] - 0.2
    assert whole.columns["mutual_information"] == pytest.approx(truth, abs=0.6)
    assert whole.columns["mi_ceiling"] == pytest.approx(math.log(3100))


def test_separate_codes_saturate_at_the_log_of_their_number() -> None:
    means = np.random.default_rng(0).normal(size=(400, 4)) * 30
    posterior = posterior_of(means, math.exp(-10))
    found = columns(posterior)
    assert found["mutual_information"] == pytest.approx(math.log(400), abs=1e-7)
    assert found["mi_saturated"] is True
    rate = float(rate_per_dim(posterior).double().sum(-1).mean())
    assert found["marginal_kl"] == pytest.approx(rate - math.log(400), rel=1e-3)
    assert found["total_correlation"] + found["dimension_kl"] == pytest.approx(
        found["marginal_kl"], rel=0.05
    )
    assert "hole_rate" not in found


@pytest.mark.parametrize(("copies", "saturated"), [(7, True), (8, False)])
def test_saturation_begins_two_nats_below_the_ceiling(copies: int, saturated: bool) -> None:
    means = np.repeat(np.arange(60.0)[:, None] * 100, copies, axis=0)
    found = columns(posterior_of(means, 1.0))
    assert found["mutual_information"] == pytest.approx(math.log(60), abs=1e-9)
    assert found["mi_ceiling"] == pytest.approx(math.log(60 * copies))
    assert found["mi_saturated"] is saturated
    assert ("hole_rate" in found) is not saturated


@pytest.mark.parametrize("n", [150, 3000])
def test_information_and_marginal_kl_add_up_to_the_rate(n: int) -> None:
    rng = np.random.default_rng(4)
    posterior = posterior_of(rng.normal(size=(n, 3)), rng.uniform(0.1, 1.2, size=(n, 3)))
    found = columns(posterior)
    rate = float(rate_per_dim(posterior).double().sum(-1).mean())
    total = found["mutual_information"] + found["marginal_kl"]
    # Var log(q/p) per draw is about (1 + μ²σ²) per dimension, 2048 draws or more
    assert total == pytest.approx(rate, abs=4.5 * math.sqrt(3 * 2 / 2048))
    assert 0 < found["mutual_information"] < found["mi_ceiling"]


def ring(n: int, radius: float) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n) / n
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def ring_hole(radius: float, std: float) -> float:
    """Prior mass where a ring's density is below what 99 % of its own mass exceeds.

    The mixture's |z| is Rice distributed and its density at radius ρ is rice(ρ)/(2πρ); that falls
    on both sides of one top, so the region is a disc and an outside.
    """
    rice = stats.rice(radius / std, scale=std)
    grid = np.linspace(1e-3, radius + 8 * std, 4000)
    height = np.log(rice.pdf(grid) / grid + 1e-300)
    top = grid[height.argmax()]

    def edges(level: float) -> tuple[float, float]:
        inside, outside = grid <= top, grid >= top
        inner = np.interp(level, height[inside], grid[inside])
        return inner, np.interp(-level, -height[outside], grid[outside])

    def missing(level: float) -> float:
        inner, outer = edges(level)
        return rice.cdf(inner) + rice.sf(outer) - 0.01

    inner, outer = edges(brentq(missing, height.max() - 15, height.max() - 1e-6))
    return 1 - math.exp(-(inner**2) / 2) + math.exp(-(outer**2) / 2)


@pytest.mark.parametrize(("radius", "std"), [(1.0, 0.1), (2.0, 0.3)])
def test_a_planted_hole_has_its_prior_mass(radius: float, std: float) -> None:
    held_out, train = ring(500, radius), ring(800, radius)
    found = columns(posterior_of(held_out, std), posterior_of(train, std))
    truth = ring_hole(radius, std)
    assert 0.3 < truth < 0.9
    assert found["hole_rate"] == pytest.approx(truth, abs=0.04)


def test_holes_are_of_the_train_posteriors_at_held_out_codes() -> None:
    held_out, train = (
        posterior_of(np.tile([1.0, 0.0], (50, 1)), 0.05),
        posterior_of(np.zeros((50, 2)), 1.0),
    )
    # under N(0, I) all prior draws beyond the radius of 99 % of the codes are rarer
    radius = stats.rice(1 / 0.05, scale=0.05).ppf(0.99)
    found = columns(held_out, train)["hole_rate"]
    assert found == pytest.approx(math.exp(-(radius**2) / 2), abs=0.05)
    # the other way round no prior draw is rarer under the train posteriors than 1 % of the codes
    assert columns(train, held_out)["hole_rate"] == pytest.approx(0.01, abs=0.01)


def test_held_out_codes_of_all_the_split_are_scored_for_holes() -> None:
    stds = np.repeat([0.01, 1.0], 3000)[:, None] * np.ones(2)
    found = columns(posterior_of(np.zeros((6000, 2)), stds), posterior_of(np.zeros((9, 2)), 1.0))
    # one percent of all codes is two percent of the second half, which is as wide as the prior
    assert found["hole_rate"] == pytest.approx(0.02, abs=0.015)


def test_a_run_alone_is_the_run_in_a_pack() -> None:
    rng = np.random.default_rng(7)
    scales = np.array([0.1, 1.0, 20.0])[:, None, None]
    means = torch.tensor(rng.normal(size=(3, 120, 4)) * scales, dtype=torch.float32)
    log_std = torch.tensor(rng.uniform(-9, 0, (3, 120, 4)), dtype=torch.float32)
    pack, train = Posterior(means[:, :50], log_std[:, :50]), Posterior(means, log_std)
    together = aggregates(pack, train, [stream(s, "test") for s in range(3)])
    for run, found in enumerate(together):
        one, its_train = (Posterior(p.mean[run : run + 1], p.log_std[run : run + 1])
                          for p in (pack, train))  # fmt: skip
        (alone,) = aggregates(one, its_train, [stream(run, "test")])
        assert found.columns == pytest.approx(alone.columns, rel=1e-10)
        assert found.hole_level == pytest.approx(alone.hole_level, rel=1e-10, nan_ok=True)
        (again,) = aggregates(one, its_train, [stream(run, "test")])
        assert again == alone
    (other,) = aggregates(one, its_train, [stream(9, "test")])
    assert other.columns["mutual_information"] != alone.columns["mutual_information"]


# --- the density that figures show ---------------------------------------------------------------


def plane(held_out: Posterior, train: Posterior) -> tuple[dict, float]:
    """Arrays of density.npz and the hole rate of one run in the plane."""
    (found,) = aggregates(held_out, train, [stream(0, "aggregate")])
    one, other = (Posterior(each.mean[0], each.log_std[0]) for each in (train, held_out))
    return density_in_plane(one, other, found.hole_level), found.columns.get("hole_rate", math.nan)


@pytest.mark.parametrize("radius", [0.5, 1.5, 3.0])
def test_the_shown_holes_hold_the_share_of_the_prior_that_is_the_hole_rate(radius: float) -> None:
    found, rate = plane(posterior_of(ring(200, radius), 0.2), posterior_of(ring(350, radius), 0.2))
    side = found["hole_side"]
    x, y = np.meshgrid(side, side)
    weight = np.exp(-0.5 * (x**2 + y**2))
    share = weight[found["hole_log_q"] < found["hole_level"]].sum() / weight.sum()
    assert share == pytest.approx(rate, abs=0.03)
    assert side[-1] == PRIOR_REACH
    assert stats.chi2.sf(PRIOR_REACH**2, 2) == pytest.approx(0.001)


def test_posteriors_that_fill_the_prior_have_holes_at_its_rim_alone() -> None:
    found, rate = plane(matched(500, 0.5, 2), matched(3000, 0.5, 2, seed=1))
    side = found["hole_side"]
    radius = np.hypot(*np.meshgrid(side, side))
    holes = found["hole_log_q"] < found["hole_level"]
    assert not holes[radius < 2.2].any()
    assert holes[radius > 3.6].all()
    assert rate < 0.03


def test_the_shown_density_is_that_of_the_train_posteriors() -> None:
    train = posterior_of(np.random.default_rng(0).normal(size=(40, 2)), 0.3)
    found, _ = plane(matched(30, 0.5, 2), train)
    one = Posterior(train.mean[0], train.log_std[0])
    for row, column in ((10, 20), (32, 31)):
        z = torch.tensor([[found["hole_side"][column], found["hole_side"][row]]])
        assert found["hole_log_q"][row, column] == pytest.approx(log_density(one, z)[0], rel=1e-6)
    cell = found["side"][1] - found["side"][0]
    width = np.hypot(0.3, cell / 2)
    z = np.array([found["side"][60], found["side"][45]])
    wide = stats.norm.pdf(z, train.mean[0].numpy(), width).prod(1).mean()
    assert found["log_q"][45, 60] == pytest.approx(np.log(wide), rel=1e-5)


def test_a_posterior_narrower_than_a_cell_is_seen_between_the_points() -> None:
    codes = posterior_of(np.array([[20.0, -7.3], [-20.0, 3.1]]), 1e-4)
    found, rate = plane(codes, codes)
    assert math.isnan(rate)
    assert math.isnan(found["hole_level"])
    assert found["side"][-1] == pytest.approx(1.06 * 20)
    assert (found["log_q"].max(1) > -5).sum() >= 2


class Shifted(StandardNormal):
    """N((3, 0), I), which does not say that it is standard."""

    name = "shifted"
    standard = False

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return super().log_prob(z - torch.tensor([3.0, 0.0]))

    def at(self, noise: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return noise + torch.tensor([3.0, 0.0])


def test_the_plane_shows_regions_of_another_prior() -> None:
    codes = Posterior(torch.zeros(50, 2), torch.zeros(50, 2))
    prior = Shifted.of(2)
    density = density_in_plane(codes, codes, -5.0, prior)
    shares = np.array(PRIOR_SHARES)
    truth = np.log1p(-shares) - np.log(2 * np.pi)  # −r²/2 − log 2π with r² = −2 log(1 − share)
    np.testing.assert_allclose(density["prior_levels"], truth, atol=0.15)
    side = density["side"]
    place = np.unravel_index(density["prior_log_p"].argmax(), density["prior_log_p"].shape)
    assert abs(side[place[1]] - 3) < 0.1
    assert abs(side[place[0]]) < 0.1
    inside = density["hole_prior"] > 0
    x, _ = np.meshgrid(density["hole_side"], density["hole_side"])
    assert x[inside].min() > 3 - 4.5
    assert "prior_log_p" not in density_in_plane(codes, codes, -5.0, StandardNormal.of(2))
