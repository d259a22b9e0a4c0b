"""Layers of encoders and decoders, which work with weights wider than their own (`StackedVAE`)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from vae_ablation.architectures import KERNEL

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
"""All map 0 to 0, so that padded units stay 0."""


class Dense(nn.Sequential):
    """Linear layers with an activation after each but the last; two widths give one linear map."""

    def __init__(self, widths: Sequence[int], activation: str) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
        super().__init__(*layers[:-1])
        self.outputs = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., inputs] to [..., outputs]; the layers may be wider than both."""
        first = self[0].weight
        assert isinstance(first, Tensor)
        # one matrix whatever the leading axes: batched, they would become as many small products
        rows = pad(x.reshape(-1, x.shape[-1]), (0, first.shape[-1] - x.shape[-1]))
        return super().forward(rows)[:, : self.outputs].reshape(*x.shape[:-1], self.outputs)


class ConvolutionsDown(nn.Module):
    """Strided convolutions with an activation after each, then dense layers.

    Args:
        sides: height and width before and after each convolution.
        channels: channels after each convolution.
        widths: of the dense layers, outputs last.
        activation: after every layer but the last.
    """

    def __init__(
        self,
        sides: Sequence[tuple[int, int]],
        channels: Sequence[int],
        widths: Sequence[int],
        activation: str,
    ) -> None:
        super().__init__()
        self.side, self.channels = sides[0], channels[-1]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise([1, *channels]):
            layers += [nn.Conv2d(inputs, outputs, KERNEL, 2, 1), ACTIVATIONS[activation]()]
        self.convolutions = nn.Sequential(*layers)
        self.dense = Dense([channels[-1] * sides[-1][0] * sides[-1][1], *widths], activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., dims] to [..., outputs]."""
        images = x.reshape(-1, 1, *self.side)
        features = self.convolutions(_with_channels(images, self.convolutions[0], 1))
        flat = self.dense(features[:, : self.channels].flatten(1))
        return flat.reshape(*x.shape[:-1], -1)


class ConvolutionsUp(nn.Module):
    """Dense layers, then transposed convolutions with an activation before each.

    Args:
        sides: height and width before and after each transposed convolution.
        channels: channels before each transposed convolution; one channel comes out.
        widths: of the dense layers, inputs first.
        activation: after every layer but the last.
    """

    def __init__(
        self,
        sides: Sequence[tuple[int, int]],
        channels: Sequence[int],
        widths: Sequence[int],
        activation: str,
    ) -> None:
        super().__init__()
        self.side, self.channels = sides[0], channels[0]
        self.dense = Dense([*widths, channels[0] * sides[0][0] * sides[0][1]], activation)
        layers: list[nn.Module] = []
        pairs = zip(itertools.pairwise([*channels, 1]), itertools.pairwise(sides), strict=True)
        for (inputs, outputs), (small, large) in pairs:
            # an odd side was rounded down when it was halved
            missing = (large[0] - 2 * small[0], large[1] - 2 * small[1])
            layers += [
                ACTIVATIONS[activation](),
                nn.ConvTranspose2d(inputs, outputs, KERNEL, 2, 1, output_padding=missing),
            ]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map z [..., latent] to [..., dims]."""
        flat = self.dense(z).reshape(-1, self.channels, *self.side)
        images = self.convolutions(_with_channels(flat, self.convolutions[1], 0))
        return images[:, 0].reshape(*z.shape[:-1], -1)


def _with_channels(images: Tensor, layer: nn.Module, axis: int) -> Tensor:
    """Images [n, c, height, width] with empty channels up to those along an axis of the weights."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return pad(images, (0, 0, 0, 0, 0, weight.shape[axis] - images.shape[1]))
