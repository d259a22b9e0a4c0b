"""Tables with planted effects for tests of findings, and a check of every number against them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from vae_ablation.report.findings.finding import Finding, findings
from vae_ablation.study.metrics import METRICS, described

CONFIG = {"statistics": {"primary_metrics": ["nll", "rate", "active_units", "probe_accuracy",
                                             "sample_fid"]}}  # fmt: skip
Tables = dict[str, pd.DataFrame | None]


def contrast(
    question: str, level: str, metric: str, effect: tuple[float, float, float], verdict: str,
    reference: str = "1", scope: str = "pooled", **cells: Any,
) -> dict[str, Any]:  # fmt: skip
    """A row of contrasts.csv; the effect with its interval in people's units."""
    scale = described(metric).scale
    ends = [math.log(one) if scale == "log" else 2 * one if scale == "arcsine" else one
            for one in effect]  # fmt: skip
    family = "setting" if scope == "setting" else "primary"
    row = {
        "question": question, "scope": scope, "dataset": "d", "level": level,
        "reference": reference, "metric": metric, "primary": True, "scale": scale,
        "settings": 9 if scope == "pooled" else 1, "n": 3, "lost": 0,
        "reference_mean": 2.0, "mean": 3.0,
        "estimate": ends[0], "ci_low": ends[1], "ci_high": ends[2],
        "effect": effect[0], "effect_low": effect[1], "effect_high": effect[2],
        "margin": 0.5, "margin_from": "examples", "verdict": verdict, "depends_on": None,
        "df": 6.0, "se": 0.1, "p": 1e-6, "p_adjusted": 0.9 if verdict == "undecided" else 1e-5,
        "p_equivalence": 0.001 if verdict == "equivalent" else 0.9, "family": family,
        "heterogeneity_p": 0.5, "detectable": 0.3, "seeds_needed": np.nan, "below_drift": False,
    }  # fmt: skip
    return row | cells


def runs(
    values: Callable[[str, int, float, int], Mapping[str, Any]],
    betas: Sequence[float] = (0.0, 0.1, 1.0, 16.0),
    likelihoods: Sequence[str] = ("gaussian",),
    dims: Sequence[int] = (2, 16),
    seeds: int = 3,
) -> pd.DataFrame:
    """metrics.csv of trained runs; β = 0 is the arm without the KL term."""
    rows = [
        {
            "run": f"d/{lik}/z{dim}/{beta:g}/seed{seed}", "model": "vae", "dataset": "d",
            "likelihood": lik, "latent_dim": dim, "beta": beta, "kl": beta > 0,
            "posterior": "gaussian", "seed": seed, "status": "ok", "reason": None,
            "measure": "grey/density", "proper": True, "drift": 0.2, "epochs": 80,
            "arm": f"beta{beta:g}" if beta else "kl-off", **values(lik, dim, beta, seed),
        }
        for lik in likelihoods for dim in dims for beta in betas for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def summary(metrics: pd.DataFrame) -> pd.DataFrame:
    """summary.csv, written down once more without the code under test's tables."""
    keys = ["model", "dataset", "likelihood", "latent_dim", "arm", "beta", "kl", "posterior"]
    numbers = metrics.select_dtypes("number")
    names = [name for name in numbers if name not in {*keys, "seed"} and described(name).is_number]
    long = metrics.melt(keys, names, "metric", "value").dropna(subset=["value"])
    long["value"] = long["value"].astype(float)
    table = long.groupby([*keys, "metric"], dropna=False)["value"].agg(["count", "mean"])
    return table.rename(columns={"count": "n"}).reset_index()


def nothing(lik: str, dim: int, beta: float, seed: int) -> dict[str, Any]:
    return {"rate": 5.0 + seed}


def found(
    contrasts: Sequence[Mapping[str, Any]] = (), metrics: pd.DataFrame | None = None,
    topic: str = "", **tables: pd.DataFrame,
) -> list[Finding]:  # fmt: skip
    """Findings of planted tables, every number of them checked; those of one topic if named."""
    metrics = runs(nothing) if metrics is None else metrics
    known: Tables = {"metrics": metrics, "summary": summary(metrics),
                     "contrasts": pd.DataFrame(list(contrasts)), **tables}  # fmt: skip
    result = findings(known, CONFIG)
    for finding in result:
        assert not finding.topic.startswith("error/"), str(finding.text)
        check(json.loads(json.dumps(finding.entry, allow_nan=False)), known)
    return [one for one in result if not topic or one.topic == topic]


def only(result: Sequence[Finding]) -> Finding:
    assert len(result) == 1, [one.topic for one in result]
    return result[0]


# --- every number of every sentence ---------------------------------------------------------

_LABELS = {metric.label for metric in METRICS.values()}
_REASONS = {metric.bound.reason for metric in METRICS.values() if metric.bound}


def check(entry: Mapping[str, Any], tables: Tables) -> None:
    """Every number of an entry of findings.json is in the tables, and none stands beside them."""
    text = rest = _masked(" ".join([entry["headline"], entry["text"], *entry["caveats"]]))
    for number in entry["numbers"]:
        value = recomputed(number, tables)
        assert _same(value, number["value"]), (number, value)
        _assert_shows(number)
        before, quote, after = rest.partition(number["text"])
        assert quote, f"{number['text']} does not stand in {rest!r}"
        assert not re.search(r"\d", before), f"{before!r} of {text!r} holds a number of no table"
        rest = after
    assert not re.search(r"\d", rest), f"{rest!r} of {text!r} holds a number of no table"


def _masked(text: str) -> str:
    """The text without the numbers in labels of metrics and in reasons of bounds."""
    for known in sorted({*_LABELS, *_REASONS}, key=len, reverse=True):
        text = text.replace(known, re.sub(r"\d", "#", known))
    return text


def _same(value: Any, quoted: Any) -> bool:
    if isinstance(quoted, str):
        return str(value) == quoted or float(value) == float(quoted)
    return math.isclose(float(value), float(quoted), rel_tol=1e-9, abs_tol=1e-12)


def _assert_shows(number: Mapping[str, Any]) -> None:
    """The text is the value, rounded."""
    shown = number["text"].replace("−", "-")
    if isinstance(number["value"], str):
        digits = [re.findall(r"\d+", text) for text in (number["value"], shown)]
        assert digits[0] == digits[1] or float(number["value"]) == float(shown)
        return
    value = float(number["value"]) * number["times"]
    value = math.exp(value) if number["scale"] == "exp" else value
    mantissa, _, power = shown.partition("e")
    unit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    assert abs(float(shown) - value) <= 0.5001 * unit, number


def recomputed(number: Mapping[str, Any], tables: Tables) -> Any:
    """A number of findings.json from its table (docs/findings.md)."""
    table = tables[number["table"]]
    assert table is not None
    rows = _rows(table, number["where"])
    how = number["how"]
    if how == "rows":
        return len(rows)
    column = rows[number["column"]]
    if how == "cell":
        assert len(column) == 1, number
        return column.iloc[0]
    if how in ("min", "max"):
        return getattr(column.astype(float), how)()
    by_seed = column.astype(float).groupby(rows["seed"]).mean()
    if number["against"] is not None:
        other = _rows(table, number["against"])
        by_seed = (by_seed - other[number["column"]].groupby(other["seed"]).mean()).dropna()
    half = stats.t.ppf(0.975, len(by_seed) - 1) * by_seed.std() / math.sqrt(len(by_seed))
    return by_seed.mean() + {"mean": 0.0, "low": -half, "high": half}[how]


def _rows(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    for name, wanted in where.items():
        cells = table[name] if name in table else pd.Series(None, table.index, dtype=object)
        if wanted is None:
            table = table[cells.isna()]
        elif isinstance(wanted, list):
            table = table[cells.isin(wanted)]
        else:
            table = table[cells.map(lambda cell, w=wanted: _equal(cell, w))]
    return table


def _equal(cell: Any, wanted: Any) -> bool:
    if isinstance(cell, str) and not isinstance(wanted, str):
        return not isinstance(wanted, bool) and cell == f"{wanted:g}"
    return bool(cell == wanted)
