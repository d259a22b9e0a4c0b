"""The explorer in a browser: what it draws is what PyTorch's decoder gives, and it stays calm."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import model_options
from vae_ablation.data.base import Observed
from vae_ablation.data.prepare import load_dataset
from vae_ablation.models.vae import Decoder
from vae_ablation.report.explorer import REPORT_BYTES, write_explorer
from vae_ablation.report.explorer.arrays import FINEST, Bundle
from vae_ablation.report.explorer.layers import UndrawableError, decoder_steps
from vae_ablation.report.explorer.page import render
from vae_ablation.store.trained import load_run
from vae_ablation.study.workflow import read_frozen

pytestmark = pytest.mark.browser

LEVEL = 1 / 255
ROUNDING = 0.5 / 255
"""Pixels are whole grey levels."""


def expected(study: Path, run: str, z: np.ndarray) -> np.ndarray:
    """What PyTorch's decoder gives at z, on the scale of the screen."""
    return load_run(study / "runs" / run).decode(z[None]).mean[0].numpy().clip(0, 1)


def assert_drawn(study: Path, explorer: Any) -> None:
    drawn = explorer.pixels("drawn").ravel() / 255
    assert np.abs(drawn - expected(study, explorer.run, explorer.z)).max() <= LEVEL


def means(study: Path, run: str) -> np.ndarray:
    with np.load(study / "runs" / run / "codes.npz") as arrays:
        return arrays["mean"]


@pytest.mark.parametrize("arm", ["beta1", "kl-off"])
@pytest.mark.parametrize("likelihood", ["gaussian", "continuous_bernoulli", "discretized_logistic"])
def test_dragging_draws_what_pytorchs_decoder_gives(
    study: Path, page: Path, explorer: Any, likelihood: str, arm: str
) -> None:
    explorer.open(page)
    explorer.show(likelihood, 2, arm)
    seen = []
    for stop in ((0.8, 0.3), (0.12, 0.9), (0.5, 0.52)):
        explorer.drag((0.98, 0.02), stop)
        assert explorer.z == pytest.approx([8 * stop[0] - 4, 8 * stop[1] - 4], abs=0.02)
        assert_drawn(study, explorer)
        seen.append(explorer.pixels("drawn"))
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize(
    "likelihood", ["gaussian", "bernoulli", "continuous_bernoulli", "discretized_logistic"]
)
def test_the_mean_is_that_of_the_likelihood_over_the_whole_range_of_outputs(
    page: Path,
    explorer: Any,
    tmp_path: Path,
    read_page: Callable[[Path], dict[str, Any]],
    likelihood: str,
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

    content, bundle = read_page(page), Bundle()
    run = content["runs"][content["start"]]
    count = len(content["rows"])
    run["codes"] = bundle.add(np.ones((count, run["latent_dim"]), np.float32), 16)
    run["steps"] = [step.store(bundle, FINEST) for step in decoder_steps(planted)]
    run["arrays"] = bundle.text()
    (tmp_path / "page.html").write_text(render(content), encoding="utf-8")
    explorer.open(tmp_path / "page.html")
    explorer.press("\ue011")
    mean = planted(torch.zeros(2)).mean.detach().numpy().clip(0, 1)
    assert np.abs(explorer.pixels("drawn").ravel() / 255 - mean).max() <= ROUNDING + 1e-4


def test_transposed_convolutions_draw_what_pytorchs_do(
    study: Path, page: Path, explorer: Any
) -> None:
    explorer.open(page)
    explorer.show("bernoulli", 2, "beta1-conv")
    for stop in ((0.75, 0.35), (0.2, 0.8)):
        explorer.drag((0.98, 0.02), stop)
        assert_drawn(study, explorer)
    assert np.ptp(explorer.pixels("drawn").astype(int)) > 30


def test_a_plane_of_a_larger_space_draws_what_pytorchs_decoder_gives(
    study: Path, page: Path, explorer: Any, read_page: Callable[[Path], dict[str, Any]]
) -> None:
    from selenium.webdriver.support.ui import Select

    explorer.open(page)
    explorer.show("gaussian", 5, "beta1")
    run = next(run for run in read_page(page)["runs"] if run["run"] == explorer.run)
    first = [one["index"] for one in run["dimensions"]]
    explorer.drag((0.98, 0.02), (0.7, 0.8))
    np.testing.assert_array_equal(np.flatnonzero(explorer.z), np.sort(first[:2]))
    assert_drawn(study, explorer)

    Select(explorer.driver.find_element("id", "axis-x")).select_by_value(str(first[4]))
    explorer.drag((0.98, 0.02), (0.3, 0.6))
    assert explorer.z[[first[4], first[1]]] == pytest.approx([-1.6, 0.8], abs=0.02)
    assert_drawn(study, explorer)
    # the same dimension on both axes would be no plane: they change places
    Select(explorer.driver.find_element("id", "axis-y")).select_by_value(str(first[4]))
    chosen = Select(explorer.driver.find_element("id", "axis-x")).first_selected_option
    assert chosen.get_attribute("value") == str(first[1])

    explorer.press("\ue00f")  # Page Down takes the nearest example
    code = means(study, explorer.run)[explorer.example]
    assert explorer.z == pytest.approx(code, abs=1e-3)
    explorer.drag((0.98, 0.02), (0.5, 0.5))
    others = np.setdiff1d(np.arange(5), [first[1], first[4]])
    assert explorer.z[others] == pytest.approx(code[others], abs=1e-3)
    assert "as in example" in explorer.text("rest")
    assert_drawn(study, explorer)


def test_a_switch_of_the_arm_keeps_the_place_or_the_example(
    study: Path, page: Path, explorer: Any
) -> None:
    explorer.open(page)
    explorer.show("gaussian", 2, "beta1")
    explorer.drag((0.98, 0.02), (0.6, 0.7))
    z, drawn = explorer.z, explorer.pixels("drawn")
    explorer.choose("arm", "kl-off")
    assert "/kl-off/" in explorer.run
    np.testing.assert_array_equal(explorer.z, z)
    assert_drawn(study, explorer)
    assert not np.array_equal(explorer.pixels("drawn"), drawn)

    explorer.press("\ue00f")  # Page Down takes the nearest example
    example = explorer.example
    for arm in ("beta0.1", "point", "kl-off"):
        explorer.choose("arm", arm)
        assert explorer.example == example
        assert explorer.z == pytest.approx(means(study, explorer.run)[example], abs=1e-3)
        assert explorer.text("example-title") == "Selected example"
    explorer.choose("latent-dim", 5)
    assert explorer.z == pytest.approx(means(study, explorer.run)[example], abs=1e-3)


def test_arms_are_switched_by_arrow_keys_and_the_metrics_follow(page: Path, explorer: Any) -> None:
    explorer.open(page)
    explorer.show("gaussian", 2, "beta1")
    assert "rate" in explorer.text("metrics")
    chosen = explorer.driver.find_element("css selector", "#arm input:checked")
    chosen.send_keys("\ue012")  # left
    explorer.wait(lambda: "/beta0.1/" in explorer.run)
    assert explorer.text("metrics").startswith("β = 0.1")
    explorer.choose("arm", "point")
    text = explorer.text("metrics")
    assert text.startswith("deterministic")
    assert "rate" not in text


def test_keys_move_the_point_by_small_and_large_steps_and_home(
    study: Path, page: Path, explorer: Any
) -> None:
    left, up, right, shift = "\ue012", "\ue013", "\ue014", "\ue008"
    explorer.open(page)
    explorer.press("\ue011")
    np.testing.assert_array_equal(explorer.z, [0, 0])
    explorer.press(right, right, up)
    assert explorer.z == pytest.approx([0.1, 0.05], abs=1e-6)
    explorer.press(shift + left)
    assert explorer.z == pytest.approx([-0.4, 0.05], abs=1e-6)
    assert_drawn(study, explorer)
    distance = float(np.hypot(0.4, 0.05))
    assert explorer.text("norm") == f"{distance:.2f} prior σ"
    assert explorer.text("z") == "−0.40, 0.05"
    log_prior = -0.5 * distance**2 - np.log(2 * np.pi)
    assert explorer.text("log-prior") == f"−{-log_prior:.2f} nats"
    explorer.press("\ue011")
    np.testing.assert_array_equal(explorer.z, [0, 0])


def test_hovering_shows_the_original_and_its_reconstruction(
    study: Path, page: Path, explorer: Any, read_page: Callable[[Path], dict[str, Any]]
) -> None:
    explorer.open(page)
    explorer.show("gaussian", 2, "beta1")
    run = explorer.run
    codes = means(study, run)
    spread = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
    np.fill_diagonal(spread, np.inf)
    inside = np.abs(codes).max(axis=1) < 3.9
    example = int(np.argmax(np.where(inside, spread.min(axis=1), -1)))
    before = explorer.z
    explorer.hover(codes[example])
    assert explorer.text("example-title") == "Example under the pointer"
    assert explorer.example == example
    np.testing.assert_array_equal(explorer.z, before)

    frozen, _ = read_frozen(study)
    dataset = load_dataset("digits", frozen.prepared["digits"])
    original = dataset.intensities("test")[example]
    assert np.abs(explorer.pixels("original").ravel() / 255 - original).max() <= ROUNDING + 1e-6
    drawn = explorer.pixels("reconstruction").ravel() / 255
    assert np.abs(drawn - expected(study, run, codes[example])).max() <= LEVEL
    label = dataset.labels_of("test")[example]
    assert explorer.text("example-name") == f"label {label}, test example {example}"


def test_a_click_on_a_code_chooses_its_example(study: Path, page: Path, explorer: Any) -> None:
    explorer.open(page)
    explorer.show("gaussian", 2, "beta1")
    codes = means(study, explorer.run)
    target = codes[np.argmin(np.abs(codes).max(axis=1))]
    explorer.drag(((target[0] + 4) / 8, (target[1] + 4) / 8))
    assert explorer.z == pytest.approx(codes[explorer.example], abs=1e-3)
    assert explorer.text("example-title") == "Selected example"
    explorer.press("\ue00c")  # Escape clears the selection; the pointer is still over it
    assert explorer.text("example-title") == "Example under the pointer"


def test_axes_that_fit_the_codes_show_all_of_them(
    study: Path, explorer: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "results" / "tiny"
    shutil.copytree(study.parent, folder.parent, symlinks=True)
    (link,) = folder.glob("runs/digits/gaussian/z2/kl-off/seed0/codes.npz")
    with np.load(link) as arrays:
        wide = {**arrays, "mean": 7 * arrays["mean"]}
    link.unlink()
    np.savez(link, **wide)
    write_explorer(folder, "digits", tmp_path / "page.html")
    explorer.open(tmp_path / "page.html")
    explorer.show("gaussian", 2, "kl-off")
    codes = wide["mean"]
    outside = int((np.abs(codes) > 4).any(axis=1).sum())
    assert outside
    assert explorer.text("outside") == f"{outside} of {len(codes)} codes are outside the plot"
    explorer.choose("view", "codes")
    assert explorer.text("outside") == ""
    explorer.drag((0.5, 0.5), (0.98, 0.98))
    assert np.abs(explorer.z).max() > 4
    assert_drawn(study, explorer)


def test_the_whole_plane_is_decoded_on_request(page: Path, explorer: Any) -> None:
    explorer.open(page)

    def colors() -> int:
        return explorer.driver.execute_script(
            "const canvas = document.getElementById('codes');"
            "const { data } = canvas.getContext('2d').getImageData(52, 14, 60, 60);"
            "return new Set(new Uint32Array(data.buffer)).size"
        )

    bare = colors()
    explorer.driver.find_element("id", "mosaic").click()
    explorer.wait(lambda: colors() > bare + 5)


def test_a_frame_takes_little_time(page: Path, explorer: Any) -> None:
    """Moves the point in every frame: one frame's work, and the pace that results."""
    explorer.open(page)
    explorer.show("discretized_logistic", 2, "beta1")
    work, pace = explorer.driver.execute_async_script(
        """
        const done = arguments[0], plane = document.getElementById("plane"), work = [];
        const box = plane.getBoundingClientRect();
        const send = (type, t) => plane.dispatchEvent(new PointerEvent(type, {
          pointerId: 1, button: 0, bubbles: true,
          clientX: box.left + box.width * (0.5 + 0.3 * Math.cos(t / 9)),
          clientY: box.top + box.height * (0.5 + 0.3 * Math.sin(t / 7)),
        }));
        plane.setPointerCapture = () => {};
        send("pointerdown", 0);
        const began = performance.now();
        let frame = 0, start = 0;
        function next() {
          if (frame++ === 90) {
            send("pointerup", frame);
            work.sort((a, b) => a - b);
            return done([work[45], (performance.now() - began) / 90]);
          }
          requestAnimationFrame(() => { start = performance.now(); });
          send("pointermove", frame);
          requestAnimationFrame(() => { work.push(performance.now() - start); next(); });
        }
        next();
        """
    )
    print(f"one frame: {work:.2f} ms of work, {pace:.1f} ms from frame to frame")
    assert work < 12
    assert pace < 50


def test_the_page_opens_in_a_frame_of_the_report(
    study: Path, page: Path, explorer: Any, tmp_path: Path
) -> None:
    """Snakemake's report holds a page as a base64 address and shows it in a frame."""
    coded = base64.b64encode(page.read_bytes()).decode()
    address = f"data:text/html;charset=utf8;filename=digits.html;base64,{coded}"
    report = tmp_path / "report.html"
    report.write_text(f'<iframe src="{address}" style="width: 950px; height: 800px"></iframe>')
    explorer.driver.get(report.as_uri())
    explorer.driver.switch_to.frame(explorer.driver.find_element("css selector", "iframe"))
    explorer.wait(lambda: explorer.plane.get_attribute("data-z"))
    explorer.drag((0.9, 0.1), (0.4, 0.7))
    assert_drawn(study, explorer)
    explorer.driver.switch_to.default_content()


def test_a_page_as_large_as_allowed_still_opens_in_a_frame(explorer: Any, tmp_path: Path) -> None:
    content = b"<p>here</p>".ljust(REPORT_BYTES)
    address = "data:text/html;charset=utf8;filename=a-rather-long-name-of-a-dataset.html;base64,"
    address += base64.b64encode(content).decode()
    (tmp_path / "report.html").write_text(f'<iframe src="{address}"></iframe>')
    explorer.driver.get((tmp_path / "report.html").as_uri())
    explorer.driver.switch_to.frame(explorer.driver.find_element("css selector", "iframe"))
    assert explorer.driver.find_element("css selector", "p").text == "here"
    explorer.driver.switch_to.default_content()


def test_names_of_users_are_text_and_never_markup(
    study: Path, explorer: Any, tmp_path: Path, read_page: Callable[[Path], dict[str, Any]]
) -> None:
    write_explorer(study, "digits", tmp_path / "page.html")
    content = read_page(tmp_path / "page.html")
    bad = "</script><script>document.title = 'broken'</script><b>& {{DATA}} \u2028"
    content["dataset"] = bad
    for one in [*content["runs"], *content["classes"]]:
        one |= {"label": bad, "name": bad}
    (tmp_path / "page.html").write_text(render(content), encoding="utf-8")
    explorer.open(tmp_path / "page.html")
    assert explorer.driver.title != "broken"
    assert "<script>document.title" in explorer.text("dataset")
    assert explorer.text("metrics").startswith("</script><script>")
    assert not explorer.driver.find_elements("css selector", "main b b, #legend b, #dataset b")


def test_a_decoder_that_cannot_be_drawn_is_one_sentence_and_the_codes_stay(
    page: Path, explorer: Any, tmp_path: Path, read_page: Callable[[Path], dict[str, Any]]
) -> None:
    content = read_page(page)
    for run in content["runs"]:
        del run["steps"]
        run["undrawable"] = "a layer of type Dropout"
    (tmp_path / "page.html").write_text(render(content), encoding="utf-8")
    explorer.open(tmp_path / "page.html")
    sentence = explorer.text("undrawable")
    assert sentence.endswith("a layer of type Dropout.")
    assert sentence.count(".") == 1
    assert not explorer.driver.find_element("id", "drawn").is_displayed()
    explorer.drag((0.9, 0.1), (0.5, 0.5))
    assert explorer.driver.find_element("id", "original").is_displayed()
    assert not explorer.driver.find_element("id", "reconstruction").is_displayed()


def test_a_page_without_runs_is_one_sentence(study: Path, explorer: Any, tmp_path: Path) -> None:
    write_explorer(study, "digits", tmp_path / "page.html", max_bytes=1)
    explorer.driver.get((tmp_path / "page.html").as_uri())
    explorer.wait(lambda: "Nothing can be drawn" in explorer.text("nothing"))
    assert not explorer.driver.find_element("id", "explorer").is_displayed()


def bars(explorer: Any, count: int) -> tuple[int, np.ndarray]:
    """Height of the canvas of a drawn profile, and that of each of its bars, in pixels."""
    height, filled = explorer.driver.execute_script(
        "const canvas = document.getElementById('drawn'), count = arguments[0];"
        "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        "const filled = Array.from({ length: count }, (_, bar) => {"
        "  const x = Math.round((bar + 0.4) * canvas.width / count);"
        "  let n = 0;"
        "  for (let y = 0; y < canvas.height; y++) n += data[4 * (y * canvas.width + x) + 3] > 127;"
        "  return n;"
        "});"
        "return [canvas.height, filled]",
        count,
    )
    return height, np.array(filled)


def test_data_that_are_no_images_are_drawn_as_bars(
    make_study: Callable[..., Path], explorer: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    level = rng.random((120, 1))
    x = (0.2 + 0.6 * level * np.linspace(0, 1, 12) + 0.02 * rng.random((120, 12))).clip(0, 1)
    np.savez(tmp_path / "profiles.npz", x=x.astype(np.float32))
    source = {"source": "npz", "path": str(tmp_path / "profiles.npz")}
    study = make_study(datasets={"profiles": source}, grids=[{"likelihood": ["gaussian"]}])
    write_explorer(study, "profiles", tmp_path / "page.html")
    explorer.open(tmp_path / "page.html")
    explorer.drag((0.98, 0.02), (0.7, 0.6))
    mean = expected(study, explorer.run, explorer.z)
    height, filled = bars(explorer, 12)
    assert np.abs(filled / height - mean).max() <= 1.5 / height
    assert np.ptp(mean) > 0.1
    assert explorer.text("legend") == "no label"
    assert not explorer.driver.find_element("id", "mosaic").is_displayed()


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
    page: Path,
    explorer: Any,
    tmp_path: Path,
    read_page: Callable[[Path], dict[str, Any]],
    likelihood: str,
    dispersion: str,
) -> None:
    """RNA of a cell of 10,000 molecules, proteins as they are, against the model's own mean."""
    observed = Observed((12,), None, counts=True, proteins=4)
    planted = Decoder(
        observed, likelihood, 2, {**model_options(hidden=[]), "dispersion": dispersion}
    )
    with torch.no_grad():
        outputs = torch.linspace(-2.5, 3, len(planted.network[0].bias))
        planted.network[0].bias.copy_(outputs[torch.randperm(len(outputs))])
        mean = planted(torch.zeros(1, 2), torch.tensor([[1e4]])).mean[0].numpy()
    content, bundle = read_page(page), Bundle()
    run = content["runs"][content["start"]]
    run["codes"] = bundle.add(np.ones((len(content["rows"]), run["latent_dim"]), np.float32), 16)
    run["steps"] = [step.store(bundle, FINEST) for step in decoder_steps(planted)]
    run["arrays"] = bundle.text()
    top = 10.0
    content |= {"shape": [12], "top": top}
    (tmp_path / "page.html").write_text(render(content), encoding="utf-8")
    explorer.open(tmp_path / "page.html")
    explorer.press("\ue011")
    height, filled = bars(explorer, 12)
    assert np.abs(filled / height - np.log1p(mean) / top).max() <= 1.5 / height
    assert np.ptp(filled) > 20


def test_cells_are_named_after_their_labels_and_a_decoder_that_is_told_is_not_drawn(
    make_study: Callable[..., Path], read_page: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    source = {"source": "simulated-cells", "examples": 300, "genes": 20, "proteins": 0}
    study = make_study(
        datasets={"cells": source},
        grids=[{"likelihood": ["negative_binomial"], "condition": ["none"]}],
    )
    write_explorer(study, "cells", tmp_path / "page.html")
    content = read_page(tmp_path / "page.html")
    assert {"stem", "early", "branch A"} <= {one["name"] for one in content["classes"]}
    assert content["runs"][0]["steps"][-1]["type"] == "counts"
    assert 5 < content["top"] < np.log1p(1e4)
    told = Decoder(
        Observed((8, 8), 17, classes=10), "gaussian", 2, model_options(), condition="label"
    )
    with pytest.raises(UndrawableError, match="told a label"):
        decoder_steps(told)
