"""What a page holds: which runs, their decoders to within a quarter of a grey level, its size."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from support import model_options
from vae_ablation.data.base import TEST, Dataset, Observed
from vae_ablation.models.vae import Decoder
from vae_ablation.report.explorer import write_explorer
from vae_ablation.report.explorer.arrays import FINEST, Bundle, rounded
from vae_ablation.report.explorer.choice import choose_runs
from vae_ablation.report.explorer.layers import (
    TOLERANCE,
    UndrawableError,
    decoder_steps,
    enough_bits,
)
from vae_ablation.report.explorer.payload import shown_rows
from vae_ablation.report.figures.results import StudyResults

ReadPage = Callable[[Path], dict[str, Any]]


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


def test_runs_are_chosen_by_importance_and_likelihoods_take_turns(study: Path) -> None:
    chosen = choose_runs(StudyResults(study), "digits")
    assert all(choice.run.endswith("seed0") for choice in chosen)
    assert len({choice.run for choice in chosen}) == len(chosen)
    first = [(choice.likelihood, choice.arm) for choice in chosen[:4]]
    assert first == [
        ("bernoulli", "beta1-conv"),
        ("continuous_bernoulli", "beta1"),
        ("continuous_bernoulli", "kl-off"),
        ("discretized_logistic", "beta1"),
    ]
    gaussian = [
        (choice.latent_dim, choice.arm) for choice in chosen if choice.likelihood == "gaussian"
    ]
    assert gaussian[:2] == [(2, "beta1"), (2, "kl-off")]
    assert set(gaussian) == {
        (2, "beta1"), (2, "kl-off"), (2, "beta0.1"), (2, "point"), (5, "beta1"), (5, "kl-off")
    }  # fmt: skip


def test_at_most_eight_arms_of_a_likelihood_and_only_runs_that_ended_well(tmp_path: Path) -> None:
    rows = [
        {
            "run": f"digits/gaussian/z2/beta{2**k}/seed{seed}", "model": "vae", "dataset": "digits",
            "likelihood": "gaussian", "latent_dim": 2, "beta": 2.0**k, "kl": True,
            "posterior": "gaussian", "seed": seed, "arm": f"beta{2**k}",
            "status": "diverged" if (k, seed) == (0, 0) else "ok",
        }
        for k in range(12)
        for seed in (1, 0)
    ]  # fmt: skip
    (tmp_path / "tables").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "tables" / "metrics.csv", index=False)
    chosen = choose_runs(StudyResults(tmp_path), "digits")
    assert len(chosen) == 8
    assert chosen[0].run == "digits/gaussian/z2/beta1/seed1"
    assert all(choice.run.endswith("seed0") for choice in chosen[1:])


def test_the_same_study_gives_the_same_page(study: Path, page: Path, tmp_path: Path) -> None:
    write_explorer(study, "digits", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_a_page_stays_within_its_size_and_says_what_is_left_out(
    study: Path, page: Path, tmp_path: Path, read_page: ReadPage
) -> None:
    everything = read_page(page)
    assert everything["note"] == ""
    limit = page.stat().st_size - 20_000
    write_explorer(study, "digits", tmp_path / "small.html", max_bytes=limit)
    assert (tmp_path / "small.html").stat().st_size <= limit
    small = read_page(tmp_path / "small.html")
    missing = len(everything["runs"]) - len(small["runs"])
    assert missing > 0
    assert small["note"].startswith(f"{missing} of the {len(everything['runs'])} selected runs")
    arms = {(run["likelihood"], run["arm"]) for run in small["runs"]}
    assert ("gaussian", "beta1") in arms
    write_explorer(study, "digits", tmp_path / "none.html", max_bytes=1)
    assert read_page(tmp_path / "none.html")["runs"] == []


def test_the_chosen_plane_has_the_largest_kl_or_variance(
    study: Path, page: Path, read_page: ReadPage
) -> None:
    results = StudyResults(study)
    for run in read_page(page)["runs"]:
        order = [one["index"] for one in run["dimensions"]]
        assert sorted(order) == list(range(run["latent_dim"]))
        if run["latent_dim"] > 2:
            rates = results.rate_per_dim(run["run"])
            assert rates is not None
            assert set(order[:2]) == set(np.argsort(rates)[-2:].tolist())
            assert run["dimensions"][0]["size"].startswith("KL ")


def test_examples_are_evenly_spaced_and_capped(digits: Dataset) -> None:
    rows = shown_rows(digits)
    held_out = len(digits.rows("test"))
    np.testing.assert_array_equal(rows, np.arange(held_out))
    many = replace(digits, split=np.full_like(digits.split, TEST))
    rows = shown_rows(many)
    assert len(rows) == 400
    assert set(np.diff(rows)) <= {4, 5}
    assert rows.max() < len(digits.split)
