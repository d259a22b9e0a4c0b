"""Statistics of differences paired by seed, in each setting and pooled over settings.

Differences are [settings, seeds, metrics], NaN where there is no pair. Where a dataset has several
splits, splits stand in the place of seeds: see `replicates.Differences.independent`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import f as f_distribution

Array = NDArray[np.float64]

ROUNDING = 1e-12
"""Differences whose spread is below this share of the values do not differ but by rounding."""
OWN_SPREAD = 3.0
"""Times the moderated standard deviation above which a setting keeps its own."""
_ENDLESS = 1e6
"""Degrees of freedom that stand for infinitely many."""


@dataclass(frozen=True)
class Settings:
    """Differences of an arm from its reference by setting and metric: [settings, metrics] each.

    Attributes:
        n: pairs of seeds, or splits.
        mean: mean difference; NaN without a pair.
        variance: variance of one difference; NaN below two pairs.
        df: degrees of freedom of the variance.
    """

    n: NDArray[np.int64]
    mean: Array
    variance: Array
    df: Array

    @property
    def error(self) -> Array:
        """Standard errors of the means."""
        return np.sqrt(self.variance / np.maximum(self.n, 1))

    def of(self, rows: NDArray[np.int64]) -> Settings:
        """Some of the settings."""
        return Settings(self.n[rows], self.mean[rows], self.variance[rows], self.df[rows])


def by_setting(
    differences: Array, floor: Array, size: Array, overlap: Array | float = 0.0
) -> Settings:
    """Means and variances of each setting.

    Args:
        differences: [settings, seeds, metrics].
        floor: least variance of a difference, [metrics]: of whole numbers 1/6, that of rounding two
            values (Sheppard's correction), since equal counts in three seeds are no certainty.
        size: size of the values that were subtracted, [settings, metrics].
        overlap: of splits of the data (`splits.overlap`), [settings]; variances are larger by it,
            so that variance / n is that of the mean.
    """
    known = ~np.isnan(differences)
    n = known.sum(axis=1)
    filled = np.where(known, differences, 0.0)
    mean = np.where(n > 0, filled.sum(axis=1) / np.maximum(n, 1), np.nan)
    squares = np.where(known, (filled - np.nan_to_num(mean)[:, None]) ** 2, 0.0).sum(axis=1)
    variance = squares / np.maximum(n - 1, 1)
    variance = np.where(variance <= (ROUNDING * size) ** 2, 0.0, variance)
    variance = np.where(n > 1, np.maximum(variance, floor), np.nan)
    variance = variance * (1 + n * np.broadcast_to(overlap, len(n))[:, None])
    return Settings(n, mean, variance, np.where(n > 1, n - 1.0, np.nan))


@dataclass(frozen=True)
class Pooled:
    """Equal-weighted means over settings, [metrics] each.

    Attributes:
        estimate: NaN without a setting.
        error: standard error; NaN where no setting has two pairs.
        df: degrees of freedom after Welch and Satterthwaite.
        used: whether a setting counts, [settings, metrics].
    """

    estimate: Array
    error: Array
    df: Array
    used: NDArray[np.bool_]


def pool(settings: Settings, correlation: float, pattern: Array | None = None) -> Pooled:
    """Mean over settings with its standard error: no arm lends its variance to another.

    θ = mean of the means, SE² = Σ v / S² · (1 + (S − 1) ρ) with v = variance / n. The degrees of
    freedom are those of Welch and Satterthwaite, df = (Σ v)² / Σ v²/(n − 1), where ρ = 0; variances
    of correlated settings are correlated by ρ², so that the denominator gains ρ² Σ v v'/(n − 1)
    over pairs of settings. (Without it intervals cover 92 % at ρ = 0.5, and families of 20 tests
    err in 9 % of studies.) Settings with one pair have no variance: they count only where all are
    so, and then there is no error.

    A setting that is far noisier than the others carries the error nearly alone, on its n − 1
    degrees of freedom. Where its variance happens to be estimated small, the formula does not see
    that, and gives many: families of 20 tests then err in 11 % of studies. The pattern of
    variances over all contrasts shows such settings, so that the degrees of freedom are at most
    those that follow from it (3 % of studies). It changes no standard error.

    Args:
        settings: those of one arm.
        correlation: ρ of the differences between settings, at least 0.
        pattern: from `variance_pattern`, [settings].
    """
    several = settings.n > 1
    used = np.where(several.any(axis=0), several, settings.n > 0)
    count = used.sum(axis=0)
    v = np.where(used, settings.variance / np.maximum(settings.n, 1), 0.0)
    total = v.sum(axis=0)
    mean = np.where(used, settings.mean, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(total * (1 + (count - 1) * correlation)) / count
        df = _satterthwaite(v, settings.df, used, correlation)
        if pattern is not None:
            shared = np.where(used, pattern[:, None], 0.0)
            df = np.fmin(df, _satterthwaite(shared, settings.df, used, correlation))
        least = np.where(used, settings.df, 0.0).sum(axis=0)
        return Pooled(mean / count, error, np.where(total == 0, least, df), used)


def _satterthwaite(v: Array, df: Array, used: NDArray[np.bool_], correlation: float) -> Array:
    """Degrees of freedom of sums of variances, [metrics]; see `pool`."""
    each = np.where(used, v / np.sqrt(df), 0.0)
    own = (each**2).sum(axis=0)
    among = correlation**2 * (each.sum(axis=0) ** 2 - own)
    return np.asarray(v.sum(axis=0) ** 2 / (own + among))


def variance_pattern(contrasts: Iterable[tuple[NDArray[np.int64], Settings]], count: int) -> Array:
    """Relative variances of the settings: means over all contrasts and metrics, [settings].

    As weights of arrays over genes (Ritchie et al. 2006), for degrees of freedom alone. Each
    contrast counts alike, whatever its own variance; settings without any have NaN.

    Args:
        contrasts: for each contrast the places of its settings, and these.
        count: number of settings.
    """
    sums, times = np.zeros(count), np.zeros(count)
    for places, settings in contrasts:
        v = settings.variance / np.maximum(settings.n, 1)
        known = np.isfinite(v)
        mean = np.where(known, v, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        known &= mean > 0
        share = np.where(known, v, 0.0) / np.where(mean > 0, mean, 1.0)
        np.add.at(sums, places, share.sum(axis=1))
        np.add.at(times, places, known.sum(axis=1))
    return np.where(times > 0, sums / np.maximum(times, 1), np.nan)


def consensus_correlation(blocks: Iterable[Array]) -> float:
    """Correlation of differences between settings, which share seeds: mean over all, at least 0.

    Args:
        blocks: differences of each contrast, [settings, seeds, metrics].
    """
    total = pairs = 0.0
    for block in blocks:
        known = ~np.isnan(block)
        counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
        filled = np.where(known, block, 0.0)
        centred = np.where(known, filled - filled.sum(axis=1, keepdims=True) / counts, 0.0)
        norm = np.sqrt((centred**2).sum(axis=1, keepdims=True))
        varies = norm > ROUNDING * np.abs(filled).max(axis=1, keepdims=True, initial=0.0)
        units = np.where(varies, centred / np.where(varies, norm, 1.0), 0.0)
        settings = varies[:, 0].sum(axis=0)
        total += float(((units.sum(axis=0) ** 2).sum(axis=0) - settings).sum())
        pairs += float((settings * (settings - 1)).sum())
    return min(max(total / pairs, 0.0), 1.0) if pairs else 0.0


def variance_prior(variance: Array, df: Array) -> tuple[float, float]:
    """Degrees of freedom and value of the prior that variances share (Smyth 2004, section 6.2).

    A scaled F distribution, fitted by the moments of log variances; zeros and NaN do not count.

    Returns:
        Infinite degrees of freedom where variances differ by no more than chance, and 0 with fewer
        than three of them: then nothing is known beyond each one's own.
    """
    known = (variance > 0) & (df > 0)
    variance, df = variance[known], df[known]
    if len(variance) < 3:
        return 0.0, float("nan")
    logs = np.log(variance) - digamma(df / 2) + np.log(df / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, df / 2).mean())
    if excess <= polygamma(1, _ENDLESS):
        return float("inf"), float((df * variance).sum() / df.sum())
    prior = 2 * brentq(lambda half: polygamma(1, half) - excess, 1e-8, _ENDLESS)
    return prior, float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2)))


def moderated(settings: Settings) -> Settings:
    """Settings with variances drawn towards the one that they share, metric by metric.

    A setting whose own standard deviation is more than `OWN_SPREAD` times the moderated one keeps
    its own t, for it is not of the kind of the others.
    """
    variance, df = settings.variance.copy(), settings.df.copy()
    for metric in range(variance.shape[1]):
        own, own_df = settings.variance[:, metric], settings.df[:, metric]
        prior_df, prior = variance_prior(own, own_df)
        if not prior_df:
            continue
        weight = min(prior_df, _ENDLESS)
        shared = (weight * prior + own_df * own) / (weight + own_df)
        kept = own > OWN_SPREAD**2 * shared
        variance[:, metric] = np.where(kept, own, shared)
        most = np.nansum(own_df)
        df[:, metric] = np.where(kept, own_df, np.minimum(weight + own_df, most))
    return Settings(settings.n, settings.mean, variance, df)


def spread_test(
    means: Array, errors: Array, df: Array, correlation: float, groups: NDArray[np.int64]
) -> float:
    """P of the hypothesis that groups of settings have the same mean difference.

    F of the settings' means; numerator and denominator degrees of freedom after Box (1954), since
    variances may differ.

    Args:
        means: of settings, [settings].
        errors: their standard errors, [settings].
        df: degrees of freedom of the errors, [settings].
        correlation: between settings.
        groups: group of each setting, [settings]; each setting its own for the test of them all.

    Returns:
        NaN where there is one group or an error is not known.
    """
    v = errors**2 * (1 - min(correlation, 0.99))
    member = groups[:, None] == np.unique(groups)
    if member.shape[1] < 2 or not np.isfinite(v).all() or not v.sum():
        return float("nan")
    between = (member / member.sum(axis=0)) @ member.T - 1 / len(means)
    spread = between * v
    expected = float(np.trace(spread))
    upper = expected**2 / float((spread * spread.T).sum())
    weights = np.diag(between) * v
    lower = expected**2 / float((weights**2 / np.minimum(df, _ENDLESS)).sum())
    return float(f_distribution.sf(float(means @ between @ means) / expected, upper, lower))
