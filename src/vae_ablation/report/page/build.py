"""The report of a study as one file that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd

from vae_ablation.common.files import write_text
from vae_ablation.report.findings import words
from vae_ablation.report.page.answer import read_answers
from vae_ablation.report.page.axes import STRENGTH, PageAxis
from vae_ablation.report.page.contents import Contents
from vae_ablation.report.page.render import empty_page, page
from vae_ablation.report.page.sections import intervals, replicated, sections
from vae_ablation.tables.splits import replicate, replicate_column


def write_report(folder: Path, target: Path) -> None:
    """Write the report of a study.

    Args:
        folder: results/<study>, with its tables.
        target: the HTML file to write.
    """
    write_text(target, report(folder))


def report(folder: Path) -> str:
    """The report of a study as HTML."""
    contents = Contents(folder)
    if not len(contents.runs):
        return empty_page(folder.name)
    found = sections(contents.arms, contents.has, contents.margin, well(contents))
    order = [section.id for section in found]
    answers = read_answers(folder, order)
    data = contents.to_json()
    return page(
        found,
        answers,
        contents.parts.texts,
        data,
        asked={*contents.contrasts["question"]} if replicated(contents.arms) else (),
        kicker="Ablation study",
        study=folder.name,
        title=question(contents.axes),
        design=design(contents),
        doubt=doubt(contents),
        config=contents.config_text(),
        config_title="Configuration of the study",
        provenance_heading="Costs, versions and configuration",
        filter_examples=("gaussian beta1", "d=8 elbo>20"),
        checks=checks(contents),
        warnings=[],
        warning=warning(contents),
        made="the study's tables and stored runs",
    )


# --- text --------------------------------------------------------------------------------------


def question(axes: Sequence[PageAxis]) -> str:
    """The study's question: `What do β, the likelihood and the KL term do to a VAE?`."""
    ordered = sorted(axes, key=lambda axis: axis.axis.name != STRENGTH)
    names = [name for axis in ordered for name in _names(axis)]
    if not names:
        return "How well does this variational autoencoder do?"
    verb = words.does(names[0]) if len(names) == 1 else "do"
    if len(names) > _MOST_ASKED:
        names = [*names[: _MOST_ASKED - 1], f"{len(names) - _MOST_ASKED + 1} other settings"]
    return f"What {verb} {words.join(names)} do to a variational autoencoder?"


_MOST_ASKED = 5
"""Axes that the question names; of more, it names the first and counts the others."""


def _names(axis: PageAxis) -> list[str]:
    if axis.axis.name == STRENGTH:
        weights = [level for level in axis.levels if level.value is not None]
        off = [level.label for level in axis.levels if level.value is None]
        return [*(["β"] if len(weights) > 1 else []), *(["the KL term"] if off and weights else [])]
    if axis.axis.name == "dataset" or not axis.varied:
        return []
    return [f"the {axis.axis.label}"]


def design(contents: Contents) -> str:
    """Data, arms, seeds and length of training in two sentences."""
    arms, runs = contents.arms.frame, contents.arms.runs
    varied = [axis for axis in contents.axes if axis.varied and axis.axis.name != "dataset"]
    product = prod(len(axis.levels) for axis in contents.axes)
    levels = [_levels(axis) for axis in varied]
    every = "each level" if len(varied) == 1 else "every combination"
    if product > len(arms):  # some of a product of which data sets are a factor
        levels = [*(["data set"] if len(contents.datasets) > 1 else []), *levels]
        every = f"{len(arms):,} of the {product:,} combinations"
    seeds = runs["seed"].nunique()
    epochs = contents.config.get("training", {}).get("epochs")
    trained = f"A variational autoencoder was trained on {words.join(_data(contents))}"
    trained += f", for {every} of {words.join(levels)}." if levels else "."
    length = f" for {epochs} epochs" if epochs and "training.epochs" not in runs else ""
    times = words.count(seeds, "seed")
    if splits := sorted({*runs["split_seed"]}) if replicate(runs) == "split" else []:
        times += f" on each of {len(splits)} random splits of the data"
    each = "It was trained" if len(arms) == 1 else f"Each of the {len(arms):,} arms was trained"
    return f"{trained} {each}{length} with {times}{_others(contents)}; {_tested(contents)}"


def _others(contents: Contents) -> str:
    """Models that were made elsewhere, as the end of a sentence."""
    names = list(contents.config.get("external") or {})
    made = f"{'a model' if len(names) == 1 else 'models'} made elsewhere"
    return f", beside {made} ({words.join(names)})" if names else ""


def _tested(contents: Contents) -> str:
    tests = [one["test"] for one in contents.datasets.values() if one.get("test")]
    if not tests:
        return "scores are of the test split unless they say otherwise."
    sizes = words.join([f"{n:,}" for n in sorted({*tests})], "or")
    return f"scores are of the {sizes} test examples unless they say otherwise."


def _data(contents: Contents) -> list[str]:
    return [_data_name(name, one) for name, one in contents.datasets.items()]


def _data_name(name: str, described: dict[str, Any]) -> str:
    observed = described.get("observed") or {}
    shape = observed.get("shape") or []
    if observed.get("counts"):
        return f"{name} ({shape[0]:,} features per cell)"
    size = " × ".join(map(str, shape[:2]))
    colour = " in colour" if len(shape) > 2 and shape[2] > 1 else ""
    return f"{name} ({size} pixels{colour})" if len(shape) > 1 else name


def _levels(axis: PageAxis) -> str:
    """The levels of an axis in words: `three latent dimensions (2, 8, 16)`."""
    if axis.axis.name == STRENGTH:
        weights = [level.short for level in axis.levels if level.value is not None]
        others = [_WITHOUT[level.id] for level in axis.levels if level.value is None]
        if not weights or not others:
            return f"β ({_some(weights)})" if weights else " or ".join(others)
        return f"β ({', '.join([_some(weights), *others[:-1]])}, or {others[-1]})"
    return f"{axis.axis.label} ({_some([level.short for level in axis.levels])})"


def _some(levels: Sequence[str]) -> str:
    return words.abridged(levels, ", ".join)


_WITHOUT = {"kl-off": "no KL term", "point": "a deterministic autoencoder"}


def doubt(contents: Contents) -> str:
    """What intervals are over: seeds or splits, of runs that ended well."""
    runs = contents.arms.runs
    if not (runs["status"] == "ok").any():
        return "No run ended well, so nothing can be compared."
    return intervals(f"{replicate(runs)}s" if replicated(contents.arms) else "")


def _replicates_of_arms(runs: pd.DataFrame) -> pd.Series:
    """Number of seeds, or splits, of each arm that ended well."""
    name = replicate_column(replicate(runs))
    return runs[name].where(runs["status"] == "ok").groupby(runs["arm_at"]).nunique()


def _failed(contents: Contents) -> int:
    """Number of runs that failed or diverged."""
    return int((contents.arms.runs["status"] != "ok").sum())


def _moving(contents: Contents) -> tuple[int, int]:
    """Runs that had not converged, and runs of which that is known."""
    known = int(contents.overview.get("drifts", 0))
    return known - int(contents.overview.get("converged", 0)), known


def checks(contents: Contents) -> list[dict[str, Any]]:
    """Counts that say what the numbers rest on: failures, convergence, bounds, seeds."""
    overview, runs = contents.overview, contents.arms.runs
    whole, failed = len(runs), _failed(contents)
    found = [_check(failed, whole, "runs failed or diverged", failed == 0)]
    moving, drifts = _moving(contents)
    if drifts:
        limit = f"{contents.margin:g} nats or more"
        text = (
            f"runs had not converged: the validation objective still changed by {limit} over the "
            "last tenth of training"
        )
        found.append(_check(moving, drifts, text, moving == 0))
    for flag, metrics in _bounds(runs):
        count = int((runs[flag].astype(str) == "True").sum())
        text = f"runs have {metrics} only as a bound"
        found.append(_check(count, whole, text, count == 0))
    unit = replicate(runs)
    text = (
        "of the data for each arm: intervals cover splits, corrected for their overlap."
        if unit == "split"
        else "for each arm, on one split of the data: intervals cover seeds, not data."
    )
    counts = _replicates_of_arms(runs)
    if counts.max() == 1:
        text = "for each arm: there are no intervals, and no difference can be decided."
    if counts.max() == 0:
        return [*found, *_warnings(overview)]
    found.append(
        {
            "count": str(int(counts.min())) if counts.min() == counts.max()
            else f"{int(counts.min())} to {int(counts.max())}",
            "text": f"{unit}{'' if counts.max() == 1 else 's'} {text}",
            "good": bool(counts.min() >= 5),
        }
    )  # fmt: skip
    return [*found, *_warnings(overview)]


def _warnings(overview: dict[str, Any]) -> list[dict[str, Any]]:
    """Missing results, several versions of the training code, scores that are no likelihoods."""
    missing, versions = overview.get("missing", []), overview.get("code", {})
    improper = [words.likelihood(name) for name in overview.get("improper", [])]
    texts = {
        str(len(missing)): "results are missing; they are listed below." if missing else "",
        f"{len(versions)} versions": (
            "of the training code stand side by side." if len(versions) > 1 else ""
        ),
        "No likelihood": (
            f"Scores of {words.join(improper)} on grey pixels are cross-entropies: they are never "
            "ranked against likelihoods."
            if improper
            else ""
        ),
    }
    return [{"count": count, "text": text, "good": False} for count, text in texts.items() if text]


def well(contents: Contents) -> str:
    """How runs ended, as a heading: `No run failed; 46 of 189 runs had not converged`."""
    failed, whole = _failed(contents), len(contents.arms.runs)
    ended = "No run failed" if not failed else f"{failed:,} of {whole:,} runs failed or diverged"
    moving, drifts = _moving(contents)
    if not drifts:
        return ended
    return f"{ended}; {f'{moving:,} of {drifts:,}' if moving else 'none'} had not converged"


def warning(contents: Contents) -> str:
    """Warnings at the top: runs that are not ok, results that are missing."""
    failed, missing = _failed(contents), len(contents.overview.get("missing", []))
    parts = [
        f"{failed:,} of {words.count(len(contents.arms.runs), 'run')} failed or diverged"
        if failed
        else "",
        f"{words.count(missing, 'result')} {'is' if missing == 1 else 'are'} missing"
        if missing
        else "",
    ]
    return "; ".join(filter(None, parts))


def _check(count: int, whole: int, text: str, good: bool) -> dict[str, Any]:
    return {"count": f"{count:,} of {whole:,}", "text": f"{text}.", "good": good}


def _bounds(runs: Any) -> list[tuple[str, str]]:
    from vae_ablation.study.metrics import bounded_by_flag

    return [
        (
            flag,
            words.join(
                [one.label for one in metrics if one.name in runs and runs[one.name].notna().any()]
            ),
        )
        for flag, metrics in bounded_by_flag()
        if flag in runs
        and any(one.name in runs and runs[one.name].notna().any() for one in metrics)
    ]
