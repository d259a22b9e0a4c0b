"""One finding for each question and metric: verdicts in words, whatever the axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from planted import contrast, found, nothing, only, runs, summary

WORSE = contrast("beta", "16", "nll", (20.1, 18.0, 22.2), "worse")


def test_a_difference_in_nats_has_its_size_interval_and_settings() -> None:
    finding = only(found([WORSE], topic="beta/nll"))
    assert str(finding.headline) == "The NLL is worse at β = 16 than at β = 1"
    assert str(finding.text) == (
        "Compared with β = 1 (3 seeds in each of 9 settings): at β = 16 the NLL is higher by "
        "20 nats (18 to 22)."
    )
    assert finding.claims
    assert finding.section == "beta"


@pytest.mark.parametrize(
    ("metric", "effect", "verdict", "words"),
    [
        ("sample_fid", (3.52, 3.07, 4.06), "worse", "3.5 times as large (3.1 to 4.1)"),
        ("rate", (0.0131, 0.0121, 0.0142), "lower", "1.31 % as large (1.21 % to 1.42 %)"),
        ("probe_accuracy", (-0.12, -0.14, -0.1), "worse", "lower by 12 percentage points (10 to"),
        ("active_units", (-3.0, -3.8, -2.3), "lower", "lower by 3.0 dimensions (2.3 to 3.8)"),
    ],
)
def test_an_effect_is_worded_on_the_scale_of_its_metric(
    metric: str, effect: tuple[float, float, float], verdict: str, words: str
) -> None:
    finding = only(found([contrast("beta", "16", metric, effect, verdict)], topic=f"beta/{metric}"))
    assert words in str(finding.text)


def test_levels_are_grouped_by_verdict_and_undecided_ones_stay_in_the_text() -> None:
    rows = [
        contrast("beta", "0.5", "nll", (-0.6, -0.9, -0.3), "better"),
        contrast("beta", "4", "nll", (3.2, 2.6, 3.9), "worse"),
        contrast("beta", "0.1", "nll", (0.2, -0.4, 0.8), "undecided"),
        WORSE,
    ]
    finding = only(found(rows, topic="beta/nll"))
    headline = "Compared with β = 1, the NLL is worse at β = 4 and 16 and better at β = 0.5"
    assert str(finding.headline) == headline
    assert "at β = 0.1 the NLL is undecided: the difference is 0.2 nats (−0.4 to 0.8)" in str(
        finding.text
    )


def test_what_is_equivalent_says_within_which_margin() -> None:
    row = contrast("beta", "0.5", "nll", (0.1, -0.2, 0.4), "equivalent", margin=0.5)
    finding = only(found([row], topic="beta/nll"))
    assert str(finding.headline) == "At β = 0.5, the NLL is equivalent to that at β = 1"
    assert "the difference, 0.1 nats (−0.2 to 0.4), lies within the margin of 0.500 nats" in str(
        finding.text
    )
    assert not finding.claims


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("equivalent", "as a rounded number it is equivalent within the margin of 0.500 dim"),
        ("undecided", "it stays undecided"),
    ],
)
def test_what_is_the_same_in_every_seed_says_so_and_has_no_interval(
    verdict: str, words: str
) -> None:
    nan = float("nan")
    same = contrast("beta", "0.5", "active_units", (0.0, nan, nan), verdict)
    rows = [same, contrast("beta", "16", "active_units", (-8.0, -9.0, -7.0), "lower"),
            contrast("beta", "0.5", "nll", (-1.0, -2.0, -0.1), "better")]  # fmt: skip
    text = str(only(found(rows, topic="beta/active_units")).text)
    assert (
        "at β = 0.5 the number of active units is the same in every seed of every setting, which "
        f"shows no spread: {words}"
    ) in text
    power = str(only(found(rows, topic="power")).text)
    listed = "active units (the same in every seed) at β = 0.5 against β = 1" in power
    assert listed == (verdict == "undecided")


def test_a_verdict_that_depends_on_an_axis_is_given_by_its_levels() -> None:
    rows = [
        contrast("latent_dim", "8", "nll", (0.1, -0.9, 1.1), "depends", "16",
                 depends_on="likelihood", beta=1.0, heterogeneity_p=1e-6),
        contrast("latent_dim", "8", "nll", (2.0, 1.5, 2.5), "worse", "16",
                 "likelihood=gaussian", likelihood="gaussian"),
        contrast("latent_dim", "8", "nll", (-1.8, -2.4, -1.2), "better", "16",
                 "likelihood=bernoulli", likelihood="bernoulli"),
    ]  # fmt: skip
    finding = only(found(rows, topic="latent_dim/nll"))
    assert str(finding.headline) == (
        "At latent dimension 8, the change in the NLL depends on the likelihood"
    )
    assert (
        "with the Bernoulli it is lower by 1.8 nats (1.2 to 2.4); with the Gaussian it is"
        in str(finding.text)
    )
    assert ", at β = 1)" in str(finding.text)


def test_settings_that_differ_are_said_and_a_difference_of_some_holds_on_average_only() -> None:
    pooled = contrast("likelihood", "gaussian", "nll", (9.0, 8.0, 10.0), "worse", "bernoulli",
                      beta=1.0, heterogeneity_p=1e-4, margin=0.5)  # fmt: skip
    singles = [
        contrast("likelihood", "gaussian", "nll", (mean, mean - 1, mean + 1), verdict, "bernoulli",
                 "setting", beta=beta, latent_dim=z)
        for beta, z, mean, verdict in [
            (1.0, 2.0, -0.2, "undecided"), (1.0, 8.0, 18.2, "worse"),
            # Another beta, over which the pooled row does not pool.
            (4.0, 2.0, -70.0, "better"),
        ]
    ]  # fmt: skip
    finding = only(found([pooled, *singles], topic="likelihood/nll"))
    assert str(finding.headline) == (
        "The NLL is worse on average with the Gaussian than with the Bernoulli"
    )
    assert (
        ", with differences from −0.2 nats at latent dimension 2 to 18.2 nats at latent dimension 8"
        " in single settings." in str(finding.text)
    )
    alike = only(found([pooled | {"heterogeneity_p": 0.4}, *singles], topic="likelihood/nll"))
    assert "on average" not in str(alike.headline) + str(alike.text)
    assert "single settings" not in str(alike.text)


def singles(level: str, verdicts: Sequence[str]) -> list[dict[str, Any]]:
    """Settings by likelihood and latent dimension, with these verdicts on the NLL at a level."""
    size = {"better": -2.0, "worse": 2.0, "equivalent": 0.1, "undecided": 0.5}
    places = [(lik, dim) for lik in ("bernoulli", "gaussian") for dim in (2.0, 8.0, 16.0)]
    return [
        contrast("beta", level, "nll", (size[one], size[one] - 1, size[one] + 1), one,
                 scope="setting", likelihood=lik, latent_dim=dim)
        for one, (lik, dim) in zip(verdicts, places, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pooled", "verdicts", "words"),
    [
        ("worse", ["worse", "better", "equivalent", "worse", "better", "undecided"],
         ("the NLL is better with the Bernoulli and with the Gaussian at latent dimension 8 and "
         "equivalent with the Bernoulli at latent dimension 16")),
        ("equivalent", ["undecided", "worse", "equivalent", "undecided"] + 2 * ["equivalent"],
         "the NLL is worse with the Bernoulli at latent dimension 8"),
        ("undecided", ["equivalent", "worse", "better", "undecided"] + 2 * ["equivalent"],
         ("the NLL is worse with the Bernoulli at latent dimension 8 and better with the Bernoulli "
         "at latent dimension 16")),
        ("worse", ["equivalent"] * 4 + ["worse"] * 2, "the NLL is equivalent in 4 of 6 settings"),
    ],
)  # fmt: skip
def test_settings_with_another_verdict_are_named(
    pooled: str, verdicts: Sequence[str], words: str
) -> None:
    size = {"worse": (2.0, 1.0, 3.0)}.get(pooled, (0.1, -0.2, 0.3))
    rows = [contrast("beta", "4", "nll", size, pooled), WORSE]
    rows += [*singles("4", verdicts), *singles("16", ["worse"] * 6)]
    text = str(only(found(rows, topic="beta/nll")).text)
    assert f" In single settings, by their own intervals, at β = 4 {words}." in text
    assert text.count("In single settings") == 1


def test_a_metric_that_some_settings_lack_says_at_which_levels_it_is_compared() -> None:
    part = contrast("beta", "4", "total_correlation", (0.2, 0.1, 0.3), "worse", settings=2)
    rows = [WORSE, part, *singles("16", ["worse"] * 6)]
    rows += [contrast("beta", "4", "total_correlation", (0.2, 0.1, 0.3), "worse", scope="setting",
                      likelihood=lik, latent_dim=dim)
             for lik in ("bernoulli", "gaussian") for dim in (2.0, 8.0)]  # fmt: skip
    text = str(only(found(rows, topic="beta/total_correlation")).text)
    assert "(3 seeds in each of 2 settings, at latent dimension 2 and latent dimension 8)" in text
    assert "settings): at β = 16" in str(only(found(rows, topic="beta/nll")).text)


def test_small_ratios_of_single_settings_are_percentages_as_their_mean_is() -> None:
    rows = [contrast("beta", "16", "posterior_std", (0.013, 0.012, 0.014), "lower",
                     heterogeneity_p=1e-4)]  # fmt: skip
    rows += [contrast("beta", "16", "posterior_std", (size, 0.9 * size, 1.1 * size), "lower",
                      scope="setting", latent_dim=dim)
             for dim, size in ((2.0, 0.002), (8.0, 0.15))]  # fmt: skip
    # A closed question states nothing: the NLL opens it.
    finding = only(found([WORSE, *rows], topic="beta/posterior_std"))
    assert ", with 0.200 % at latent dimension 2 to 15.0 % at latent dimension 8 in" in str(
        finding.text
    )


def test_an_interval_without_zero_that_is_undecided_says_why() -> None:
    rows = [WORSE, contrast("beta", "4", "nll", (0.7, 0.3, 1.1), "undecided")]
    assert "is undecided after adjustment:" in str(only(found(rows, topic="beta/nll")).text)


def test_a_difference_below_the_drift_says_so() -> None:
    row = WORSE | {"below_drift": True}
    text = str(only(found([row], topic="beta/nll")).text)
    assert text.endswith("(18 to 22), less than the last tenth of training still added.")


@pytest.mark.parametrize(
    ("metric", "level", "sentence"),
    [
        ("nll", "label", "told the label and scores the data given it: as much of the difference"),
        ("elbo", "batch+label", "A conditioned model is told the batch and label and scores"),
        ("probe_accuracy", "batch+label", "A model that is told the label need not encode it."),
    ],
)
def test_what_conditioned_models_are_told_is_said(metric: str, level: str, sentence: str) -> None:
    conditioned = contrast("condition", level, metric, (-2.0, -3.0, -1.0), "worse", "none")
    assert sentence in str(only(found([conditioned], topic=f"condition/{metric}")).text)
    other = contrast("condition", "batch", "probe_accuracy", (-2.0, -3.0, -1.0), "worse", "none")
    assert "told" not in str(only(found([other], topic="condition/probe_accuracy")).text)


@pytest.mark.parametrize(
    ("question", "level", "reference", "headline"),
    [
        ("architecture", "conv", "mlp", "The NLL is worse with conv than with mlp"),
        ("model.hidden", "512x256", "16", "worse with hidden layers 512x256 than with hidden"),
        ("my.axis", "soft", "hard", "The NLL is worse with axis soft than with axis hard"),
        ("condition", "batch", "none", "worse when conditioned on batch than without conditioning"),
        ("training.learning_rate", "0.01", "0.001", "worse at learning rate 0.01 than at learning"),
        ("train_examples", "100", "1000", "worse with 100 training examples than with 1000"),
        ("point", "point", "1", "worse in a deterministic autoencoder than at β = 1"),
    ],
)
def test_every_axis_has_findings_in_its_own_words(
    question: str, level: str, reference: str, headline: str
) -> None:
    row = contrast(question, level, "nll", (2.0, 1.0, 3.0), "worse", reference)
    assert headline in str(only(found([row], topic=f"{question}/nll")).headline)


def turning(**verdicts: str) -> str:
    """The sentence on the turning point of the NLL from verdicts by β (`b4="worse"`)."""
    size = {"worse": (2.0, 1.0, 3.0), "better": (-2.0, -3.0, -1.0)}
    rows = [
        contrast("beta", name.removeprefix("b").replace("_", "."), "nll",
                 size.get(verdict, (0.05, -0.2, 0.3)), verdict)
        for name, verdict in verdicts.items()
    ]  # fmt: skip
    return str(only(found(rows, topic="beta/nll")).text).rpartition("). ")[2]


def test_the_best_level_lies_between_two_worse_ones() -> None:
    text = turning(b0_1="worse", b0_5="better", b4="worse")
    assert text == "The best β lies between 0.1 and 4."


def test_where_settings_differ_the_best_level_is_one_on_average() -> None:
    rows = [
        contrast("beta", level, "nll", (2.0, 1.0, 3.0), "worse", heterogeneity_p=1e-4, margin=0.5)
        for level in ("0.1", "4")
    ]
    settings = [
        contrast("beta", level, "nll", (size, size - 1, size + 1), "worse", scope="setting",
                 latent_dim=dim)
        for level in ("0.1", "4") for dim, size in ((2.0, 0.1), (8.0, 3.9))
    ]  # fmt: skip
    text = str(only(found([*rows, *settings], topic="beta/nll")).text)
    assert "The best β on average lies between 0.1 and 4." in text


def test_an_undecided_level_widens_the_bracket() -> None:
    text = turning(b0_1="worse", b0_5="undecided", b4="undecided", b16="worse")
    assert text == "The best β lies between 0.1 and 16."


def test_a_metric_turns_worse_between_two_levels() -> None:
    text = turning(b0_5="equivalent", b4="worse", b16="worse")
    assert text == "The NLL turns worse between β = 1 and 4."


def test_a_best_level_at_the_end_of_the_range_may_lie_beyond_it() -> None:
    assert "best at the smallest β studied, so the best may lie beyond it" in turning(
        b4="worse", b16="worse"
    )


def test_what_falls_from_one_end_to_the_other_has_no_turning_point() -> None:
    assert "turns" not in turning(b0_5="better", b4="worse")


def test_label_metrics_stand_beside_their_controls() -> None:
    row = contrast("latent_dim", "2", "probe_accuracy", (-0.2, -0.3, -0.1), "worse", "16")
    metrics = runs(nothing)
    control: dict[str, Any] = {"model": "pca", "dataset": "d", "metric": "probe_accuracy", "n": 1}
    extra = [control | {"latent_dim": 2, "mean": 0.62}, control | {"latent_dim": 16, "mean": 0.95},
             control | {"model": "raw", "mean": 0.96}]  # fmt: skip
    table = summary(metrics)
    table = pd.concat([table, pd.DataFrame(extra)], ignore_index=True)
    text = str(only(found([row], metrics, "latent_dim/probe_accuracy", summary=table)).text)
    assert text.endswith(
        "For comparison: the raw data 0.960; PCA 0.620 at latent dimension 2 and 0.950 at 16."
    )


def test_a_metric_of_a_part_of_the_test_split_says_of_how_many_examples() -> None:
    part = pd.DataFrame([
        {"dataset": "d", "metric": name, "examples": few, "test": 359}
        for name, few in (("encoder_gap", 64), ("inference_gap", 300))
    ])  # fmt: skip
    row = contrast("beta", "16", "encoder_gap", (1.7, 1.6, 1.8), "worse", family="exploratory")
    text = str(only(found([WORSE, row], topic="beta/encoder_gap", examples=part)).text)
    assert text.endswith(" The encoder gap rests on 64 of the 359 test examples.")
    assert "test examples" not in str(only(found([WORSE], topic="beta/nll", examples=part)).text)


def test_secondary_metrics_are_called_exploratory() -> None:
    rows = [WORSE, contrast("beta", "16", "mse", (1.7, 1.6, 1.8), "worse", family="exploratory")]
    finding = only(found(rows, topic="beta/mse"))
    (caveat,) = map(str, finding.caveats)
    assert caveat == "Exploratory, since not among the study's primary metrics: the MSE."


def test_lost_pairs_are_told() -> None:
    (caveat,) = map(str, only(found([WORSE | {"lost": 2}], topic="beta/nll")).caveats)
    assert caveat == "Up to 2 pairs of runs are missing, since a run diverged or failed."
