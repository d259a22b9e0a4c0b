"""Arms made elsewhere in a config: their files, names, levels and hashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from vae_ablation.common.errors import UserError
from vae_ablation.study import plugins
from vae_ablation.study.external import ExternalArm, Place
from vae_ablation.study.workflow import Workflow

PART = '''
from vae_ablation.parts import ExternalModel, register


@register
class Mine(ExternalModel):
    """A model of one's own."""

    name = "mine"
    options = {"width": {"type": "integer", "minimum": 1, "default": 8}}

    def encode(self, x):
        return x[:, :2]
'''


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "part.py").write_text(PART, encoding="utf-8")
    for name in ("codes.npz", "codes-seed0.npz", "codes-seed1.npz", "codes-z2.npz", "c.txt"):
        np.savez(tmp_path / name, train=np.zeros((3, 2)), test=np.zeros((3, 2)))
    (tmp_path / "cells.h5ad").write_bytes(b"")
    yield
    plugins.use_plugins([])


def planned(external: dict[str, Any], **sections: Any) -> Workflow:
    config = {
        "datasets": {"digits": {"source": "sklearn-digits", "max_examples": 100}},
        "plugins": ["part.py"],
        "external": external,
        **sections,
    }
    return Workflow.planned(yaml.safe_load(yaml.safe_dump(config)), Path("config.yaml").resolve())


def arms(external: dict[str, Any], **sections: Any) -> list[ExternalArm]:
    return planned(external, **sections).study.external


def test_an_arm_has_a_row_for_each_seed_and_dimension() -> None:
    (arm,) = arms({"own": {"path": "codes-seed{seed}.npz", "seed": [0, 1]}})
    assert arm.dataset == "digits"
    names = [(one.latent_dim, one.seed, one.path and one.path.name) for one in arm.places()]
    assert names == [(None, 0, "codes-seed0.npz"), (None, 1, "codes-seed1.npz")]


def test_a_model_has_the_dimensions_of_the_grids_and_its_options() -> None:
    (arm,) = arms({"own": {"model": "mine"}}, grids=[{"latent_dim": [2, 8]}])
    assert list(arm.places()) == [Place(2, 0, None), Place(8, 0, None)]
    assert arm.options == {"width": 8}


def test_a_deterministic_arm_has_one_row_without_a_seed() -> None:
    (arm,) = arms({"own": {"path": "codes.npz", "deterministic": True, "seed": [0, 1]}})
    assert [one.seed for one in arm.places()] == [None]


WRONG = [
    ({"path": "no.npz"}, "external.own.path: .*no.npz is not a file"),
    ({}, "external.own has neither path nor model"),
    ({"path": "c.txt"}, "external.own.path is .*c.txt; allowed: a file .npz, .h5ad, .csv"),
    ({"path": "cells.h5ad"}, "external.own.key is null; allowed: a key of obsm"),
    ({"path": "codes.npz", "key": "X_pca"}, "key is X_pca; allowed: null for a file .npz"),
    (
        {"path": "codes.npz", "dataset": "digit"},
        r"own.dataset is 'digit', which is not known \(did",
    ),
    ({"model": "mien"}, r"own.model is 'mien', which is not known \(did you mean mine\?\)"),
    ({"model": "mine", "key": "a"}, "own.key is 'a' beside a model; allowed: null"),
    ({"model": "mine", "options": {"with": 3}}, "own.options: the key is 'with', which is not"),
    ({"model": "mine", "options": {"width": 0}}, "own.options.width: 0 is less than the minimum"),
    ({"path": "codes.npz", "options": {"a": 1}}, "own.options are settings of a model"),
    ({"path": "codes.npz", "seed": [0, 1]}, "own.seed has 2 values, and path has no {seed}"),
    ({"path": "codes.npz", "latent_dim": [2, 3]}, "own.latent_dim has 2 values, and path has no"),
    ({"path": "codes-{sed}.npz"}, "the name in braces is 'sed', which is not known"),
    ({"path": "codes-z{latent_dim}.npz"}, r"path has {latent_dim}; allowed beside it: latent_dim"),
    ({"path": "codes-seed{seed}.npz", "deterministic": True}, "own.deterministic is true, and"),
    ({"path": "codes.npz", "levels": {"bet": 1}}, "own.levels: the axis is 'bet', which is not"),
    ({"path": "codes.npz", "levels": {"seed": 1}}, "own.levels: the axis is 'seed', which is not"),
    ({"path": "codes.npz", "levels": {"beta": 3}}, "own.levels.beta is 3; allowed: a level of"),
    ({"path": "codes.npz", "paths": 3}, "the key external.own.paths is not known"),
    ({"path": "codes.npz", "seed": []}, r"external.own.seed is \[\]; allowed"),
    ({"path": "codes.npz", "seed": [0, 0]}, r"external.own.seed is \[0, 0\]; allowed"),
    ({"path": 3}, "external.own.path is 3; allowed: text"),
]


@pytest.mark.parametrize(("settings", "sentence"), WRONG)
def test_a_wrong_arm_is_refused_in_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        planned({"own": settings})
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pca", "external has the name 'pca', which this package gives itself"),
        ("beta1", "external.beta1 has the name of a trained arm"),
        ("a/b", "external has the name 'a/b'; allowed"),
    ],
)
def test_a_taken_name_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        planned({name: {"path": "codes.npz"}})


def test_an_unused_dataset_and_a_missing_split_are_refused() -> None:
    digits = {"source": "sklearn-digits", "max_examples": 100}
    with pytest.raises(UserError, match=r"own.dataset is other, which no grid uses; allowed: d"):
        planned(
            {"own": {"path": "codes.npz", "dataset": "other"}},
            datasets={"digits": digits, "other": digits},
            grids=[{"dataset": ["digits"]}],
        )
    with pytest.raises(UserError, match=r"own.path has no {split_seed}, and the grids have"):
        planned({"own": {"path": "codes.npz"}}, grids=[{"split_seed": [0, 1]}])
    with pytest.raises(UserError, match=r"own.dataset is left out; allowed in a study of sev"):
        planned({"own": {"path": "codes.npz"}}, datasets={"digits": digits, "other": digits})


def hashes(external: dict[str, Any]) -> dict[str, Any]:
    state = planned(external)
    rows = dict(zip(external, state.external, strict=True))
    return {**rows, "controls": state.controls, "evaluation": state.study.eval_hash}


def test_a_changed_file_renames_the_rows_of_its_arm_alone(tmp_path: Path) -> None:
    external = {"one": {"path": "codes.npz"}, "two": {"path": "codes-z2.npz"}}
    before = hashes(external)
    np.savez(tmp_path / "codes.npz", train=np.ones((3, 2)), test=np.zeros((3, 2)))
    after = hashes(external)
    assert [name for name, one in after.items() if one != before[name]] == ["one"]


def test_its_place_and_other_arms_rename_nothing(tmp_path: Path) -> None:
    before = hashes({"one": {"path": "codes.npz"}})
    (tmp_path / "moved").mkdir()
    (tmp_path / "codes.npz").rename(tmp_path / "moved" / "codes.npz")
    after = hashes({"one": {"path": "moved/codes.npz"}, "two": {"path": "codes-z2.npz"}})
    assert {name: after[name] for name in before} == before


def test_the_code_of_a_model_renames_its_rows(tmp_path: Path) -> None:
    external = {"one": {"path": "codes.npz"}, "own": {"model": "mine"}}
    before = hashes(external)
    (tmp_path / "part.py").write_text(PART.replace(":2]", ":3]"), encoding="utf-8")
    after = hashes(external)
    assert [name for name, one in after.items() if one != before[name]] == ["own"]


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys, yaml; from pathlib import Path\n"
        "from vae_ablation.study.workflow import Workflow\n"
        "config = {'plugins': ['part.py'], 'external': {'own': {'model': 'mine'}}}\n"
        "state = Workflow.planned(config, Path('config.yaml').resolve())\n"
        "assert state.external and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
