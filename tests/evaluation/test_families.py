"""Families of metrics: one more needs no other line, and what they share is computed once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from support import (
    CPU,
    evaluation_settings,
    features_of,
    make_run,
    model_options,
    trained_model,
    training_settings,
)
from vae_ablation.common.registry import PartError
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation import Evaluated, context, evaluate_pack
from vae_ablation.evaluation.context import CodeContext, EvaluationContext, RunContext, once
from vae_ablation.evaluation.controls import control_rows
from vae_ablation.evaluation.families import FAMILIES
from vae_ablation.evaluation.family import Columns, family
from vae_ablation.study.metrics import METRICS, Metric, register
from vae_ablation.study.run import Run
from vae_ablation.training.pack import train_pack


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The registries of families and of metrics as they were."""
    registries: list[dict[str, Any]] = [FAMILIES, METRICS]
    kept = [dict(each) for each in registries]
    yield
    for registry, before in zip(registries, kept, strict=True):
        registry.clear()
        registry.update(before)


def trained(runs: list[Run], dataset: Dataset) -> tuple[list[Any], list[Any]]:
    """Models and histories of runs after two epochs."""
    options = model_options(hidden=[4])
    results = train_pack(runs, dataset, options, training_settings(epochs=2))
    models = [trained_model(result, dataset, options) for result in results]
    return models, [result.history for result in results]


def evaluated(runs: list[Run], dataset: Dataset) -> list[Evaluated]:
    models, histories = trained(runs, dataset)
    settings = evaluation_settings(nll_samples=4)
    return evaluate_pack(runs, models, histories, dataset, features_of(dataset), settings, CPU)


def test_one_more_family_is_measured_for_runs_and_controls(few_digits: Dataset) -> None:
    register(Metric("glow", "glow", "Largest code."))

    @family("glow", "glow", codes=True)
    def glow(context: CodeContext) -> Columns:
        return {"glow": np.abs(context.codes).max(1)}

    (one,) = evaluated([make_run()], few_digits)
    largest = np.abs(one.codes["mean"]).max(1)
    assert one.metrics["glow"] == pytest.approx(largest.mean())
    np.testing.assert_array_equal(one.examples["glow"], largest)
    rows = control_rows(few_digits, [make_run()], model_options(), 0)
    assert {row["model"] for row in rows if "glow" in row} == {"raw", "pca", "untrained"}


def test_a_family_that_asks_for_the_run_is_no_controls(few_digits: Dataset) -> None:
    @family("weight", "weight")
    def weight(context: RunContext) -> Columns:
        return {"weight": context.run.beta * context.bounds.nll.mean()}

    (one,) = evaluated([make_run(beta=2.0)], few_digits)
    assert one.metrics["weight"] == pytest.approx(2 * one.metrics["nll"])
    rows = control_rows(few_digits, [make_run()], model_options(), 0)
    assert not any("weight" in row for row in rows)


def test_a_column_that_was_not_declared_is_refused(few_digits: Dataset) -> None:
    @family("loose", "tight")
    def loose(context: RunContext) -> Columns:
        return {"tight": 1.0, "looser": 2.0}

    (one,) = evaluated([make_run()], few_digits)
    assert "looser, not declared" in one.metrics["reason"]
    assert not {"tight", "looser"} & one.metrics.keys()


@pytest.mark.parametrize("name", ["nll", "another"])
def test_no_two_families_give_one_column_or_have_one_name(name: str) -> None:
    with pytest.raises(PartError, match="nll"):
        family(name, "nll")(lambda context: {})
    with pytest.raises(PartError, match="the metric family 'nll' is there already"):
        family("nll")(lambda context: {})


def test_every_measured_metric_belongs_to_a_family() -> None:
    given = {column for each in FAMILIES.values() for column in each.columns}
    measured = {name for name, metric in METRICS.items() if metric.role != "cost"}
    lists = {"rate_per_dim", "sample_fid_networks", "sample_fid_expost_networks"}
    assert given - lists == measured


def test_what_families_share_is_computed_once_and_a_point_has_no_aggregate(
    few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(name: str) -> Any:
        whole = getattr(context, name)

        def count(*arguments: Any) -> Any:
            calls.append(name)
            return whole(*arguments)

        return count

    for name in ("encode", "distortions", "scores", "encoder_gaps", "aggregates", "sample_columns"):
        monkeypatch.setattr(context, name, counted(name))
    evaluated([make_run()], few_digits)
    once_each = ["aggregates", "encoder_gaps", "scores", "sample_columns"]
    splits = 3
    assert sorted(calls) == sorted([*once_each, *["encode", "distortions"] * splits])
    calls.clear()
    evaluated([make_run(posterior="point")], few_digits)
    assert {"scores", "encoder_gaps", "aggregates"} & set(calls) == {"scores"}


def test_the_order_of_asking_changes_no_draw(few_digits: Dataset) -> None:
    runs = [make_run()]
    models, histories = trained(runs, few_digits)

    def fresh() -> EvaluationContext:
        settings = evaluation_settings(nll_samples=4)
        return EvaluationContext(runs, models, histories, few_digits, None, settings, CPU)

    first, second = fresh(), fresh()
    asked = first.aggregates, first.scores, first.distortions
    terms, bounds, aggregates = second.distortions, second.scores, second.aggregates
    np.testing.assert_array_equal(asked[2], terms)
    np.testing.assert_array_equal(asked[1].own.nll, bounds.own.nll)
    assert asked[0] == aggregates


def test_an_error_is_kept_like_a_value() -> None:
    class Asked:
        times = 0

        @once
        def answer(self) -> int:
            """A number that is never known."""
            self.times += 1
            raise KeyError(self.times)

    one = Asked()
    for _ in range(2):
        with pytest.raises(KeyError, match="1"):
            _ = one.answer
    assert one.times == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.float32(0.5), 0.5),
        (float("nan"), None),
        (np.array([np.nan, 2.0]), 2.0),
        (np.full(3, np.nan), None),
    ],
)
def test_runs_and_controls_have_a_familys_values_as_plain_numbers_or_none(
    value: Any, shown: float | None, few_digits: Dataset
) -> None:
    register(Metric("glow", "glow", "Some value."))

    @family("glow", "glow", codes=True)
    def glow(context: CodeContext) -> Columns:
        return {"glow": value}

    (one,) = evaluated([make_run()], few_digits)
    rows = [one.metrics, *control_rows(few_digits, [make_run()], model_options(), 0)]
    json.dumps(rows, allow_nan=False)
    assert {row.get("glow") for row in rows} == {shown}
    assert "reason" not in one.metrics


@pytest.mark.parametrize("value", [torch.ones(2), np.ones((2, 2)), np.array(["a"]), {"a": 1}])
def test_a_value_that_no_column_can_have_costs_its_family_alone(
    value: Any, few_digits: Dataset
) -> None:
    @family("glow", "glow", codes=True)
    def glow(context: CodeContext) -> Columns:
        return {"glow": value}

    (one,) = evaluated([make_run()], few_digits)
    controls = control_rows(few_digits, [make_run()], model_options(), 0)
    (pca,) = (row for row in controls if row["model"] == "pca")
    for row in (one.metrics, pca):
        assert f"glow (ValueError: glow is {type(value).__name__}" in row["reason"]
        assert row["knn_accuracy"] > 0
        assert "glow" not in row
