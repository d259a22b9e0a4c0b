"""Disentanglement scores on planted codes, small cases by hand and scikit-learn's own numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.linalg import hadamard
from sklearn.metrics import mutual_info_score

from vae_ablation.evaluation.disentanglement import (
    MAX_EXAMPLES,
    dci_disentanglement,
    disentanglement_columns,
    mig,
    sap,
)

SIZES = (3, 4, 6)
NAMES = {"mig", "dci_disentanglement", "sap"}


def design(repeats: int = 10, sizes: tuple[int, ...] = SIZES) -> np.ndarray:
    """Every combination of factor values equally often: factors are exactly independent."""
    combinations = np.array(list(itertools.product(*map(range, sizes))))
    rows = np.tile(combinations, (repeats, 1))
    return rows[np.random.default_rng(0).permutation(len(rows))]


def copies(factors: np.ndarray, noise: float = 0.0, spare: int = 2, seed: int = 0) -> np.ndarray:
    """Codes that are standardised factors with noise, and codes of noise alone."""
    rng = np.random.default_rng(seed)
    standard = (factors - factors.mean(0)) / factors.std(0)
    own = standard + noise * rng.normal(size=factors.shape)
    return np.hstack([own, rng.normal(size=(len(factors), spare))])


def even_rotation() -> np.ndarray:
    """Of four codes: each new one holds as much of every old one."""
    return hadamard(4) / 2


def scores(
    train_codes: np.ndarray, train_factors: np.ndarray, codes: np.ndarray, factors: np.ndarray
) -> dict[str, float]:
    return disentanglement_columns(train_codes, train_factors, codes, factors, seed=0)


def test_codes_that_are_the_factors_have_the_exact_scores() -> None:
    factors = design()
    found = scores(*(copies(factors, spare=0), factors) * 2)
    # the other factors' codes carry exactly nothing, and predict one of k values
    assert found["mig"] == pytest.approx(1)
    assert found["dci_disentanglement"] == pytest.approx(1)
    assert found["sap"] == pytest.approx(np.mean([1 - 1 / k for k in SIZES]))


def test_noise_lowers_and_a_rotation_destroys_all_scores() -> None:
    factors = design(30)
    halves = (slice(0, 1080), slice(1080, 2160))
    clear, noisy = copies(factors, spare=1), copies(factors, noise=0.5, spare=1)
    found = {
        name: scores(*(part for rows in halves for part in (codes[rows], factors[rows])))
        for name, codes in {
            "clear": clear,
            "noisy": noisy,
            "turned": clear @ even_rotation(),
        }.items()
    }
    for name in NAMES:
        assert found["clear"][name] > 0.65
        assert 0.2 < found["noisy"][name] < found["clear"][name] - 0.05
        assert found["turned"][name] < 0.2


def test_codes_of_noise_score_nothing() -> None:
    factors = design(60)
    codes = np.random.default_rng(1).normal(size=(len(factors), 6))
    half = len(factors) // 2
    found = scores(codes[:half], factors[:half], codes[half:], factors[half:])
    assert set(found) == NAMES
    for value in found.values():
        assert 0 <= value < 0.03


def test_a_factor_held_twice_has_no_gap() -> None:
    factors = design(sizes=(3, 4))
    twice = np.hstack([copies(factors, spare=0), -5 * factors])
    assert mig(twice, factors) == pytest.approx(0)
    assert sap(twice, factors, twice, factors, 0) == pytest.approx(0)
    # each code serves one factor all the same
    assert dci_disentanglement(twice, factors, 0) == pytest.approx(1)


def test_one_code_of_two_factors_is_not_disentangled() -> None:
    factors = design(sizes=(4, 4))
    both = np.stack([factors[:, 0] * 4 + factors[:, 1], np.zeros(len(factors))], 1)
    assert mig(both, factors) == pytest.approx(1)
    assert dci_disentanglement(both, factors, 0) == pytest.approx(0)


def test_mig_of_a_small_table_by_hand() -> None:
    factors = np.array([[0], [0], [1], [1]])
    codes = np.array([[0.0, 0.0], [0.1, 5.0], [7.0, 5.0], [7.1, 5.0]])
    # the first code tells v; the second leaves three of four rows with shares 1/3 and 2/3
    left = 0.75 * (math.log(3) / 3 + 2 / 3 * math.log(1.5))
    assert mig(codes, factors) == pytest.approx(left / math.log(2))


def test_mig_cuts_codes_into_twenty_equal_bins() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(3000, 3)) * [1, 10, 1e-6]
    factors = np.stack([np.digitize(codes[:, 0], [-1, 0.3]), codes[:, 1] > 5], 1).astype(int)
    factors = factors + rng.integers(0, 2, factors.shape)
    bins = [np.histogram_bin_edges(code, 20) for code in codes.T]
    cut = [np.digitize(c, e[:-1]) for c, e in zip(codes.T, bins, strict=True)]
    gaps = []
    for v in factors.T:
        one, two = sorted(mutual_info_score(v, c) for c in cut)[:0:-1]
        gaps.append((one - two) / mutual_info_score(v, v))
    assert mig(codes, factors) == pytest.approx(np.mean(gaps))
    assert 0.05 < mig(codes, factors) < 0.9


def test_a_factor_with_more_values_than_bins_cannot_have_the_whole_gap() -> None:
    factors = design(repeats=3, sizes=(40, 2))
    # two values fall in each of twenty bins, one bit short of ln 40
    codes = np.stack([factors[:, 0] // 2 * 2, factors[:, 1]], 1)
    assert mig(codes, factors) == pytest.approx((math.log(20) / math.log(40) + 1) / 2)


def test_dci_of_importances_known_by_hand() -> None:
    """Factor 0 is code 0; factor 1 is code 0 and, where that is 1, code 1 too."""
    bits = design(repeats=40, sizes=(2, 2, 2))
    factors = np.stack([bits[:, 0], bits[:, 0] * (1 + bits[:, 1])], 1)
    # impurity of factor 1: 5/8 at the root, 1/4 after code 0, 0 after code 1; so R's columns are
    # (1, 0, 0) and (3/5, 2/5, 0): shares (5/8, 3/8) with weight 4/5, and (0, 1) with weight 1/5
    entropy = -(5 / 8 * math.log2(5 / 8) + 3 / 8 * math.log2(3 / 8))
    truth = 0.8 * (1 - entropy) + 0.2
    assert dci_disentanglement(bits.astype(float), factors, 0) == pytest.approx(truth)


def test_sap_is_the_gap_of_balanced_accuracies() -> None:
    """A rare value counts as much as a common one; thresholds come from the train codes."""
    train = np.repeat([0, 1], [90, 10])[:, None]
    good, constant = np.where(train == 0, -1.0, 1.0), np.zeros((100, 1))
    good[:30] = 1  # above the threshold most are 0 still, but a larger share of 1
    factors = np.repeat([0, 1], [80, 20])[:, None]
    codes = np.where(factors == 0, -1.0, 1.0)
    codes[:8] *= -1  # a tenth of value 0 is misplaced
    codes[80:85] *= -1  # and a quarter of value 1
    found = sap(np.hstack([good, constant]), train, np.hstack([codes, constant]), factors, 0)
    assert found == pytest.approx((0.9 + 0.75) / 2 - 0.5)


def test_sap_finds_a_value_between_others() -> None:
    factors = design(sizes=(5, 2))
    codes = np.stack([np.array([0.0, 3, 1, 4, 2])[factors[:, 0]], factors[:, 1]], 1)
    assert sap(codes, factors, codes, factors, 0) == pytest.approx((1 - 1 / 5 + 1 - 1 / 2) / 2)


def test_neither_order_nor_scale_of_codes_changes_a_score() -> None:
    factors = design(8)
    codes = copies(factors, noise=0.7)
    train, held_out = slice(0, 300), slice(300, None)
    whole = scores(codes[train], factors[train], codes[held_out], factors[held_out])
    for order in ([4, 3, 2, 1, 0], [1, 4, 0, 2, 3]):
        other = codes[:, order]
        assert scores(other[train], factors[train], other[held_out], factors[held_out]) == whole
    scaled = codes * 2.0 ** np.array([-20, 3, 0, 9, -4])
    found = scores(scaled[train], factors[train], scaled[held_out], factors[held_out])
    assert found == pytest.approx(whole, rel=1e-9)


def test_the_same_call_gives_the_same_bits() -> None:
    factors = design(4)
    codes = copies(factors, noise=0.7).astype(np.float32)
    assert scores(*(codes, factors) * 2) == scores(*(codes, factors) * 2)


def test_factors_with_one_value_are_left_out() -> None:
    factors = design(8)
    codes = copies(factors, noise=0.3)
    whole = scores(*(codes, factors) * 2)
    same = np.hstack([np.full((len(factors), 1), 7), factors])
    once = np.hstack([factors, np.arange(len(factors))[:, None] % 3])
    held = np.hstack([factors, np.zeros((len(factors), 1), int)])
    assert scores(codes, same, codes, same) == whole
    assert scores(codes, once, codes, held) == whole
    assert scores(codes, held, codes, once) == whole
    assert scores(codes, same[:, :1], codes, same[:, :1]) == {}


def test_undefined_scores_are_left_out() -> None:
    factors = design(4)
    codes = copies(factors, noise=0.3)
    assert set(scores(*(codes[:, :1], factors) * 2)) == {"dci_disentanglement"}
    assert set(scores(*(codes, factors[:, :1]) * 2)) == {"mig", "sap"}
    assert scores(*(np.where(codes > 2, np.nan, codes), factors) * 2) == {}


def test_collapsed_codes_have_no_gap_and_no_importance() -> None:
    factors = design(4)
    codes = np.full((len(factors), 3), 0.25, np.float32)
    assert scores(*(codes, factors) * 2) == pytest.approx({"mig": 0, "sap": 0}, abs=1e-12)


def test_values_absent_from_one_split_are_no_error() -> None:
    factors = design(8)
    codes = copies(factors, noise=0.1)
    few = factors[:, 2] < 4
    found = scores(codes[few], factors[few], codes, factors)
    back = scores(codes, factors, codes[few], factors[few])
    assert set(found) == set(back) == NAMES
    assert found["sap"] < back["sap"]


def test_large_splits_are_thinned_evenly() -> None:
    factors = np.tile(design(40, sizes=(3, 4, 6)), (6, 1))  # 17,280 rows
    codes = copies(factors, noise=0.5)
    rows = np.arange(MAX_EXAMPLES) * len(codes) // MAX_EXAMPLES
    thin = scores(*(codes[rows], factors[rows]) * 2)
    assert scores(*(codes, factors) * 2) == thin
    assert rows[-1] > len(codes) - 5
