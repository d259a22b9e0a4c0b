"""Numbers, lists and names as words, and phrases that keep their numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_ablation.report.findings import words
from vae_ablation.report.findings.quotes import Phrase, Quote, join, say, text_of
from vae_ablation.report.findings.wording import at_level, bare


def test_models_are_named_as_they_are() -> None:
    assert str(at_level("model", "scvi")) == "with scvi"
    assert str(bare(at_level("model", "vae"))) == "the VAE"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "0.0123"), (12.34, "12.3"), (1234.4, "1234"), (-3.0, "−3"), (0.0, "0"),
     (1.5e-9, "1.50e−9"), (2.5e7, "2.50e7")],
)  # fmt: skip
def test_a_number_has_three_significant_digits(value: float, text: str) -> None:
    assert words.number(value) == text


def test_what_is_not_finite_is_no_number() -> None:
    with pytest.raises(ValueError, match="finite"):
        words.number(float("nan"))


@pytest.mark.parametrize(
    ("mean", "low", "high", "decimals"),
    [(3.52, 3.05, 4.06, 1), (0.0131, 0.0121, 0.0142, 4), (2.54, 2.49, 2.59, 2),
     (0.87, 0.84, 0.9, 2), (20.1, 18.0, 22.2, 0), (20.1, 19.0, 21.2, 1), (5.0, None, None, 2),
     (5.0, 5.0, 5.0, 2)],
)  # fmt: skip
def test_digits_follow_the_width_of_the_interval(
    mean: float, low: float | None, high: float | None, decimals: int
) -> None:
    assert words.interval_decimals(mean, low, high) == decimals


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.sampled_from([0.0, 1.0]))
def test_an_interval_that_excludes_no_difference_reads_so(
    near: float, width: float, none: float
) -> None:
    low, high = none + near, none + near + width
    places = words.interval_decimals((low + high) / 2, low, high, none=none)
    assert words.fixed(low, places) != words.fixed(none, places)


def test_a_verb_agrees_with_its_noun() -> None:
    assert words.does("learning rate") == "does"
    assert words.does("σ of the Gaussian likelihood") == "does"
    assert words.does("epochs of KL warm-up") == "do"
    assert words.does("skip connections from z") == "do"
    assert words.does("loss") == "does"


@given(st.floats(0.01, 1e4), st.floats(0.001, 1e3))
def test_an_interval_never_reads_as_one_number(mean: float, half: float) -> None:
    low, high = mean - half, mean + half
    places = words.interval_decimals(mean, low, high)
    assert words.fixed(low, places) != words.fixed(high, places)


def test_names_are_proper() -> None:
    assert words.the("discretized_logistic") == "the discretised logistic"
    assert words.the("my_likelihood") == "the my_likelihood"
    text = words.proper("add β = 2 for zero_inflated_negative_binomial")
    assert text == "add β = 2 for zero-inflated negative binomial"
    assert words.measure("grey17/mass") == "mass over 17 grey levels"
    assert words.measure("grey/cross-entropy") == "cross-entropy over intensities"


def quote(text: str) -> Quote:
    return Quote(text, float(text), "contrasts", "effect", {"metric": "nll"})


def test_a_phrase_keeps_its_numbers_in_order() -> None:
    change = say("{a} to {b}", a=quote("1"), b=quote("2"))
    phrase = text_of([say("It rose by {change}.", change=change), Phrase(), "It fell."])
    assert str(phrase) == "It rose by 1 to 2. It fell."
    assert [one.text for one in phrase.quotes] == ["1", "2"]
    assert phrase.numbers[0]["where"] == {"metric": "nll"}


def test_lists_of_phrases_leave_empty_ones_out() -> None:
    assert str(join(["a", Phrase(), quote("2"), "c"])) == "a, 2 and c"
    assert not join([])


def test_a_capital_begins_text_and_leaves_symbols_and_numbers() -> None:
    assert str(say("the {n}", n=quote("1")).capital()) == "The 1"
    assert str(say("β = {n}", n=quote("1")).capital()) == "β = 1"
    assert [*map(words.capital, ("mean", "β", "iLISI", "lr_2"))] == ["Mean", "β", "iLISI", "lr_2"]
    assert str(say("{n} seeds", n=quote("1")).capital()) == "1 seeds"
