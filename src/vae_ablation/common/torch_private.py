"""Private names of torch, each with a fallback of public ones for a torch that lacks the name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.utils._python_dispatch import TorchDispatchMode
else:
    try:
        from torch.utils._python_dispatch import TorchDispatchMode
    except ImportError:

        class TorchDispatchMode:
            """A mode that cannot be entered: a step then runs as it is, untraced."""

            def __enter__(self) -> Any:
                raise NotImplementedError("this torch has no TorchDispatchMode")

            def __exit__(self, *_: object) -> None:
                return None


BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

__all__ = ["TorchDispatchMode", "adam_", "elementwise_adam_", "standard_gamma"]


def adam_(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    step: Tensor,
    rate: float,
) -> None:
    """One step of Adam (Kingma and Ba 2015), by torch's fused kernel where there is one.

    `torch.optim.Adam(fused=True)` calls the same kernel, but imports torch's compiler on its first
    step, three seconds in every job, and sorts its tensors anew in each.

    Args:
        weights: overwritten, as are the moments.
        gradients: in the weights' memory layout.
        means: first moments.
        squares: second moments.
        step: number of this step, counted from 1.
        rate: step size.
    """
    kernel: Callable[..., None] | None = getattr(torch, "_fused_adam_", None)
    if kernel is None:
        elementwise_adam_(weights, gradients, means, squares, step, rate)
        return
    kernel(
        list(weights),
        list(gradients),
        list(means),
        list(squares),
        [],
        [step] * len(weights),
        lr=rate,
        beta1=BETA_1,
        beta2=BETA_2,
        weight_decay=0.0,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )


@torch.no_grad()
def elementwise_adam_(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    step: Tensor,
    rate: float,
) -> None:
    """`adam_` by elementwise operations.

    Moments are the bits of the fused kernel's, weights within a rounding or two of a step.
    """
    count = float(step)
    size = rate / (1 - BETA_1**count)
    root = (1 - BETA_2**count) ** 0.5
    for weight, gradient, mean, square in zip(weights, gradients, means, squares, strict=True):
        mean.lerp_(gradient, 1 - BETA_1)
        square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        weight.addcdiv_(mean, (square.sqrt() / root).add_(EPSILON), value=-size)


def standard_gamma(shape: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws from the gamma distribution of each shape parameter, scale 1.

    Without torch's own kernel they are numpy's, seeded by the generator: other draws of the same
    distribution.
    """
    kernel: Callable[..., Tensor] | None = getattr(torch, "_standard_gamma", None)
    if kernel is not None:
        return kernel(shape, generator=generator)
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    drawn = np.random.default_rng(seed).standard_gamma(shape.detach().cpu().numpy())
    return torch.from_numpy(np.asarray(drawn)).to(shape.device, shape.dtype)
