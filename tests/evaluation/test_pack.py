"""Every metric of a run: the same alone and in a pack, and defined where it should be."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from support import (
    CPU,
    evaluation_settings,
    features_of,
    make_dataset,
    make_run,
    model_options,
    told_nothing,
    trained_model,
    training_settings,
)
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation import Evaluated, evaluate_pack
from vae_ablation.study.run import Run
from vae_ablation.training.pack import train_pack

ARMS = [
    make_run(beta=1.0),
    make_run(beta=0.1, seed=1),
    make_run(kl=False),
    make_run(posterior="point"),
    make_run(beta=50.0),
]


def evaluated(
    runs: list[Run],
    dataset: Dataset,
    options: dict[str, Any],
    chosen: list[int] | None = None,
    epochs: int = 6,
    **settings: Any,
) -> dict[str, Evaluated]:
    """Train all runs, evaluate the chosen ones together."""
    results = train_pack(runs, dataset, options, training_settings(epochs=epochs))
    some = [results[index] for index in (chosen if chosen is not None else range(len(runs)))]
    found = evaluate_pack(
        [result.run for result in some],
        [trained_model(result, dataset, options) for result in some],
        [result.history for result in some],
        dataset,
        features_of(dataset),
        evaluation_settings(**settings),
        CPU,
    )
    return {one.run.arm: one for one in found}


def content(one: Evaluated) -> dict[str, Any]:
    parts = {"codes": one.codes, "pictures": one.pictures, "examples": one.examples}
    arrays = {
        f"{kind}/{name}": value.tobytes()
        for kind, part in parts.items()
        for name, value in part.items()
    }
    return arrays | {"metrics": json.dumps(one.metrics, sort_keys=True)}


@pytest.fixture(scope="module")
def whole(few_digits: Dataset) -> dict[str, Evaluated]:
    return evaluated(ARMS, few_digits, model_options())


@pytest.mark.parametrize("chosen", [[0], [3], [4, 2], [4, 3, 2, 1, 0]])
def test_metrics_codes_and_pictures_are_the_same_bits_alone_and_in_a_pack(
    chosen: list[int], whole: dict[str, Evaluated], few_digits: Dataset
) -> None:
    for arm, one in evaluated(ARMS, few_digits, model_options(), chosen).items():
        assert content(one) == content(whole[arm]), arm


def test_a_conditional_arm_is_measured_like_any_other_alone_and_in_a_pack(
    few_digits: Dataset,
) -> None:
    runs = [make_run(seed=seed, condition="label") for seed in range(2)]
    for seed in range(2):
        (alone,) = evaluated(runs, few_digits, model_options(), [seed]).values()
        results = train_pack(runs, few_digits, model_options(), training_settings(epochs=6))
        together = evaluate_pack(
            runs,
            [trained_model(result, few_digits, model_options()) for result in results],
            [result.history for result in results],
            few_digits,
            features_of(few_digits),
            evaluation_settings(),
            CPU,
        )
        assert content(alone) == content(together[seed])
        assert alone.pictures["class_samples"].shape == (10, 10, 8, 8)


def test_named_labels_are_measured_as_their_numbers_and_shown_by_name(few_digits: Dataset) -> None:
    run = make_run(condition="label")
    names = tuple(str(10 * label + 5) for label in range(10))
    named = dataclasses.replace(few_digits, label_names=names)
    (result,) = train_pack([run], few_digits, model_options(), training_settings(epochs=2))
    found = [
        evaluate_pack(
            [run],
            [trained_model(result, dataset, model_options())],
            [result.history],
            dataset,
            features_of(dataset),
            evaluation_settings(interpolations=pairs),
            CPU,
        )[0]
        for dataset, pairs in ((few_digits, [[3, 8], [0, 77]]), (named, [[35, 85], [3, 8]]))
    ]
    plain, shown = (content(one) for one in found)
    assert found[0].pictures["interpolation_labels"].tolist() == [[3, 8]]
    assert found[1].pictures["interpolation_labels"].tolist() == [["35", "85"]]
    assert found[1].pictures["class_names"].tolist() == list(names)
    assert found[1].codes["label_names"].tolist() == list(names)
    for key in ("pictures/interpolation_labels", "pictures/class_names", "codes/label_names"):
        shown.pop(key)
        plain.pop(key, None)
    assert plain == shown


COUNTED: dict[str, dict[str, Any]] = {
    "zero_inflated_negative_binomial": {"dispersion": "gene_cell", "condition": "batch"},
    "poisson": {"architecture": "poe", "objective": "mvae"},
    "log_normal_gaussian": {},
}


@pytest.mark.parametrize("likelihood", COUNTED)
def test_counts_are_measured_the_same_alone_and_in_a_pack(likelihood: str, cells: Dataset) -> None:
    kinds: list[dict[str, Any]] = [{}, {"beta": 4.0}, {"posterior": "point"}]
    runs = [make_run(likelihood, **kind, **COUNTED[likelihood]) for kind in kinds]
    whole = evaluated(runs, cells, model_options(), epochs=3)
    for index, run in enumerate(runs):
        (alone,) = evaluated(runs, cells, model_options(), [index], epochs=3).values()
        assert content(alone) == content(whole[run.arm])
    for run in runs:
        metrics = whole[run.arm].metrics
        json.dumps(metrics, allow_nan=False)
        assert {"distortion", "mse", "mse_log1p", "batch_knn_mixing", "sample_fid"} <= set(metrics)
        assert metrics["measure"].startswith("counts/")
        assert "bits_per_dim" not in metrics
        assert whole[run.arm].pictures == {}
        # of subsampled terms the evaluation knows only those of both modalities
        minimised = run.objective == "elbo"
        assert ("test_objective" in metrics) == minimised
        assert metrics["mse_log1p"] == pytest.approx(
            whole[run.arm].examples["mse_log1p"].mean(), rel=1e-5
        )


def test_every_value_is_finite_and_can_be_written_as_json(whole: dict[str, Evaluated]) -> None:
    for one in whole.values():
        json.dumps(one.metrics, allow_nan=False)


def test_elbo_and_objective_follow_from_distortion_and_rate(whole: dict[str, Evaluated]) -> None:
    for arm in ("beta1", "beta0.1", "kl-off", "beta50"):
        one = whole[arm]
        m = one.metrics
        assert m["elbo"] == pytest.approx(-(m["distortion"] + m["rate"]))
        assert m["test_objective"] == pytest.approx(m["distortion"] + one.run.beta * m["rate"])
        assert sum(m["rate_per_dim"]) == pytest.approx(m["rate"])
        assert len(m["rate_per_dim"]) == one.run.latent_dim
        assert m["nll"] <= -m["elbo"] + 0.3
        assert m["inference_gap"] == pytest.approx(-m["nll"] - m["elbo"])
        assert m["encoder_gap"] >= 0
        assert 0 < m["nll_bias"] < 0.5
        assert m["nll_se"] > 0
        assert m["nll_untrained"] == (not one.run.kl)


def test_the_rate_is_that_of_the_codes(whole: dict[str, Evaluated]) -> None:
    one = whole["beta1"]
    mean, std = (one.codes[name].astype(np.float64) for name in ("mean", "std"))
    kl = 0.5 * (mean**2 + std**2 - 1) - np.log(std)
    assert one.metrics["rate"] == pytest.approx(kl.sum(1).mean(), rel=1e-5)
    assert one.metrics["posterior_std"] == pytest.approx(std.mean(), rel=1e-5)
    assert one.metrics["code_rms"] == pytest.approx(np.sqrt((mean**2).mean()), rel=1e-5)


def test_point_arms_have_no_rate_or_elbo_but_an_nll(whole: dict[str, Evaluated]) -> None:
    metrics = whole["point"].metrics
    assert {"nll", "nll_ess", "nll_bias", "nll_levels", "bits_per_dim"} <= set(metrics)
    assert metrics["nll_untrained"] is True
    empty = {"rate", "elbo", "inference_gap", "encoder_gap", "effective_beta", "rate_per_dim",
             "active_units", "collapsed_fraction", "posterior_std", "mutual_information",
             "marginal_kl", "hole_rate", "validation_elbo", "total_correlation", "dimension_kl",
             "active_units_kl", "active_units_mi", "knn_accuracy_sampled",
             "probe_accuracy_sampled"}  # fmt: skip
    assert not empty & set(metrics)
    assert metrics["test_objective"] == metrics["distortion"]
    assert {"mse", "code_rms", "knn_accuracy", "drift", "sample_fid"} <= set(metrics)


def test_metrics_are_the_means_of_their_examples(whole: dict[str, Evaluated]) -> None:
    for arm, one in whole.items():
        n = len(one.codes["mean"])
        for name, values in one.examples.items():
            assert values.shape == (n,)
            assert values.dtype == np.float32
            assert one.metrics[name] == pytest.approx(np.nanmean(values), rel=1e-5), (arm, name)
    terms = {"distortion", "rate", "elbo", "nll", "nll_levels"}
    labelled = {"mse", "knn_accuracy", "probe_accuracy"}
    sampled = {"knn_accuracy_sampled", "probe_accuracy_sampled"}
    assert set(whole["beta1"].examples) == terms | labelled | sampled
    assert set(whole["point"].examples) == {"distortion", "nll", "nll_levels"} | labelled


def test_the_rate_is_mutual_information_and_marginal_kl(
    few_digits: Dataset, whole: dict[str, Evaluated]
) -> None:
    for arm in ("beta1", "beta0.1", "beta50"):
        metrics = whole[arm].metrics
        parts = metrics["mutual_information"] + metrics["marginal_kl"]
        assert parts == pytest.approx(metrics["rate"], abs=0.25)
        assert metrics["mi_ceiling"] == pytest.approx(math.log(len(few_digits.x)))
        parts = metrics["total_correlation"] + metrics["dimension_kl"]
        assert parts == pytest.approx(metrics["marginal_kl"], abs=0.25)


def test_samples_are_scored_for_every_arm_above_the_floor_of_real_data(
    whole: dict[str, Evaluated],
) -> None:
    floors = {one.metrics["sample_fid_floor"] for one in whole.values()}
    assert len(floors) == 1
    for one in whole.values():
        assert one.metrics["sample_fid"] > one.metrics["sample_fid_floor"]
        near = ("coverage", "density", "precision", "recall")
        assert {"sample_fid_expost", *(f"sample_{name}" for name in near)} <= set(one.metrics)


def test_disentanglement_is_measured_where_factors_are_known_only(
    few_digits: Dataset, whole: dict[str, Evaluated]
) -> None:
    names = {"mig", "dci_disentanglement", "sap"}
    assert not names & set(whole["beta1"].metrics)
    factors = np.column_stack([few_digits.labels, np.arange(len(few_digits.x)) % 3])
    known = dataclasses.replace(few_digits, factors=factors, factor_names=("digit", "third"))
    (found,) = evaluated([make_run(beta=0.1)], known, model_options()).values()
    assert names <= set(found.metrics)


def test_an_importance_weighted_arm_is_measured_like_any_other(few_digits: Dataset) -> None:
    run = make_run(objective="iwae", importance_samples=5)
    (found,) = evaluated([run], few_digits, model_options()).values()
    assert "test_objective" not in found.metrics
    assert found.metrics["validation_objective"] < -found.metrics["validation_elbo"]
    assert found.metrics["nll"] <= -found.metrics["elbo"] + 0.3


def test_kl_off_arms_have_no_active_units(whole: dict[str, Evaluated]) -> None:
    assert not {"active_units", "collapsed_fraction"} & set(whole["kl-off"].metrics)
    assert {"rate", "elbo", "nll", "silhouette"} <= set(whole["kl-off"].metrics)


def test_a_collapsed_arm_has_no_active_unit_and_no_clusters(few_digits: Dataset) -> None:
    found = evaluated([make_run(beta=200.0)], few_digits, model_options(), epochs=60)
    metrics = found["beta200"].metrics
    assert metrics["active_units"] == 0
    assert metrics["collapsed_fraction"] == 1
    assert metrics["rate"] < 0.05
    assert not {"silhouette", "ari", "nmi"} & set(metrics)


@pytest.mark.parametrize("likelihood", ["gaussian", "continuous_bernoulli", "discretized_logistic"])
def test_mse_is_that_of_the_distributions_mean(likelihood: str, few_digits: Dataset) -> None:
    options = model_options()
    run = make_run(likelihood, beta=0.1)
    (result,) = train_pack([run], few_digits, options, training_settings(epochs=10))
    model = trained_model(result, few_digits, options)
    (found,) = evaluate_pack(
        [run],
        [model],
        [result.history],
        few_digits,
        features_of(few_digits),
        evaluation_settings(),
        CPU,
    )
    x = torch.from_numpy(few_digits.intensities("test"))
    with torch.no_grad():
        output = model.decoder.network(model.encoder(x).mean).double().numpy()
    if likelihood == "gaussian":
        mean = output
    elif likelihood == "continuous_bernoulli":
        eta = 15 * np.tanh(output / 15)
        mean = 1 / -np.expm1(-eta) - 1 / eta
    else:
        scale = 0.01 + np.exp(result.weights["decoder.scales.log_scale"].numpy().astype(float))
        edges = (np.arange(16) + 0.5) / 16
        mean = stats.logistic.sf(edges[:, None, None], output, scale).sum(0) / 16
    truth = np.square(mean - x.numpy()).mean()
    assert found.metrics["mse"] == pytest.approx(truth, rel=1e-4)


def test_bits_per_dim_are_nats_of_grey_levels_over_the_dimensions(
    few_digits: Dataset, whole: dict[str, Evaluated]
) -> None:
    run = make_run("discretized_logistic")
    metrics = evaluated([run], few_digits, model_options(), epochs=30)["beta1"].metrics
    assert metrics["nll_levels"] == pytest.approx(metrics["nll"])
    assert metrics["bits_per_dim"] == pytest.approx(metrics["nll"] / (64 * math.log(2)))
    assert 1 < metrics["bits_per_dim"] < math.log2(17)
    assert (metrics["measure"], metrics["proper"]) == ("grey17/mass-open", True)
    assert (metrics["levels_measure"], metrics["levels_of_density"]) == ("grey17/mass-open", False)
    density = whole["beta1"].metrics
    assert density["bits_per_dim"] == pytest.approx(density["nll_levels"] / (64 * math.log(2)))
    assert (density["levels_measure"], density["levels_of_density"]) == ("grey17/mass-open", True)


def test_cross_entropies_continuous_and_binarised_data_have_no_bits_per_dim(
    few_digits: Dataset,
) -> None:
    smooth = make_dataset(few_digits.x)
    (one,) = evaluated([make_run()], smooth, model_options(), epochs=1).values()
    assert not {"bits_per_dim", "nll_levels", "levels_measure"} & set(one.metrics)
    grey = evaluated([make_run("bernoulli")], few_digits, model_options(), epochs=1)["beta1"]
    assert "bits_per_dim" not in grey.metrics
    assert (grey.metrics["measure"], grey.metrics["proper"]) == ("grey/cross-entropy", False)
    cut = (few_digits.x >= 0.5).astype(np.float32)
    dataset = make_dataset(few_digits.x, levels=2, binary=True, fixed=cut)
    binary = evaluated([make_run("bernoulli")], dataset, model_options(), epochs=1)["beta1"]
    assert "bits_per_dim" not in binary.metrics
    assert (binary.metrics["measure"], binary.metrics["proper"]) == ("binary/mass", True)


def test_mse_of_binarised_data_is_taken_before_binarisation() -> None:
    x = np.full((50, 4), 0.5, np.float32)
    drawn = (np.arange(200).reshape(50, 4) % 2).astype(np.float32)
    dataset = make_dataset(x, levels=2, binary=True, fixed=drawn)
    run = make_run("bernoulli", beta=100.0)
    (result,) = train_pack([run], dataset, model_options(), training_settings(epochs=1))
    model = trained_model(result, dataset, model_options())
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()  # every mean is one half
    (found,) = evaluate_pack(
        [run], [model], [result.history], dataset, features_of(dataset), evaluation_settings(), CPU
    )
    assert found.metrics["mse"] == pytest.approx(0, abs=1e-12)


def test_codes_are_of_the_test_split_in_its_order(
    whole: dict[str, Evaluated], few_digits: Dataset
) -> None:
    codes = whole["beta1"].codes
    n = len(few_digits.rows("test"))
    assert codes["mean"].shape == codes["std"].shape == (n, 2)
    assert codes["mean"].dtype == codes["std"].dtype == np.float32
    np.testing.assert_array_equal(codes["labels"], few_digits.labels_of("test"))


def test_history_columns_are_of_the_validation_objective(few_digits: Dataset) -> None:
    run = make_run(beta=0.1, seed=1)
    (result,) = train_pack([run], few_digits, model_options(), training_settings(epochs=6))
    metrics = evaluated([run], few_digits, model_options())["beta0.1"].metrics
    objective = result.history[:, 3] + 0.1 * result.history[:, 4]
    assert metrics["validation_objective"] == pytest.approx(objective[-1])
    assert metrics["epochs"] == 6
    line = np.polyfit(range(3), objective[-3:], 1)[0] * 2
    assert metrics["drift"] == pytest.approx(line)


def test_the_generalization_gap_is_validation_minus_train_distortion(few_digits: Dataset) -> None:
    run = make_run(posterior="point")
    (result,) = train_pack([run], few_digits, model_options(), training_settings(epochs=6))
    model = trained_model(result, few_digits, model_options())
    found = evaluated([run], few_digits, model_options())["point"].metrics
    distortion = []
    for split in ("validation", "train"):
        x = torch.from_numpy(few_digits.observe(split))
        with torch.no_grad():
            z = model.encoder(x, told_nothing(x)).mean
            predicted = model.decoder(z, told_nothing(x))
            distortion.append(-predicted.log_prob(x).double().mean().item())
    gap = distortion[0] - distortion[1]
    assert found["generalization_gap"] == pytest.approx(gap, rel=1e-3, abs=1e-3)


def test_codes_drawn_from_a_collapsed_posterior_are_at_chance(
    whole: dict[str, Evaluated],
) -> None:
    collapsed = whole["beta50"].metrics
    chance = 0.1 + 4.5 * math.sqrt(0.1 * 0.9 / 60)
    assert collapsed["active_units"] == 0
    for name in ("knn_accuracy", "probe_accuracy"):
        assert collapsed[f"{name}_sampled"] < chance


def test_units_are_counted_by_their_rate_where_it_is_trained(whole: dict[str, Evaluated]) -> None:
    for arm in ("beta1", "beta0.1", "beta50"):
        metrics = whole[arm].metrics
        assert metrics["active_units_kl"] == sum(rate > 0.01 for rate in metrics["rate_per_dim"])
    assert "active_units_kl" not in whole["kl-off"].metrics
    assert whole["kl-off"].metrics["active_units_mi"] in {0, 1, 2}


def test_the_evaluation_seed_moves_only_monte_carlo_columns(few_digits: Dataset) -> None:
    one, other = (
        evaluated([make_run()], few_digits, model_options(), seed=seed)["beta1"].metrics
        for seed in (0, 1)
    )
    assert one["distortion"] != other["distortion"]
    assert one["distortion"] == pytest.approx(other["distortion"], rel=0.02)
    for name in (
        *("nll", "sample_fid", "sample_fid_expost", "sample_fid_floor", "mutual_information"),
        *("total_correlation", "generalization_gap", "knn_accuracy_sampled"),
    ):
        assert one[name] != other[name], name
    for name in ("rate", "mse", "code_rms", "knn_accuracy", "drift", "active_units"):
        assert one[name] == other[name]


def test_data_without_labels_or_pictures_are_evaluated_too() -> None:
    rng = np.random.default_rng(0)
    dataset = make_dataset(rng.random((60, 5)))
    found = evaluated([make_run()], dataset, model_options())["beta1"]
    assert found.pictures == {}
    assert not {"silhouette", "ari", "nmi", "knn_accuracy", "probe_accuracy"} & set(found.metrics)
    assert {"nll", "mse", "active_units"} <= set(found.metrics)
    assert (found.codes["labels"] == -1).all()
