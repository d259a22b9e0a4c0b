"""Likelihoods on one scale: counts given the library size, or the mass of grey levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Evidence, matching
from vae_ablation.report.findings.finding import Finding, finder, part_of_test
from vae_ablation.report.findings.quotes import Phrase, Quote, join, phrase, say, text_of
from vae_ablation.report.findings.replicates import Score, score
from vae_ablation.report.findings.wording import at_level, subject
from vae_ablation.study.axes import ArmName, arm_names, distance_to_one
from vae_ablation.study.metrics import described
from vae_ablation.tables.verdicts import rejected

COUNTS = "counts/mass given library"
"""The measure within which likelihoods of counts are compared in nats."""
CELL = ("likelihood", "latent_dim", "arm")
SCALES = (
    ("elbo", "measure", COUNTS, "fits the counts best"),
    ("nll_levels", "levels_measure", "", "gives the grey levels the highest likelihood"),
)
"""Metrics comparable across likelihoods, with the column of their measure, and the headline."""


@finder
def likelihoods(evidence: Evidence) -> Iterator[Finding]:
    """The best likelihood on each common scale."""
    for metric, column, measure, best in SCALES:
        if {metric, column} <= {*evidence.ok.columns}:
            yield from _ranking(evidence, metric, column, measure, best)


def _ranking(
    evidence: Evidence, metric: str, column: str, measure: str, best: str
) -> Iterator[Finding]:
    """The likelihood that is better than each other at one arm, all pairs tested (Holm)."""
    runs = _comparable(evidence, metric, column, measure)
    arms = reference_arms(evidence, runs)
    known = described(metric)
    where = [{"dataset": evidence.dataset, "model": "vae", "status": "ok", **arm} for arm in arms]
    own = [found for one in where if (found := score("metrics", runs, metric, one))]
    order = sorted(own, key=lambda one: -known.sign * float(one.values.mean()))
    gaps = [found for i, a in enumerate(order) for b in order[i + 1:]
            if (found := score("metrics", runs, metric, a.where, b.where))]  # fmt: skip
    decided = rejected({i: gap.p for i, gap in enumerate(gaps)})
    leads = [i for i, gap in enumerate(gaps) if gap.where == order[0].where]
    if len(order) < 2 or len(leads) < len(order) - 1 or not {*leads} <= decided:
        return
    ranked = {str(one.where["likelihood"]) for one in order}
    left = sorted({*evidence.ok["likelihood"].astype(str)} - ranked)
    first = order[0]
    arm = {name: first.where[name] for name in CELL}
    name = words.the(str(first.where["likelihood"]))
    yield Finding(
        evidence.dataset, f"likelihood/{metric}", "likelihood",
        phrase(f"{words.capital(name)} {best}{' of those compared' if left else ''}"),
        text_of([
            say("{arm}, {metric} is {best}. {others}.", arm=arm_words(evidence, arm).capital(),
                metric=subject(known), best=first.phrase(1.0, known.suffix),
                others=join(_others(gaps, leads, known.sign, known.suffix)).capital()),
            say("Without a comparable value and left out: {left}.",
                left=words.join(map(words.the, left))) if left else Phrase(),
            part_of_test(evidence, [known]),
        ]),
        "better",
        [{**{name: one.where[name] for name in CELL}, metric: float(one.values.mean()),
          "n": len(one.values)} for one in order],
        1,
        tuple(_trained_as_density(runs)),
    )  # fmt: skip


def _others(gaps: list[Score], leads: list[int], sign: int, unit: str) -> list[Phrase]:
    return [
        say("{likelihood} is worse by {gap}",
            likelihood=words.the(str((gaps[i].against or {})["likelihood"])),
            gap=gaps[i].phrase(float(sign), unit))
        for i in leads
    ]  # fmt: skip


def _comparable(evidence: Evidence, metric: str, column: str, measure: str) -> pd.DataFrame:
    """Runs of one measure, in which the metric is no bound."""
    runs, bound = evidence.ok, described(metric).bound
    runs = runs[runs[metric].notna() & runs[column].notna()]
    if bound and bound.flag in runs:
        runs = runs[runs[bound.flag].astype(str) != "True"]
    measures = [measure] if measure else sorted(set(runs[column].astype(str)))
    sizes = {name: runs.loc[runs[column] == name, "likelihood"].nunique() for name in measures}
    most = max(sizes, key=lambda name: sizes[name], default="")
    return runs[runs[column] == most]


def _trained_as_density(runs: pd.DataFrame) -> Iterator[Phrase]:
    """Likelihoods that are scored as a mass but were trained as a density."""
    if "levels_of_density" in runs:
        dense = runs[runs["levels_of_density"].astype(str) == "True"]["likelihood"].unique()
        if len(dense):
            yield say("Trained as a density and scored as a mass: {names}.",
                      names=join(map(words.the, sorted(dense))))  # fmt: skip


def reference_arms(evidence: Evidence, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The arm of each likelihood with β nearest to 1, at the largest shared latent dimension.

    Only arms without a variant and with a KL term.
    """
    names = arms_of(evidence)
    plain = [names[str(arm)].kind == "beta" and not names[str(arm)].variant for arm in runs["arm"]]
    runs = runs[pd.Series(plain, index=runs.index, dtype=bool)]
    dims = [set(own["latent_dim"]) for _, own in runs.groupby("likelihood")]
    shared = set.intersection(*dims) if dims else set()
    if not shared:
        return []
    runs = runs[runs["latent_dim"] == max(shared)]
    nearest = [min(own.to_dict("records"), key=lambda row: distance_to_one(float(row["beta"])))
               for _, own in runs.groupby("likelihood")]  # fmt: skip
    return [{name: row[name] for name in CELL} for row in nearest]


def arm_words(evidence: Evidence, arm: Mapping[str, Any]) -> Phrase:
    """`with the Poisson at latent dimension 10 and β = 1`, from the axes of the arm."""
    rows = matching(evidence.ok, arm)
    where = {"dataset": evidence.dataset, "model": "vae", "status": "ok", **arm}
    beta = Quote(f"{rows['beta'].iloc[0]:g}", rows["beta"].iloc[0], "metrics", "beta", where, "max")
    dim = f"{arm['latent_dim']:g}"
    further = arms_of(evidence)[str(arm["arm"])].variant_label
    return say("{likelihood} {dim} and {beta}{further}",
               likelihood=at_level("likelihood", str(arm["likelihood"])),
               dim=at_level("latent_dim", dim, Quote(dim, arm["latent_dim"], "metrics",
                                                     "latent_dim", where, "max")),
               beta=say("β = {beta}", beta=beta),
               further=f", {further}" if further else "")  # fmt: skip


def arms_of(evidence: Evidence) -> dict[str, ArmName]:
    """Arms of the dataset by name."""
    return arm_names(evidence.runs)
