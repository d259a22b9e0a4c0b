"""The report of a study as one file that opens offline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from vae_ablation.common.files import write_text
from vae_ablation.report.findings import words
from vae_ablation.report.page.answer import Answer, Answers, five, read_answers
from vae_ablation.report.page.axes import STRENGTH, PageAxis
from vae_ablation.report.page.contents import Contents
from vae_ablation.report.page.sections import Section, sections
from vae_ablation.report.page.values import in_script
from vae_ablation.tables.collect import crossed_datasets

STYLES = ("page.css",)
SCRIPTS = ("../explorer/decoder.js", "chart.js", "data.js", "figures.js", "tables.js", "page.js")
LAST = (("paper", "Table for a paper"), ("tables", "Every number"), ("provenance", "Provenance"))


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
        return _template("empty.html").render(study=folder.name, css=_texts(STYLES))
    found = sections(contents.arms, contents.has)
    order = [section.id for section in found]
    answers = read_answers(folder, order)
    data = contents.to_json()
    return _template("report.html").render(
        study=folder.name,
        title=question(contents.axes),
        design=design(contents),
        replicates="splits" if crossed_datasets(contents.arms.runs) else "seeds",
        answer=five(answers, order),
        names={section.id: section.name for section in found},
        sections=[(section, *_with_answers(section, answers)) for section in found],
        last=LAST,
        data=in_script(data),
        parts=contents.parts.texts,
        config=contents.config_text(),
        provenance=data["provenance"],
        checks=checks(contents),
        warning=warning(contents),
        when=_when if len(contents.datasets) > 1 else lambda one: "",
        css=_texts(STYLES),
        js=_texts(SCRIPTS),
    )


def _template(name: str) -> jinja2.Template:
    """A template of the page; everything filled in is escaped unless it is marked safe."""
    loader = jinja2.FunctionLoader(lambda wanted: _text(f"templates/{wanted}"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


def _text(name: str) -> str:
    root = files("vae_ablation.report")
    if name.startswith("../"):
        return root.joinpath(name.removeprefix("../")).read_text(encoding="utf-8")
    return root.joinpath("page", name).read_text(encoding="utf-8")


def _texts(names: Sequence[str]) -> str:
    return "\n".join(map(_text, names))


def _with_answers(section: Section, answers: Sequence[Answer]) -> tuple[str, Answers]:
    """Heading of a section, and its findings."""
    own = Answers.of(answer for answer in answers if answer.section == section.id)
    first = own.full[0] if own.full and section.finds else None
    # what the map shows is a claim by itself, unless a finding leads
    found = first is not None and (first.leads or section.id != "map")
    heading = first.headline if first is not None and found else section.heading
    return words.capital(heading), own


def _when(one: Answer) -> Markup:
    """The attribute of a finding that is shown only while its data set is."""
    wanted = escape(json.dumps({"dataset": one.dataset})) if one.dataset else ""
    return Markup(f' data-when="{wanted}"') if wanted else Markup("")


# --- text --------------------------------------------------------------------------------------


def question(axes: Sequence[PageAxis]) -> str:
    """The study's question: `What do β, the likelihood and the KL term do to a VAE?`."""
    ordered = sorted(axes, key=lambda axis: axis.axis.name != STRENGTH)
    names = [name for axis in ordered for name in _names(axis)]
    if not names:
        return "How well does this variational autoencoder do?"
    verb = "does" if len(names) == 1 else "do"
    return f"What {verb} {listed(names)} do to a variational autoencoder?"


def _names(axis: PageAxis) -> list[str]:
    if axis.axis.name == STRENGTH:
        weights = [level for level in axis.levels if level.value is not None]
        off = [level.label for level in axis.levels if level.value is None]
        return [*(["β"] if len(weights) > 1 else []), *(["the KL term"] if off and weights else [])]
    if axis.axis.name == "dataset" or not axis.varied:
        return []
    return [f"the {axis.axis.label}"]


def listed(names: Sequence[str]) -> str:
    """Words as a list in a sentence: `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def design(contents: Contents) -> str:
    """Data, arms, seeds and length of training in two sentences."""
    arms, runs = contents.arms.frame, contents.arms.runs
    varied = [axis for axis in contents.axes if axis.varied and axis.axis.name != "dataset"]
    product = 1
    for axis in contents.axes:
        product *= len(axis.levels)
    levels = listed([_levels(axis) for axis in varied]) if varied else ""
    every = "every combination" if product == len(arms) else f"{len(arms)} combinations"
    seeds = runs["seed"].nunique()
    epochs = contents.config.get("training", {}).get("epochs")
    trained = f"A variational autoencoder was trained on {listed(_data(contents))}"
    trained += f", for {every} of {levels}." if levels else "."
    length = f" for {epochs} epochs" if epochs and "training.epochs" not in runs else ""
    times = words.count(seeds, "seed")
    if splits := sorted({*runs["split_seed"]}) if crossed_datasets(runs) else []:
        times += f" on each of {len(splits)} random splits of the data"
    each = "It was trained" if len(arms) == 1 else f"Each of the {len(arms):,} arms was trained"
    return f"{trained} {each}{length} with {times}; {_tested(contents)}"


def _tested(contents: Contents) -> str:
    tests = [one["test"] for one in contents.datasets.values() if one.get("test")]
    if not tests:
        return "all numbers are of the test split."
    return f"all numbers are of the {' or '.join(f'{n:,}' for n in tests)} test examples."


def _data(contents: Contents) -> list[str]:
    return [_data_name(name, one) for name, one in contents.datasets.items()]


def _data_name(name: str, described: dict[str, Any]) -> str:
    observed = described.get("observed") or {}
    shape = observed.get("shape") or []
    if observed.get("counts"):
        return f"{name} ({shape[0]:,} features per cell)"
    size = " × ".join(map(str, shape))
    return f"{name} ({size} pixels)" if len(shape) > 1 else name


_MOST_NAMED = 9


def _levels(axis: PageAxis) -> str:
    """The levels of an axis in words: `three latent dimensions (2, 8, 16)`."""
    if axis.axis.name == STRENGTH:
        weights = [level.short for level in axis.levels if level.value is not None]
        others = [_WITHOUT[level.id] for level in axis.levels if level.value is None]
        betas = [f"β = {_some(weights)}"] if weights else []
        return ", ".join([*betas, *others])
    return f"{axis.axis.label} ({_some([level.short for level in axis.levels])})"


_WITHOUT = {"kl-off": "no KL term", "point": "a deterministic autoencoder"}


def _some(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: _MOST_NAMED - 1])}, … {names[-1]}; {len(names)} in all"


def checks(contents: Contents) -> list[dict[str, Any]]:
    """Counts that say what the numbers rest on: failures, convergence, bounds, seeds."""
    overview, runs = contents.overview, contents.arms.runs
    whole = len(runs)
    failed = int((runs["status"] != "ok").sum())
    found = [_check(failed, whole, "runs failed or diverged", failed == 0)]
    slopes = int(overview.get("slopes", 0))
    if slopes:
        moving = slopes - int(overview.get("converged", 0))
        text = "runs had not converged: the objective still changed by 1 % or more at the end"
        found.append(_check(moving, slopes, text, moving == 0))
    for flag, metrics in _bounds(runs):
        count = int((runs[flag].astype(str) == "True").sum())
        text = f"runs have {metrics} only as a bound"
        found.append(_check(count, whole, text, count == 0))
    crossed = bool(crossed_datasets(runs))
    unit, text = (
        ("split", "of the data for each arm: intervals cover splits, corrected for their overlap.")
        if crossed
        else ("seed", "for each arm, on one split of the data: intervals cover seeds, not data.")
    )
    counts = runs.groupby("arm_at")["split_seed" if crossed else "seed"].nunique()
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
            f"Scores of {listed(improper)} on grey pixels are cross-entropies: they are never "
            "ranked against likelihoods."
            if improper
            else ""
        ),
    }
    return [{"count": count, "text": text, "good": False} for count, text in texts.items() if text]


def warning(contents: Contents) -> str:
    """Warnings at the top: runs that are not ok, results that are missing."""
    runs = contents.arms.runs
    failed, missing = int((runs["status"] != "ok").sum()), len(contents.overview.get("missing", []))
    parts = [
        f"{failed:,} of {words.count(len(runs), 'run')} failed or diverged" if failed else "",
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
            listed(
                [one.label for one in metrics if one.name in runs and runs[one.name].notna().any()]
            ),
        )
        for flag, metrics in bounded_by_flag()
        if flag in runs
        and any(one.name in runs and runs[one.name].notna().any() for one in metrics)
    ]
