"""Pictures in colour: sources, networks, likelihoods, pictures and a study to its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from faults.made import SMALL, make_tables, run_study
from support import cpu_vae, dataset_options, given, model_options
from vae_ablation.data.base import Observed
from vae_ablation.data.examples import PIXEL, as_rgb, drawable, pixels
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.data.sprites import COLORS
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.report.figures.layout import mosaic


def prepared(folder: Path, **options: Any) -> Any:
    prepare_dataset(dataset_options(**options), folder)
    return load_dataset("own", folder)


@pytest.mark.parametrize(
    ("x", "shape", "levels"),
    [
        (np.arange(40 * 48).reshape(40, 4, 4, 3) % 256, (4, 4, 3), 256),
        (np.arange(40 * 16).reshape(40, 4, 4, 1) % 256, (4, 4), 256),
        (np.random.default_rng(0).random((40, 4, 4, 2)), (4, 4, 2), None),
        (np.arange(40 * 80).reshape(40, 4, 4, 5) % 2, (4, 4, 5), 2),
    ],
)
def test_an_npz_holds_pictures_of_several_channels(
    x: np.ndarray, shape: tuple[int, ...], levels: int | None, tmp_path: Path
) -> None:
    np.savez(tmp_path / "own.npz", x=x)
    dataset = prepared(tmp_path / "data", source="npz", path=str(tmp_path / "own.npz"))
    assert dataset.observed.shape == shape
    assert dataset.observed.levels == levels
    scale = 1 if levels is None else levels - 1
    np.testing.assert_allclose(dataset.x, x.reshape(40, -1) / scale, rtol=1e-6)


def test_photographs_are_the_files_of_scikit_learn_without_overlap(tmp_path: Path) -> None:
    from sklearn.datasets import load_sample_image

    dataset = prepared(tmp_path, source="photographs", size=16)
    assert dataset.observed == Observed((16, 16, 3), 256, classes=2)
    assert len(dataset.x) == 2 * (427 // 16) * (640 // 16)
    assert dataset.class_names == ("china", "flower")
    flower = load_sample_image("flower.jpg")
    place = 26 * 40 + 3 * 40 + 7  # third row, seventh column of the second photograph
    expected = flower[48:64, 112:128].astype(float) / 255
    np.testing.assert_allclose(dataset.x[place].reshape(16, 16, 3), expected, atol=1e-6)


def test_sprites_have_the_colour_that_their_factor_says(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, source="sprites", size=16, examples=200, color=True)
    assert dataset.factor_names[-1] == "color"
    assert dataset.observed.binary
    pictures = dataset.x.reshape(-1, 16 * 16, 3)
    colors = np.array(list(COLORS.values()))
    assert (pictures.max(1) == colors[dataset.factors[:, -1]]).all()
    assert len({row.tobytes() for row in dataset.factors}) == 200


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("side", [(8, 8), (9, 7)])
def test_convolutions_are_those_of_torch_on_channels(side: tuple[int, int], channels: int) -> None:
    """The encoder's first layer on pictures permuted by hand; the decoder gives as many numbers."""
    observed = Observed((*side, channels), 256)
    vae = cpu_vae(observed, "gaussian", "conv")
    x = torch.rand(5, observed.dims)
    network = vae.encoder.network
    by_hand = x.reshape(5, *side, channels).movedim(-1, 1)
    features = network.dense(network.convolutions(by_hand).flatten(1))
    torch.testing.assert_close(network(x), features)
    z = torch.randn(5, 2)
    output = vae.decoder.network(z)
    assert output.shape == (5, observed.dims)
    decoder = vae.decoder.network
    raw = decoder.convolutions(decoder.dense(z).reshape(5, decoder.channels, *decoder.side))
    assert raw.shape == (5, channels, *side)
    torch.testing.assert_close(output.reshape(5, *side, channels).movedim(-1, 1), raw)


@pytest.mark.parametrize("scale", ["learned_scalar", "learned_per_dimension"])
def test_a_gaussian_sums_over_channels(scale: str) -> None:
    observed = Observed((2, 2, 3), 256)
    options = model_options(gaussian_scale=scale)
    likelihood = LIKELIHOODS["gaussian"]
    initial = likelihood.parameters(observed, options)
    x, output = torch.rand(4, 12), torch.rand(4, 12)
    found = likelihood.distribution(output, initial, given(observed, options)).log_prob(x)
    sigma = 0.01 + np.exp(-1.0)
    expected = norm.logpdf(x.numpy(), output.numpy(), sigma).sum(1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_pictures_become_red_green_and_blue() -> None:
    random = np.random.default_rng(0)
    five = random.integers(0, 256, (2, 3, 4, 5)).astype(np.uint8)
    assert (as_rgb(five) == five[..., :3]).all()
    two = as_rgb(five[..., :2])
    assert (two[..., :2] == five[..., :2]).all()
    assert not two[..., 2].any()
    assert (as_rgb(five[..., :1]) == five[..., :1]).all()
    assert pixels(five).shape == (2, 3, 4)
    assert (drawable(pixels(five)) == five[..., :3]).all()
    grey = five[..., 0]
    assert drawable(grey) is grey


def test_a_mosaic_in_colour_is_one_mosaic_per_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3)).astype(np.uint8)
    for lines in (True, False):
        found = drawable(mosaic(pixels(images), lines))
        for channel in range(3):
            assert (found[..., channel] == mosaic(images[..., channel], lines)).all()


COLOUR: dict[str, Any] = SMALL | {
    "datasets": {
        "photos": {"source": "photographs", "size": 16, "max_examples": 150},
        "sprites": {"source": "sprites", "size": 16, "examples": 150, "color": True},
    },
    "grids": [
        {"likelihood": ["discretized_logistic"], "dataset": ["photos"], "architecture": ["conv"]},
        {"likelihood": ["bernoulli"], "dataset": ["sprites"], "kl": [True, False]},
    ],
    "model": {"hidden": [8], "channels": [4]},
}


def test_a_study_in_colour_runs_to_its_figures_and_report(tmp_path: Path) -> None:
    run_study(tmp_path, COLOUR)
    study = make_tables(tmp_path, COLOUR)
    (folder,) = (study / "runs/photos").rglob("seed0")
    with np.load(folder / "pictures.npz") as arrays:
        assert arrays["originals"].shape[1:] == (16, 16, 3)
        assert arrays["traversals"].shape[2:] == (16, 16, 3)
    names = {path.stem for path in (study / "figures").rglob("*.png")}
    assert {"rate_distortion", "kl_on_off", "latent_space"} <= names
    page = (study / "report.html").read_text(encoding="utf-8")
    assert page.count('"shape":[16,16,3]') == 2
    assert 'id="part-examples-photos"' in page
    assert PIXEL.itemsize == 3
