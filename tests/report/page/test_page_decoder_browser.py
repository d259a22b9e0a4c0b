"""The live decoder in a browser: means of every likelihood, test examples, dimensions walked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from report.page.trained import train_study
from support import model_options
from vae_ablation.data.base import Observed
from vae_ablation.data.prepare import load_dataset
from vae_ablation.models.vae import Decoder
from vae_ablation.report.page.bundle import FINEST, Bundle
from vae_ablation.report.page.layers import decoder_steps
from vae_ablation.store.trained import load_run
from vae_ablation.study.workflow import read_frozen
from vae_ablation.tables.collect import read_metrics, summarize, write_csv

pytestmark = pytest.mark.browser

ROUNDING = 0.5 / 255
"""Pixels are whole grey levels."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two and five dimensions, with and without the KL term. Read only."""
    grids = [{"likelihood": ["gaussian"], "latent_dim": [2, 5], "kl": [True, False]}]
    folder = train_study(tmp_path_factory.mktemp("explored"), grids=grids)
    metrics = read_metrics(folder / "tables" / "metrics.csv")
    write_csv(summarize(metrics), folder / "tables" / "summary.csv")
    return folder


def computed(page: Any, decoder: Decoder, z: list[float]) -> np.ndarray:
    """What the page's script computes of a decoder's layers."""
    bundle = Bundle()
    steps = [step.store(bundle, FINEST) for step in decoder_steps(decoder)]
    values = page.driver.execute_async_script(
        "const [text, steps, z, done] = arguments;"
        "Decoder.inflate(text).then((bytes) => done(Array.from("
        "Decoder.decode({ steps: Decoder.readSteps(steps, bytes) }, Float32Array.from(z)))))",
        bundle.text(),
        steps,
        z,
    )
    return np.array(values)


@pytest.mark.parametrize(
    "likelihood", ["gaussian", "bernoulli", "continuous_bernoulli", "discretized_logistic"]
)
def test_the_mean_is_that_of_the_likelihood_over_the_whole_range_of_outputs(
    study: Path, page: Any, likelihood: str
) -> None:
    """Outputs far beyond the logit clamp, near λ = ½, and around every grey level."""
    outputs = {
        "gaussian": np.linspace(-0.5, 1.5, 64),
        "discretized_logistic": np.linspace(-0.3, 1.3, 64),
    }.get(likelihood, np.r_[np.linspace(-40, 40, 32), np.linspace(-0.6, 0.6, 32)])
    observed = Observed((8, 8), 2 if likelihood == "bernoulli" else 17)
    planted = Decoder(observed, likelihood, 2, model_options(hidden=[], logit_clamp=9.0))
    with torch.no_grad():
        planted.network[0].bias.copy_(torch.from_numpy(outputs))
        for scale in planted.scales.values():
            scale.copy_(torch.linspace(-6, 0, len(scale))[torch.randperm(len(scale))])
    page.open(study)
    mean = planted(torch.zeros(2)).mean.detach().numpy()
    assert np.abs(computed(page, planted, [0, 0]) - mean).max() <= 1e-4


@pytest.mark.parametrize(
    ("likelihood", "dispersion"),
    [
        ("poisson", "gene"),
        ("negative_binomial", "gene_cell"),
        ("zero_inflated_negative_binomial", "gene_cell"),
        ("log_normal_gaussian", "gene"),
    ],
)
def test_counts_are_drawn_as_the_logarithm_of_their_mean(
    study: Path, page: Any, likelihood: str, dispersion: str
) -> None:
    """RNA of a cell of 10,000 molecules, proteins as they are, against the model's own mean."""
    observed = Observed((12,), None, counts=True, proteins=4)
    options = {**model_options(hidden=[]), "dispersion": dispersion}
    planted = Decoder(observed, likelihood, 2, options)
    with torch.no_grad():
        outputs = torch.linspace(-2.5, 3, len(planted.network[0].bias))
        planted.network[0].bias.copy_(outputs[torch.randperm(len(outputs))])
        mean = planted(torch.zeros(1, 2), torch.tensor([[1e4]])).mean[0].numpy()
    page.open(study)
    drawn = computed(page, planted, [0, 0])
    np.testing.assert_allclose(drawn, np.log1p(mean), atol=2e-4)
    assert np.ptp(drawn) > 1


def show(page: Any, kind: str, latent_dim: int) -> str:
    """Choose an arm; the run that is shown of it."""
    page.run(
        "choose(range(ARM_COUNT).find((arm) => levelOf(arm, axisAt.beta).id === arguments[0]"
        " && levelOf(arm, axisAt.latent_dim).value === arguments[1])); redraw(true)",
        kind,
        latent_dim,
    )
    page.settle()
    return page.run("return data.shown[state.arm].run")


def pixels(page: Any, selector: str) -> np.ndarray:
    """Grey values of a canvas, row by row, from 0 to 1."""
    values = page.run(
        "const canvas = document.querySelector(arguments[0]);"
        "const { width, height } = canvas;"
        "const copy = Object.assign(document.createElement('canvas'), { width, height });"
        "const pen = copy.getContext('2d', { willReadFrequently: true });"
        "pen.drawImage(canvas, 0, 0);"
        "return Array.from(pen.getImageData(0, 0, width, height).data)"
        ".filter((_, i) => i % 4 === 0)",
        selector,
    )
    return np.array(values) / 255


def decoded(study: Path, run: str, z: np.ndarray) -> np.ndarray:
    return load_run(study / "runs" / run).decode(z[None].astype(np.float32)).mean[0].numpy()


def test_the_nearest_example_stands_beside_its_reconstruction(study: Path, page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open(study)
    run = show(page, "1", 2)
    with np.load(study / "runs" / run / "codes.npz") as arrays:
        codes, labels = arrays["mean"], arrays["labels"]
    frozen, _ = read_frozen(study)
    originals = load_dataset("digits", frozen.prepared["digits"]).intensities("test")
    page.run("document.querySelector('#card-plane svg').focus()")
    for key in (Keys.HOME, Keys.ARROW_LEFT, Keys.PAGE_DOWN, Keys.PAGE_DOWN):
        page.driver.switch_to.active_element.send_keys(key)
        z = np.array(json.loads(page.run("return document.getElementById('card-plane').dataset.z")))
        if key == Keys.HOME:
            assert z.tolist() == [0, 0]
        example = int(np.argmin(np.linalg.norm(codes - z, axis=1)))
        if key == Keys.PAGE_DOWN:
            np.testing.assert_allclose(z, codes[example], atol=1e-3)
        original = pixels(page, "#card-probe .nearest canvas")
        assert np.abs(original - originals[example].ravel()).max() <= ROUNDING + 1e-6
        drawn = pixels(page, "#card-probe .nearest canvas:nth-of-type(2)")
        wanted = decoded(study, run, codes[example]).ravel().clip(0, 1)
        assert np.abs(drawn - wanted).max() <= 1 / 255 + 1e-6
        said = page.run("return document.querySelector('#card-probe .nearest').textContent")
        assert said.startswith(f"Nearest test example of class {labels[example]}")


def test_each_dimension_is_walked_from_the_code_of_an_example(study: Path, page: Any) -> None:
    page.open(study)
    for kind in ("1", "kl-off"):
        run = show(page, kind, 5)
        with np.load(study / "runs" / run / "codes.npz") as arrays:
            codes = arrays["mean"]
        (dimension, *_), count = page.run(
            "return [data.shown[state.arm].dimensions.map((one) => one.index),"
            " document.querySelectorAll('#map .walks canvas').length]"
        )
        assert count == 5
        z = codes[0].copy()
        z[dimension] = -3 if kind == "1" else codes[:, dimension].min()
        row = pixels(page, "#map .walks canvas").reshape(8, -1)
        wanted = decoded(study, run, z).clip(0, 1).reshape(8, 8)
        assert np.abs(row[:, :8] - wanted).max() <= 1 / 255 + 1e-6
    show(page, "1", 2)
    assert page.run("return document.querySelectorAll('#map .walks').length") == 0


def test_another_prior_has_no_circles_of_the_standard_normal(study: Path, page: Any) -> None:
    page.open(study)
    circles = "return document.querySelectorAll('#card-plane circle.axis').length"
    show(page, "1", 2)
    assert page.run(circles) == 3
    page.run("data.shown[state.arm].prior = 'mixture'; redrawCard()")
    page.settle()
    assert page.run(circles) == 0
    assert page.broken() == []


def test_training_curves_are_those_of_the_history(study: Path, page: Any) -> None:
    page.open(study)
    run = show(page, "1", 5)
    page.driver.execute_async_script(
        "const done = arguments[0]; drawFigure('curves'); setTimeout(done, 500)"
    )
    head, *rows = page.run("return figures.get('curves').rows")
    assert head[:3] == ["run", "split", "epoch"]
    history = pd.read_csv(study / "runs" / run / "history.csv")
    for split in ("train", "validation"):
        own = [row for row in rows if row[:2] == [run, split]]
        wanted = history[history["split"] == split]
        assert [row[2] for row in own] == wanted["epoch"].tolist()
        for name in head[3:]:
            drawn = [row[head.index(name)] for row in own]
            np.testing.assert_allclose(drawn, wanted[name], rtol=1e-3, atol=1e-3)
    assert {row[0] for row in rows} > {run}, "another level of an axis is grey"
    assert page.run("return document.querySelectorAll('#trust figure svg').length") >= 3
    assert page.broken() == []
