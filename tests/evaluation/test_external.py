"""Arms made elsewhere: equal to the controls and runs that they copy, and refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from support import (
    CPU,
    evaluation_settings,
    features_of,
    make_dataset,
    make_run,
    model_options,
    trained_model,
    training_settings,
)
from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import register
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation.context import EvaluationContext
from vae_ablation.evaluation.controls import control_rows
from vae_ablation.evaluation.external import external_rows
from vae_ablation.evaluation.external_codes import example_ids, read_codes
from vae_ablation.evaluation.pack import evaluate_pack
from vae_ablation.models.external import EXTERNAL_MODELS, ExternalModel, TrainData
from vae_ablation.study.external import ExternalArm
from vae_ablation.training.pack import train_pack

DIM = 3


@pytest.fixture(scope="module")
def digits() -> Dataset:
    x, labels = load_digits(return_X_y=True)
    return make_dataset(x[:300].reshape(-1, 8, 8).reshape(300, 64) / 16, labels[:300], levels=17,
                        shape=(8, 8))  # fmt: skip


class OwnPca(ExternalModel):
    """Principal components of scikit-learn, scaled as Tipping and Bishop (1999) have them."""

    name = "own_pca"

    def load(self, data: TrainData) -> None:
        self.pca = PCA(data.latent_dim, svd_solver="full").fit(data.x.astype(np.float64))
        share = (len(data.x) - 1) / len(data.x)  # scikit-learn's variances have n − 1
        values = self.pca.explained_variance_ * share
        self.back = np.sqrt(values - self.pca.noise_variance_ * share)
        self.scale = self.back / values

    def encode(self, x: np.ndarray) -> np.ndarray:
        return self.pca.transform(x) * self.scale

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return self.pca.mean_ + (codes * self.back) @ self.pca.components_

    def sample(self, count: int, random: np.random.Generator) -> np.ndarray:
        return self.decode(random.normal(size=(count, len(self.back))))


@pytest.fixture
def own_pca() -> Any:
    register(OwnPca)
    yield OwnPca
    EXTERNAL_MODELS.pop("own_pca")


def rows_of(arm: ExternalArm, dataset: Dataset) -> list[dict[str, Any]]:
    return external_rows(arm, 0, dataset, 0, features_of(dataset), 2)


def control(dataset: Dataset) -> dict[str, Any]:
    settings = model_options(gaussian_scale="learned_scalar")
    run = make_run("gaussian", DIM)
    rows = control_rows(dataset, [run], settings, 0, features_of(dataset), 2)
    return next(row for row in rows if row["model"] == "pca")


def test_a_pca_of_scikit_learn_equals_the_pca_of_this_package(
    digits: Dataset, own_pca: type[ExternalModel]
) -> None:
    arm = ExternalArm("mine", "made", model="own_pca", latent_dims=(DIM,), normal_prior=True)
    (row,) = rows_of(arm, digits)
    wanted = control(digits)
    exact = ["active_units", "knn_accuracy", "probe_accuracy", "sample_fid_floor"]
    assert [row[name] for name in exact] == [wanted[name] for name in exact]
    for name in ("silhouette", "ari", "nmi", "code_rms", "mse", "collapsed_fraction"):
        assert row[name] == pytest.approx(wanted[name], rel=1e-9)
    # the signs of components are free, and so other draws go through the same Gaussian
    assert row["sample_fid"] == pytest.approx(wanted["sample_fid"], rel=0.1)
    assert row["run"] == "made/mine/z3"
    assert "seed" not in row


def test_codes_of_a_file_have_the_same_metrics_without_a_decoder(
    digits: Dataset, own_pca: type[ExternalModel], tmp_path: Path
) -> None:
    model = own_pca()
    train, test = digits.observe("train"), digits.observe("test")
    model.load(TrainData(train, digits.labels_of("train"), DIM, 0, None, {}))
    np.savez(tmp_path / "c.npz", train=model.encode(train), test=model.encode(test))
    arm = ExternalArm("mine", "made", str(tmp_path / "c.npz"), seeds=(4,))
    (row,) = rows_of(arm, digits)
    wanted = control(digits)
    for name in ("probe_accuracy", "knn_accuracy", "nmi", "ari", "silhouette", "code_rms"):
        assert row[name] == pytest.approx(wanted[name], rel=1e-9)
    assert row["seed"] == 4
    assert row["run"] == "made/mine/z3/seed4"
    assert not {"mse", "sample_fid", "elbo", "nll", "active_units"} & set(row)


def test_codes_of_a_run_have_the_metrics_of_the_run(digits: Dataset, tmp_path: Path) -> None:
    run, options = make_run("gaussian", DIM, 0.01, seed=2), model_options()
    (result,) = train_pack([run], digits, options, training_settings(epochs=40))
    model = trained_model(result, digits, options)
    settings = evaluation_settings()
    (evaluated,) = evaluate_pack(
        [run], [model], [result.history], digits, features_of(digits), settings, CPU
    )
    shared = EvaluationContext([run], [model], [result.history], digits, None, settings, CPU)
    context = shared.of(0)
    np.savez(tmp_path / "c.npz", train=context.train_codes, test=context.codes)
    arm = ExternalArm("copy", "made", str(tmp_path / "c.npz"), seeds=(2,), normal_prior=True)
    (row,) = rows_of(arm, digits)
    copied = set(row) & set(evaluated.metrics)
    assert {"probe_accuracy", "nmi", "silhouette", "active_units", "code_rms"} <= copied
    assert {name: row[name] for name in copied} == {n: evaluated.metrics[n] for n in copied}


# --- files ---------------------------------------------------------------------------------------


def codes_of(dataset: Dataset, dims: int = 2) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {s: random.normal(size=(len(dataset.rows(s)), dims)) for s in ("train", "test")}


def test_a_csv_is_matched_by_name_in_any_order(digits: Dataset, tmp_path: Path) -> None:
    codes = np.random.default_rng(0).normal(size=(300, 2))
    table = pd.DataFrame(codes, columns=["a", "b"]).assign(id=example_ids(digits))
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "c.csv", index=False)
    found = read_codes(tmp_path / "c.csv", None, digits)
    np.testing.assert_allclose(found.train, codes[digits.rows("train")])
    np.testing.assert_allclose(found.test, codes[digits.rows("test")])


def test_whole_numbers_and_one_dimension_are_codes(digits: Dataset, tmp_path: Path) -> None:
    codes = {name: (values[:, :1] * 9).astype(int) for name, values in codes_of(digits).items()}
    np.savez(tmp_path / "c.npz", **codes)
    assert read_codes(tmp_path / "c.npz", None, digits).test.dtype == np.float64


def changed(codes: dict[str, Any], what: str) -> dict[str, Any]:
    test = codes["test"].copy()
    if what == "nan":
        test[3, 1] = np.nan
    return {
        "rows": {**codes, "test": test[:-1]},
        "flat": {**codes, "test": test[:, 0]},
        "zero-d": {**codes, "test": np.array(3.0)},
        "no column": {**codes, "test": test[:, :0]},
        "text": {**codes, "test": test.astype(str)},
        "complex": {**codes, "test": test.astype(complex)},
        "nan": {**codes, "test": test},
        "width": {**codes, "test": test[:, :1]},
        "name": {**codes, "valid": test},
        "absent": {"train": codes["train"]},
        "objects": {**codes, "test": test.astype(object)},
    }[what]


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("rows", "test has 59 rows; allowed: 60, the examples in the test split of dataset made"),
        ("flat", r"test has the shape \(60,\); allowed: \[n, latent\]"),
        ("zero-d", r"test has the shape \(\); allowed: \[n, latent\]"),
        ("no column", r"test has the shape \(60, 0\); allowed"),
        ("text", "test holds <U.*; allowed: real numbers"),
        ("complex", "test holds complex128; allowed: real numbers"),
        ("nan", r"test has a number that is not finite in row 3 \(1 of 60 rows\)"),
        ("width", "train has 2, test has 1 dimensions; allowed: as many in each split"),
        ("name", "an array is 'valid', which is not known .*; allowed: test, train, validation"),
        ("absent", r"has no array 'test' \(there: train\); allowed: train and test"),
        ("objects", "holds Python objects, which are never unpickled"),
    ],
)
def test_a_wrong_archive_is_refused_in_a_sentence(
    digits: Dataset, tmp_path: Path, what: str, sentence: str
) -> None:
    np.savez(tmp_path / "c.npz", allow_pickle=True, **changed(codes_of(digits), what))
    with pytest.raises(UserError, match=sentence):
        read_codes(tmp_path / "c.npz", None, digits)


def test_a_file_that_is_no_archive_is_refused(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "c.npz").write_bytes(b"not a zip")
    with pytest.raises(UserError, match=r"c.npz: (not readable|holds Python objects)"):
        read_codes(tmp_path / "c.npz", None, digits)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "has no column id"),
        ("id,a\n0,1\n0,2\n", "has '0' twice"),
        ("id,a\n0,1\n1,red\n", "holds 'red' as a code; allowed: numbers"),
        ("id,a\n5000,1\n", "has no row for 180 of the 180 examples in the train split"),
    ],
)
def test_a_wrong_csv_is_refused_in_a_sentence(
    digits: Dataset, tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "c.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_codes(tmp_path / "c.csv", None, digits)


class Wrong(OwnPca):
    """A model whose methods give what they should not."""

    name = "wrong"

    def encode(self, x: np.ndarray) -> np.ndarray:
        return super().encode(x)[:-1]


def test_an_object_that_gives_other_shapes_is_refused(digits: Dataset) -> None:
    register(Wrong)
    arm = ExternalArm("mine", "made", model="wrong", latent_dims=(DIM,))
    try:
        with pytest.raises(UserError, match="external model wrong: encode gave float64 of shape"):
            rows_of(arm, digits)
    finally:
        EXTERNAL_MODELS.pop("wrong")
