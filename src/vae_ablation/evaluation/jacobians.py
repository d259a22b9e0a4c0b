"""Derivatives of the parameters of p(x | z) in z."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from vae_ablation.models.contexts import split_context
from vae_ablation.models.distributions import Distribution, parameters_of
from vae_ablation.models.networks import Dense, beside

if TYPE_CHECKING:
    from vae_ablation.training.stacked import BoundVAE


def linearised(
    model: BoundVAE, z: Tensor, context: Tensor
) -> tuple[Distribution, tuple[Tensor, ...]]:
    """p(x | z) of one run at z, and ∂parameters/∂z.

    Args:
        model: the run.
        z: [n, draws, latent].
        context: of each example, [n, 1, context].

    Returns:
        The distribution, and of each of `parameters_of` it [latent, n, draws, dims].
    """
    network: nn.Module = model.template.decoder.network
    if type(network) is not Dense:
        units = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)

        def decoded(codes: Tensor) -> Distribution:
            return model.decoder(codes, context)

        columns = units[:, None, None].expand(-1, *z.shape)
        return decoded(z), _pushed(decoded, z, columns)
    output, slopes = _dense(model, network, z, context)
    head = _head(model, context)
    return head(output), _pushed(head, output, slopes)


def _pushed(
    distribution: Callable[[Tensor], Distribution], at: Tensor, directions: Tensor
) -> tuple[Tensor, ...]:
    """Derivatives of a distribution's parameters in directions [latent, *at.shape]."""

    def column(direction: Tensor) -> tuple[Tensor, ...]:
        return jvp(lambda value: parameters_of(distribution(value)), (at,), (direction,))[1]

    found: tuple[Tensor, ...] = vmap(column)(directions)
    return found


def _dense(model: BoundVAE, network: Dense, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Output [n, draws, outputs] of a decoder of plain layers, and its ∂/∂z, [latent, …].

    By hand: torch's forward derivative decomposes a linear layer in Python, and loads the compiler
    for it, which takes seconds.
    """
    latent = z.shape[-1]
    _, condition = split_context(model.template.decoder.observed, context)
    x = beside(z, condition)
    rows = x.reshape(-1, x.shape[-1])
    slopes: Tensor | None = None
    for place, layer in enumerate(network):
        if isinstance(layer, nn.Linear):
            name = f"decoder.network.{place}"
            weight, bias = model.weights[f"{name}.weight"], model.weights[f"{name}.bias"]
            rows = rows @ weight[:, : rows.shape[-1]].mT + bias
            slopes = weight[:, :latent].mT[:, None] if slopes is None else slopes @ weight.mT
        else:
            rows, change = cast(
                tuple[Tensor, Tensor], jvp(layer, (rows,), (torch.ones_like(rows),))
            )
            assert slopes is not None
            slopes = slopes * change
    assert slopes is not None
    shape = *x.shape[:-1], network.outputs
    slopes = slopes[..., : network.outputs].expand(latent, len(rows), -1)
    return rows[:, : network.outputs].reshape(shape), slopes.reshape(latent, *shape)


class _Passed(nn.Module):
    """A network whose output is its input."""

    def forward(self, output: Tensor, condition: Tensor | None = None) -> Tensor:
        """The output that is given."""
        return output


def _head(model: BoundVAE, context: Tensor) -> Callable[[Tensor], Distribution]:
    """The likelihood as a function of the output of the decoder's network."""
    decoder = copy.copy(model.template.decoder)
    decoder._modules = {**decoder._modules, "network": _Passed()}
    own = {
        name.removeprefix("decoder."): weight
        for name, weight in model.weights.items()
        if name.startswith("decoder.") and not name.startswith("decoder.network.")
    }

    def head(output: Tensor) -> Distribution:
        found: Distribution = functional_call(decoder, own, (output, context))
        return found

    return head
