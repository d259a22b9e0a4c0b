"""Sections of the page: which a study has, with their figures, from its axes and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vae_ablation.report.findings import words
from vae_ablation.report.page.axes import STRENGTH, PageAxis
from vae_ablation.study.metrics import CONVERGED_DRIFT, described
from vae_ablation.tables.splits import replicate, replicate_column, worded

if TYPE_CHECKING:
    from vae_ablation.report.page.arms import Arms


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Attributes:
        id: its element, and the name of files that it is saved as.
        draws: the function of figures.js that draws it.
        title: what it shows.
        caption: how to read it.
        options: what the function is told.
    """

    id: str
    draws: str
    title: str
    caption: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table that the page has as it stands, the first cell of each row its name.

    Attributes:
        caption: what it shows.
        head: names of its columns.
        rows: its rows, as text.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        id: its address.
        name: its name in the contents.
        heading: its heading where no finding gives one.
        text: what it shows, in a sentence or two.
        figures: its figures.
        question: question of contrasts.csv whose effects it lists; empty without one.
        finds: whether the first finding becomes its heading.
        table: a table above its figures.
    """

    id: str
    name: str
    heading: str
    text: str = ""
    figures: Sequence[Figure] = ()
    question: str = ""
    finds: bool = True
    table: Table | None = None


def sections(
    arms: Arms,
    has: Callable[[str], bool],
    margin: float = CONVERGED_DRIFT,
    ended: str = "What the numbers rest on",
) -> list[Section]:
    """The sections of a study in order.

    Args:
        arms: its arms, whose axes are those of the page.
        has: whether a part is there: `effects`, `elsewhere`, `applications`, `pictures`,
            `codes`, `curves`.
        margin: nats by which the validation objective of a converged run may still change.
        ended: how runs ended, the heading of what to trust.
    """
    if not any(described(name).role == "result" for name in arms.metrics):
        return [_map(arms, has), _trust(arms, has, margin, ended)]
    axes = {axis.axis.name: axis for axis in arms.axes}
    kinds = {getattr(arm, "kind", "beta") for arm in arms.frame["arm"]}
    found: list[Section | None] = [
        _map(arms, has),
        _strength(axes.get(STRENGTH), arms, has),
        _kl_off(kinds, has),
        _collapse(arms),
        *(_axis(axis, arms, has) for axis in arms.axes),
        _elsewhere(has),
        _effects(arms, has),
        _applications(has),
        _trust(arms, has, margin, ended),
    ]
    unit = replicate(arms.runs)
    return [_worded(section, unit) for section in found if section is not None]


def _worded(section: Section, unit: str) -> Section:
    """A section whose captions name what replicates an arm."""
    figures = [replace(figure, caption=worded(figure.caption, unit)) for figure in section.figures]
    return replace(section, figures=figures)


def replicated(arms: Arms) -> bool:
    """Whether an arm has two replicates or more that ended well, and so an interval."""
    fine = arms.runs[arms.runs["status"] == "ok"]
    counts = fine.groupby("arm_at")[replicate_column(replicate(arms.runs))].nunique()
    return bool((counts > 1).any())


def intervals(replicates: str) -> str:
    """A sentence on what intervals are over; without replicates there are none."""
    if replicates:
        return f"Intervals are 95 % confidence intervals over {replicates}."
    return "Every arm was trained once: there are no intervals, and no difference is decided."


def _grey(arms: Arms, *taken: str) -> str:
    """What is drawn in grey, as the end of a sentence; empty where no other axis varies."""
    free = [axis for axis in arms.axes if axis.varied and axis.axis.name not in ("dataset", *taken)]
    return "; grey: the other levels of one axis" if free else ""


def _map_caption(arms: Arms) -> str:
    several, repeated = len(arms.frame) > 1, replicated(arms)
    doubt = ", with the runs as small dots and 95 % intervals as crosses" if repeated else ""
    off = {"kl-off", "point"} & {getattr(arm, "kind", "beta") for arm in arms.frame["arm"]}
    each = "Each point is an arm" if several else "The point is the only arm"
    each += ", the mean of its seeds" if repeated else ""
    parts = [
        f"{each}; left is a short code, low a faithful reconstruction.",
        f"Blue: the levels chosen above{doubt}{_grey(arms, STRENGTH)}." if several else "",
        "Diagonals join points of equal ELBO; the dashed one passes through the best arm shown.",
        "Orange squares: no KL term." if off else "",
        "Choose a point to see what that arm draws." if several else "",
    ]
    return " ".join(filter(None, parts))


def _map(arms: Arms, has: Callable[[str], bool]) -> Section:
    figures = []
    if {"rate", "distortion"} <= set(arms.metrics):
        caption = _map_caption(arms)
        figures.append(Figure("map", "map", "Rate against distortion", caption))
    else:
        figures.append(Figure("card", "card", "The chosen arm", "Its metrics, codes and pictures."))
    if len(arms.frame) > 1 and has("codes"):
        figures.append(
            Figure(
                "compare",
                "compare",
                "Two arms side by side",
                "The chosen arm, and any other: samples, codes on the same axes, reconstructions "
                "and KL per dimension on the same scale.",
            )
        )
    return Section(
        "map",
        "Rate and distortion" if figures[0].id == "map" else "Arms",
        _span(arms) if figures[0].id == "map" else "Arm by arm",
        "",
        figures,
    )


def _span(arms: Arms) -> str:
    """Heading on the range of the rate: `The rate of 63 arms runs from 0.03 to 603 nats`."""
    rates = arms.runs.groupby("arm_at")["rate"].mean().dropna()
    if len(rates) == 1:
        distortion = words.number(arms.runs["distortion"].mean())
        rate = words.number(rates.iloc[0])
        return f"The only arm has a rate of {rate} nats and a distortion of {distortion} nats"
    if not len(rates):
        return "No arm has a rate"
    low = "less than 0.01" if rates.min() < 0.01 < rates.max() else words.number(rates.min())
    return f"The rate of {len(rates):,} arms runs from {low} to {words.number(rates.max())} nats"


def response(axis: PageAxis, arms: Arms) -> Figure:
    """The figure of all metrics by an axis: of an ordered one, a dose–response curve."""
    joined = "Lines join levels in order. " if axis.axis.ordered else ""
    doubt = ", with 95 % intervals over seeds" if replicated(arms) else ""
    return Figure(
        f"response-{slug(axis.axis.name)}",
        "response",
        f"Metrics by {axis.axis.label}",
        f"{joined}Blue: the levels chosen above{doubt}{_grey(arms, axis.axis.name)}.",
        {"axis": axis.axis.name},
    )


def _ladder(axis: PageAxis) -> Figure:
    return Figure(
        f"ladder-{slug(axis.axis.name)}",
        "ladder",
        f"What the arms draw, by {axis.axis.label}",
        "Of one seed for each level, at the levels chosen above. Choose a level to show it in all "
        "figures.",
        {"axis": axis.axis.name},
    )


def _strength(axis: PageAxis | None, arms: Arms, has: Callable[[str], bool]) -> Section | None:
    betas = [level for level in axis.levels if level.value is not None] if axis else []
    if axis is None or len(betas) < 2:
        return None
    figures = [_ladder(axis)] if has("pictures") else []
    return Section(
        STRENGTH,
        "β",
        "What the weight of the KL term does",
        "",
        [*figures, response(axis, arms)],
        STRENGTH,
    )


def _kl_off(kinds: set[str], has: Callable[[str], bool]) -> Section | None:
    if not {"beta", "kl-off"} <= kinds:
        return None
    figure = Figure(
        "kl-off",
        "pair",
        "KL on and KL off",
        "The reference β beside no KL term, at the levels chosen above or the nearest that have "
        "both; codes on the same axes. Circles are 1, 2 and 3 standard deviations of the prior.",
        {"axis": STRENGTH, "levels": ["reference", "kl-off"]},
    )
    heading = "What leaving out the KL term does"
    return Section("kl_off", "Without the KL term", heading, "", [figure], "kl_off")


def _collapse(arms: Arms) -> Section | None:
    if "active_units" not in arms.metrics:
        return None
    figures = [
        Figure(
            "active",
            "heat",
            "Active units",
            "Dimensions of the code that carry information (mean over seeds); colour is the share "
            "of the latent dimension. Choose a cell to show that arm.",
            {"metric": "active_units"},
        ),
        Figure(
            "spectrum",
            "spectrum",
            "KL per latent dimension",
            "Rows are the arms at the levels chosen above, columns the dimensions sorted by their "
            "KL within each seed; mean over seeds.",
        ),
    ]
    heading = "Which latent dimensions carry information"
    return Section("collapse", "Collapse", heading, "", figures)


def _axis(axis: PageAxis, arms: Arms, has: Callable[[str], bool]) -> Section | None:
    """The section of an axis that varies, whatever it is."""
    name = axis.axis.name
    if not axis.varied or name in ("dataset", STRENGTH):
        return None
    label = words.capital(axis.axis.label)
    if not _varies_alone(axis, arms):
        text = (
            f"No two arms differ in the {axis.axis.label} alone, so no figure compares its levels."
        )
        return Section(name, label, "Nothing is known of it by itself", text)
    figures = [_ladder(axis)] if has("pictures") else []
    figures.append(response(axis, arms))
    if not axis.axis.ordered and _overlap_in_rate(axis, arms):
        figures.append(_matched(axis))
    heading = f"What the {axis.axis.label} {words.does(axis.axis.label)}"
    return Section(name, label, heading, "", figures, name)


def _varies_alone(axis: PageAxis, arms: Arms) -> bool:
    """Whether two arms have different levels of an axis and the same of all others."""
    place = next(at for at, one in enumerate(arms.axes) if one is axis)
    others = [(*levels[:place], *levels[place + 1 :]) for levels in arms.frame["at"]]
    return len(set(others)) < len(others)


def _overlap_in_rate(axis: PageAxis, arms: Arms) -> bool:
    """Presence of two levels or more with a curve over rate: arms at several β."""
    if "rate" not in arms.metrics:
        return False
    known = arms.runs[arms.runs["rate"].notna() & (arms.runs["beta"] > 0)]
    betas = known.groupby(axis.axis.name, dropna=False)["beta"].nunique()
    return bool((betas >= 2).sum() >= 2)


def _matched(axis: PageAxis) -> Figure:
    return Figure(
        f"matched-{slug(axis.axis.name)}",
        "matched",
        f"{words.capital(axis.axis.label)} at equal rate",
        "The same β gives each level another rate, so levels are compared at the rate that they "
        "reach. Only metrics whose values can be compared are shown. Marks with a dark edge: the "
        "chosen β; hollow marks: no KL term.",
        {"axis": axis.axis.name},
    )


def _elsewhere(has: Callable[[str], bool]) -> Section | None:
    if not has("elsewhere"):
        return None
    text = (
        "Models that this study did not train, by the same definitions, against the trained arm of "
        "the same latent dimension at the reference levels."
    )
    return Section("model", "Models made elsewhere", "Beside the VAE", text, [], "model")


def _effects(arms: Arms, has: Callable[[str], bool]) -> Section | None:
    return effects(arms) if has("effects") else None


def effects(arms: Arms) -> Section:
    """The section of all effects."""
    doubt = ", with 95 % intervals" if replicated(arms) else ""
    figure = Figure(
        "forest",
        "forest",
        "Effects with their verdicts",
        "Differences from the reference level, paired by seed and pooled over all other settings"
        f"{doubt}. Grey band: the margin within which a difference does not matter.",
    )
    return Section("effects", "Effects", "Which effects are established", "", [figure])


def _applications(has: Callable[[str], bool]) -> Section | None:
    if not has("applications"):
        return None
    figure = Figure(
        "applications",
        "applications",
        "Applications beside their baselines",
        "Mean over seeds: a circle for each arm, diamonds for baselines on the same data.",
    )
    return Section("applications", "Applications", "What the models are good for", "", [figure])


def _trust(arms: Arms, has: Callable[[str], bool], margin: float, ended: str) -> Section:
    figures = []
    if "drift" in arms.metrics:
        figures.append(
            Figure(
                "trust",
                "trust",
                "Still changing at the end of training",
                "Change of the validation objective over the last tenth of training (nats), a mark "
                f"for each run; below 0 it still fell. Dashed: {margin:g} nats, below "
                "which a run counts as converged. Choose a mark to open its run.",
                {"metric": "drift", "limit": margin},
            )
        )
    if has("curves"):
        figures.append(
            Figure(
                "curves",
                "curves",
                "Training curves",
                "The chosen arm, a line for each seed: validation solid, train dashed."
                + (
                    " Grey: validation of one seed at the other levels of one axis."
                    if _grey(arms)
                    else ""
                ),
            )
        )
    return Section("trust", "What to trust", ended, "", figures, finds=False)


def slug(name: str) -> str:
    """An axis's name as part of an id."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)
