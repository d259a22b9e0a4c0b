"""The stacked Adam is torch's Adam, run by run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support import CPU, model_options, told_nothing
from vae_ablation.data.base import Observed
from vae_ablation.models.objectives import OBJECTIVES, Batch
from vae_ablation.models.vae import VAE
from vae_ablation.training.optimizer import StackedAdam
from vae_ablation.training.pack import mapped_terms
from vae_ablation.training.stacked import StackedVAE

OBSERVED = Observed((5, 3), 17)
elbo = OBJECTIVES["elbo"]


def models(likelihood: str, hidden: list[int], count: int = 3) -> list[VAE]:
    options = model_options(hidden=hidden)
    return [VAE(OBSERVED, likelihood, 4, options, seed) for seed in range(count)]


def batches(runs: int, steps: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            (16 * torch.rand(runs, 20, 15, generator=generator)).round() / 16,
            torch.randn(runs, 20, 4, generator=generator),
        )
        for _ in range(steps)
    ]


@pytest.mark.parametrize("likelihood", ["gaussian", "discretized_logistic", "continuous_bernoulli"])
@pytest.mark.parametrize("hidden", [[], [7], [16, 9]])
def test_the_stacked_vae_follows_torchs_adam(likelihood: str, hidden: list[int]) -> None:
    ours = StackedVAE.stack(models(likelihood, hidden), CPU)
    for leaf in ours.leaves:
        leaf.requires_grad_()
    adam = StackedAdam(ours.leaves, [0.01])
    theirs = models(likelihood, hidden)
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.01) for model in theirs]
    for x, noise in batches(3):
        weight = torch.full((20,), 1 / 20)
        packed = mapped_terms(elbo, ours, (x, told_nothing(x), noise[:, :, None]), weight, 20)
        loss = elbo.loss(packed, {"beta": 0.7}).mean(-1).sum()
        adam.step(torch.autograd.grad(loss, ours.leaves))
        for run, (model, optimizer) in enumerate(zip(theirs, optimizers, strict=True)):
            optimizer.zero_grad()
            batch = Batch.whole(x[run], told_nothing(x[run]), noise[run][:, None])
            terms = elbo.terms(model, batch)
            (terms["distortion"] + 0.7 * terms["rate"]).mean().backward()
            optimizer.step()
    for run, model in enumerate(theirs):
        weights = ours.run_weights(run)
        assert set(weights) == set(dict(model.named_parameters()))
        for name, weight in model.named_parameters():
            np.testing.assert_allclose(
                weights[name], weight.detach(), rtol=1e-3, atol=2e-4, err_msg=name
            )


def test_a_transposed_gradient_is_read_in_its_own_order() -> None:
    flat = torch.zeros(3, 4, requires_grad=True)
    gradient = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, 2, -2]])
    StackedAdam([flat], [0.1] * 3).step([gradient.T.contiguous().T])
    np.testing.assert_allclose(flat.detach(), -0.1 * gradient.sign(), atol=1e-6)


def test_runs_that_stay_keep_their_moments_when_others_leave() -> None:
    generator = torch.Generator().manual_seed(1)
    gradients = [torch.randn(4, 32, generator=generator) for _ in range(6)]
    start = torch.randn(4, 32, generator=generator)
    whole = start.clone().requires_grad_()
    adam = StackedAdam([whole], [0.01] * 4)
    for gradient in gradients:
        adam.step([gradient])
    part = start.clone().requires_grad_()
    adam = StackedAdam([part], [0.01] * 4)
    for gradient in gradients[:3]:
        adam.step([gradient])
    rest = part.detach()[[2, 0]].requires_grad_()
    adam = adam.select([rest], [2, 0])
    for gradient in gradients[3:]:
        adam.step([gradient[[2, 0]]])
    assert torch.equal(rest, whole.detach()[[2, 0]])


def test_a_run_that_is_not_finite_does_not_touch_the_others() -> None:
    flat = torch.ones(3, 16, requires_grad=True)
    gradient = torch.ones(3, 16)
    gradient[1] = float("nan")
    StackedAdam([flat], [0.1] * 3).step([gradient])
    assert torch.isfinite(flat[[0, 2]]).all()
    assert torch.equal(flat[0], flat[2])


def test_each_run_has_its_own_rate_whatever_its_neighbours_have() -> None:
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(4, 32, generator=generator)
    gradients = [torch.randn(4, 32, generator=generator) for _ in range(3)]
    rates = [0.1, 0.01, 0.01, 0.3]

    def trained(runs: slice, part: slice = slice(None)) -> torch.Tensor:
        leaf = start[runs].clone()
        adam = StackedAdam([leaf], rates[runs])
        for gradient in gradients:
            adam.update([gradient[runs][part]], part)
            adam.steps += 1
        return leaf

    whole = trained(slice(None))
    for run in range(4):
        assert torch.equal(whole[run], trained(slice(run, run + 1))[0])
    # a part that begins inside the pack moves its own runs alone
    part = trained(slice(None), slice(1, 4))
    assert torch.equal(part[0], start[0])
    assert torch.equal(part[1:], whole[1:])
