"""Convolutional networks are torch's own layers, whole and padded, on images of any side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support import COUNT_LIKELIHOODS, CPU, model_options, resolved
from vae_ablation.data.base import Observed
from vae_ablation.models.architectures import ARCHITECTURES
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.vae import VAE
from vae_ablation.training.stacked import StackedVAE


def conv(side: tuple[int, int], channels: list[int], seed: int = 0) -> VAE:
    options = model_options(hidden=[6], channels=channels)
    return VAE(Observed(side, 17), "gaussian", 3, options, seed, "conv")


@pytest.mark.parametrize("side", [(8, 8), (28, 28), (9, 14), (15, 7)])
def test_every_side_comes_back_whole(side: tuple[int, int]) -> None:
    model = conv(side, [3, 5])
    x = torch.rand(4, side[0] * side[1])
    posterior = model.encoder(x)
    assert posterior.mean.shape == (4, 3)
    assert model.decoder(posterior.mean).mean.shape == x.shape
    assert model.decoder(torch.randn(4, 2, 3)).mean.shape == (4, 2, x.shape[1])


def test_the_convolutions_see_the_image_in_its_rows_and_columns() -> None:
    model = conv((8, 12), [2])
    x = torch.rand(1, 8, 12)
    moved = torch.roll(x, 2, dims=2)
    with torch.no_grad():
        here, there = (
            model.encoder.network.convolutions(image.reshape(1, 1, 8, 12)) for image in (x, moved)
        )
    np.testing.assert_allclose(there[..., 2:-1], here[..., 1:-2], atol=1e-6)


def test_a_pack_of_convolutions_computes_what_the_modules_compute() -> None:
    models = [conv((9, 14), [3, 18], seed) for seed in range(3)]
    pack = StackedVAE.stack(models, CPU)
    x, z = torch.rand(3, 5, 126), torch.randn(3, 5, 2, 3)
    means = pack.map(lambda m, v: m.encoder(v).mean, x)
    decoded = pack.map(lambda m, v: m.decoder(v).mean, z)
    for run, model in enumerate(models):
        with torch.no_grad():
            np.testing.assert_allclose(means[run].detach(), model.encoder(x[run]).mean, atol=1e-5)
            truth = model.decoder(z[run]).mean
        np.testing.assert_allclose(decoded[run].detach(), truth, atol=1e-5)
        for name, weight in pack.run_weights(run).items():
            assert torch.equal(weight, model.state_dict()[name]), name


@pytest.mark.parametrize("name", ["mlp", "conv"])
@pytest.mark.parametrize(("side", "channels"), [((8, 8), [4]), ((28, 28), [16, 32])])
def test_the_size_that_packs_reckon_with_is_the_number_of_weights(
    name: str, side: tuple[int, int], channels: list[int]
) -> None:
    options = model_options(hidden=[20, 10], channels=channels)
    observed = Observed(side, 17)
    model = VAE(observed, "gaussian", 5, options | {"gaussian_scale": "fixed"}, 0, name)
    count = sum(weight.numel() for weight in model.parameters())
    reckoned, passed = ARCHITECTURES[name].size(observed, 5, observed.dims, options)
    assert reckoned == pytest.approx(count, rel=0.06)
    assert passed > sum(options["hidden"])


@pytest.mark.parametrize("likelihood", COUNT_LIKELIHOODS)
@pytest.mark.parametrize("dispersion", ["gene", "gene_cell"])
@pytest.mark.parametrize("name", ["mlp", "poe"])
def test_the_size_of_networks_of_counts_is_reckoned_with_all_their_outputs(
    name: str, dispersion: str, likelihood: str
) -> None:
    options = model_options(hidden=[20, 10]) | {"dispersion": dispersion}
    observed = Observed((120,), None, counts=True, proteins=20)
    model = VAE(observed, likelihood, 5, options, 0, name)
    count = sum(weight.numel() for weight in model.parameters())
    outputs = LIKELIHOODS[likelihood].outputs(observed, options)
    reckoned, passed = ARCHITECTURES[name].size(observed, 5, outputs, options)
    assert reckoned == pytest.approx(count, rel=0.1)
    assert passed > outputs


def test_the_registry_of_architectures_holds_those_that_are_tested_here() -> None:
    assert set(ARCHITECTURES) == {"mlp", "conv", "resnet", "poe"}


def experts() -> VAE:
    observed = Observed((9,), None, counts=True, proteins=4, batches=2)
    options = model_options(hidden=[6]) | {"dispersion": "gene"}
    return VAE(observed, "poisson", 3, options, 0, "poe", condition="batch")


@pytest.mark.parametrize("present", [None, (True, True), (True, False), (False, True)])
def test_a_product_of_experts_is_the_product_of_their_gaussians_and_the_prior(
    present: tuple[bool, bool] | None,
) -> None:
    model = experts()
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.mul_(3)
    x = torch.poisson(torch.rand(7, 9) * 20)
    condition = torch.eye(2)[torch.arange(7) % 2]
    context = torch.cat([x[:, :5].sum(-1, keepdim=True), condition], -1)
    parts = [torch.cat([part.log1p(), condition], -1) for part in (x[:, :5], x[:, 5:])]
    with torch.no_grad():
        found = model.encoder(x, context, present)
        outputs = [
            expert[2](torch.relu(expert[0](part))).double().numpy()
            for expert, part in zip(model.encoder.network.experts, parts, strict=True)
        ]
    # in a grid: log N(z; 0, 1) + Σ log N(z; μᵢ, σᵢ²), up to a constant
    z = np.linspace(-12, 12, 48_001)
    there = present or (True, True)
    for row in range(7):
        for dim in range(3):
            log_density = -0.5 * z**2
            for output, is_there in zip(outputs, there, strict=True):
                if is_there:
                    mean, std = output[row, dim], np.exp(output[row, dim + 3])
                    log_density = log_density - 0.5 * ((z - mean) / std) ** 2
            density = np.exp(log_density - log_density.max())
            density /= density.sum()
            mean = (density * z).sum()
            variance = (density * (z - mean) ** 2).sum()
            assert float(found.mean[row, dim]) == pytest.approx(mean, rel=1e-3, abs=1e-4)
            assert float(found.std[row, dim]) ** 2 == pytest.approx(variance, rel=1e-3)


def test_a_missing_modality_is_not_looked_at() -> None:
    model = experts()
    x, other = torch.poisson(torch.rand(2, 6, 9) * 20)
    context = torch.cat([torch.full((6, 1), 50.0), torch.eye(2).repeat(3, 1)], -1)
    mixed = torch.cat([x[:, :5], other[:, 5:]], -1)
    with torch.no_grad():
        rna, same = (model.encoder(v, context, (True, False)).mean for v in (x, mixed))
        both, changed = (model.encoder(v, context).mean for v in (x, mixed))
    assert torch.equal(rna, same)
    assert not torch.equal(both, changed)
    with pytest.raises(ValueError, match="one modality"):
        model.encoder(x, context, (False, False))


def test_an_expert_narrows_the_posterior() -> None:
    model = experts()
    x = torch.poisson(torch.rand(6, 9) * 20)
    context = torch.cat([x[:, :5].sum(-1, keepdim=True), torch.eye(2).repeat(3, 1)], -1)
    with torch.no_grad():
        both = model.encoder(x, context).std
        for present in ((True, False), (False, True)):
            one = model.encoder(x, context, present).std
            assert (both < one).all()
            assert (one < 1).all()


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_both_networks_are_told_the_condition(architecture: str) -> None:
    torch.manual_seed(0)
    options = model_options(hidden=[16], channels=[3])
    observed = Observed((8, 8), 17, classes=10)
    model = VAE(observed, "gaussian", 3, options, 0, architecture, condition="label")
    x, z = torch.rand(1, 64).expand(10, 64), torch.randn(1, 3).expand(10, 3)
    with torch.no_grad():
        told = model.encoder(x, torch.eye(10)).mean
        drawn = model.decoder(z, torch.eye(10)).mean
        alone = model.encoder(x[:1], torch.eye(10)[4:5]).mean
        many = model.decoder(z[:, None].expand(10, 2, 3), torch.eye(10)[:, None]).mean
    assert len(told.unique(dim=0)) == len(drawn.unique(dim=0)) == 10
    np.testing.assert_allclose(alone[0], told[4], atol=1e-6)
    np.testing.assert_allclose(many[:, 0], drawn, atol=1e-6)
    np.testing.assert_allclose(many[:, 1], drawn, atol=1e-6)


def test_a_fixed_posterior_has_the_same_width_everywhere_and_learns_none() -> None:
    options = resolved(model={"hidden": [8], "posterior_sigma": 0.25})["model"]
    model = VAE(Observed((8, 8), 17), "gaussian", 3, options, 0, posterior="fixed")
    posterior = model.encoder(torch.rand(6, 64))
    np.testing.assert_allclose(posterior.std, 0.25, rtol=1e-6)
    assert posterior.mean.std() > 0
    assert model.encoder.network[-1].weight.shape == (3, 8)
