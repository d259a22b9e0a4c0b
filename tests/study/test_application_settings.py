"""Settings of applications for single datasets, checked against the data before anything runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import CONFIG, assert_one_sentence, resolved
from vae_ablation.applications.trajectory import Trajectory
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import TRAIN, Cells, Dataset, Observed
from vae_ablation.data.prepare import prepare_dataset
from vae_ablation.study.plan import Study

SIMULATED = {"source": "simulated-cells", "examples": 200, "genes": 20, "proteins": 0}
BOTH = {"whole": SIMULATED, "zeroed": SIMULATED | {"corrupt": {"kind": "zero", "share": 0.1}}}


def study_of(
    folder: Path, trajectory: dict[str, Any] | None, datasets: dict[str, Any] | None = None
) -> Study:
    config = resolved(
        datasets=datasets or BOTH,
        grids=[{"likelihood": ["poisson"]}],
        applications={"trajectory": trajectory, "denoising": {}},
    )
    return Study(config, folder / "study", folder / ".data")


def checked(folder: Path, trajectory: dict[str, Any], **further: Any) -> Study:
    study = study_of(folder, trajectory, **further)
    study.check_applications("config.yaml")
    return study


def refused(folder: Path, trajectory: dict[str, Any], *parts: str, **further: Any) -> None:
    with pytest.raises(UserError) as caught:
        checked(folder, trajectory, **further)
    assert_one_sentence(caught.value, "config.yaml", *parts)


def labels_of(study: Study) -> tuple[str, ...]:
    return study._names(study.datasets[0]).labels


def test_what_is_said_of_a_dataset_takes_the_place_of_what_is_said_of_all(tmp_path):
    study = study_of(tmp_path, {"steps": 5, "datasets": {"zeroed": {"steps": 9, "genes": 3}}})
    whole, zeroed = (study.application_settings(name) for name in ("whole", "zeroed"))
    assert (whole["trajectory"]["steps"], whole["trajectory"]["genes"]) == (5, 40)
    assert (zeroed["trajectory"]["steps"], zeroed["trajectory"]["genes"]) == (9, 3)
    assert zeroed["trajectory"].keys() == whole["trajectory"].keys()
    assert "datasets" not in whole["trajectory"]
    assert whole["denoising"] == {"cells": 1000}


def test_null_leaves_an_application_out_for_a_dataset(tmp_path):
    study = study_of(tmp_path, {"datasets": {"zeroed": None}})
    assert study.application_settings("zeroed").keys() == {"denoising"}
    assert study.application_settings("whole").keys() == {"denoising", "trajectory"}


@pytest.mark.parametrize(
    ("datasets", "parts"),
    [
        ({"other": {}}, ["applications.trajectory.datasets", "'other'", "whole, zeroed"]),
        ({"whole": {"stert": "a"}}, ["applications.trajectory.datasets.whole.stert", "start"]),
        ({"whole": {"steps": 1}}, ["applications.trajectory.datasets.whole.steps", "at least 2"]),
        ({"whole": {"datasets": {}}}, ["datasets.whole", "datasets"]),
        ({"whole": 3}, ["applications.trajectory.datasets.whole"]),
    ],
)
def test_a_wrong_setting_of_a_dataset_is_told_with_its_key(tmp_path, datasets, parts):
    with pytest.raises(UserError) as caught:
        study_of(tmp_path, {"datasets": datasets})
    assert_one_sentence(caught.value, str(CONFIG), *parts)


def test_a_label_that_no_dataset_has_is_told_before_anything_is_prepared(tmp_path):
    names = labels_of(checked(tmp_path, {}))
    assert len(names) > 3
    checked(tmp_path, {"start": names[0], "end": names[1], "states": [names[2]]})
    for key, value in (("start", "nobody"), ("end", "nobody"), ("states", ["nobody"])):
        refused(
            tmp_path, {key: value},
            f"applications.trajectory.{key} is 'nobody'", "whole, zeroed", names[0],
        )  # fmt: skip
    assert not (tmp_path / ".data").exists()


def test_names_are_told_of_prepared_data_too(tmp_path):
    study = checked(tmp_path, {})
    for name, folder in study.prepared.items():
        prepare_dataset(study.config["datasets"][name], folder)
    refused(tmp_path, {"end": "nobody"}, "applications.trajectory.end is 'nobody'")
    checked(tmp_path, {"end": labels_of(study)[0]})


def test_a_datasets_own_setting_must_fit_that_dataset(tmp_path):
    key = "applications.trajectory.datasets.zeroed.start"
    refused(tmp_path, {"datasets": {"zeroed": {"start": "nobody"}}}, key, "dataset zeroed")
    # What every dataset says for itself is not read.
    names = labels_of(checked(tmp_path, {}))
    own = {name: {"start": names[0]} for name in BOTH}
    checked(tmp_path, {"start": "nobody", "datasets": own})


def test_two_ends_are_two_labels(tmp_path):
    name = labels_of(checked(tmp_path, {}))[0]
    refused(tmp_path, {"start": name, "end": name}, "start and end", "two different labels")
    refused(tmp_path, {"start": name, "datasets": {"zeroed": {"end": name}}}, "for dataset zeroed")


def test_a_column_of_truth_must_be_kept(tmp_path):
    refused(tmp_path, {"truth": "depth"}, "applications.trajectory.truth is 'depth'", "obs")


def test_names_of_a_file_are_known_from_its_header(tmp_path):
    anndata, pd = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    kinds = {"one": ("A", "B"), "two": ("B", "C")}
    datasets = {}
    for name, values in kinds.items():
        index = pd.Index([f"c{i}" for i in range(40)], dtype=object)
        names = pd.Index(values, dtype=object)
        kind = pd.Categorical(np.resize(np.array(values, object), 40), names)
        obs = pd.DataFrame({"kind": kind, "depth": np.arange(40.0)}, index=index)
        x = np.random.default_rng(0).poisson(3, (40, 5)).astype(np.float32)
        var = pd.DataFrame(index=pd.Index([f"g{i}" for i in range(5)], dtype=object))
        anndata.AnnData(x, obs=obs, var=var).write_h5ad(tmp_path / f"{name}.h5ad")
        datasets[name] = {"source": "h5ad", "path": str(tmp_path / f"{name}.h5ad"), "label": "kind"}
    datasets["one"]["obs"] = ["depth"]
    # A name that one of them has is allowed for all; the other is left out when it comes to it.
    checked(tmp_path, {"start": "A", "truth": "depth"}, datasets=datasets)
    refused(tmp_path, {"start": "D"}, "'D'", "one, two", "A, B, C", datasets=datasets)
    own = {"two": {"start": "A"}}
    refused(tmp_path, {"datasets": own}, "datasets.two.start", "B, C", datasets=datasets)
    checked(tmp_path, {"start": "A", "datasets": {"two": {"start": "C"}}}, datasets=datasets)


def test_what_one_dataset_lacks_leaves_the_application_out_there():
    cells = Cells(("g",), ("A", "B"), obs={"depth": np.arange(4.0), "word": np.array(list("abcd"))})
    data = Dataset(
        "mine", np.ones((4, 1), np.float32), None, np.full(4, TRAIN, np.int8), np.arange(4) % 2,
        Observed((1,), None, counts=True, classes=2), False, "made", cells=cells,
    )  # fmt: skip
    named = {"start": None, "end": None, "truth": None, "states": None}
    for settings in ({}, {"start": "A"}, {"truth": "depth"}, {"states": ["B"]}):
        assert Trajectory().absent(data, named | settings) is None
    for settings in ({"end": "C"}, {"truth": "x"}, {"truth": "word"}, {"states": ["C"]}):
        reason = str(Trajectory().absent(data, named | settings))
        assert reason.startswith("lacks what it needs (applications.trajectory.")
    none_train = replace(data, split=np.array([0, 2, 0, 2], np.int8))
    assert "no train cell" in str(Trajectory().absent(none_train, named | {"end": "B"}))
