"""A small study that is really trained, and a browser without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromium import open_chromium, requested, schemes
from support import rate_per_dim, resolved
from vae_ablation.common.files import write_json
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.jobs.train import train_job
from vae_ablation.report.explorer import write_explorer
from vae_ablation.store.trained import load_run
from vae_ablation.study.plan import Study
from vae_ablation.study.progress import start_progress
from vae_ablation.study.run import Run
from vae_ablation.study.workflow import Workflow
from vae_ablation.tables.collect import collect, write_csv

TRAINING = {"epochs": 15, "batch_size": 32, "device": "cpu", "learning_rate": 0.01}


def encode(study: Study, run: Run) -> None:
    """Write of a run's evaluation what the explorer reads: codes, and a few metrics."""
    dataset = load_dataset(run.dataset, study.prepared[run.dataset])
    folder = study.run_folder(run)
    context = dataset.context(dataset.rows("test"), run.condition)
    posterior = load_run(folder).encode(dataset.observe("test"), context)
    labels = dataset.labels_of("test")
    np.savez(
        folder / "codes.npz",
        mean=posterior.mean.numpy(),
        std=posterior.std.numpy(),
        labels=labels,
    )
    rates = rate_per_dim(posterior).mean(dim=0)
    metrics: dict[str, Any] = {"mse": 0.05, "active_units": None}
    if run.posterior != "point":
        metrics |= {"rate": float(rates.sum()), "rate_per_dim": rates.tolist(), "active_units": 2}
    write_json(folder / "metrics.json", metrics)


def train_study(folder: Path, **sections: Any) -> Path:
    """Train a study of a few small runs; its folder results/<study>."""
    defaults = {
        "study": "tiny",
        "datasets": {"digits": {"source": "sklearn-digits", "max_examples": 250}},
        "model": {"hidden": [24], "activation": "silu", "channels": [6, 4]},
        "training": TRAINING,
    }
    config = resolved(**{**defaults, **sections})
    study = Study(config, folder / "results" / "tiny", folder / "results" / ".data")
    for name, target in study.prepared.items():
        prepare_dataset(config["datasets"][name], target)
    workflow = Workflow(study, study.plan(), "study.yaml")
    workflow.freeze()
    start_progress(study.folder / ".progress", workflow.plan)
    for pack in workflow.plan.packs:
        train_job(study.folder, pack)
    for run in study.runs:
        encode(study, run)
    metrics = collect(study, workflow.plan, [])
    write_csv(metrics, study.folder / "tables" / "metrics.csv")
    return study.folder


GRIDS = [
    {
        "likelihood": ["gaussian", "continuous_bernoulli", "discretized_logistic"],
        "latent_dim": [2],
        "beta": [0.1, 1],
        "kl": [True, False],
        "seed": [0, 1],
    },
    {"likelihood": ["gaussian"], "latent_dim": [2], "posterior": ["point"], "seed": [0]},
    {"likelihood": ["gaussian"], "latent_dim": [5], "beta": [1, 4], "kl": [True, False]},
    {"likelihood": ["bernoulli"], "latent_dim": [2], "architecture": ["conv"]},
]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three likelihoods, KL on, off and point, two and five dimensions. Read only."""
    return train_study(tmp_path_factory.mktemp("explorer"), grids=GRIDS)


@pytest.fixture(scope="session")
def page(study: Path) -> Path:
    """The explorer of that study."""
    target = study / "explorer" / "digits.html"
    write_explorer(study, "digits", target)
    return target


@pytest.fixture(scope="session")
def make_study(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train another study; each call makes a new folder."""
    return lambda **sections: train_study(tmp_path_factory.mktemp("explorer"), **sections)


def embedded(page: Path) -> dict[str, Any]:
    """What a page holds."""
    text = page.read_text(encoding="utf-8")
    start = text.index('id="page">') + len('id="page">')
    return json.loads(text[start : text.index("</script>", start)])


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], dict[str, Any]]:
    """What a page holds, as its script reads it."""
    return embedded


class Explorer:
    """A page in a browser, handled as a person does, and what can be read off it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path) -> None:
        self.driver.get(page.as_uri())
        self.wait(lambda: self.plane.get_attribute("data-z"))
        self.settle()

    def wait(self, found: Callable[[], Any]) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: found())

    def settle(self) -> None:
        """Let a frame pass, so that what was done is drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )

    @property
    def actions(self) -> Any:
        from selenium.webdriver import ActionChains

        return ActionChains(self.driver, duration=30)

    @property
    def plane(self) -> Any:
        return self.driver.find_element("id", "plane")

    @property
    def z(self) -> np.ndarray:
        self.settle()
        return np.array(json.loads(self.plane.get_attribute("data-z")), np.float32)

    @property
    def run(self) -> str:
        return self.plane.get_attribute("data-run")

    @property
    def example(self) -> int:
        """Which of the shown examples the two small pictures are of."""
        self.settle()
        return int(self.plane.get_attribute("data-example"))

    def text(self, element: str) -> str:
        self.settle()
        return self.driver.find_element("id", element).text

    def pixels(self, canvas: str) -> np.ndarray:
        """Grey values of a picture, [height, width], as drawn."""
        self.settle()
        values = self.driver.execute_script(
            "const canvas = document.getElementById(arguments[0]);"
            "const { data } = canvas.getContext('2d')"
            ".getImageData(0, 0, canvas.width, canvas.height);"
            "return [canvas.height, canvas.width, Array.from(data)]",
            canvas,
        )
        colors = np.array(values[2], np.uint8).reshape(values[0], values[1], 4)
        assert (colors[..., 3] == 255).all()
        assert (colors[..., :3] == colors[..., :1]).all()
        return colors[..., 0]

    def place(self, u: float, v: float) -> tuple[int, int]:
        """Pixels from the canvas's centre to a point of the plot area; u, v from 0 to 1, up."""
        size = self.plane.size
        side = size["width"] - 46 - 8
        x, y = 46 + u * side, 8 + (1 - v) * side
        return round(x - size["width"] / 2), round(y - size["height"] / 2)

    def drag(self, start: tuple[float, float], *stops: tuple[float, float]) -> None:
        chain = self.actions.move_to_element_with_offset(self.plane, *self.place(*start))
        chain = chain.click_and_hold()
        for stop in stops:
            chain = chain.move_to_element_with_offset(self.plane, *self.place(*stop))
        chain.release().perform()
        self.settle()

    def hover(self, z: np.ndarray) -> None:
        """Move the pointer over a place of the prior's plane."""
        at = self.place((z[0] + 4) / 8, (z[1] + 4) / 8)
        self.actions.move_to_element_with_offset(self.plane, *at).perform()
        self.settle()

    def press(self, *keys: str) -> None:
        self.plane.send_keys(*keys)
        self.settle()

    def choose(self, group: str, value: Any) -> None:
        """Click a switch and wait until its run is shown."""
        self.driver.find_element("css selector", f'#{group} input[value="{value}"]').click()
        self.settle()

    def show(self, likelihood: str, latent_dim: int, arm: str) -> None:
        self.choose("likelihood", likelihood)
        self.choose("latent-dim", latent_dim)
        self.choose("arm", arm)
        self.wait(lambda: f"/{likelihood}/z{latent_dim}/{arm}/" in self.run)

    def complaints(self) -> list[str]:
        """What the console says, but for what reading pixels in a test provokes."""
        messages = [entry["message"] for entry in self.driver.get_log("browser")]
        return [message for message in messages if "getImageData" not in message]

    def requested(self) -> set[str]:
        """Addresses that were asked for since this was last called."""
        return requested(self.driver)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a network, its console and its requests recorded."""
    with open_chromium(tmp_path_factory.mktemp("chromium"), "1100,943") as driver:
        yield driver


@pytest.fixture
def explorer(chromium: Any) -> Iterator[Explorer]:
    """A page of the browser; the test fails if anything was complained of or fetched."""
    opened = Explorer(chromium)
    chromium.get("about:blank")
    opened.complaints()
    opened.requested()
    yield opened
    assert opened.complaints() == []
    assert schemes(opened.requested()) <= {"file", "data", "blob"}
