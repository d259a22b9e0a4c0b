"""Decoders in the page: to within a quarter of a grey level, or the reason why there are none."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from support import model_options
from vae_ablation.data.base import Observed
from vae_ablation.models.vae import Decoder
from vae_ablation.report.page.bundle import FINEST, Bundle, rounded
from vae_ablation.report.page.decoders import dimension_order
from vae_ablation.report.page.layers import (
    TOLERANCE,
    UndrawableError,
    decoder_steps,
    enough_bits,
)


def read_back(text: str, stored: dict[str, Any]) -> np.ndarray:
    """The array as the page's script reads it."""
    content = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8)
    length, width = stored["length"], stored["width"]
    planes = content[stored["at"] : stored["at"] + length * width].reshape(width, length)
    whole = sum(planes[i].astype(np.int64) << (8 * i) for i in range(width))
    signed = whole - ((whole >> (8 * width - 1)) << (8 * width))
    return (signed * stored["step"]).astype(np.float32)


@pytest.mark.parametrize("bits", [8, 10, 12, 16, 20, 24])
def test_an_array_comes_back_within_half_a_step(bits: int) -> None:
    values = np.random.default_rng(0).normal(0, 3, 5000).astype(np.float32)
    bundle = Bundle()
    bundle.add(np.ones(7, np.float32), 16)
    stored = bundle.add(values, bits)
    back = read_back(bundle.text(), stored)
    step = np.abs(values).max() / (2 ** (bits - 1) - 1)
    assert np.abs(back - values).max() <= 0.5001 * step + 1e-6
    np.testing.assert_array_equal(back, rounded(values, bits))


def test_nothing_but_zeros_comes_back_as_zeros() -> None:
    bundle = Bundle()
    stored = bundle.add(np.zeros(4, np.float32), 12)
    np.testing.assert_array_equal(read_back(bundle.text(), stored), np.zeros(4))


def decoder(scale: float = 1.0) -> Decoder:
    torch.manual_seed(0)
    made = Decoder(Observed((20, 20), 17), "gaussian", 2, model_options(hidden=[64]))
    with torch.no_grad():
        for weight in made.network.parameters():
            weight.mul_(scale)
    return made


def test_rounding_moves_no_pixel_by_more_than_a_quarter_of_a_grey_level() -> None:
    probes = np.random.default_rng(0).normal(0, 2, (200, 2)).astype(np.float32)
    bits = []
    for scale in (0.3, 1.0, 4.0):
        made = decoder(scale)
        before = {name: value.clone() for name, value in made.state_dict().items()}
        bits.append(enough_bits(made, probes))
        for name, value in made.state_dict().items():
            assert torch.equal(value, before[name]), "the decoder itself stays as it is"
        bundle = Bundle()
        steps = [step.store(bundle, bits[-1]) for step in decoder_steps(made)]
        weight = [read_back(bundle.text(), step["weight"]) for step in steps if "weight" in step]
        bias = [read_back(bundle.text(), step["bias"]) for step in steps if "bias" in step]
        hidden = np.maximum(probes @ weight[0].reshape(64, 2).T + bias[0], 0)
        drawn = (hidden @ weight[1].reshape(400, 64).T + bias[1]).clip(0, 1)
        exact = made(torch.from_numpy(probes)).mean.detach().numpy().clip(0, 1)
        assert np.abs(drawn - exact).max() <= TOLERANCE + 1e-5
    assert bits[0] < bits[-1], "steeper decoders need more bits"
    assert bits[-1] <= FINEST


def test_a_layer_that_the_page_does_not_know_is_named() -> None:
    made = decoder()
    made.network.append(nn.Dropout())
    with pytest.raises(UndrawableError, match="a layer of type Dropout"):
        decoder_steps(made)


def test_a_decoder_conditioned_on_labels_is_drawn_only_with_a_class() -> None:
    made = Decoder(
        Observed((8, 8), 17, classes=10), "gaussian", 2, model_options(), condition="label"
    )
    with pytest.raises(UndrawableError, match="told a label"):
        decoder_steps(made)
    assert [step.type for step in decoder_steps(made, conditioned=True)][-1] == "gaussian"


@pytest.mark.parametrize("latent", [2, 5])
def test_the_chosen_plane_has_the_largest_kl_or_variance(latent: int) -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(0, np.arange(1, latent + 1), (200, latent))
    rates = rng.permutation(latent).astype(float)
    by_kl = [one["index"] for one in dimension_order(rates, means)]
    by_variance = dimension_order(None, means)
    if latent == 2:
        assert by_kl == [0, 1]
    else:
        assert by_kl == np.argsort(-rates).tolist()
        assert [one["index"] for one in by_variance] == [4, 3, 2, 1, 0]
    assert by_variance[0]["size"].startswith("variance ")
