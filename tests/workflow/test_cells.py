"""A study of cells from counts to the report's tables, and what a changed application costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from workflow.place import Place

CELLS: dict[str, Any] = {
    "study": "tiny",
    "datasets": {
        "cells": {"source": "simulated-cells", "examples": 400, "genes": 30, "proteins": 4},
        "zeroed": {
            "source": "simulated-cells", "examples": 400, "genes": 30, "proteins": 0,
            "corrupt": {"share": 0.2},
        },
    },
    "grids": [
        {"dataset": ["zeroed"], "likelihood": ["negative_binomial"], "condition": ["batch"]},
        {
            "dataset": ["cells"], "likelihood": ["poisson"], "architecture": ["poe"],
            "objective": ["mvae"], "seed": [0, 1],
        },
    ],
    "model": {"hidden": [16]},
    "training": {"epochs": 2, "kl_warmup_epochs": 1},
    "evaluation": {"nll_samples": 8},
    "applications": {
        "denoising": {}, "predictive_checks": {"draws": 2}, "trajectory": {},
        "perturbation": {"min_cells": 3},
        "modalities": {}, "forbidden_states": {"samples": 200},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Place:
    """The study, run to its end."""
    place = Place(tmp_path_factory.mktemp("cells"), checkout)
    place.config = CELLS
    call = place.call()
    assert call.jobs["apply"] == 2
    return place


def test_every_application_scores_the_models_that_it_is_for(cells: Place) -> None:
    table = pd.read_csv(cells.study / "tables" / "applications.csv")
    table, unscored = table[table["reason"].isna()], table[table["reason"].notna()]
    why = dict(
        zip(unscored["dataset"] + " " + unscored["application"], unscored["reason"], strict=True)
    )
    assert why == {
        "cells denoising": "the dataset was not corrupted before training (its option `corrupt` is "
        "off)",
        "zeroed modalities": "the dataset counts no proteins",
    }
    found = {name: set(rows["application"]) for name, rows in table.groupby("dataset")}
    common = {"predictive_checks", "trajectory", "perturbation", "forbidden_states"}
    assert found == {"cells": common | {"modalities"}, "zeroed": common | {"denoising"}}
    assert table["value"].notna().all()
    assert set(table["method"]) > {"vae", "ridge", "gene_mean", "raw_difference"}


def test_axes_of_cells_name_the_runs_and_stand_in_the_table(cells: Place) -> None:
    rows = cells.metrics()
    assert set(rows.index) == {
        "zeroed/negative_binomial/z2/beta1-given-batch-warmup1/seed0",
        "cells/poisson/z2/beta1-poe-mvae-warmup1/seed0",
        "cells/poisson/z2/beta1-poe-mvae-warmup1/seed1",
    }
    assert set(rows["status"]) == {"ok"}
    assert set(rows["measure"]) == {"counts/mass given library"}
    assert set(rows["kl_warmup_epochs"].astype(float)) == {1.0}
    columns = ["mse_log1p", "batch_knn_mixing", "sample_fid"]
    assert rows[columns].apply(pd.to_numeric).notna().all().all()


def test_codes_of_every_cell_open_as_anndata(cells: Place) -> None:
    run = cells.run_folder("zeroed/negative_binomial/z2/beta1-given-batch-warmup1/seed0")
    codes = anndata.read_h5ad(run / "codes.h5ad")
    assert codes.obsm["X_vae"].shape == (400, 2)
    assert set(codes.obs["split"]) == {"train", "validation", "test", "held_out"}
    with np.load(run / "codes.npz") as arrays:
        test = codes.obsm["X_vae"][(codes.obs["split"] == "test").to_numpy()]
        np.testing.assert_allclose(test, arrays["mean"], atol=1e-5)


def test_figures_and_findings_tell_of_the_applications(cells: Place) -> None:
    drawn = {path.stem for path in (cells.study / "figures").rglob("*.png")}
    assert drawn > {"denoising", "predictive_checks", "trajectory", "perturbation", "modalities",
                    "forbidden_states"}  # fmt: skip
    assert "perturbation" in (cells.study / "tables" / "findings.json").read_text("utf-8")


def test_another_setting_of_an_application_applies_again_and_trains_nothing(cells: Place) -> None:
    cells.config["applications"]["predictive_checks"]["draws"] = 3
    call = cells.call("--dry-run")
    assert call.to_train == 0
    assert call.jobs["apply"] == 2
    assert not {"train", "evaluate"} & set(call.jobs)
