"""A decoder as a list of layers that the page computes: the one place where PyTorch meets it.

A layer that is not in `_LAYERS`, or a likelihood that is not in `_MEANS`, cannot be drawn, and the
page says so. What is added here needs its counterpart in decoder.js (`LAYERS`, `MEANS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.networks import ConvolutionsUp, Dense, Rows
from vae_ablation.models.vae import Decoder
from vae_ablation.report.page.bundle import FINEST, Bundle, rounded

SMALL = 256
"""Arrays up to this size keep every bit: they cost little."""
TOLERANCE = 0.5 / 255
_BITS = (*range(9, 17), 20, FINEST)


class UndrawableError(Exception):
    """A decoder that cannot be computed in the page, with the reason."""


@dataclass(frozen=True)
class Step:
    """One layer, or the likelihood's mean.

    Attributes:
        type: its name in decoder.js.
        options: plain values.
        arrays: its weights.
    """

    type: str
    options: Mapping[str, Any]
    arrays: Mapping[str, Tensor]

    def store(self, bundle: Bundle, bits: int) -> dict[str, Any]:
        """Plain form, its arrays appended to the bundle."""
        stored = {
            name: bundle.add(value.numpy(), _bits_of(value, bits))
            for name, value in self.arrays.items()
        }
        return {"type": self.type, **self.options, **stored}


def _bits_of(value: Tensor, bits: int) -> int:
    return FINEST if value.numel() <= SMALL else bits


def _weights(layer: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in layer.named_parameters()}


def _linear(layer: nn.Linear) -> list[Step]:
    return [Step("linear", {"outputs": layer.out_features}, _weights(layer))]


def _conv_transpose(layer: nn.ConvTranspose2d) -> list[Step]:
    names = ("kernel_size", "stride", "padding", "output_padding")
    options = {name: list(getattr(layer, name)) for name in names}
    return [Step("conv_transpose2d", {"outputs": layer.out_channels} | options, _weights(layer))]


def _sequence(layers: nn.Sequential) -> list[Step]:
    return [step for layer in layers for step in _steps(layer)]


def _convolutions_up(network: ConvolutionsUp) -> list[Step]:
    reshape = Step("reshape", {"shape": [network.channels, *network.side]}, {})
    last = Step("channels_last", {"channels": network.outputs}, {})
    colour = [last] if network.outputs > 1 else []
    return [*_steps(network.dense), reshape, *_steps(network.convolutions), *colour]


_LAYERS: dict[type[nn.Module], Callable[[Any], list[Step]]] = {
    nn.Linear: _linear,
    nn.ConvTranspose2d: _conv_transpose,
    nn.ReLU: lambda _: [Step("relu", {}, {})],
    nn.Tanh: lambda _: [Step("tanh", {}, {})],
    nn.SiLU: lambda _: [Step("silu", {}, {})],
    nn.Sequential: _sequence,
    Dense: _sequence,
    ConvolutionsUp: _convolutions_up,
}


def _discretized_logistic(decoder: Decoder) -> Step:
    scale = decoder.scales["log_scale"].detach().exp() + decoder.options["scale_floor"]
    return Step("discretized_logistic", {"levels": decoder.observed.levels}, {"scale": scale})


def _counts(decoder: Decoder, gated: bool = False) -> Step:
    """Proportions of genes from a softmax, in which genes outside the data count as many at 0.

    A gate, if there is one, is the second head.
    """
    observed = decoder.observed
    sizes = {"genes": observed.genes, "proteins": observed.proteins}
    return Step("counts", {**sizes, "gated": gated, "outside": observed.outside}, {})


def _log_normal(decoder: Decoder) -> Step:
    """The log of a mean lies half a variance above the mean of the log."""
    scale = decoder.scales["log_scale"].detach().exp() + decoder.options["scale_floor"]
    half = 0.5 * scale[: decoder.observed.genes].square()
    return Step("log_normal", {"proteins": decoder.observed.proteins}, {"scale": half})


_MEANS: dict[str, Callable[[Decoder], Step]] = {
    "bernoulli": lambda _: Step("bernoulli", {}, {}),
    "continuous_bernoulli": lambda decoder: Step(
        "continuous_bernoulli", {"bound": decoder.options["logit_clamp"]}, {}
    ),
    "gaussian": lambda _: Step("gaussian", {}, {}),
    "laplace": lambda _: Step("gaussian", {}, {}),
    "student_t": lambda _: Step("gaussian", {}, {}),
    "discretized_logistic": _discretized_logistic,
    "poisson": _counts,
    "negative_binomial": _counts,
    "zero_inflated_negative_binomial": lambda decoder: _counts(decoder, gated=True),
    "log_normal_gaussian": _log_normal,
}


def decoder_steps(decoder: Decoder, conditioned: bool = False) -> list[Step]:
    """Layers of a decoder, then the mean of its likelihood.

    Args:
        decoder: the decoder.
        conditioned: whether the page appends the condition to z.

    Raises:
        UndrawableError: a layer or the likelihood has no counterpart in the page.
    """
    name = next(name for name, item in LIKELIHOODS.items() if item is decoder.likelihood)
    if name not in _MEANS:
        raise UndrawableError(f"the likelihood {name}")
    if decoder.conditional and not conditioned:
        raise UndrawableError("a decoder that is told a label or a batch")
    return [*_steps(decoder.network), _MEANS[name](decoder)]


def _steps(layer: nn.Module) -> list[Step]:
    if isinstance(layer, Rows):
        raise UndrawableError("networks from outside the package")
    if type(layer) not in _LAYERS:
        raise UndrawableError(f"a layer of type {type(layer).__name__}")
    return _LAYERS[type(layer)](layer)


def drawn(decoder: Decoder, z: Tensor, context: Tensor | None = None) -> Tensor:
    """Output of the page at z [n, latent] and its context [n, context]: [n, dims].

    Intensities in [0, 1]; of counts log1p of their mean, of RNA in a cell of 10,000 molecules.
    """
    mean = decoder(z, context).mean
    return mean.clamp_min(0).log1p() if decoder.observed.counts else mean.clamp(0, 1)


@torch.no_grad()
def enough_bits(decoder: Decoder, z: NDArray[np.float32], context: Tensor | None = None) -> int:
    """Fewest bits per weight at which no pixel moves by more than half a grey level.

    A pixel that stays outside [0, 1] is drawn at the bound and does not count. Profiles of counts
    move as little, relative to the largest value.

    Args:
        decoder: left as it is.
        z: where it is compared, [n, latent].
        context: the context there, [n, context].
    """
    points = torch.from_numpy(z)
    exact = drawn(decoder, points, context)
    state = {name: value.clone() for name, value in decoder.state_dict().items()}
    try:
        for bits in _BITS[:-1]:
            decoder.load_state_dict({k: _rounded(v, bits) for k, v in state.items()})
            if float((drawn(decoder, points, context) - exact).abs().max()) <= TOLERANCE * float(
                exact.max().clamp_min(1)
            ):
                return bits
    finally:
        decoder.load_state_dict(state)
    return FINEST


def _rounded(value: Tensor, bits: int) -> Tensor:
    return torch.from_numpy(rounded(value.numpy(), _bits_of(value, bits))).reshape(value.shape)
