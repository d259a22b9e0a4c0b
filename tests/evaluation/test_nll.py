"""−log p(x) against exact marginals, quadrature, and simulated x whose z is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from support import (
    examples,
    make_dataset,
    make_run,
    model_options,
    stacked,
    trained_model,
    training_settings,
)
from vae_ablation.data.base import Dataset, Observed
from vae_ablation.data.loading import Examples
from vae_ablation.evaluation.bounds import encode
from vae_ablation.evaluation.nll import NllEstimate, Scores, importance_nll, scores, strata
from vae_ablation.evaluation.refined import Target, refined
from vae_ablation.models.distributions import level_log_mass
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.training.pack import train_pack

K = 256
LEVELS = 17
ARMS: dict[str, dict[str, Any]] = {
    "beta1": {}, "beta0.01": {"beta": 0.01}, "kl-off": {"kl": False},
    "point": {"posterior": "point"}, "collapsed": {"beta": 100.0},
}  # fmt: skip


def streams(count: int) -> list[torch.Generator]:
    return [stream(seed, "test") for seed in range(count)]


def estimate(models: list[VAE], x: np.ndarray, samples: int = K) -> NllEstimate:
    pack, seen = stacked(models), examples(torch.as_tensor(x, dtype=torch.float32))
    means = encode(pack, seen).mean
    return importance_nll(pack, means, seen, samples, streams(len(models)))


# --- linear-Gaussian models ----------------------------------------------------------------------


def linear(latent: int, sigma: float, dims: int = 12) -> tuple[VAE, Any]:
    """A linear decoder, and the exact marginal N(b, WWᵀ + σ²I)."""
    options = model_options(hidden=[], gaussian_scale="fixed", gaussian_sigma=sigma)
    model = VAE(Observed((dims,), None), "gaussian", latent, options, 0)
    layer = model.decoder.network[0]
    rng = np.random.default_rng(latent)
    weight, bias = rng.normal(size=(dims, latent)), rng.normal(size=dims)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    covariance = weight @ weight.T + sigma**2 * np.eye(dims)
    return model, stats.multivariate_normal(bias, covariance)


@pytest.mark.parametrize("latent", [1, 3, 8])
@pytest.mark.parametrize("sigma", [0.02, 0.5])
def test_it_is_the_exact_marginal_of_a_linear_gaussian_model(latent: int, sigma: float) -> None:
    model, marginal = linear(latent, sigma)
    x = marginal.rvs(60, random_state=1)
    found = estimate([model], x)
    # the encoder is that of no training: the proposal has to find the posterior by itself
    np.testing.assert_allclose(found.nll[0], -marginal.logpdf(x), atol=0.6)
    assert found.nll.mean() == pytest.approx(-marginal.logpdf(x).mean(), abs=0.03)
    assert not found.loose[0]


def test_bias_and_error_are_those_of_repeated_estimates() -> None:
    model, marginal = linear(8, 0.1)
    x = marginal.rvs(50, random_state=2)
    each = estimate([model], np.repeat(x, 8, axis=0), 16)
    errors = each.nll[0] + np.repeat(marginal.logpdf(x), 8)
    assert errors.mean() == pytest.approx(each.bias.mean(), abs=0.05)
    # that of draws without strata, which vary less
    assert 0.4 < errors.std() / math.sqrt(each.variance.mean()) < 1.1


def test_it_is_loose_where_few_samples_count() -> None:
    ess = np.full((3, 20), 100.0)
    ess[1, :3] = 5.0
    ess[2] = 12.0
    found = NllEstimate(np.zeros((3, 20)), ess, 256)
    assert found.loose.tolist() == [False, True, True]
    assert found.bias[0, 0] == pytest.approx(0.5 * (1 / 100 - 1 / 256))


@pytest.mark.parametrize("samples", [4, 16, 256, 5000])
def test_strata_are_whole_numbers_near_their_shares(samples: int) -> None:
    shares = [0.49875, 0.21375, 0.16625, 0.07125, 0.05]
    counts = strata(shares, samples)
    assert sum(counts) == samples
    assert all(abs(n - share * samples) < 1 for n, share in zip(counts, shares, strict=True))


# --- trained models of two latent dimensions, against quadrature ---------------------------------


def quadrature(
    model: VAE,
    x: torch.Tensor,
    levels: int | None = None,
    contexts: torch.Tensor | None = None,
) -> np.ndarray:
    """−log ∫ p(x | z) p(z) dz on a grid, and near its highest point on a finer one."""
    coarse = torch.linspace(-6, 6, 301, dtype=torch.float64)
    step = float(coarse[1] - coarse[0])
    grid = torch.cartesian_prod(coarse, coarse)
    # the fine grid covers whole coarse cells, by midpoints
    side = (torch.arange(240, dtype=torch.float64) + 0.5) / 240 * 9 * step - 4.5 * step
    fine = torch.cartesian_prod(side, side)
    rows = []
    for i, one in enumerate(x):
        context = None if contexts is None else contexts[i]
        joint = log_joint(model, grid, one, levels, context)
        peak = grid[int(joint.argmax())]
        outside = ((grid - peak).abs().amax(1) > 4.5 * step).numpy()
        near = log_joint(model, fine + peak, one, levels, context)
        parts = [logsumexp(joint[outside]) + 2 * math.log(step)]
        parts.append(logsumexp(near) + 2 * math.log(float(side[1] - side[0])))
        rows.append(-logsumexp(parts))
    return np.array(rows)


def log_joint(
    model: VAE,
    z: torch.Tensor,
    one: torch.Tensor,
    levels: int | None,
    context: torch.Tensor | None = None,
) -> np.ndarray:
    with torch.no_grad():
        decoded = model.decoder(z.float(), None if context is None else context.expand(len(z), -1))
        like = decoded.log_prob(one) if levels is None else level_log_mass(decoded, one, levels)
    assert like is not None
    return like.double().numpy() + stats.norm.logpdf(z.numpy()).sum(1)


@pytest.fixture(scope="module")
def digits(few_digits: Dataset) -> np.ndarray:
    return few_digits.observe("test")[:6]


def trained(dataset: Dataset, likelihood: str, epochs: int = 40) -> list[VAE]:
    runs = [make_run(likelihood, **arm) for arm in ARMS.values()]
    options = model_options(hidden=[32])
    chosen = training_settings(epochs=epochs, learning_rate=0.005)
    results = train_pack(runs, dataset, options, chosen)
    return [trained_model(result, dataset, options) for result in results]


def scored(models: list[VAE], x: np.ndarray, mass: bool) -> Scores:
    pack, seen = stacked(models), examples(torch.from_numpy(x))
    means = encode(pack, seen).mean
    return scores(pack, means, seen, K, streams(len(models)), LEVELS, mass)


@pytest.mark.parametrize(
    "likelihood", ["gaussian", "continuous_bernoulli", "discretized_logistic", "bernoulli"]
)
def test_it_is_that_of_quadrature_for_every_arm(
    likelihood: str, few_digits: Dataset, digits: np.ndarray
) -> None:
    models = trained(few_digits, likelihood)
    mass = likelihood in ("discretized_logistic", "bernoulli")
    found, x = scored(models, digits, mass), torch.from_numpy(digits)
    for place, arm in enumerate(ARMS):
        truth = quadrature(models[place], x)
        assert found.own.nll[place].mean() == pytest.approx(truth.mean(), abs=0.05), arm
        assert found.levels is not None
        if not mass and arm == "kl-off":
            truth = quadrature(models[place], x, LEVELS)
            assert found.levels.nll[place].mean() == pytest.approx(truth.mean(), abs=0.05), arm


@pytest.mark.parametrize(
    ("likelihood", "further"),
    [
        ("gaussian", {"architecture": "conv"}),
        ("continuous_bernoulli", {"condition": "label"}),
        ("gaussian", {"objective": "iwae", "importance_samples": 5}),
        ("negative_binomial", {"dataset": "cells"}),
        ("zero_inflated_negative_binomial", {"dataset": "cells", "condition": "batch"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_it_is_that_of_quadrature_of_other_networks_objectives_and_counts(
    likelihood: str, further: dict[str, Any], few_digits: Dataset, cells: Dataset
) -> None:
    dataset = cells if further.get("dataset") == "cells" else few_digits
    runs = [make_run(likelihood, beta=beta, **further) for beta in (1.0, 0.01)]
    runs += [make_run(likelihood, kl=False, **further)] if "objective" not in further else []
    options, settings = (
        model_options(hidden=[32]),
        training_settings(epochs=40, learning_rate=0.005),
    )
    results = train_pack(runs, dataset, options, settings)
    models = [trained_model(result, dataset, options) for result in results]
    few = 3 if further.get("architecture") == "conv" else 12  # its quadrature takes long
    seen = Examples.of(dataset, "test", runs[0].condition, torch.device("cpu")).spaced(few)
    pack = stacked(models)
    found = importance_nll(pack, encode(pack, seen).mean, seen, K, streams(len(models)))
    for place, run in enumerate(runs):
        truth = quadrature(models[place], seen.x, contexts=seen.context)
        assert found.nll[place].mean() == pytest.approx(truth.mean(), abs=0.05), run.arm


def test_simulated_x_lie_between_a_bound_from_below_and_one_from_above(
    few_digits: Dataset,
) -> None:
    """Two-sided bounds on log p(x) of x made from a known z (Grosse et al. 2015).

    With z ~ p(z | x), E log r(z) over any proposal r gives E[log p(x, z) − log r(z)] ≥ log p(x);
    the importance estimate is at most log p(x) in expectation. r is the model's own proposal,
    estimated here by a kernel of its draws' Gaussian.
    """
    model = trained(few_digits, "gaussian", epochs=20)[2]
    noise = stream(0, "sandwich")
    z = model.prior.sample(noise, 200)
    with torch.no_grad():
        x = model.decoder(z).sample(noise)
    found = estimate([model], x.numpy())
    seen = examples(x)
    pack = stacked([model])
    with torch.no_grad():
        target = Target.of(pack, seen)
        main, *_ = refined(target, encode(pack, seen).mean, [stream(1, "sandwich")])
        wide = z.double()[None, :, None]
        own = target.log_joint(wide)[0, :, 0].numpy()
        # one Gaussian at three times its width, and the prior: heavy enough for every z
        height = main.half_log_det - 2 * math.log(3) - math.log(2 * math.pi)
        gaussian = (height - 0.5 * main.squares(wide)[..., 0] / 9)[0].numpy()
    prior = stats.norm.logpdf(z.numpy()).sum(1)
    above = own - np.logaddexp(gaussian + math.log(0.9), prior + math.log(0.1))
    below = -found.nll[0]
    error = (above - below).std() / math.sqrt(len(z))
    assert below.mean() <= above.mean() + 3 * error
    assert above.mean() - below.mean() < 2.5
    truth = quadrature(model, x[:6])
    assert found.nll[0][:6].mean() == pytest.approx(truth.mean(), abs=0.05)


def test_more_dimensions_agree_with_many_times_the_draws_of_another_proposal(
    few_digits: Dataset, digits: np.ndarray
) -> None:
    """At latent_dim 12 against 2¹⁴ draws of Student-t with 5 degrees of freedom round two modes."""
    options = model_options(hidden=[32])
    chosen = training_settings(epochs=30, learning_rate=0.005)
    run = make_run("discretized_logistic", latent_dim=12, beta=0.5)
    (result,) = train_pack([run], few_digits, options, chosen)
    model, x = trained_model(result, few_digits, options), torch.from_numpy(digits)
    found = estimate([model], digits)
    target = Target.of(stacked([model]), examples(x))
    with torch.no_grad():
        parts = refined(target, encode(target.model, examples(x)).mean, [stream(3, "t")])
        noise = torch.randn(1, len(x), 2**14, 12, dtype=torch.float64, generator=stream(4, "t"))
        chi = stats.chi2.rvs(5, size=(1, len(x), 2**14, 1), random_state=1)
        blocks = (noise * torch.from_numpy(chi / 5).rsqrt()).split(2**13, dim=2)
        z = torch.cat([one.at(part) for one, part in zip(parts, blocks, strict=False)], dim=2)
        z = z.float().double()
        logs = [
            torch.from_numpy(
                stats.multivariate_t.logpdf(np.zeros(12), shape=np.eye(12), df=5)
                + one.half_log_det[..., None].numpy()
                - (5 + 12) / 2 * np.log1p(one.squares(z).numpy() / 5)
            )
            for one in parts[:2]
        ]
        mixture = torch.stack(logs).logsumexp(0) - math.log(2)
        weights = (target.log_joint(z) - mixture)[0]
    truth = math.log(weights.shape[-1]) - weights.logsumexp(-1)
    assert found.nll[0].mean() == pytest.approx(float(truth.mean()), abs=0.1)


def test_hard_examples_get_more_draws_and_pooling_is_a_mean_of_all_weights() -> None:
    weights = torch.randn(1, 5, 40, generator=stream(0, "pool"), dtype=torch.float64)
    first, more = weights.split([8, 32], dim=2)
    places = np.array([[1, 3]])
    own, again, whole = (
        NllEstimate(
            (math.log(part.shape[-1]) - part.logsumexp(-1)).numpy(),
            (2 * part.logsumexp(-1) - (2 * part).logsumexp(-1)).exp().numpy(),
            np.full(tuple(part.shape[:2]), float(part.shape[-1])),
        )
        for part in (first, more[:, [1, 3]], weights)
    )
    found = own.pooled(places, again)
    for name in ("nll", "ess", "samples"):
        each, pooled, all_draws = (getattr(one, name)[0] for one in (own, found, whole))
        np.testing.assert_allclose(pooled[[1, 3]], all_draws[[1, 3]])
        np.testing.assert_allclose(pooled[[0, 2, 4]], each[[0, 2, 4]])


# --- other models --------------------------------------------------------------------------------


def test_a_second_mode_is_found() -> None:
    """x = |z| + noise: two posterior modes of some x, and an encoder that knows one of them."""
    options = model_options(hidden=[2], gaussian_scale="fixed", gaussian_sigma=0.15)
    model = VAE(Observed((3,), None), "gaussian", 1, options, 0)
    first, last = model.decoder.network[0], model.decoder.network[2]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        first.bias.zero_()
        last.weight.fill_(1.0)
        last.bias.zero_()
        for part in model.encoder.parameters():
            part.zero_()
        model.encoder.network[-1].bias[0] = 1.0
    x = np.repeat([0.0, 0.02, 0.5, 1.5], [10, 12, 9, 9])[:, None] + np.zeros((40, 3))
    x = x + 0.15 * np.random.default_rng(1).normal(size=x.shape)
    grid = np.linspace(-6, 6, 40001)
    like = stats.norm.logpdf(x[:, None], np.abs(grid)[None, :, None], 0.15).sum(-1)
    truth = -logsumexp(like + stats.norm.logpdf(grid), axis=1) - math.log(grid[1] - grid[0])
    assert estimate([model], x).nll[0].mean() == pytest.approx(truth.mean(), abs=0.05)


@pytest.fixture(scope="module")
def smooth() -> Dataset:
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, 300)
    curve = np.stack([t, t**2, np.sin(2 * t), np.cos(2 * t)], 1)
    return make_dataset(0.5 + 0.3 * curve + 0.05 * rng.normal(size=curve.shape))


def test_a_pack_gives_what_its_runs_give_alone(smooth: Dataset) -> None:
    runs = [make_run(beta=beta) for beta in (0.1, 1.0)]
    options = model_options(hidden=[8], gaussian_scale="fixed", gaussian_sigma=0.1)
    results = train_pack(runs, smooth, options, training_settings(epochs=20))
    models = [trained_model(result, smooth, options) for result in results]
    x = smooth.observe("test")
    both = estimate(models, x)
    pack, seen = stacked(models[1:]), examples(torch.from_numpy(x))
    means = encode(pack, seen).mean
    alone = importance_nll(pack, means, seen, K, [stream(1, "test")])
    np.testing.assert_allclose(both.nll[1], alone.nll[0], atol=1e-3)


def test_an_exploded_run_gives_numbers_or_nothing(smooth: Dataset) -> None:
    options = model_options(hidden=[8])
    model = VAE(smooth.observed, "gaussian", 2, options, 0)
    with torch.no_grad():
        for part in model.encoder.parameters():
            part.mul_(1e6)
    x = smooth.observe("test")[:20]
    found = estimate([model], x)
    assert np.isfinite(found.nll).all()
    with torch.no_grad():
        model.decoder.network[0].weight.fill_(math.nan)
    assert not np.isfinite(estimate([model], x).nll).any()
