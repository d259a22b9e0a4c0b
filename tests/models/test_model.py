"""The networks: shapes, initial weights, and the module against the pack."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support import COUNT_LIKELIHOODS, CPU, IMAGE_LIKELIHOODS, model_options, stacked
from vae_ablation.data.base import Observed
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.objectives import OBJECTIVES, Batch
from vae_ablation.models.posteriors import LOG_STD_BOUND
from vae_ablation.models.streams import seeded, stream
from vae_ablation.models.vae import VAE, Encoder
from vae_ablation.training.pack import mapped_terms
from vae_ablation.training.stacked import StackedVAE

OBSERVED = Observed((3, 4), 17)
CELLS = Observed((12,), None, counts=True, proteins=3, batches=2)


def vae(likelihood: str = "gaussian", seed: int = 0, **options: object) -> VAE:
    options = model_options(**options) | {"dispersion": "gene"}
    return VAE(observed_by(likelihood), likelihood, 2, options, seed)


def observed_by(likelihood: str) -> Observed:
    return CELLS if LIKELIHOODS[likelihood].counts else OBSERVED


def seen_by(likelihood: str, *sizes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey levels or counts [*sizes, 12], and their context."""
    if not LIKELIHOODS[likelihood].counts:
        return (torch.rand(*sizes, 12) * 16).round() / 16, torch.empty(*sizes, 0)
    x = torch.poisson(torch.rand(*sizes, 12) * 9)
    return x, x[..., :9].sum(-1, keepdim=True).clamp_min(1)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_forward_gives_a_posterior_and_a_distribution_of_the_data(likelihood: str) -> None:
    (x, context), noise = seen_by(likelihood, 7), torch.randn(7, 1, 2)
    posterior, distribution = vae(likelihood)(x, context, noise)
    assert posterior.mean.shape == posterior.std.shape == (7, 2)
    assert (posterior.std > 0).all()
    assert distribution.mean.shape == (7, 1, 12)
    assert distribution.log_prob(x[:, None]).shape == (7, 1)


def test_hidden_widths_are_mirrored_and_none_is_linear() -> None:
    widths = [m.weight.shape for m in vae(hidden=[9, 5]).modules() if hasattr(m, "in_features")]
    assert widths == [(9, 12), (5, 9), (4, 5), (5, 2), (9, 5), (12, 9)]
    linear = vae(hidden=[])
    x = torch.rand(3, 12)
    a, b = linear.encoder(x[:1]).mean, linear.encoder(x[1:2]).mean
    half = linear.encoder((x[:1] + x[1:2]) / 2).mean
    np.testing.assert_allclose(half.detach(), ((a + b) / 2).detach(), atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu"])
def test_activations_are_torchs(activation: str) -> None:
    model = vae(hidden=[6], activation=activation)
    x = torch.linspace(-40, 40, 24).reshape(2, 12)
    first, _, last = model.encoder.network
    function = {"relu": torch.relu, "tanh": torch.tanh, "silu": torch.nn.functional.silu}
    truth = last(function[activation](first(x)))
    got = torch.cat([model.encoder(x).mean, model.encoder(x).log_std], -1)
    np.testing.assert_allclose(got.detach(), truth.clamp(-10, 10).detach(), rtol=1e-4, atol=1e-5)


def test_initial_weights_depend_on_the_seed_alone_and_on_no_global_state() -> None:
    torch.manual_seed(5)
    one = vae()
    torch.manual_seed(6)
    state = torch.get_rng_state()
    two = vae()
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(vae(seed=1).encoder.network[0].weight, one.encoder.network[0].weight)


@pytest.mark.parametrize("likelihoods", [IMAGE_LIKELIHOODS, COUNT_LIKELIHOODS])
def test_the_encoder_is_the_same_whatever_the_likelihood(likelihoods: list[str]) -> None:
    names = [vae(name).encoder.state_dict() for name in likelihoods]
    for other in names[1:]:
        assert all(torch.equal(names[0][key], other[key]) for key in names[0])
    with seeded(0, "encoder weights"):
        alone = Encoder(Observed((12,), 17), 2, model_options())
    assert torch.equal(alone.network[0].weight, names[0]["network.0.weight"])


def test_streams_differ_by_seed_and_purpose_and_repeat() -> None:
    draws = {
        (seed, purpose): tuple(torch.rand(3, generator=stream(seed, purpose)).tolist())
        for seed in (0, 1, 10)
        for purpose in ("noise", "shuffle", "0/noise")
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[0, "noise"] == tuple(torch.rand(3, generator=stream(0, "noise")).tolist())


def test_an_exploding_encoder_overflows_no_scale() -> None:
    model = vae(hidden=[])
    with torch.no_grad():
        model.encoder.network[0].weight.mul_(1e6)
    posterior = model.encoder(torch.rand(4, 12))
    assert posterior.log_std.abs().max() <= LOG_STD_BOUND
    assert torch.isfinite(posterior.std).all()
    assert torch.isfinite(model.prior.kl(posterior)).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("hidden", [[], [5], [16, 8]])
def test_the_pack_computes_what_the_modules_compute(likelihood: str, hidden: list[int]) -> None:
    models = [vae(likelihood, seed, hidden=hidden) for seed in range(3)]
    x, context = seen_by(likelihood, 3, 10)
    noise = torch.randn(3, 10, 1, 2)
    elbo, pack = OBJECTIVES["elbo"], StackedVAE.stack(models, CPU)
    packed = mapped_terms(elbo, pack, (x, context, noise), torch.full((10,), 0.1), 10)
    for run, model in enumerate(models):
        alone = elbo.terms(model, Batch.whole(x[run], context[run], noise[run]))
        for name, theirs in alone.items():
            ours = packed[name][run].detach()
            np.testing.assert_allclose(ours, theirs.detach(), rtol=2e-4, atol=1e-4)


def test_choosing_runs_keeps_their_weights_and_a_copy_is_a_copy() -> None:
    models = [vae(seed=seed) for seed in range(3)]
    pack = stacked(models)
    chosen = pack.select([2, 0])
    assert len(pack) == 3
    assert len(chosen) == 2
    for name, weight in models[2].named_parameters():
        assert torch.equal(chosen.run_weights(0)[name], weight)
    kept = pack.run_weights(1)
    with torch.no_grad():
        for leaf in pack.leaves:
            leaf.add_(1)
    for name, weight in models[1].named_parameters():
        assert torch.equal(kept[name], weight), name
