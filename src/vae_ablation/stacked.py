"""Many runs as one batched program: `torch.func.vmap` of the VAE over stacked weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._pytree import tree_map

from vae_ablation.distributions import Distribution
from vae_ablation.model import VAE, Posterior


class BoundVAE:
    """A VAE whose weights are given from outside; called like the module itself."""

    def __init__(self, template: VAE, weights: Mapping[str, Tensor]) -> None:
        self.template = template
        self.weights = dict(weights)

    def __call__(self, x: Tensor, noise: Tensor) -> tuple[Posterior, Distribution]:
        """q(z given x) and p(x given z); see `VAE.forward`."""
        posterior = self.encoder(x)
        return posterior, self.decoder(posterior.mean + posterior.std * noise)

    def encoder(self, x: Tensor) -> Posterior:
        """q(z given x)."""
        return functional_call(self.template.encoder, self._part("encoder."), (x,))

    def decoder(self, z: Tensor) -> Distribution:
        """p(x given z)."""
        return functional_call(self.template.decoder, self._part("decoder."), (z,))

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): weight
            for name, weight in self.weights.items()
            if name.startswith(prefix)
        }


class StackedVAE:
    """VAEs of equal shapes, weights stacked along a leading axis: name → [runs, ...].

    Attributes:
        template: a VAE that gives the architecture; its own weights are not used.
        weights: stacked weights.
    """

    def __init__(self, template: VAE, weights: Mapping[str, Tensor]) -> None:
        self.template = template
        self.weights = dict(weights)

    @classmethod
    def stack(cls, models: Sequence[VAE], device: torch.device) -> StackedVAE:
        """Stack single-run models, on a device."""
        weights, _ = stack_module_state(list(models))
        moved = {name: w.detach().to(device).requires_grad_() for name, w in weights.items()}
        return cls(models[0].to(device), moved)

    def __len__(self) -> int:
        """Number of runs."""
        return len(next(iter(self.weights.values())))

    def map(self, function: Callable[..., Any], *stacked: Tensor) -> Any:
        """`function(model, *arguments)` of every run, batched: arguments, results [runs, ...]."""

        def single(weights: dict[str, Tensor], *arguments: Tensor) -> Any:
            return function(BoundVAE(self.template, weights), *arguments)

        return vmap(single)(self.weights, *stacked)

    def _multiplies_vectors(self, stacked: Sequence[Tensor]) -> bool:
        """Whether a layer has width 1 or the batch one example."""
        widths = [size for w in self.weights.values() if w.dim() == 3 for size in w.shape[1:]]
        return 1 in widths or any(argument.shape[-2] == 1 for argument in stacked)

    def select(self, keep: Sequence[int]) -> StackedVAE:
        """The runs at these positions, detached."""
        index = torch.tensor(keep, device=next(iter(self.weights.values())).device)
        return StackedVAE(
            self.template, {n: w.detach()[index].requires_grad_() for n, w in self.weights.items()}
        )

    def run_weights(self, position: int) -> dict[str, Tensor]:
        """A copy of one run's weights on the CPU, by the names of the single-run module."""
        return {n: w[position].detach().cpu().clone() for n, w in self.weights.items()}
