"""Applications to cells of which next to nothing is left, and errors that stay where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from degenerate import CELLS, cells
from support import make_run, model_options, resolved, trained_model, training_settings
from vae_ablation.applications import APPLICATIONS, Applied
from vae_ablation.applications.base import Application
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, write_json
from vae_ablation.data.base import Dataset
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.store.trained import TrainedRun, save_applications
from vae_ablation.study.plan import Planned
from vae_ablation.tables.collect import (
    collect_applications,
    summarize_applications,
    unscored,
    write_csv,
)
from vae_ablation.training.pack import train_pack

SETTINGS = resolved(applications={name: {} for name in APPLICATIONS})["applications"]


@cache
def trained(name: str, latent_dim: int) -> tuple[Dataset, list[TrainedRun]]:
    """A run of each kind on the data of that name."""
    dataset, options = CELLS[name](), model_options(hidden=[4])
    kinds: list[dict[str, Any]] = [{}, {"kl": False}]
    kinds += [{"architecture": "poe", "objective": "mvae"}] if dataset.observed.proteins else []
    runs = [make_run("poisson", latent_dim, dataset="made", **kind) for kind in kinds]
    found = []
    for run in runs:
        (result,) = train_pack([run], dataset, options, training_settings(epochs=2, batch_size=10))
        found.append(TrainedRun(run, {}, trained_model(result, dataset, options)))
    return dataset, found


@pytest.mark.parametrize("application", APPLICATIONS)
@pytest.mark.parametrize("name", CELLS)
def test_every_application_gives_scores_or_a_reason(name: str, application: str) -> None:
    one = APPLICATIONS[application]
    for latent_dim in (1, 2):
        dataset, models = trained(name, latent_dim)
        if one.missing(dataset):
            continue
        for model in models:
            applied = one.attempt(model, dataset, SETTINGS[application], 0)
            assert bool(applied.scores) != bool(applied.reason)
            assert "error" not in applied.reason
            assert all(np.isfinite(row["value"]) for row in applied.scores)


def test_holes_among_less_than_two_cells_are_not_sought() -> None:
    dataset, (model, _) = trained("three cells", 2)
    applied = APPLICATIONS["forbidden_states"].attempt(
        model, dataset, SETTINGS["forbidden_states"], 0
    )
    assert applied.reason == "needs at least two train cells, and there is one"
    assert applied.scores == []


@pytest.mark.parametrize(
    ("application", "name", "kind", "reason"),
    [
        ("forbidden_states", "two cells a split", {"posterior": "point"},
         "needs posteriors with a density, and a point has none"),
        ("modalities", "one gene and one protein", {}, "needs architecture poe, as no other"),
        ("perturbation", "held-out perturbations", {}, "needs groups of 10 cells (min_cells)"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_scored_says_why(
    application: str, name: str, kind: dict[str, Any], reason: str
) -> None:
    dataset = CELLS[name]()
    run = make_run("poisson", 1, dataset="made", **kind)
    options = model_options(hidden=[4])
    (result,) = train_pack([run], dataset, options, training_settings(epochs=1, batch_size=10))
    model = TrainedRun(run, {}, trained_model(result, dataset, options))
    applied = APPLICATIONS[application].attempt(model, dataset, SETTINGS[application], 0)
    assert applied.reason.startswith(reason)
    assert applied.scores == []


@pytest.mark.parametrize(
    ("clean", "why"), [(3, "none of their 24 positive counts was"), (0, "they have no counts")]
)
def test_denoising_where_nothing_was_zeroed_says_so(clean: float, why: str) -> None:
    dataset, (model, _) = trained("three cells", 2)
    counts = np.full((18, 6), clean, np.float32)
    dataset = replace(cells(18), x=counts, clean=counts, corruption={"kind": "zero", "share": 0.2})
    applied = APPLICATIONS["denoising"].attempt(model, dataset, {"cells": 6}, 0)
    assert applied.reason == f"needs test cells with zeroed counts, and {why}"


def test_labels_that_were_left_out_are_named_as_such() -> None:
    data = CELLS["no labels of cells"]()
    assert APPLICATIONS["trajectory"].missing(data) == "has fewer than two labels"
    data = replace(data, observed=replace(data.observed, distinct_labels=True))
    assert APPLICATIONS["trajectory"].missing(data) == "has a label of its own for each cell"


def test_an_application_without_any_score_has_a_reason() -> None:
    class Silent(Broken):
        def apply(self, *_: Any) -> Applied:
            return Applied()

    applied = Silent(KeyError()).attempt(MODEL, cells(), {}, 0)  # type: ignore[arg-type]
    assert applied.reason == "none of its scores is defined on these data"


# --- errors stay where they are ----------------------------------------------------------------


class Broken:
    """An application that ends in an error."""

    name = "broken"
    attempt = Application.attempt

    def __init__(self, error: Exception) -> None:
        self.error = error

    def apply(self, *_: Any) -> Applied:
        raise self.error


MODEL = SimpleNamespace(run=SimpleNamespace(path="made/run"))


def attempted(error: Exception) -> Applied:
    nothing: Mapping[str, Any] = {}
    return Broken(error).attempt(MODEL, cells(), nothing, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("the bug"), "ended in an error (KeyError: 'the bug')"),
        (UserError("label 'x' is not there."), "ended in an error (label 'x' is not there)"),
    ],
)
def test_an_error_is_the_reason_why_there_is_no_score(
    error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert attempted(error).reason == reason
    assert "Traceback" in caplog.text


def test_a_fault_of_the_machine_is_raised() -> None:
    with pytest.raises(OSError, match="full"):
        attempted(OSError(28, "full"))


def test_a_reason_has_a_row_of_the_table_and_a_sentence_of_its_page(tmp_path: Path) -> None:
    run = make_run("poisson", dataset="made")
    fine = Applied()
    fine.add("all", "vae", "hole_rate", 0.5)
    target = tmp_path / "packs" / "p" / "applications" / "h"
    write_json(tmp_path / "runs" / run.path / "run.json", {"pack": "p"})
    applied = {"forbidden_states": fine, "denoising": Applied(reason="has no cell")}
    save_applications({run.path: applied}, tmp_path / "runs", target)
    assert {"application": "denoising", "reason": "has no cell"} in read_json(
        target / run.path / "applications.json"
    )
    study = SimpleNamespace(
        config={"datasets": {"made": {"split_seed": 0}}},
        datasets=["made"],
        train_sizes={},
        applications_folder=lambda pack: target,
        run_folder=lambda r: tmp_path / "runs" / r.path,
    )
    plan = SimpleNamespace(planned=[Planned(run, "p", "", None)])
    table = collect_applications(study, plan)  # type: ignore[arg-type]
    assert table["value"].tolist()[0] == 0.5
    assert pd.isna(table["value"].tolist()[1])
    assert table["reason"].tolist()[1] == "has no cell"
    assert summarize_applications(table)["metric"].tolist() == ["hole_rate"]
    sentence = "The application denoising has no scores on made in 1 run: has no cell."
    assert unscored(table) == [sentence]
    write_csv(table, tmp_path / "tables" / "applications.csv")
    assert StudyResults(tmp_path).applications["metric"].tolist() == ["hole_rate"]
