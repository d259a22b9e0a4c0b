"""Sections of the page: which a study has, with their figures, from its axes and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vae_ablation.report.findings import words
from vae_ablation.report.page.axes import STRENGTH, PageAxis
from vae_ablation.study.metrics import CONVERGED_DRIFT
from vae_ablation.tables.splits import replicate, worded

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
    axes = {axis.axis.name: axis for axis in arms.axes}
    kinds = {getattr(arm, "kind", "beta") for arm in arms.frame["arm"]}
    found: list[Section | None] = [
        _map(arms, has),
        _strength(axes.get(STRENGTH), has),
        _kl_off(kinds, has),
        _collapse(arms),
        *(_axis(axis, arms, has) for axis in arms.axes),
        _elsewhere(has),
        _effects(has),
        _applications(has),
        _trust(arms, has, margin, ended),
    ]
    unit = replicate(arms.runs)
    return [_worded(section, unit) for section in found if section is not None]


def _worded(section: Section, unit: str) -> Section:
    """A section whose captions name what replicates an arm."""
    figures = [replace(figure, caption=worded(figure.caption, unit)) for figure in section.figures]
    return replace(section, figures=figures)


def _map(arms: Arms, has: Callable[[str], bool]) -> Section:
    figures = []
    if {"rate", "distortion"} <= set(arms.metrics):
        figures.append(
            Figure(
                "map",
                "map",
                "Rate against distortion",
                "Each point is an arm, the mean of its seeds; left is a short code, low a faithful "
                "reconstruction. Blue: the levels chosen above, with the seeds as small dots and "
                "95 % intervals as crosses; grey: the other levels of one axis. Diagonals join "
                "points of equal ELBO; the dashed one passes through the best arm shown. Orange "
                "squares: no KL term. Choose a point to see what that arm draws.",
            )
        )
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
    if len(rates) < 2:
        return "Rate and distortion"
    low = "less than 0.01" if rates.min() < 0.01 < rates.max() else words.number(rates.min())
    return f"The rate of {len(rates):,} arms runs from {low} to {words.number(rates.max())} nats"


def response(axis: PageAxis) -> Figure:
    """The figure of all metrics by an axis: of an ordered one, a dose–response curve."""
    joined = "Lines join levels in order. " if axis.axis.ordered else ""
    return Figure(
        f"response-{slug(axis.axis.name)}",
        "response",
        f"Metrics by {axis.axis.label}",
        f"{joined}Blue: the levels chosen above, with 95 % intervals over seeds; grey: the other "
        "levels of one axis. Hollow marks are bounds, or lie outside the frame.",
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


def _strength(axis: PageAxis | None, has: Callable[[str], bool]) -> Section | None:
    betas = [level for level in axis.levels if level.value is not None] if axis else []
    if axis is None or len(betas) < 2:
        return None
    figures = [_ladder(axis)] if has("pictures") else []
    return Section(
        STRENGTH,
        "β",
        "What the weight of the KL term does",
        "",
        [*figures, response(axis)],
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
    return Section("kl_off", "Without the KL term", "Without the KL term", "", [figure], "kl_off")


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
    figures = [_ladder(axis)] if has("pictures") else []
    figures.append(response(axis))
    if not axis.axis.ordered and _overlap_in_rate(axis, arms):
        figures.append(_matched(axis))
    label = words.capital(axis.axis.label)
    return Section(name, label, f"What the {axis.axis.label} does", "", figures, name)


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


def _effects(has: Callable[[str], bool]) -> Section | None:
    return effects() if has("effects") else None


def effects() -> Section:
    """The section of all effects."""
    figure = Figure(
        "forest",
        "forest",
        "Effects with their verdicts",
        "Differences from the reference level, paired by seed and pooled over all other settings, "
        "with 95 % intervals. Grey band: the margin within which a difference does not matter.",
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
                "The chosen arm, a line for each seed: validation solid, train dashed. Grey: "
                "validation of one seed at the other levels of one axis.",
            )
        )
    return Section("trust", "What to trust", ended, "", figures, finds=False)


def slug(name: str) -> str:
    """An axis's name as part of an id."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)
