"""Many runs as one batched program: `torch.func.vmap` of the VAE over stacked weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from vae_ablation.distributions import Distribution
from vae_ablation.model import VAE, Posterior


class BoundVAE:
    """A VAE whose weights are given from outside; called like the module itself."""

    def __init__(self, template: VAE, weights: Mapping[str, Tensor]) -> None:
        self.template = template
        self.weights = dict(weights)

    def __call__(self, x: Tensor, context: Tensor, noise: Tensor) -> tuple[Posterior, Distribution]:
        """q(z given x) and p(x given z); see `VAE.forward`."""
        posterior = self.encoder(x, context)
        return posterior, self.decoder(posterior.at(noise), context[:, None])

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
    """VAEs of equal shapes, their weights one row each of a flat tensor.

    Attributes:
        template: a VAE that gives the architecture; its own weights are not used.
        flat: every weight of every run, padded: [runs, size].
    """

    def __init__(self, template: VAE, flat: Tensor) -> None:
        self.template = template
        self.flat = flat
        self._shapes = {name: leaf.shape for name, leaf in template.named_parameters()}
        self._padded = {name: _padded(shape) for name, shape in self._shapes.items()}

    @classmethod
    def stack(cls, models: Sequence[VAE], device: torch.device) -> StackedVAE:
        """Stack single-run models, on a device."""
        rows = [torch.cat([_flattened(leaf) for leaf in model.parameters()]) for model in models]
        return cls(models[0].to(device), torch.stack(rows).to(device))

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.flat)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Padded views of the weights by the names of the single-run module: name → [runs, ...]."""
        parts = self.flat.split([shape.numel() for shape in self._padded.values()], dim=1)
        return {
            name: _unflattened(part, shape)
            for (name, shape), part in zip(self._padded.items(), parts, strict=True)
        }

    def map(self, function: Callable[..., Any], *stacked: Tensor) -> Any:
        """`function(model, *arguments)` of every run, batched: arguments, results [runs, ...]."""

        def single(weights: dict[str, Tensor], *arguments: Tensor) -> Any:
            return function(BoundVAE(self.template, weights), *arguments)

        return vmap(single)(self.weights, *stacked)

    def one(self, position: int) -> BoundVAE:
        """One run's model."""
        weights = {name: leaf[position] for name, leaf in self.weights.items()}
        return BoundVAE(self.template, weights)

    def select(self, keep: Sequence[int]) -> StackedVAE:
        """The runs at these positions, detached."""
        index = torch.tensor(keep, device=self.flat.device)
        return StackedVAE(self.template, self.flat[index])

    def run_weights(self, position: int) -> dict[str, Tensor]:
        """One run's weights without padding, on the CPU, by the names of the single-run module.

        What all runs share (the encoder's centre) is among them.
        """
        padded = self.select([position]).weights
        shared = {name: value.cpu().clone() for name, value in self.template.named_buffers()}
        return shared | {
            name: padded[name][0][tuple(map(slice, shape))].detach().cpu().contiguous().clone()
            for name, shape in self._shapes.items()
        }


def _padded(shape: torch.Size) -> torch.Size:
    """Widths and channels made multiples of WIDTH; the sides of a kernel stay as they are."""
    return torch.Size([*(-(-size // WIDTH) * WIDTH for size in shape[:2]), *shape[2:]])


def _flattened(leaf: Tensor) -> Tensor:
    """A leaf as a row, with zeros where it is padded.

    A matrix [outputs, inputs] is stored by inputs: its gradient xᵀ·δ then needs no transposing.
    """
    wide = leaf.new_zeros(_padded(leaf.shape))
    wide[tuple(map(slice, leaf.shape))] = leaf.detach()
    return (wide.T if wide.ndim == 2 else wide).flatten()


def _unflattened(rows: Tensor, shape: torch.Size) -> Tensor:
    """Views of padded leaves [runs, *shape] in rows of `_flattened`."""
    if len(shape) == 2:
        return rows.unflatten(1, shape[::-1]).mT
    return rows.unflatten(1, shape)
