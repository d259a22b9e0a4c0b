"""The objective is distortion + β·rate, each summed over its event and never scaled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from support import model_options, told_nothing
from vae_ablation.data.base import Observed
from vae_ablation.models.objectives import OBJECTIVES, Batch
from vae_ablation.models.posteriors import Posterior
from vae_ablation.models.priors import StandardNormal
from vae_ablation.models.vae import VAE

OBSERVED = Observed((6,), 17)
ELBO = OBJECTIVES["elbo"]


def terms_of(
    likelihood: str, noise: torch.Tensor
) -> tuple[VAE, torch.Tensor, dict[str, torch.Tensor]]:
    model = VAE(OBSERVED, likelihood, 3, model_options(gaussian_scale="fixed"), seed=4)
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model, x, ELBO.terms(model, Batch.whole(x, told_nothing(x), noise))


def test_distortion_is_minus_the_summed_log_density() -> None:
    noise = torch.randn(5, 1, 3, generator=torch.Generator().manual_seed(2))
    model, x, terms = terms_of("gaussian", noise)
    with torch.no_grad():
        mean, log_std = model.encoder.network(x).chunk(2, -1)
        loc = model.decoder.network(mean + log_std.exp() * noise[:, 0]).numpy()
    truth = -stats.norm.logpdf(x.numpy(), loc, 1.0).sum(1)
    np.testing.assert_allclose(terms["distortion"], truth, rtol=1e-5)
    assert terms["distortion"].shape == (5,)


def test_the_rate_is_the_summed_kl_of_torch() -> None:
    model, x, terms = terms_of("gaussian", torch.zeros(5, 1, 3))
    with torch.no_grad():
        mean, log_std = model.encoder.network(x).chunk(2, -1)
    q = torch.distributions.Normal(mean, log_std.exp())
    p = torch.distributions.Normal(0.0, 1.0)
    truth = torch.distributions.kl_divergence(q, p).sum(-1)
    np.testing.assert_allclose(terms["rate"], truth, rtol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_the_objective_is_distortion_plus_beta_times_rate(beta: float) -> None:
    terms = {"distortion": torch.tensor([3.0, 5.0]), "rate": torch.tensor([2.0, 0.5])}
    np.testing.assert_allclose(ELBO.loss(terms, {"beta": beta}), [3 + 2 * beta, 5 + 0.5 * beta])


def test_without_a_weight_an_infinite_rate_does_not_count() -> None:
    means = {"distortion": np.array([3.0, 4.0]), "rate": np.array([np.inf, 1.0])}
    np.testing.assert_array_equal(ELBO.loss(means, {"beta": 0.0}), [3.0, 4.0])


def test_each_run_of_a_pack_has_its_own_beta() -> None:
    terms = {"distortion": torch.ones(2, 3), "rate": torch.full((2, 3), 2.0)}
    result = ELBO.loss(terms, {"beta": torch.tensor([[0.0], [10.0]])})
    np.testing.assert_allclose(result, [[1, 1, 1], [21, 21, 21]])


def test_the_analytic_rate_is_its_monte_carlo_estimate() -> None:
    rng = np.random.default_rng(0)
    mean, log_std = rng.normal(size=4), rng.normal(size=4) * 0.7
    posterior = Posterior(torch.tensor(mean), torch.tensor(log_std))
    z = mean + np.exp(log_std) * rng.normal(size=(200_000, 4))
    draws = stats.norm.logpdf(z, mean, np.exp(log_std)) - stats.norm.logpdf(z)
    error = draws.std(0) / np.sqrt(len(draws))
    assert (
        np.abs(StandardNormal.of(4).kl_per_dim(posterior).numpy() - draws.mean(0)) < 4.5 * error
    ).all()


def test_the_rate_is_zero_only_at_the_prior() -> None:
    zero, prior = torch.zeros(3, dtype=torch.float64), StandardNormal.of(3)
    assert float(prior.kl_per_dim(Posterior(zero, zero)).abs().max()) == 0
    assert float(prior.kl_per_dim(Posterior(zero + 0.1, zero)).min()) > 0
    assert float(prior.kl_per_dim(Posterior(zero, zero - 0.1)).min()) > 0


def test_a_posteriors_log_density_is_scipys() -> None:
    rng = np.random.default_rng(3)
    mean, log_std, z = rng.normal(size=(3, 5, 2))
    ours = Posterior(torch.tensor(mean), torch.tensor(log_std)).log_prob(torch.tensor(z))
    np.testing.assert_allclose(ours, stats.norm.logpdf(z, mean, np.exp(log_std)).sum(1))
