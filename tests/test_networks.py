"""Convolutional networks are torch's own layers, whole and padded, on images of any side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support import CPU, model_options, resolved
from vae_ablation.architectures import ARCHITECTURES
from vae_ablation.data.base import Observed
from vae_ablation.model import VAE
from vae_ablation.stacked import StackedVAE


def conv(side: tuple[int, int], channels: list[int], seed: int = 0, fixed: bool = False) -> VAE:
    options = model_options(hidden=[6], channels=channels)
    return VAE(Observed(side, 17), "gaussian", 3, options, seed, "conv", fixed)


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


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("side", "channels"), [((8, 8), [4]), ((28, 28), [16, 32])])
def test_the_size_that_packs_reckon_with_is_the_number_of_weights(
    name: str, side: tuple[int, int], channels: list[int]
) -> None:
    options = model_options(hidden=[20, 10], channels=channels)
    observed = Observed(side, 17)
    model = VAE(observed, "gaussian", 5, options | {"gaussian_scale": "fixed"}, 0, name)
    count = sum(weight.numel() for weight in model.parameters())
    reckoned, passed = ARCHITECTURES[name].size(observed, 5, options)
    assert reckoned == pytest.approx(count, rel=0.06)
    assert passed > sum(options["hidden"])


def test_a_fixed_posterior_has_the_same_width_everywhere_and_learns_none() -> None:
    options = resolved(model={"hidden": [8], "posterior_sigma": 0.25})["model"]
    model = VAE(Observed((8, 8), 17), "gaussian", 3, options, 0, fixed=True)
    posterior = model.encoder(torch.rand(6, 64))
    np.testing.assert_allclose(posterior.std, 0.25, rtol=1e-6)
    assert posterior.mean.std() > 0
    assert model.encoder.network[-1].weight.shape == (3, 8)
