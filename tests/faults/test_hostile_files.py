"""Files swapped for something that would run: nothing is ever unpickled, evaluated or followed."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from faults.made import SMALL, copied, planned, run_study
from support import assert_one_sentence
from vae_ablation.common.errors import UserError
from vae_ablation.data.prepare import load_dataset
from vae_ablation.evaluation.features import load_features
from vae_ablation.jobs.evaluate import evaluate_job
from vae_ablation.store.trained import load_run
from vae_ablation.study.config import read_config

ONE = SMALL | {"grids": [{"likelihood": ["gaussian"]}]}
HIT = "a-pickle-was-run"


class Boom:
    """Creates a file where it is unpickled."""

    def __reduce__(self) -> Any:
        return (open, (HIT, "w"))


def raw_pickle() -> bytes:
    return pickle.dumps(Boom())


def torch_pickle() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weights": Boom()}, buffer)
    return buffer.getvalue()


def object_archive() -> bytes:
    """What np.load would unpickle if it were allowed to."""
    array = np.empty(1, dtype=object)
    array[0] = Boom()
    buffer = io.BytesIO()
    np.savez(buffer, mean=array, x=array, kind=array, centre=array)
    return buffer.getvalue()


def pickle_in_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", raw_pickle())
    return buffer.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "pickle": raw_pickle,
    "torch.save": torch_pickle,
    "npz of objects": object_archive,
    "zip": pickle_in_zip,
    "empty": lambda: b"",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run_study(folder, ONE)
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(copied(finished, tmp_path))
    return tmp_path


def run_folder(place: Path) -> Path:
    return place / "results/small/runs/digits/gaussian/z2/beta1/seed0"


def swap(path: Path, content: bytes) -> None:
    path.resolve().write_bytes(content)


def nothing_ran(place: Path) -> bool:
    return not list(place.rglob(HIT))


@pytest.mark.parametrize("name", FILES)
def test_weights_swapped_for_a_pickle_are_refused_in_one_sentence(name: str, place: Path) -> None:
    swap(run_folder(place) / "model.safetensors", FILES[name]())
    state = planned(place, ONE)
    (pack,) = state.plan.packs
    target = state.study.folder / "packs" / pack / "evaluation" / "0a1b2c3d"
    for use in (
        lambda: load_run(run_folder(place)),
        lambda: evaluate_job(state.study.folder, pack, target),
    ):
        with pytest.raises(UserError) as caught:
            use()
        assert_one_sentence(caught.value, "model.safetensors", "not the weights of this run")
    assert not target.exists()
    assert nothing_ran(place)


def test_weights_of_another_run_are_refused_though_they_fit(place: Path) -> None:
    """Equal shapes, another seed: nothing but the checksum tells."""
    path = run_folder(place) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    swap(path, bytes(content))
    with pytest.raises(UserError) as caught:
        load_run(run_folder(place))
    assert_one_sentence(caught.value, "model.safetensors", "checksum")


@pytest.mark.parametrize("name", FILES)
def test_prepared_data_and_features_swapped_for_a_pickle_are_refused(
    name: str, place: Path
) -> None:
    study = planned(place, ONE).study
    swap(study.prepared["digits"] / "arrays.npz", FILES[name]())
    with pytest.raises(UserError) as caught:
        load_dataset("digits", study.prepared["digits"])
    assert_one_sentence(caught.value, str(study.prepared["digits"]))
    swap(study.features_path("digits"), FILES[name]())
    with pytest.raises(UserError) as caught:
        load_features(study.features_path("digits"))
    assert_one_sentence(caught.value, str(study.features_path("digits")))
    assert nothing_ran(place)


YAML = {
    "python object": "!!python/object/apply:os.system ['touch {hit}']",
    "python name": "!!python/name:os.system",
    "nested": "training: {{epochs: !!python/object/apply:builtins.open ['{hit}', 'w']}}",
}


@pytest.mark.parametrize("name", YAML)
def test_a_config_that_would_run_something_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(YAML[name].format(hit=tmp_path / HIT), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)
    assert nothing_ran(tmp_path)


OUT = [
    "../x",
    "..",
    "/tmp/x",
    "a/../../x",
    "a/b",
    ".",
    "x\n",
    "x/",
    "~",
    "-x",
    "x\u0000",
    "x;ls",
    "$(ls)",
]


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("key", ["study", "dataset"])
def test_a_name_that_climbs_out_of_the_study_is_refused(
    name: str, key: str, tmp_path: Path
) -> None:
    raw = {"study": name} if key == "study" else {"datasets": {name: {}}}
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(UserError) as caught:
        planned(tmp_path, raw)
    assert "\n" not in str(caught.value)
    (tmp_path / "study.yaml").unlink()
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_a_link_in_place_of_a_pack_is_never_followed_by_pruning(
    place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from vae_ablation.store.prune import prune

    mine = tmp_path_factory.mktemp("mine")
    (mine / "thesis.txt").write_text("not to be deleted", encoding="utf-8")
    study = place / "results/small"
    (study / "packs" / "foreign").symlink_to(mine)
    (study / "packs" / ".train.tmp").symlink_to(mine)
    (study / "figures" / "digits").mkdir(parents=True)
    (study / "figures" / "digits" / "poisson").symlink_to(mine)
    prune(Path("results/small"), yes=True)
    assert (mine / "thesis.txt").is_file()
    assert not os.path.lexists(study / "packs" / "foreign")
    with chdir(place):
        assert planned(place, ONE).plan.to_train == []
