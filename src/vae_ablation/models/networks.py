"""Layers of encoders and decoders, which work with weights wider than their own (`StackedVAE`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vae_ablation.models.shapes import KERNEL, LOG_STD_BOUND

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


class LayerNorm(nn.Module):
    """Layer normalisation (Ba, Kiros and Hinton 2016) over the first units of a wider layer.

    Units by which a pack widens the layer are 0 before and after it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [..., units]; the sums go over all units, of which those added are 0."""
        known = (torch.arange(x.shape[-1], device=x.device) < self.width).to(x.dtype)
        centred = (x - x.sum(-1, keepdim=True) / self.width) * known
        variance = centred.square().sum(-1, keepdim=True) / self.width
        missing = x.shape[-1] - self.weight.shape[-1]
        weight, bias = (pad(leaf, (0, missing)) for leaf in (self.weight, self.bias))
        return centred * (variance + 1e-5).rsqrt() * weight + bias


class RichDense(Dense):
    """Dense layers with layer normalisation, dropout or skip connections.

    Dropout (Srivastava et al. 2014) takes uniform draws from outside, so that runs of a pack each
    have their own stream. A skip connection puts the network's input beside what each later layer
    gets (Dieng et al. 2019).

    Args:
        widths: as of `Dense`.
        activation: after each layer but the last.
        layer_norm: whether to normalise before each activation.
        dropout: share of the hidden units that are set to 0 in training.
        skip: whether later layers get the input too.
    """

    def __init__(
        self, widths: Sequence[int], activation: str, layer_norm: bool, dropout: float, skip: bool
    ) -> None:
        super().__init__(widths, activation)
        self.hidden, self.dropout, self.inputs = list(widths[1:-1]), dropout, widths[0]
        self.skip = skip
        if skip:
            for place, (width, outputs) in enumerate(itertools.pairwise(widths[1:]), 1):
                self[2 * place] = nn.Linear(width + widths[0], outputs)
        self.norms = nn.ModuleList(map(LayerNorm, self.hidden) if layer_norm else ())

    def __iter__(self) -> Iterator[nn.Module]:
        """The linear layers and activations."""
        return iter([self[place] for place in range(2 * len(self.hidden) + 1)])

    def __len__(self) -> int:
        """Number of linear layers and activations."""
        return 2 * len(self.hidden) + 1

    @property
    def draws(self) -> int:
        """Uniform numbers that dropout needs for an example."""
        return sum(self.hidden) if self.dropout else 0

    def forward(
        self, x: Tensor, condition: Tensor | None = None, draws: Tensor | None = None
    ) -> Tensor:
        """Map x, and a condition beside it, [..., inputs] to [..., outputs].

        Args:
            x: [..., inputs less the condition's].
            condition: [..., condition].
            draws: uniform numbers in [0, 1), [..., draws]; without them nothing is dropped.
        """
        x = beside(x, condition)
        rows = x.reshape(-1, x.shape[-1])
        given, parts = rows, self._parts(draws, x)
        for place, width in enumerate(self.hidden):
            rows = _widened(self[2 * place], rows)
            rows = self[2 * place + 1](self.norms[place](rows) if len(self.norms) else rows)
            if parts:
                kept = (parts[place] >= self.dropout).to(rows.dtype) / (1 - self.dropout)
                rows = rows * pad(kept, (0, rows.shape[-1] - width))
            if self.skip:
                rows = torch.cat([rows[:, :width], given], dim=-1)
        rows = _widened(self[2 * len(self.hidden)], rows)
        return rows[:, : self.outputs].reshape(*x.shape[:-1], self.outputs)

    def _parts(self, draws: Tensor | None, like: Tensor) -> Sequence[Tensor]:
        """The draws of each hidden layer, [rows, width]; none without dropout."""
        if draws is None or not self.dropout:
            return ()
        own = draws.expand(*like.shape[:-1], draws.shape[-1]).reshape(-1, draws.shape[-1])
        return own.split(self.hidden, dim=-1)


def _widened(layer: nn.Module, rows: Tensor) -> Tensor:
    """A linear layer of rows [n, inputs], which may be fewer than its weights have."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    missing = weight.shape[-1] - rows.shape[-1]
    output: Tensor = layer(pad(rows, (0, missing)) if missing else rows)
    return output


def dense(widths: Sequence[int], options: Mapping[str, Any], skip: bool = False) -> Dense:
    """Dense layers as the model section says.

    Args:
        widths: inputs, hidden layers, outputs.
        options: the model section; keys of later versions may be absent.
        skip: whether it may have skip connections (a decoder).
    """
    norm, dropout = bool(options.get("layer_norm")), float(options.get("dropout") or 0)
    skips = skip and bool(options.get("skip"))
    if len(widths) == 2 or not (norm or dropout or skips):
        return Dense(widths, options["activation"])
    return RichDense(widths, options["activation"], norm, dropout, skips)


class Residual(nn.Module):
    """x + two convolutions (3×3) of it, each after an activation (He et al. 2016, figure 4e).

    Args:
        channels: of x.
        activation: before each convolution.
        given: numbers beside x that the first convolution gets, the same at every pixel.
    """

    def __init__(self, channels: int, activation: str, given: int = 0) -> None:
        super().__init__()
        self.channels = channels
        self.first = nn.Conv2d(channels + given, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """Map [n, channels, height, width], with [n, given] beside it, to the same shape."""
        seen = x if given is None else _with_maps(self.activation(x), self.channels, given)
        seen = _with_channels(seen, self.first, 1)
        inner = self.first(self.activation(seen) if given is None else seen)
        change: Tensor = self.second(self.activation(inner))
        return x + change[:, : x.shape[1]]


class ConvolutionsDown(nn.Module):
    """Strided convolutions with an activation after each, then dense layers.

    Args:
        sides: height and width before and after each convolution.
        channels: channels before and after each convolution.
        widths: of the dense layers, outputs last.
        options: the model section.
        condition: size of the condition that joins where the dense layers begin.
        blocks: residual blocks after each convolution.
    """

    def __init__(
        self,
        sides: Sequence[tuple[int, int]],
        channels: Sequence[int],
        widths: Sequence[int],
        options: Mapping[str, Any],
        condition: int = 0,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        activation = options["activation"]
        self.side, self.inputs, self.channels = sides[0], channels[0], channels[-1]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, KERNEL, 2, 1)]
            layers += [Residual(outputs, activation) for _ in range(blocks)]
            layers += [ACTIVATIONS[activation]()]
        self.convolutions = nn.Sequential(*layers)
        features = channels[-1] * sides[-1][0] * sides[-1][1]
        self.dense = dense([features + condition, *widths], options)

    def forward(
        self, x: Tensor, condition: Tensor | None = None, draws: Tensor | None = None
    ) -> Tensor:
        """Map x [..., dims] and its condition to [..., outputs]; draws as of `RichDense`."""
        images = channels_first(x, self.side, self.inputs)
        features = self.convolutions(_with_channels(images, self.convolutions[0], 1))
        flat = features[:, : self.channels].flatten(1).reshape(*x.shape[:-1], -1)
        return _called(self.dense, flat, condition, draws)


def _called(
    network: nn.Module, x: Tensor, condition: Tensor | None, draws: Tensor | None
) -> Tensor:
    """Dense layers of x; draws are for those that have dropout."""
    more = {} if draws is None else {"draws": draws}
    output: Tensor = network(x, condition, **more)
    return output


class ConvolutionsUp(nn.Module):
    """Dense layers, then transposed convolutions with an activation before each.

    With skip connections z and its condition stand beside what each layer gets: as further inputs
    of dense layers, and as maps with the same value at every pixel (residual blocks: of the first
    of their convolutions).

    Args:
        sides: height and width before and after each transposed convolution.
        channels: channels before and after each transposed convolution.
        widths: of the dense layers, inputs first.
        options: the model section.
        blocks: residual blocks before each convolution.
    """

    def __init__(
        self,
        sides: Sequence[tuple[int, int]],
        channels: Sequence[int],
        widths: Sequence[int],
        options: Mapping[str, Any],
        blocks: int = 0,
    ) -> None:
        super().__init__()
        activation = options["activation"]
        self.side, self.channels, self.outputs = sides[0], channels[0], channels[-1]
        self.dense = dense([*widths, channels[0] * sides[0][0] * sides[0][1]], options, skip=True)
        self.skip = bool(options.get("skip"))
        given = widths[0] if self.skip else 0
        layers: list[nn.Module] = []
        pairs = zip(itertools.pairwise(channels), itertools.pairwise(sides), strict=True)
        for (inputs, outputs), (small, large) in pairs:
            # an odd side was rounded down when it was halved
            missing = (large[0] - 2 * small[0], large[1] - 2 * small[1])
            layers += [Residual(inputs, activation, given) for _ in range(blocks)]
            layers += [
                ACTIVATIONS[activation](),
                nn.ConvTranspose2d(inputs + given, outputs, KERNEL, 2, 1, output_padding=missing),
            ]
        self.convolutions = nn.Sequential(*layers)

    def forward(
        self, z: Tensor, condition: Tensor | None = None, draws: Tensor | None = None
    ) -> Tensor:
        """Map z [..., latent] and a condition beside it to [..., dims]; draws as of `RichDense`."""
        flat = _called(self.dense, z, condition, draws)
        flat = flat.reshape(-1, self.channels, *self.side)
        if self.skip:
            given = beside(z, condition)
            images = self._beside_z(flat, given.reshape(-1, given.shape[-1]))
        else:
            first = next(one for one in self.convolutions if isinstance(one, nn.ConvTranspose2d))
            images = self.convolutions(_with_channels(flat, first, 0))
        return channels_last(images, self.outputs).reshape(*z.shape[:-1], -1)

    def _beside_z(self, images: Tensor, given: Tensor) -> Tensor:
        """The convolutions of images [n, channels, height, width], z [n, given] beside each."""
        channels = self.channels
        for layer in self.convolutions:
            if isinstance(layer, Residual):
                images = layer(images, given)
            elif isinstance(layer, nn.ConvTranspose2d):
                images = layer(_with_channels(_with_maps(images, channels, given), layer, 0))
                channels = layer.out_channels
            else:
                images = layer(images)
        return images


class Experts(nn.Module):
    """A dense encoder for each modality; the product of their Gaussians and of the prior's.

    Args:
        sizes: data dimensions of each modality.
        condition: size of the condition, which every encoder sees.
        widths: of each encoder's layers after the first; mean and log σ of an expert come out.
        options: the model section.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        condition: int,
        widths: Sequence[int],
        options: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        made = [dense([size + condition, *widths], options) for size in sizes]
        self.experts = nn.ModuleList(made)
        self.draws = [one.draws if isinstance(one, RichDense) else 0 for one in made]

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        present: Sequence[bool] | None = None,
        draws: Tensor | None = None,
    ) -> Tensor:
        """Mean and log σ of N(0, I)·∏ᵢ N(μᵢ, σᵢ²), [..., 2·latent] (Wu and Goodman 2018, eq. 2).

        Precisions add: 1/σ² = 1 + Σ 1/σᵢ², and μ = σ² Σ μᵢ/σᵢ².

        Args:
            x: the modalities side by side, [..., dims].
            condition: [..., condition].
            present: which modalities are there; all where left out.
            draws: as of `RichDense`, those of the first modality's encoder first.
        """
        own_draws = [None] * len(self.sizes) if draws is None else draws.split(self.draws, dim=-1)
        there = present or [True] * len(self.sizes)
        precision, weighted = None, None
        for part, expert, is_there, drawn in zip(
            x.split(self.sizes, dim=-1), self.experts, there, own_draws, strict=True
        ):
            if not is_there:
                continue
            mean, log_std = _called(expert, part, condition, drawn).chunk(2, dim=-1)
            own = (-2 * log_std.clamp(-LOG_STD_BOUND, LOG_STD_BOUND)).exp()
            precision = own + (1.0 if precision is None else precision)
            weighted = own * mean + (0.0 if weighted is None else weighted)
        if precision is None or weighted is None:
            raise ValueError("a posterior needs one modality at least")
        return torch.cat([weighted / precision, -0.5 * precision.log()], dim=-1)


class Rows(nn.Module):
    """A module of rows as a network: the condition beside x, leading axes flattened.

    Args:
        module: maps [n, inputs] to [n, outputs].
        outputs: how many must come out.
    """

    def __init__(self, module: nn.Module, outputs: int) -> None:
        super().__init__()
        self.module = module
        self.outputs = outputs

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map x [..., inputs] and its condition to [..., outputs].

        Raises:
            ValueError: the module gives another shape.
        """
        x = beside(x, condition)
        rows = x.reshape(-1, x.shape[-1])
        output: Tensor = self.module(rows)
        if output.shape != (len(rows), self.outputs):
            raise ValueError(
                f"{type(self.module).__name__} gives the shape {tuple(output.shape)} for "
                f"{len(rows)} rows of {rows.shape[-1]}; wanted: {(len(rows), self.outputs)}"
            )
        return output.reshape(*x.shape[:-1], self.outputs)


def measured_size(make: Callable[[], nn.Module], inputs: int) -> tuple[int, int]:
    """Weights of a module, and floats that one row leaves in it, measured on the meta device.

    Where no row can pass there (steps that depend on values), the weights stand for the floats.

    Args:
        make: constructs the module, which maps [n, inputs].
        inputs: values of a row.
    """
    passed = [inputs]

    def note(module: nn.Module, arguments: object, output: object) -> None:
        if isinstance(output, Tensor) and not list(module.children()):
            passed.append(output.numel() // 2)

    with torch.device("meta"):
        module = make()
        for one in module.modules():
            one.register_forward_hook(note)
        weights = sum(parameter.numel() for parameter in module.parameters())
        try:
            module(torch.zeros(2, inputs))
        except Exception:
            passed.append(weights)
    return weights, sum(passed)


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


def _with_maps(images: Tensor, channels: int, given: Tensor) -> Tensor:
    """The first channels of images [n, c, height, width], and a map of each number of [n, given].

    What follows the first channels are empty ones, by which a pack widens a layer.
    """
    maps = given[:, :, None, None].expand(*given.shape, *images.shape[2:])
    return torch.cat([images[:, :channels], maps], dim=1)


def _with_channels(images: Tensor, layer: nn.Module, axis: int) -> Tensor:
    """Images [n, c, height, width] with empty channels up to those along an axis of the weights."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return pad(images, (0, 0, 0, 0, 0, weight.shape[axis] - images.shape[1]))
