"""Many runs as one batched program: `torch.func.vmap` of the VAE over stacked weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from vae_ablation.models.distributions import Distribution
from vae_ablation.models.posteriors import Posterior
from vae_ablation.models.priors import Prior
from vae_ablation.models.vae import VAE
from vae_ablation.training.optimizer import chosen


class BoundVAE:
    """A VAE whose weights are given from outside; called like the module itself."""

    def __init__(self, template: VAE, weights: Mapping[str, Tensor]) -> None:
        self.template = template
        self.weights = dict(weights)

    def __call__(self, x: Tensor, context: Tensor, noise: Tensor) -> tuple[Posterior, Distribution]:
        """q(z given x) and p(x given z); see `VAE.forward`."""
        posterior = self.encoder(x, context)
        return posterior, self.decoder(posterior.at(noise), context[:, None])

    @property
    def prior(self) -> Prior:
        """p(z)."""
        return self.template.prior_of(self._part("prior_parameters."), self.encoder)

    def encoder(
        self, x: Tensor, context: Tensor | None = None, present: Sequence[bool] | None = None
    ) -> Posterior:
        """q(z given x)."""
        weights = self._part("encoder.")
        return functional_call(self.template.encoder, weights, (x, context, present))

    def decoder(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x given z)."""
        return functional_call(self.template.decoder, self._part("decoder."), (z, context))

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): weight
            for name, weight in self.weights.items()
            if name.startswith(prefix)
        }


WIDTH = 16
"""Every layer width is padded to a multiple of this with weights that are and stay zero.

On a CPU, matrix products of odd or unaligned shapes, and the last few elements of a vectorised
kernel, round differently from the others. Padded, every run of a pack sees the same arithmetic
whatever the size of the pack, so that packing changes no bit of a result.
"""


class StackedVAE:
    """VAEs of equal shapes, their weights one row each of the same tensors.

    Attributes:
        template: a VAE that gives the architecture; its own weights are not used.
        leaves: each weight of every run: [runs, ...], padded but for networks from outside the
            package. A matrix is stored by inputs,
            [runs, inputs, outputs]: its gradient xᵀ·δ then needs no transposing.
    """

    def __init__(self, template: VAE, leaves: Sequence[Tensor]) -> None:
        self.template = template
        self.leaves = list(leaves)
        self._shapes = {name: leaf.shape for name, leaf in template.named_parameters()}

    @classmethod
    def stack(cls, models: Sequence[VAE], device: torch.device) -> StackedVAE:
        """Stack single-run models, on a device."""
        leaves = zip(*(model.parameters() for model in models), strict=True)
        store = _stored if models[0].padded else _transposed
        stored = [torch.stack(list(map(store, each))).to(device) for each in leaves]
        return cls(models[0].to(device), stored)

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.leaves[0])

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.leaves[0].device

    @property
    def weights(self) -> dict[str, Tensor]:
        """Padded views of the weights by the names of the single-run module: name → [runs, ...]."""
        return {
            name: leaf.mT if len(shape) == 2 else leaf
            for (name, shape), leaf in zip(self._shapes.items(), self.leaves, strict=True)
        }

    def map(self, function: Callable[..., Any], *stacked: Tensor, plain: bool = False) -> Any:
        """`function(model, *arguments)` of every run, batched: arguments, results [runs, ...].

        A single run of networks from outside the package is called as it is, since `torch.func`
        may not be able to batch it.

        Args:
            function: of one run.
            stacked: its arguments.
            plain: whether any single run is called as it is, which is faster and rounds otherwise.
        """
        if len(self) == 1 and (plain or not self.template.padded):
            return _as_stack(function(self.one(0), *(each[0] for each in stacked)))

        def single(weights: dict[str, Tensor], *arguments: Tensor) -> Any:
            return function(BoundVAE(self.template, weights), *arguments)

        return vmap(single)(self.weights, *stacked)

    def one(self, position: int) -> BoundVAE:
        """One run's model."""
        weights = {name: leaf[position] for name, leaf in self.weights.items()}
        return BoundVAE(self.template, weights)

    def priors(self) -> list[Prior]:
        """The prior of each run."""
        return [self.one(position).prior for position in range(len(self))]

    def select(self, keep: Sequence[int]) -> StackedVAE:
        """The runs at these positions, detached."""
        return StackedVAE(self.template, chosen(self.leaves, keep))

    def run_weights(self, position: int) -> dict[str, Tensor]:
        """One run's weights without padding, on the CPU, by the names of the single-run module.

        What all runs share (the encoder's centre) is among them.
        """
        shared = {name: value.cpu().clone() for name, value in self.template.named_buffers()}
        return shared | {
            name: leaf[position][tuple(map(slice, shape))].detach().cpu().contiguous().clone()
            for (name, leaf), shape in zip(self.weights.items(), self._shapes.values(), strict=True)
        }


def row_of(leaves: Sequence[Tensor], position: int) -> Tensor:
    """Weights of one run, all leaves one after the other, on the CPU: [size]."""
    return torch.cat([leaf[position].detach().flatten() for leaf in leaves]).cpu()


def from_rows(rows: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """Leaves with the shapes and device of `like` from a row (`row_of`) for each run."""
    parts = torch.stack(list(rows)).split([leaf[0].numel() for leaf in like], dim=1)
    return [
        part.reshape(len(rows), *leaf.shape[1:]).contiguous().to(leaf.device)
        for part, leaf in zip(parts, like, strict=True)
    ]


def _padded(shape: torch.Size) -> torch.Size:
    """Widths and channels made multiples of WIDTH; the sides of a kernel stay as they are."""
    return torch.Size([*(-(-size // WIDTH) * WIDTH for size in shape[:2]), *shape[2:]])


def _as_stack(result: Any) -> Any:
    """A result of one run as that of a pack of one: tensors with an axis before theirs."""
    if isinstance(result, Mapping):
        return {name: _as_stack(value) for name, value in result.items()}
    if isinstance(result, tuple):
        return tuple(map(_as_stack, result))
    return result.unsqueeze(0)


def _transposed(leaf: Tensor) -> Tensor:
    """A single run's leaf as it is stored where nothing is padded."""
    return (leaf.detach().T if leaf.ndim == 2 else leaf.detach()).contiguous()


def _stored(leaf: Tensor) -> Tensor:
    """A single run's leaf as it is stored, with zeros where it is padded."""
    wide = leaf.new_zeros(_padded(leaf.shape))
    wide[tuple(map(slice, leaf.shape))] = leaf.detach()
    return (wide.T if wide.ndim == 2 else wide).contiguous()
