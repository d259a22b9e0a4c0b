"""Levels at matched rate: only what the table decides, and else what would settle it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from planted import contrast, found, only

OPEN = contrast("beta", "16", "nll", (20.1, 18.0, 22.2), "worse")


def row(level: str, reference: str, verdict: str, dim: int = 16, **cells: Any) -> dict[str, Any]:
    ratio = {"better": 0.9, "worse": 1.12}.get(verdict, 1.0)
    known = {"rate": 12.3, "ratio": ratio, "bound_low": ratio - 0.05, "bound_high": ratio + 0.06}
    return {"dataset": "d", "axis": "likelihood", "level": level, "reference": reference,
            "latent_dim": dim, "metric": "mse", "n": 3, "verdict": verdict, "reason": None,
            **(known if verdict != "refused" else {}), **cells}  # fmt: skip


def told(*rows: dict[str, Any]) -> Any:
    return only(found([OPEN], topic="likelihood/matched_mse", matched=pd.DataFrame(list(rows))))


def test_a_decided_pair_has_its_ratio_with_bounds() -> None:
    finding = told(row("bernoulli", "gaussian", "better"))
    assert str(finding.headline) == "At the same rate, the MSE is best with the Bernoulli"
    assert str(finding.text) == (
        "At latent dimension 16 and a rate of 12.3 nats, the MSE of the Bernoulli is 0.90 times "
        "that of the Gaussian (bounds 0.85 to 0.96)."
    )
    assert finding.claims


def test_a_pair_that_is_not_decided_says_what_would_settle_it() -> None:
    finding = told(row("bernoulli", "gaussian", "undecided", reason="add β = 2 for gaussian"))
    assert "is not decided" in str(finding.headline)
    assert str(finding.text) == (
        "Not decided: the Bernoulli and the Gaussian at latent dimension 16 (add β = 2 for "
        "the Gaussian)."
    )
    assert finding.verdict == ""


def test_pairs_of_several_conditions_name_theirs() -> None:
    finding = told(
        row("bernoulli", "gaussian", "better", condition="none"),
        row("bernoulli", "gaussian", "refused", condition="batch", reason="no common seed"),
    )
    text = str(finding.text)
    assert text.startswith("At latent dimension 16 and a rate of 12.3 nats, without conditioning, ")
    assert text.endswith("at latent dimension 16, when conditioned on batch (no common seed).")


def test_orders_that_differ_between_dimensions_have_no_winner() -> None:
    finding = told(
        row("bernoulli", "gaussian", "better"),
        row("bernoulli", "gaussian", "worse", 2),
        row("bernoulli", "gaussian", "refused", 8, reason="no common seed"),
    )
    headline = "The order of likelihoods in the MSE at the same rate is known only in part"
    assert str(finding.headline) == headline
    assert str(finding.text).endswith("at latent dimension 8 (no common seed).")


def test_a_study_without_effects_claims_nothing_here() -> None:
    closed = OPEN | {"verdict": "undecided", "p_adjusted": 0.4}
    table = pd.DataFrame([row("bernoulli", "gaussian", "better")])
    finding = only(found([closed], topic="likelihood/matched_mse", matched=table))
    assert finding.verdict == ""


def test_a_winner_of_one_pair_among_several_is_none() -> None:
    finding = told(
        row("bernoulli", "gaussian", "better"),
        row("bernoulli", "gaussian", "undecided", 2, reason="add seeds"),
    )
    assert str(finding.headline).endswith("at the same rate is known only in part")
