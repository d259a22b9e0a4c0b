"""Layers of encoders and decoders, which work with weights wider than their own (`StackedVAE`)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vae_ablation.models.posteriors import LOG_STD_BOUND
from vae_ablation.models.shapes import KERNEL

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

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map x, and a condition beside it, [..., inputs] to [..., outputs].

        The layers may be wider than both.
        """
        x = beside(x, condition)
        first = self[0].weight
        assert isinstance(first, Tensor)
        # one matrix whatever the leading axes: batched, they would become as many small products
        rows = x.reshape(-1, x.shape[-1])
        missing = first.shape[-1] - x.shape[-1]
        rows = pad(rows, (0, missing)) if missing else rows
        return super().forward(rows)[:, : self.outputs].reshape(*x.shape[:-1], self.outputs)


class ConvolutionsDown(nn.Module):
    """Strided convolutions with an activation after each, then dense layers.

    Args:
        sides: height and width before and after each convolution.
        channels: channels before and after each convolution.
        widths: of the dense layers, outputs last.
        activation: after every layer but the last.
        condition: size of the condition that joins where the dense layers begin.
    """

    def __init__(
        self,
        sides: Sequence[tuple[int, int]],
        channels: Sequence[int],
        widths: Sequence[int],
        activation: str,
        condition: int = 0,
    ) -> None:
        super().__init__()
        self.side, self.inputs, self.channels = sides[0], channels[0], channels[-1]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, KERNEL, 2, 1), ACTIVATIONS[activation]()]
        self.convolutions = nn.Sequential(*layers)
        features = channels[-1] * sides[-1][0] * sides[-1][1]
        self.dense = Dense([features + condition, *widths], activation)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map x [..., dims] and its condition to [..., outputs]."""
        images = channels_first(x, self.side, self.inputs)
        features = self.convolutions(_with_channels(images, self.convolutions[0], 1))
        flat = features[:, : self.channels].flatten(1).reshape(*x.shape[:-1], -1)
        return self.dense(flat, condition)


class ConvolutionsUp(nn.Module):
    """Dense layers, then transposed convolutions with an activation before each.

    Args:
        sides: height and width before and after each transposed convolution.
        channels: channels before and after each transposed convolution.
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
        self.side, self.channels, self.outputs = sides[0], channels[0], channels[-1]
        self.dense = Dense([*widths, channels[0] * sides[0][0] * sides[0][1]], activation)
        layers: list[nn.Module] = []
        pairs = zip(itertools.pairwise(channels), itertools.pairwise(sides), strict=True)
        for (inputs, outputs), (small, large) in pairs:
            # an odd side was rounded down when it was halved
            missing = (large[0] - 2 * small[0], large[1] - 2 * small[1])
            layers += [
                ACTIVATIONS[activation](),
                nn.ConvTranspose2d(inputs, outputs, KERNEL, 2, 1, output_padding=missing),
            ]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map z [..., latent] and a condition beside it to [..., dims]."""
        flat = self.dense(z, condition).reshape(-1, self.channels, *self.side)
        images = self.convolutions(_with_channels(flat, self.convolutions[1], 0))
        return channels_last(images, self.outputs).reshape(*z.shape[:-1], -1)


class Experts(nn.Module):
    """A dense encoder for each modality; the product of their Gaussians and of the prior's.

    Args:
        sizes: data dimensions of each modality.
        condition: size of the condition, which every encoder is told.
        widths: of each encoder's layers after the first; mean and log σ of an expert come out.
        activation: after every layer but the last.
    """

    def __init__(
        self, sizes: Sequence[int], condition: int, widths: Sequence[int], activation: str
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.experts = nn.ModuleList(
            Dense([size + condition, *widths], activation) for size in sizes
        )

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        present: Sequence[bool] | None = None,
    ) -> Tensor:
        """Mean and log σ of N(0, I)·∏ᵢ N(μᵢ, σᵢ²), [..., 2·latent] (Wu and Goodman 2018, eq. 2).

        Precisions add: 1/σ² = 1 + Σ 1/σᵢ², and μ = σ² Σ μᵢ/σᵢ².

        Args:
            x: the modalities side by side, [..., dims].
            condition: [..., condition].
            present: which modalities are there; all where left out.
        """
        there = present or [True] * len(self.sizes)
        precision, weighted = None, None
        for part, expert, is_there in zip(
            x.split(self.sizes, dim=-1), self.experts, there, strict=True
        ):
            if not is_there:
                continue
            mean, log_std = expert(part, condition).chunk(2, dim=-1)
            own = (-2 * log_std.clamp(-LOG_STD_BOUND, LOG_STD_BOUND)).exp()
            precision = own + (1.0 if precision is None else precision)
            weighted = own * mean + (0.0 if weighted is None else weighted)
        if precision is None or weighted is None:
            raise ValueError("a posterior needs one modality at least")
        return torch.cat([weighted / precision, -0.5 * precision.log()], dim=-1)


def beside(x: Tensor, condition: Tensor | None) -> Tensor:
    """Put a condition [..., c], broadcast over leading axes, beside x [..., n]."""
    if condition is None or not condition.shape[-1]:
        return x
    return torch.cat([x, condition.expand(*x.shape[:-1], condition.shape[-1])], dim=-1)


def channels_first(x: Tensor, side: Sequence[int], channels: int) -> Tensor:
    """Pictures [..., height · width · channels] as [n, channels, height, width]."""
    if channels == 1:
        return x.reshape(-1, 1, *side)
    return x.reshape(-1, *side, channels).permute(0, 3, 1, 2)


def channels_last(images: Tensor, channels: int) -> Tensor:
    """The first channels of pictures [n, channels, height, width]: [n, height, width, channels].

    One channel has no axis of its own.
    """
    if channels == 1:
        return images[:, 0]
    return images[:, :channels].permute(0, 2, 3, 1)


def _with_channels(images: Tensor, layer: nn.Module, axis: int) -> Tensor:
    """Images [n, c, height, width] with empty channels up to those along an axis of the weights."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return pad(images, (0, 0, 0, 0, 0, weight.shape[axis] - images.shape[1]))
