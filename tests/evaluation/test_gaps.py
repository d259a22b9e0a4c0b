"""Inference and encoder gaps, learned scales, and estimates on a part of the test split."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from support import (
    CPU,
    evaluation_settings,
    examples,
    features_of,
    make_run,
    model_options,
    stacked,
    trained_model,
    training_settings,
)
from vae_ablation.data.base import Dataset, Observed
from vae_ablation.data.loading import Examples
from vae_ablation.evaluation import evaluate_pack
from vae_ablation.evaluation.bounds import encode
from vae_ablation.evaluation.gaps import encoder_gaps
from vae_ablation.evaluation.nll import importance_nll
from vae_ablation.evaluation.refined import Target, refined
from vae_ablation.models.posteriors import Posterior
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.training.pack import train_pack

SIGMA = 0.3


def linear(latent: int, dims: int = 6) -> tuple[VAE, torch.Tensor, torch.Tensor]:
    """A linear decoder with dense W; its W and the posterior precision I + WᵀW/σ²."""
    options = model_options(hidden=[], gaussian_scale="fixed", gaussian_sigma=SIGMA)
    model = VAE(Observed((dims,), None), "gaussian", latent, options, 0)
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(dims, latent)))
    with torch.no_grad():
        model.decoder.network[0].weight.copy_(weight)
        model.decoder.network[0].bias.zero_()
    return model, weight, torch.eye(latent).double() + weight.T @ weight / SIGMA**2


def gaps(target: Target, posterior: Posterior) -> Any:
    streams = [stream(0, "gap")]
    main, *_ = refined(target, posterior.mean, streams)
    return encoder_gaps(target, posterior, main, streams)


def test_the_encoder_gap_is_the_distance_to_the_best_diagonal_gaussian() -> None:
    """KL(q ‖ p(z | x)) of the encoder's Gaussian minus that of the best, in closed form."""
    model, weight, precision = linear(3)
    x = torch.randn(20, 6, generator=stream(0, "x"))
    exact = torch.linalg.solve(precision, (x.double() @ weight / SIGMA**2).T).T
    mean, log_std = exact + 0.2, torch.full_like(exact, math.log(0.15))
    pack = stacked([model])
    posterior = Posterior(mean[None].float(), log_std[None].float())
    found = gaps(Target.of(pack, examples(x)), posterior)
    shift = 0.5 * torch.einsum("nl,lm,nm->n", mean - exact, precision, mean - exact)
    spread = 0.5 * (precision.diagonal() * 0.15**2).sum() - 3 * math.log(0.15)
    best = 0.5 * 3 + 0.5 * precision.diagonal().log().sum()
    truth = (shift + spread - best).numpy()
    np.testing.assert_allclose(found[0], truth, rtol=0.15, atol=0.3)
    assert found.mean() == pytest.approx(truth.mean(), rel=0.05)


def test_the_best_encoder_has_no_gap() -> None:
    model, weight, precision = linear(3)
    x = torch.randn(20, 6, generator=stream(0, "x"))
    exact = torch.linalg.solve(precision, (x.double() @ weight / SIGMA**2).T).T
    log_std = (-0.5 * precision.diagonal().log()).expand_as(exact)
    posterior = Posterior(exact[None].float(), log_std[None].float())
    target = Target.of(stacked([model]), examples(x))
    found = gaps(target, posterior)
    assert abs(found.mean()) < 0.02


def evaluated(dataset: Dataset, runs: list[Any], **settings: Any) -> list[dict[str, Any]]:
    options = model_options(hidden=[16])
    results = train_pack(runs, dataset, options, training_settings(epochs=40, learning_rate=0.005))
    return [
        one.metrics | {"examples": one.examples}
        for one in evaluate_pack(
            runs,
            [trained_model(result, dataset, options) for result in results],
            [result.history for result in results],
            dataset,
            features_of(dataset),
            evaluation_settings(nll_samples=64, **settings),
            CPU,
        )
    ]


def test_gaps_are_nested_and_an_estimate_of_a_part_stands_for_all(few_digits: Dataset) -> None:
    runs = [make_run(beta=0.1), make_run(kl=False), make_run(posterior="point")]
    whole, part = evaluated(few_digits, runs), evaluated(few_digits, runs, nll_examples=30)
    for one in whole[:2]:
        assert -0.1 <= one["encoder_gap"] <= one["inference_gap"] + 0.5
    for all_of_them, some in zip(whole, part, strict=True):
        assert np.isfinite(some["examples"]["nll"]).sum() == 30
        assert some["nll_se"] > all_of_them["nll_se"]
        error = math.hypot(some["nll_se"], all_of_them["nll_se"])
        assert abs(some["nll"] - all_of_them["nll"]) < 4 * error
        assert some["distortion"] == all_of_them["distortion"]


def test_a_learned_scale_is_told_and_the_beta_that_it_hides(few_digits: Dataset) -> None:
    runs = [make_run(beta=0.5), make_run(kl=False)]
    on, off = evaluated(few_digits, runs)
    # at the optimum the variance is the mean squared error of the reconstruction
    assert on["decoder_scale"] ** 2 == pytest.approx(on["mse"], rel=0.4)
    assert on["effective_beta"] == pytest.approx(0.5 * on["decoder_scale"] ** 2)
    assert "effective_beta" not in off
    (none,) = evaluated(few_digits, [make_run("continuous_bernoulli")])
    assert not {"decoder_scale", "effective_beta"} & none.keys()


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "conv": ("gaussian", {"architecture": "conv"}),
    "conditional": ("gaussian", {"condition": "label"}),
    "iwae": ("continuous_bernoulli", {"objective": "iwae", "importance_samples": 5}),
    "poisson": ("poisson", {}),
    "negative binomial": ("negative_binomial", {"kl": False}),
    "zero-inflated": ("zero_inflated_negative_binomial", {"dispersion": "gene_cell"}),
    "poe": ("negative_binomial", {"architecture": "poe"}),
    "log-normal": ("log_normal_gaussian", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_models_have_the_nll_of_quadrature(
    kind: str, few_digits: Dataset, cells: Dataset
) -> None:
    """The integral over one latent dimension, on 40,001 points from −40 to 40."""
    likelihood, further = KINDS[kind]
    counts = kind not in ("conv", "conditional", "iwae")
    dataset = cells if counts else few_digits
    run = make_run(likelihood, 1, **further)
    options = model_options(hidden=[12], channels=[4])
    (result,) = train_pack([run], dataset, options, training_settings(epochs=15))
    model = trained_model(result, dataset, options)
    seen = Examples.of(dataset, "test", run.condition, CPU).spaced(12)
    pack = stacked([model])
    means = encode(pack, seen).mean
    found = importance_nll(pack, means, seen, 256, [stream(0, "nll")])
    z = torch.linspace(-40, 40, 40001)[:, None]
    x, context = seen.at(slice(None))
    with torch.no_grad():
        logs = [
            model.decoder(z, c.expand(len(z), -1)).log_prob(one).double()
            + model.prior.log_prob(z.double())
            for one, c in zip(x, context, strict=True)
        ]
    truth = -np.array([float(one.logsumexp(0)) + math.log(0.002) for one in logs])
    assert found.nll[0].mean() == pytest.approx(truth.mean(), abs=0.05)
