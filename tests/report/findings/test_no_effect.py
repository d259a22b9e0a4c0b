"""Studies without any effect end without a claim: tables by the engine, from runs of noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from planted import CONFIG, runs, summary
from vae_ablation.report.findings.finding import findings
from vae_ablation.tables.contrasts import contrasts

STUDIES = 40
MOST = 5
"""More than 5 of 40 studies have a chance of 1.4 % where 5 % of studies make a claim."""
FEW, MOST_OF_FEW = 20, 3
"""More than 3 of 20 studies have a chance of 1.6 %."""
PRIMARY = CONFIG["statistics"]["primary_metrics"]


def study(seed: int, noise: float = 1.0, seeds: int = 3, **columns: Any) -> pd.DataFrame:
    """Runs in which settings differ, seeds differ, and β and latent dimension do nothing."""
    rng = np.random.default_rng(seed)
    level = {lik: rng.normal(0, 20) for lik in ("gaussian", "bernoulli")}

    def values(lik: str, dim: int, beta: float, _: int) -> dict[str, Any]:
        common, own = rng.normal(), noise * rng.normal(size=6)
        return {
            "nll": level[lik] + common + own[0],
            "rate": float(np.exp(1.5 + 0.1 * own[1])), "active_units": 8 + round(own[2]),
            "probe_accuracy": 0.8 + 0.02 * own[3], "sample_fid": float(np.exp(0.1 * own[4])),
            "mse": float(np.exp(-3 + 0.1 * own[5])), "posterior_std": float(np.exp(0.1 * own[5])),
            "elbo": level[lik] - own[0], "validation_elbo": level[lik] - own[1],
        }  # fmt: skip

    made = runs(values, (0.0, 0.1, 1.0, 4.0), ("gaussian", "bernoulli"), (2, 8), seeds)
    return made.assign(**columns)


def claims(metrics: pd.DataFrame, looks: Sequence[int] = ()) -> list[str]:
    table = contrasts(metrics, PRIMARY, None, looks=looks)
    tables = {"metrics": metrics, "summary": summary(metrics), "contrasts": table}
    config = {"statistics": CONFIG["statistics"] | {"looks": [*looks]}}
    return [one.topic for one in findings(tables, config) if one.claims]


def test_noise_ends_without_a_claim_in_95_of_100_studies() -> None:
    found = {seed: topics for seed in range(STUDIES) if (topics := claims(study(seed)))}
    assert len(found) <= MOST, found


def test_seeds_in_rounds_end_without_a_claim_in_95_of_100_studies() -> None:
    """At every look all that is open is tested once more, by 3 and 6 seeds."""
    found = {seed: topics for seed in range(100, 100 + FEW)
             if (topics := claims(study(seed, seeds=6), [3, 6]))}  # fmt: skip
    assert len(found) <= MOST_OF_FEW, found


def test_one_wild_setting_ends_without_a_claim_in_95_of_100_studies() -> None:
    def wild(seed: int) -> pd.DataFrame:
        metrics = study(seed)
        here = (metrics["likelihood"] == "gaussian") & (metrics["latent_dim"] == 8)
        noise = np.random.default_rng([seed, 1]).normal(0, 5, int(here.sum()))
        metrics.loc[here, "nll"] += noise
        metrics.loc[here, "sample_fid"] *= np.exp(0.1 * noise)
        return metrics

    found = {seed: topics for seed in range(200, 200 + FEW)
             if (topics := claims(wild(seed)))}  # fmt: skip
    assert len(found) <= MOST_OF_FEW, found


def test_an_effect_is_claimed_at_the_look_that_finds_it() -> None:
    metrics = study(0, seeds=5)
    metrics.loc[metrics["beta"] == 4, "nll"] += 12
    assert "beta/nll" in claims(metrics, [3, 5])


def test_an_effect_in_the_same_runs_is_claimed() -> None:
    metrics = study(0)
    metrics.loc[metrics["beta"] == 4, "nll"] += 12
    assert "beta/nll" in claims(metrics)


@pytest.mark.parametrize("effect", [0.0, 12.0])
def test_one_seed_claims_nothing(effect: float) -> None:
    metrics = study(1, seeds=1)
    metrics.loc[metrics["beta"] == 4, "nll"] += effect
    assert claims(metrics) == []


def test_two_epochs_claim_nothing() -> None:
    metrics = study(2, drift=np.nan, epochs=2)
    metrics.loc[metrics["beta"] == 4, "nll"] += 12
    assert claims(metrics) == []


def test_arms_that_differ_in_nothing_but_an_unused_number_end_with_no_claim_at_all() -> None:
    metrics = study(3)
    same = [name for name in metrics if name not in ("run", "beta", "kl", "arm")]
    first = metrics[metrics["beta"] == 1].set_index(["likelihood", "latent_dim", "seed"])
    keys = pd.MultiIndex.from_frame(metrics[["likelihood", "latent_dim", "seed"]])
    for name in set(same) - {"likelihood", "latent_dim", "seed"}:
        metrics[name] = first[name].reindex(keys).to_numpy()
    metrics = metrics[metrics["latent_dim"] == 2]
    table = contrasts(metrics, PRIMARY, None)
    tables = {"metrics": metrics, "summary": summary(metrics), "contrasts": table}
    assert [one.topic for one in findings(tables, CONFIG) if one.verdict] == []
