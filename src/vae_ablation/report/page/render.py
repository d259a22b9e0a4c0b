"""The template of the page, filled in."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape

from vae_ablation.report.findings import words
from vae_ablation.report.page.answer import Answer, Answers, Rest, five, in_order
from vae_ablation.report.page.sections import Section
from vae_ablation.report.page.values import in_script, packed

STYLES = ("page.css",)
SCRIPTS = ("decoder.js", "chart.js", "data.js", "figures.js", "explore.js", "tables.js", "page.js")
_ELSEWHERE = "model"
"""Question about models from elsewhere, which no axis of the study asks."""
LAST = (("paper", "Table for a paper"), ("tables", "Every number"), ("provenance", "Provenance"))


def page(
    found: Sequence[Section], answers: Sequence[Answer], parts: Mapping[str, str],
    data: Mapping[str, Any], asked: Collection[str] = (), **texts: Any,
) -> str:  # fmt: skip
    """The page as HTML.

    Args:
        found: its sections in order.
        answers: findings of all of them.
        parts: compressed parts by name.
        data: what contract.schema.json describes.
        asked: questions whose answers may be decided.
        texts: the other places of templates/report.html.
    """
    kept, long = apart(data)
    order = [section.id for section in found]
    chosen = five(answers, order)
    compared = [one.id for one in found if one.question in asked and one.question != _ELSEWHERE]
    rest = Rest.of(answers, chosen, compared)
    return _template("report.html").render(
        **texts,
        answer=in_order([*chosen, *rest.brief], order),
        rest=rest,
        names={section.id: section.name for section in found},
        sections=[(section, *_with_answers(section, answers)) for section in found],
        last=LAST,
        data=in_script(kept),
        parts={**parts, **long},
        counts=counts(data),
        provenance=data["provenance"],
        when=_when if len(data["datasets"]) > 1 else lambda one: "",
        about=_about if len(data["datasets"]) > 1 else lambda one: "",
        switches=any(axis["varied"] for axis in data["axes"]),
        css=_texts(STYLES),
        js=_texts(SCRIPTS),
    )


def apart(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The data without what is long, and that by name, compressed.

    Args:
        data: as contract.schema.json describes it.

    Returns:
        The data without the columns of `contrasts` and without `curves`, and both as parts.
    """
    contrasts = dict(data["contrasts"])
    long = {"contrasts": contrasts.pop("columns"), "curves": data["curves"]}
    kept = {name: value for name, value in data.items() if name != "curves"}
    return kept | {"contrasts": contrasts}, {name: packed(value) for name, value in long.items()}


def counts(data: Mapping[str, Any]) -> str:
    """Sizes of the tables, as a heading: `63 arms, 189 runs and 2,953 contrasts`."""
    sizes = {
        "arm": len(data["arms"]["at"]),
        "run": len(data["runs"]["arm"]),
        "contrast": data["contrasts"]["count"],
    }
    return words.join([f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in sizes.items() if n])


def _template(name: str) -> jinja2.Template:
    """A template of the page; everything filled in is escaped unless it is marked safe."""
    loader = jinja2.FunctionLoader(lambda wanted: _text(f"templates/{wanted}"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


def _text(name: str) -> str:
    return files("vae_ablation.report.page").joinpath(name).read_text(encoding="utf-8")


def _texts(names: Sequence[str]) -> str:
    return "\n".join(map(_text, names))


def _with_answers(
    section: Section, answers: Sequence[Answer]
) -> tuple[str, Answer | None, Answers]:
    """Heading of a section, the finding that it is, and all findings of the section."""
    own = Answers.of(answer for answer in answers if answer.section == section.id)
    first = own.full[0] if own.full and section.finds else None
    # what the map shows is a claim by itself, unless a finding leads
    found = first is not None and (first.leads or section.id != "map")
    leading = first if found else None
    heading = section.heading if leading is None else leading.headline
    return words.capital(heading), leading, own


def _when(one: Answer) -> Markup:
    """The attribute of a finding that is shown only while its data set is."""
    wanted = escape(json.dumps({"dataset": one.dataset})) if one.dataset else ""
    return Markup(f' data-when="{wanted}"') if wanted else Markup("")


def _about(one: Answer) -> Markup:
    """The data set of a finding as a tag before it."""
    if not one.dataset:
        return Markup("")
    return Markup('<span class="tag"><bdi>{}</bdi></span> ').format(one.dataset)


def empty_page(study: str) -> str:
    """The page of a study without runs as HTML."""
    return _template("empty.html").render(study=study, css=_texts(STYLES))
