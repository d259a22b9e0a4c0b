"""A prior or an objective is one class: registered here, it trains and is evaluated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from support import (
    CPU,
    evaluation_settings,
    examples,
    features_of,
    make_run,
    model_options,
    result_bytes,
    stacked,
    trained_model,
    training_settings,
)
from vae_ablation.data.base import Dataset, Observed
from vae_ablation.evaluation import evaluate_pack
from vae_ablation.evaluation.bounds import encode
from vae_ablation.evaluation.nll import importance_nll
from vae_ablation.models.objectives import OBJECTIVES, Batch, Elbo, Model, Numbers, Terms
from vae_ablation.models.posteriors import Posterior
from vae_ablation.models.priors import LOG_2PI, PRIORS, Prior, StandardNormal
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.study.run import Run
from vae_ablation.training.pack import TrainingResult, mapped_terms, train_pack

SCALE = 2.0


class Scaled(Prior):
    """N(0, s²I) that knows no closed form of its KL."""

    name = "scaled"

    @property
    def log_scale(self) -> Any:
        return math.log(SCALE)

    @property
    def scale(self) -> Any:
        return np.exp(self.log_scale)

    def log_prob(self, z: Tensor) -> Tensor:
        per_dim = -0.5 * (z / self.scale).square() - self.log_scale - 0.5 * LOG_2PI
        return per_dim.sum(-1)

    def at(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        return self.scale * noise


class Learned(Scaled):
    """N(0, diag s²) whose scales are learned, with its KL in closed form."""

    name = "learned"

    @classmethod
    def initial(cls, observed: Observed, latent_dim: int, settings: Any) -> dict[str, Tensor]:
        return {"log_scale": torch.zeros(latent_dim)}

    @property
    def log_scale(self) -> Any:
        return self.learned["log_scale"]

    @property
    def scale(self) -> Any:
        return self.log_scale.exp()

    def kl_per_dim(self, posterior: Posterior) -> Tensor:
        shifted = Posterior(posterior.mean / self.scale, posterior.log_std - self.log_scale)
        return StandardNormal.of(self.latent_dim).kl_per_dim(shifted)


class Weighted(Elbo):
    """γ·distortion + β·rate."""

    name = "weighted"
    numbers = {"beta": 1.0, "gamma": 1.0}  # noqa: RUF012

    def loss(self, terms: Terms, numbers: Numbers) -> Any:
        return numbers["gamma"] * terms["distortion"] + numbers["beta"] * terms["rate"]


class MarginalKl(Elbo):
    """The ELBO and a minibatch estimate of log q(z) − log p(z), which grows with the epochs."""

    name = "marginal"
    names = ("distortion", "rate", "marginal")
    numbers = {"beta": 1.0, "gamma": 0.5}  # noqa: RUF012
    reads_epoch = True

    def terms(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        assert batch.epoch is not None
        posterior = model.encoder(batch.x, batch.context)
        z = posterior.at(batch.noise)[:, 0]
        pairs = posterior.log_prob(z[:, None])
        log_q = (pairs + batch.weight.log()).logsumexp(-1)
        marginal = (log_q - model.prior.log_prob(z)) * (batch.epoch + 1) / batch.split_size
        return super().terms(model, batch) | {"marginal": marginal}

    def loss(self, terms: Terms, numbers: Numbers) -> Any:
        return super().loss(terms, numbers) + numbers["gamma"] * terms["marginal"]


class Clock(Elbo):
    """The ELBO and the epoch."""

    name = "clock"
    names = ("distortion", "rate", "now")
    reads_epoch = True

    def terms(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        assert batch.epoch is not None
        now = batch.epoch.expand(len(batch.x))
        return super().terms(model, batch) | {"now": now + torch.zeros_like(batch.weight)}

    def loss(self, terms: Terms, numbers: Numbers) -> Any:
        return super().loss(terms, numbers) + terms["now"]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for prior in (Scaled, Learned):
        monkeypatch.setitem(PRIORS, prior.name, prior)
    for objective in (Weighted, MarginalKl, Clock):
        monkeypatch.setitem(OBJECTIVES, objective.name, objective())


def options() -> dict[str, Any]:
    return model_options(hidden=[6], gaussian_scale="fixed")


def train(dataset: Dataset, run: Run, **settings: Any) -> TrainingResult:
    chosen = training_settings() | settings
    (result,) = train_pack([run], dataset, options(), chosen)
    assert result.status == "ok", result.reason
    return result


# --- priors --------------------------------------------------------------------------------------


def test_without_a_closed_form_the_rate_is_its_monte_carlo_estimate() -> None:
    model = VAE(Observed((6,), 17), "gaussian", 3, options(), seed=0, prior="scaled")
    x, draws = torch.rand(5, 6, generator=stream(0, "x")), 40_000
    noise = torch.randn(5, draws, 3, generator=stream(0, "noise"))
    with torch.no_grad():
        terms = OBJECTIVES["elbo"].terms(model, Batch.whole(x, x[:, :0], noise))
        posterior = model.encoder(x)
    q = torch.distributions.Normal(posterior.mean, posterior.std)
    p = torch.distributions.Normal(0.0, SCALE)
    truth = torch.distributions.kl_divergence(q, p).sum(-1)
    np.testing.assert_allclose(terms["rate"], truth, atol=4.5 * 3 / math.sqrt(draws))


def test_the_bound_on_log_p_x_is_exact_under_another_prior() -> None:
    own = options() | {"hidden": [], "gaussian_sigma": 0.4}
    model = VAE(Observed((4,), None), "gaussian", 2, own, seed=0, prior="scaled")
    layer = model.decoder.network[0]
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    covariance = SCALE**2 * weight @ weight.T + 0.4**2 * torch.eye(4)
    marginal = torch.distributions.MultivariateNormal(bias, covariance)
    x = torch.rand(40, 4, generator=stream(0, "x"))
    pack, seen = stacked([model]), examples(x)
    found = importance_nll(pack, encode(pack, seen).mean, seen, 4096, [stream(0, "nll")])
    np.testing.assert_allclose(found.nll.mean(), -marginal.log_prob(x.double()).mean(), atol=0.03)


def test_a_learned_prior_trains_with_the_networks_and_is_kept_with_them(
    few_digits: Dataset,
) -> None:
    result = train(few_digits, make_run(prior="learned"), epochs=5)
    learned = result.weights["prior_parameters.log_scale"]
    assert learned.shape == (2,)
    assert (learned.abs() > 1e-3).all()
    model = trained_model(result, few_digits, options())
    torch.testing.assert_close(model.prior.learned["log_scale"].detach(), learned)
    draws = model.prior.sample(stream(0, "test"), 20_000).std(0).detach()
    torch.testing.assert_close(draws, learned.exp(), rtol=0.03, atol=0)


def test_a_scale_of_one_that_is_not_learned_gives_the_bytes_of_the_standard_normal(
    few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Same(StandardNormal):
        name = "same"

    monkeypatch.setitem(PRIORS, "same", Same)
    plain, same = (train(few_digits, make_run(prior=name)) for name in ("standard_normal", "same"))
    assert {**result_bytes(plain), "rest": b""} == {**result_bytes(same), "rest": b""}
    assert not [name for name in plain.weights if "prior" in name]


@pytest.mark.parametrize("name", ["scaled", "learned"])
def test_a_run_is_evaluated_under_its_own_prior(name: str, few_digits: Dataset) -> None:
    result = train(few_digits, make_run(prior=name))
    model = trained_model(result, few_digits, options())
    (found,) = evaluate_pack(
        [result.run], [model], [result.history], few_digits, features_of(few_digits),
        evaluation_settings(), CPU,
    )  # fmt: skip
    assert "reason" not in found.metrics
    assert {"nll", "elbo", "hole_rate", "sample_fid"} <= found.metrics.keys()
    scale = SCALE if name == "scaled" else model.prior.scale.detach().numpy()
    mean, std = found.codes["mean"] / scale, found.codes["std"] / scale
    rate = (0.5 * (mean**2 + std**2 - 1) - np.log(std)).sum(1).mean()
    assert found.metrics["rate"] == pytest.approx(rate, abs=0.05)
    parts = found.metrics["mutual_information"] + found.metrics["marginal_kl"]
    assert parts == pytest.approx(rate, abs=0.2)


# --- objectives ----------------------------------------------------------------------------------


def test_weights_of_one_give_the_bytes_of_the_elbo(few_digits: Dataset) -> None:
    elbo = train(few_digits, make_run(), epochs=30)
    ones = train(few_digits, make_run(objective="weighted"), epochs=30)
    twos = train(few_digits, make_run(objective="weighted"), epochs=30, gamma=2.0)
    for name, weight in elbo.weights.items():
        assert torch.equal(weight, ones.weights[name])
    np.testing.assert_array_equal(elbo.history, ones.history)
    distortion, rate, objective = twos.history[:, :3].T
    np.testing.assert_allclose(objective, 2 * distortion + rate)
    assert distortion[-1] < elbo.history[-1, 0]


def test_repeats_that_fill_a_batch_do_not_count_among_pairs() -> None:
    model = VAE(Observed((6,), 17), "gaussian", 3, options(), seed=0)
    x = torch.rand(10, 6, generator=stream(0, "x"))
    noise = torch.randn(10, 1, 3, generator=stream(0, "noise"))
    rows = torch.arange(16) % 10
    weight = (torch.arange(16) < 10).float() / 10
    epoch = torch.tensor(0.0)
    marginal, pack = OBJECTIVES["marginal"], stacked([model])
    with torch.no_grad():
        filled = (x[rows][None], x[rows, :0][None], noise[rows][None])
        terms = mapped_terms(marginal, pack, filled, weight, 10, epoch)
        whole = marginal.terms(model, Batch(x, x[:, :0], noise, weight[:10], 10, epoch))
    np.testing.assert_allclose(terms["marginal"][0, :10], whole["marginal"], rtol=1e-4)


def test_every_step_sees_its_epoch_a_traced_one_too(few_digits: Dataset) -> None:
    assert len(few_digits.rows("train")) > 5 * 30  # steps are traced within the first epoch
    result = train(few_digits, make_run(objective="clock"), epochs=3, batch_size=5)
    for distortion, rate, objective in result.history.reshape(-1, 2, 3).transpose(1, 2, 0):
        np.testing.assert_allclose(objective - distortion - rate, range(3), atol=1e-9)


def test_an_estimator_over_pairs_trains(few_digits: Dataset) -> None:
    result = train(few_digits, make_run(objective="marginal"), gamma=3.0)
    own = trained_model(result, few_digits, options())
    assert all(torch.isfinite(value).all() for value in own.state_dict().values())
    assert result_bytes(result) != result_bytes(train(few_digits, make_run(objective="marginal")))
