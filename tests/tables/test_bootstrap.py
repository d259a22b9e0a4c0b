"""The bootstrap over test examples against the normal interval of a mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from support import assert_one_sentence
from vae_ablation.common.errors import UserError
from vae_ablation.tables import bootstrap
from vae_ablation.tables.bootstrap import (
    RESAMPLES,
    bootstrap_intervals,
    read_examples,
    resample_counts,
)


def columns(n: int, count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.gamma(4.0, size=(n, count)) * np.arange(1, count + 1)).astype(np.float32)


def test_the_interval_is_the_normal_one_of_the_mean() -> None:
    values = columns(1500)
    n, low, high = bootstrap_intervals(values)
    error = values.std(axis=0) / np.sqrt(1500)
    truth = stats.norm.interval(0.95, values.mean(axis=0), error)
    assert n == 1500
    # A quantile of 1,000 draws is off by about 0.085 errors (one standard deviation).
    assert np.abs((low - truth[0]) / error).max() < 0.4
    assert np.abs((high - truth[1]) / error).max() < 0.4
    assert np.abs(((low - truth[0]) / error).mean()) < 0.1


def test_it_covers_the_true_mean_as_often_as_it_says() -> None:
    values = columns(400, 1000) / np.arange(1, 1001)
    _, low, high = bootstrap_intervals(values.astype(np.float32))
    covered = np.mean((low < 4.0) & (high > 4.0))
    # 0.95 ± three standard errors of a share of 1,000, and the bootstrap's own undercoverage.
    assert 0.92 < covered < 0.972


def test_every_resample_draws_as_many_as_there_are() -> None:
    counts = resample_counts(300)
    assert counts.shape == (RESAMPLES, 300)
    assert (counts.sum(axis=1) == 300).all()
    # Counts of 300,000 cells: Binomial(300, 1/300), whose variance is 299/300.
    assert counts.var() == pytest.approx(299 / 300, abs=0.02)
    assert np.corrcoef(counts[:, 0], counts[:, 1])[0, 1] == pytest.approx(0.0, abs=0.12)


def test_examples_without_a_label_are_dropped() -> None:
    values = columns(200)
    gaps = np.full((50, 40), np.nan, np.float32)
    found = bootstrap_intervals(np.concatenate([gaps, values]))
    for mine, truth in zip(found, bootstrap_intervals(values), strict=True):
        np.testing.assert_array_equal(mine, truth)
    n, low, _ = bootstrap_intervals(gaps)
    assert n == 0
    assert np.isnan(low).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = columns(90)
    whole = bootstrap_intervals(values)
    monkeypatch.setattr(bootstrap, "_BLOCK", 700)
    for mine, truth in zip(bootstrap_intervals(values), whole, strict=True):
        np.testing.assert_allclose(mine, truth, rtol=1e-6)


def test_a_small_spread_on_a_large_value_survives_single_precision() -> None:
    noise = np.random.default_rng(3).normal(size=5000)
    values = (1e6 + noise).astype(np.float32)[:, None]
    _, low, high = bootstrap_intervals(values)
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * noise.std() / np.sqrt(5000), rel=0.12)


def test_a_damaged_file_is_one_sentence_and_a_missing_one_is_nothing(tmp_path: Path) -> None:
    assert read_examples(tmp_path) == {}
    (tmp_path / "examples.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UserError) as caught:
        read_examples(tmp_path)
    assert_one_sentence(caught.value, str(tmp_path / "examples.npz"))
