"""The classical demonstration, reduced: what small projects show is in its report."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from faults.made import make_tables, run_study

STUDY = Path(__file__).parents[3] / "workflow" / "studies" / "classic.yaml"


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/small of the study on embedded digits: one seed, a narrow layer, a few epochs."""
    study = yaml.safe_load(STUDY.read_text(encoding="utf-8"))
    assert study["model"] == {"hidden": [400]}
    study |= {"study": "small", "model": {"hidden": [32]}}
    study["datasets"] = {"mnist": {"source": "sklearn-digits", "max_examples": 500}}
    for grid in study["grids"]:
        grid["seed"] = [0]
    study["training"] |= {"epochs": 6, "batch_size": 32, "device": "cpu"}
    study["evaluation"]["nll_samples"] = 4
    folder = tmp_path_factory.mktemp("classic")
    run_study(folder, study)
    return make_tables(folder, study)


@pytest.fixture(scope="module")
def data(classic: Path) -> dict[str, Any]:
    """What the report holds."""
    text = (classic / "report.html").read_text(encoding="utf-8")
    (found,) = re.findall(r'id="data">(.*)</script>', text)
    (curves,) = re.findall(r'id="part-curves">([^<]*)<', text)
    return json.loads(found) | {"curves": json.loads(gzip.decompress(base64.b64decode(curves)))}


def arms(data: dict[str, Any], latent_dim: int, kind: str, condition: str = "none") -> list[int]:
    """Places of arms at a latent dimension."""
    names = [axis["name"] for axis in data["axes"]]
    levels = [axis["levels"] for axis in data["axes"]]
    return [
        place
        for place, at in enumerate(data["arms"]["at"])
        if data["arms"]["kind"][place] == kind
        and levels[names.index("latent_dim")][at[names.index("latent_dim")]]["value"] == latent_dim
        and levels[names.index("condition")][at[names.index("condition")]]["id"] == condition
    ]


def test_every_arm_has_loss_curves_reconstructions_and_samples(data: dict[str, Any]) -> None:
    assert len(data["arms"]["at"]) == 10
    assert len(data["shown"]) == 10
    for shown in data["shown"].values():
        assert shown["reconstructions"]["count"] == 10
        assert shown["samples"]["count"] == 25
    assert len(data["curves"]) == 10
    for curve in data["curves"].values():
        assert curve["epochs"] == [1, 2, 3, 4, 5, 6]
        assert {"train", "validation"} == set(curve["splits"])
        assert {"distortion", "objective"} <= set(curve["splits"]["validation"])


def test_two_dimensions_are_a_plane_and_twenty_have_umap(data: dict[str, Any]) -> None:
    for kind in ("beta", "kl-off"):
        (plane, *_), twenty = arms(data, 2, kind), arms(data, 20, kind)
        assert data["shown"][str(plane)]["codes"]["shape"] == [100, 2]
        assert any("umap" in data["shown"][str(arm)] for arm in twenty), kind


def test_digits_are_joined_from_3_to_8(data: dict[str, Any]) -> None:
    classes = data["datasets"]["mnist"]["classes"]
    for shown in data["shown"].values():
        pairs = [[classes[label] for label in pair] for pair in shown["interpolations"]["labels"]]
        assert ["3", "8"] in pairs


def test_codes_spread_without_the_kl_term(data: dict[str, Any]) -> None:
    spread = data["arms"]["m"]["code_rms"]["mean"]
    for latent_dim in (2, 20):
        (off,) = arms(data, latent_dim, "kl-off")
        for on in arms(data, latent_dim, "beta"):
            assert spread[off] > 1.5 * spread[on]


def test_a_conditional_arm_draws_a_chosen_class(data: dict[str, Any]) -> None:
    for latent_dim in (2, 20):
        (arm,) = arms(data, latent_dim, "beta", "label")
        assert data["shown"][str(arm)]["conditions"] == 10
        assert data["shown"][str(arm)]["steps"][-1]["type"] == "bernoulli"


@pytest.mark.browser
def test_every_arm_is_drawn_without_a_gap(classic: Path, page: Any) -> None:
    page.show(classic / "report.html")
    assert page.every_state() == 10
    page.settle()
    assert page.broken() == []
    assert page.overflow() <= 0
    for figure in ("curves", "kl-off", "map"):
        assert page.run("return figures.has(arguments[0])", figure), figure
    page.run("choose(range(ARM_COUNT).find((arm) => data.shown[arm].conditions)); redraw(true)")
    page.settle()
    card = page.run("return document.getElementById('map').innerText")
    for shown in ("Samples from the prior", "reconstructions below", "3 → 8", "with each class"):
        assert shown in card
    # Conditional arms have no partner without the KL term: both panels are of another condition.
    titles = page.run(
        "return [...document.querySelectorAll('[data-figure=kl-off] .panel > h3')]"
        ".map((title) => title.textContent)"
    )
    assert len(titles) == 2
    assert not any("conditioned" in title for title in titles)
