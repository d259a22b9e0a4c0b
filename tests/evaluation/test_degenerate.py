"""Evaluation and controls of data that leave next to nothing, and errors that stay in place."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from degenerate import CELLS, IMAGES, images
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
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation import Evaluated, context, controls, evaluate_pack, pack
from vae_ablation.evaluation.codes import (
    SILHOUETTE_EXAMPLES,
    cluster_scores,
    label_hits,
    silhouette_rows,
)
from vae_ablation.evaluation.context import RunContext
from vae_ablation.evaluation.controls import control_rows
from vae_ablation.evaluation.disentanglement import disentanglement_columns
from vae_ablation.evaluation.families import FAMILIES
from vae_ablation.study.metrics import metric_columns
from vae_ablation.study.plan import Run
from vae_ablation.training.pack import train_pack

DATA = IMAGES | CELLS


def arms(dataset: Dataset, latent_dim: int) -> list[Run]:
    """One run of every kind that the data allow."""
    kinds: list[dict[str, Any]] = [{}, {"kl": False}, {"posterior": "point"}]
    kinds += [{"condition": "label"}] if dataset.observed.classes > 1 else []
    likelihood = "poisson" if dataset.observed.counts else "gaussian"
    return [make_run(likelihood, latent_dim, dataset="made", **kind) for kind in kinds]


def evaluated(dataset: Dataset, runs: list[Run]) -> list[Evaluated]:
    """Each of the runs, trained for two epochs and evaluated with those of its kind."""
    found = []
    options = model_options(hidden=[4])
    for group in ([r for r in runs if r.condition == "none"], runs[3:]):
        if not group:
            continue
        results = train_pack(group, dataset, options, training_settings(epochs=2, batch_size=10))
        assert {result.status for result in results} == {"ok"}
        found += evaluate_pack(
            group,
            [trained_model(result, dataset, options) for result in results],
            [result.history for result in results],
            dataset,
            features_of(dataset),
            evaluation_settings(nll_samples=4),
            CPU,
        )
    return found


def assert_columns(row: dict[str, Any]) -> None:
    """Known columns, each a finite number or flag; JSON can hold them."""
    json.dumps(row, allow_nan=False)
    for name in metric_columns():
        value = row.get(name, 0.0)
        assert isinstance(value, str) or math.isfinite(value), name


@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize("name", DATA)
def test_every_run_is_evaluated_and_nothing_is_left_to_an_error(name: str, latent_dim: int) -> None:
    dataset = DATA[name]()
    for one in evaluated(dataset, arms(dataset, latent_dim)):
        assert "reason" not in one.metrics
        assert_columns(one.metrics)
        assert one.metrics["distortion"] == pytest.approx(one.examples["distortion"].mean())
        assert one.codes["mean"].shape == (len(dataset.rows("test")), latent_dim)


@pytest.mark.parametrize("hidden", [[4], []])
@pytest.mark.parametrize("name", DATA)
def test_every_control_has_a_row(name: str, hidden: list[int]) -> None:
    dataset = DATA[name]()
    runs = [run for dim in (1, 3) for run in arms(dataset, dim)]
    options = model_options(hidden=hidden, gaussian_scale="fixed")
    rows = control_rows(dataset, runs, options, 0, features_of(dataset), 2)
    names = {"raw", "pca", "untrained", "real", "full_gaussian"}
    assert names <= {row["model"] for row in rows}
    for row in rows:
        assert "status" not in row
        assert_columns(row)
    pca = next(row for row in rows if row["model"] == "pca")
    assert pca["mse_log1p" if dataset.observed.counts else "mse"] >= 0


def test_one_dimension_has_the_spectrum_of_its_variance() -> None:
    x = np.random.default_rng(0).normal(2, 3, (50, 1))
    spectrum = controls.Spectrum.of(x)
    assert spectrum.values == pytest.approx([x.var()])
    assert np.abs(spectrum.vectors) == pytest.approx(np.ones((1, 1)))


# --- columns that are empty ---------------------------------------------------------------------


def test_a_silhouette_of_two_common_classes_is_that_of_a_plain_subsample() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 6000)
    codes = rng.normal(size=(6000, 2)) + labels[:, None]
    plain = silhouette_score(codes, labels, sample_size=SILHOUETTE_EXAMPLES, random_state=4)
    rows = silhouette_rows(labels, 4)
    assert rows is not None
    assert silhouette_score(codes[rows], labels[rows]) == plain
    assert cluster_scores(codes[:300], labels[:300], 4)["silhouette"] == silhouette_score(
        codes[:300], labels[:300], sample_size=300, random_state=4
    )


def test_where_a_subsample_misses_the_rare_class_each_class_has_its_share() -> None:
    labels = np.zeros(20_000, np.int64)
    labels[7] = 1
    seeds = [s for s in range(9) if 7 not in np.random.RandomState(s).permutation(20_000)[:5000]]
    rows = silhouette_rows(labels, seeds[0])
    assert rows is not None
    assert len(rows) == len(set(rows.tolist())) == 5001
    assert labels[rows].sum() == 1


def test_no_silhouette_where_each_example_has_its_own_class() -> None:
    assert silhouette_rows(np.arange(40), 0) is None
    assert cluster_scores(np.random.default_rng(0).normal(size=(40, 2)), np.arange(40), 0) == {}


def test_codes_that_are_one_point_have_no_clusters() -> None:
    codes = np.tile([1.0, 2.0, 3.0], (20, 1))
    assert cluster_scores(codes, np.arange(20) % 2, 0) == {}


def test_classes_that_are_in_one_split_only() -> None:
    codes = np.random.default_rng(0).normal(size=(20, 2))
    labels = np.arange(20) % 2
    assert label_hits(codes, np.zeros(20, np.int64), codes, labels) == {}
    hits = label_hits(codes, labels, codes, np.full(20, 7))
    assert {name: values.sum() for name, values in hits.items()} == {
        "knn_accuracy": 0,
        "probe_accuracy": 0,
    }


def test_factors_of_one_value_leave_no_score() -> None:
    codes, factors = np.random.default_rng(0).normal(size=(9, 3)), np.zeros((9, 2), np.int64)
    assert disentanglement_columns(codes, factors, codes, factors, 0) == {}


# --- errors that nobody foresaw -----------------------------------------------------------------


def broken(*_: Any, **__: Any) -> Any:
    raise KeyError("the bug")


def few() -> Dataset:
    return make_dataset(np.random.default_rng(0).uniform(0, 1, (30, 4)), np.arange(30) % 2)


LOST = {
    "nll": {
        "nll",
        "nll_bias",
        "nll_ess",
        "nll_se",
        "nll_loose",
        "nll_untrained",
        "inference_gap",
    },
    "encoder gap": {"encoder_gap"},
    "mse": {"mse"},
    "aggregate posterior": {"mutual_information", "total_correlation", "marginal_kl"},
    "samples": {"sample_fid", "sample_fid_expost", "feature_accuracy", "sample_coverage"},
    "label accuracies of samples": {"knn_accuracy_sampled", "probe_accuracy_sampled"},
    "generalization gap": {"generalization_gap"},
    "clusters": {"silhouette", "ari", "nmi"},
    "label accuracies": {"knn_accuracy", "probe_accuracy"},
    "history": {"epochs", "validation_objective"},
    "codes": {"code_rms"},
}


def broken_family(name: str, patch: pytest.MonkeyPatch, compute: Any = broken) -> None:
    patch.setitem(FAMILIES, name, dataclasses.replace(FAMILIES[name], compute=compute))


@pytest.mark.parametrize("name", LOST)
def test_an_error_of_one_family_leaves_the_other_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = [make_run(kl=False, dataset="made")]
    (whole,) = evaluated(few(), run)
    broken_family(name, monkeypatch)
    (found,) = evaluated(few(), run)
    assert found.metrics["reason"] == f"could not be computed: {name} (KeyError: 'the bug')"
    assert "Traceback" in caplog.text
    kept = {key for key in found.metrics if key != "reason"}
    assert LOST[name] <= whole.metrics.keys() - kept
    for key in kept:
        assert found.metrics[key] == whole.metrics[key]
    assert found.examples.keys() == whole.examples.keys() - LOST[name]


@pytest.mark.parametrize(
    ("name", "asking"),
    [
        ("refined", ["nll", "encoder gap"]),
        ("scores", ["nll"]),
        ("squared_errors", ["mse"]),
        ("draw_pictures", ["pictures"]),
    ],
)
def test_an_error_of_what_families_share_costs_those_that_ask_for_it(
    name: str, asking: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = [make_run(kl=False, dataset="made")]
    (whole,) = evaluated(few(), run)
    monkeypatch.setattr(context, name, broken)
    (found,) = evaluated(few(), run)
    errors = "; ".join(f"{family} (KeyError: 'the bug')" for family in asking)
    assert found.metrics["reason"] == f"could not be computed: {errors}"
    lost = set().union(*(LOST.get(family, set()) for family in asking))
    assert whole.metrics.keys() - found.metrics.keys() <= lost
    assert found.density.keys() == whole.density.keys() != set()


def test_features_that_fail_cost_the_columns_of_samples_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pack.RealFeatures, "of", broken)
    found = evaluated(few(), [make_run(dataset="made"), make_run(beta=4.0, dataset="made")])
    for one in found:
        assert one.metrics["reason"] == "could not be computed: features (KeyError: 'the bug')"
        assert "sample_fid" not in one.metrics
        assert "nll" in one.metrics


def test_an_error_of_one_run_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FAMILIES["terms"].compute
    bad = make_run(beta=4.0, dataset="made")

    def second_breaks(context: RunContext) -> Any:
        return broken() if context.run == bad else whole(context)

    broken_family("terms", monkeypatch, second_breaks)
    first, second = evaluated(few(), [make_run(dataset="made"), bad])
    assert "reason" not in first.metrics
    assert second.metrics["status"] == "failed"
    assert second.metrics["reason"] == "could not be evaluated (KeyError: 'the bug')"
    assert second.codes == {}


def test_a_pack_that_is_evaluated_at_once_falls_apart_into_its_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on an accelerator, where one error would take the whole pack along."""
    data, runs = few(), [make_run(dataset="made"), make_run(beta=4.0, dataset="made")]
    options = model_options(hidden=[4])
    results = train_pack(runs, data, options, training_settings(epochs=2, batch_size=10))
    models = [trained_model(result, data, options) for result in results]
    whole = FAMILIES["codes"].compute

    def second_breaks(context: RunContext) -> Any:
        return broken() if getattr(context, "run", None) == runs[1] else whole(context)

    broken_family("codes", monkeypatch, second_breaks)
    first, second = pack._evaluate_group(
        runs,
        models,
        [result.history for result in results],
        data,
        pack.RealFeatures.of(data, features_of(data), 0),
        evaluation_settings(nll_samples=4),
        torch.device("cpu"),
    )
    assert "reason" not in first.metrics
    assert second.metrics["reason"] == "could not be computed: codes (KeyError: 'the bug')"


@pytest.mark.parametrize("error", [UserError("no."), OSError(28, "full"), MemoryError()])
def test_what_another_attempt_may_mend_is_raised(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    broken_family("clusters", monkeypatch, raising)
    with pytest.raises(type(error)):
        evaluated(few(), [make_run(dataset="made", kl=False)])


def test_a_control_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls.ProbabilisticPCA, "codes", broken)
    rows = control_rows(images(), [make_run(dataset="made")], model_options(), 0)
    found = {row["model"]: row for row in rows}
    assert found["pca"]["status"] == "failed"
    assert found["pca"]["run"] == "made/pca/z2"
    assert "KeyError: 'the bug'" in found["pca"]["reason"]
    assert "knn_accuracy" in found["raw"]
    assert "knn_accuracy" in found["untrained"]
