"""What taking something away does: the KL term, and then the variance too (deterministic)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import (
    Cell,
    Estimate,
    Evidence,
    Row,
    dims_of,
    paired,
    reference_arm,
)
from vae_ablation.report.findings.finding import Finding, figure_of, finder
from vae_ablation.report.findings.tally import (
    Comparison,
    Tally,
    contrasted,
    headline,
    rows,
    tally,
    told,
)
from vae_ablation.study.metrics import described

KL_FIGURES = ("kl_on_off", "heatmaps")
OFF = "Taking the KL term away"

Scale = tuple[Cell, Cell, Estimate, Estimate]
"""KL off and the reference β, and the RMS of the codes of both."""


@finder
def kl_off_codes(evidence: Evidence) -> Iterator[Finding]:
    """What becomes of the scale of the codes; it has no optimum, hence no effect size."""
    found = [pair for cells in evidence.settings.values() for pair in _scales(evidence, cells)]
    if not found:
        return
    found.sort(key=lambda pair: pair[2].mean / max(pair[3].mean, 1e-12))
    sides = [_side_of(evidence, off, on) for off, on, *_ in found]
    wider, narrower = sides.count(1), sides.count(-1)
    epochs = evidence.by_seed(found[-1][0], "epochs").max()
    yield Finding(
        kind="kl_off_codes",
        headline=_scale_headline(wider, narrower, len(found)),
        sentence=_scale_sentence(found, wider, narrower, int(epochs)),
        dataset=evidence.dataset,
        conclusive=len(found) in (wider, narrower),
        evidence={"epochs": int(epochs), "rows": [_scale_row(*pair) for pair in found]},
        **figure_of(KL_FIGURES, evidence, found[-1][0]),
    )


def _scales(evidence: Evidence, cells: Sequence[Cell]) -> Iterator[Scale]:
    on_arm = reference_arm(cells)
    for dim in dims_of(cells):
        here = [cell for cell in cells if cell.latent_dim == dim]
        on = [cell for cell in here if cell.arm == on_arm]
        off = [cell for cell in here if cell.arm.kind == "kl-off"]
        for pair in zip(off, on, strict=False):
            scales = [evidence.estimate(cell, "code_rms") for cell in pair]
            if scales[0] and scales[1] and len(evidence.by_seed(pair[0], "epochs")):
                yield (*pair, scales[0], scales[1])


def _side_of(evidence: Evidence, off: Cell, on: Cell) -> int:
    """1 where the codes are wider without the KL, seed by seed, -1 narrower, 0 undecided."""
    difference = evidence.difference(off, on, "code_rms")
    return difference.sign if difference else 0


def _scale_headline(wider: int, narrower: int, total: int) -> str:
    if not wider and not narrower:
        return "Inconclusive: whether codes spread without the KL term"
    text = "Without the KL term codes " + ("spread" if wider else "draw together")
    if total in (wider, narrower):
        return text
    text += f" in {wider or narrower} of {total} comparisons"
    return text + (f" and draw together in {narrower}" if wider and narrower else "")


def _scale_sentence(found: Sequence[Scale], wider: int, narrower: int, epochs: int) -> str:
    total = len(found)
    counts = (
        f"Without the KL term the RMS of the codes is larger than at the reference β in {wider} of "
        f"{words.count(total, 'comparison')}, smaller in {narrower} and not separated in "
        f"{total - wider - narrower}, paired by seed. "
    )
    most = f"{'Relative to it the widest are' if total > 1 else 'It is'} {_scale(found[-1])}"
    least = f"; the narrowest {_scale(found[0])}" if total > 1 else ""
    return (
        f"{counts}{most}{least}. Nothing bounds this scale, it follows the length of training "
        f"(here {words.count(epochs, 'epoch')}): the ratio is no effect size."
    )


def _scale(found: Scale) -> str:
    off, on, without, with_kl = found
    return (
        f"{words.estimate(without, ' prior standard deviations', words.place(off))} against "
        f"{words.estimate(with_kl)} at {on.arm.label}"
    )


def _scale_row(off: Cell, on: Cell, without: Estimate, with_kl: Estimate) -> Row:
    names = off.row | {"reference": on.arm}
    return names | without.ends("code_rms") | with_kl.ends("reference") | {"n": without.n}


@finder
def kl_off_holes(evidence: Evidence) -> Iterator[Finding]:
    """Whether the prior draws more codes where there are none."""
    found = contrasted(evidence, "kl_off", "hole_rate")
    if found is None:
        return
    yield Finding(
        kind="kl_off_holes",
        headline=headline(
            found,
            "Without the KL term more of the prior is holes",
            "Without the KL term less of the prior is holes",
            "whether the prior has more holes without the KL term",
        ),
        sentence=told(found, OFF, evidence)
        + " A prior that the codes fill has a hole rate of 0.01.",
        dataset=evidence.dataset,
        conclusive=found.conclusive,
        evidence={"filled": 0.01, "rows": rows(evidence, found)},
        **figure_of(KL_FIGURES, evidence, found.found[-1].cell),
    )


@finder
def kl_off_samples(evidence: Evidence) -> Iterator[Finding]:
    """Whether samples get worse, and whether the prior or the decoder is at fault."""
    found = contrasted(evidence, "kl_off", "sample_fid")
    if found is None:
        return
    tallies = [tally for tally in (_prior_misses(evidence), _decoder(evidence)) if tally]
    yield Finding(
        kind="kl_off_samples",
        headline=headline(
            found,
            "Without the KL term samples are worse",
            "Without the KL term samples are better",
            "whether samples are worse without the KL term",
        ),
        sentence=" ".join(
            [told(found, OFF, evidence), *_fault(evidence), _floors(evidence)]
        ).strip(),
        dataset=evidence.dataset,
        conclusive=found.conclusive,
        evidence={
            "rows": [row for part in (found, *tallies) for row in rows(evidence, part)],
            "floor": _floor(evidence),
        },
        **figure_of(KL_FIGURES, evidence, found.found[-1].cell),
    )


def _prior_misses(evidence: Evidence) -> Tally | None:
    """Of each KL-off arm: distance with a mixture fitted to the codes minus that with the prior."""
    found = []
    for cell in evidence.cells:
        gap = paired(
            evidence.by_seed(cell, "sample_fid_expost"), evidence.by_seed(cell, "sample_fid")
        )
        if cell.arm.kind == "kl-off" and gap:
            found.append(Comparison(cell, cell, gap))
    return tally("sample_fid_expost", found, against="sample_fid")


def _decoder(evidence: Evidence) -> Tally | None:
    """Distance of KL-off arms with the fitted mixture minus that of their reference from the prior.

    The references are those of the contrast of `sample_fid`.
    """
    found = []
    for cell in evidence.cells:
        pair = evidence.contrast("kl_off", cell, "sample_fid")
        expost = evidence.by_seed(cell, "sample_fid_expost")
        gap = pair and paired(expost, evidence.by_seed(pair[0], "sample_fid"))
        if pair and gap:
            found.append(Comparison(cell, pair[0], gap))
    return tally("sample_fid_expost", found, against="sample_fid")


def _fault(evidence: Evidence) -> Iterator[str]:
    prior, decoder = _prior_misses(evidence), _decoder(evidence)
    if prior is None or decoder is None:
        return
    mixture = "Drawing z from a mixture fitted to the codes, and not from the prior,"
    yield told(prior, mixture, evidence, "distance without the KL term")
    total = words.count(len(decoder.found), "comparison")
    yield (
        f"Beside the reference β with the prior, that distance is then larger in {decoder.up} of "
        f"{total}, smaller in {decoder.down} and not separated in {decoder.open}"
        f"{_verdict(prior, decoder)}."
    )


def _verdict(prior: Tally, decoder: Tally) -> str:
    """Who is at fault, said only where all comparisons agree."""
    if prior.conclusive and prior.down and not decoder.up:
        return ": the prior misses the codes, and nothing shows the decoder to be worse"
    if decoder.conclusive and decoder.up:
        return ": the decoder itself generates worse"
    return ""


def _floor(evidence: Evidence) -> float | None:
    column = "sample_fid_floor"
    floors = [found.mean for cell in evidence.cells if (found := evidence.estimate(cell, column))]
    return min(floors) if floors else None


def _floors(evidence: Evidence) -> str:
    floor = _floor(evidence)
    return "" if floor is None else f"Data against other data: {words.number(floor)}."


@finder
def kl_off_reconstruction(evidence: Evidence) -> Iterator[Finding]:
    """What the KL term costs in reconstruction."""
    found = contrasted(evidence, "kl_off", evidence.error_metric)
    if found is None:
        return
    yield Finding(
        kind="kl_off_reconstruction",
        headline=headline(
            found,
            "Without the KL term reconstruction is worse",
            "Without the KL term reconstruction is better",
            "whether reconstruction gains from taking the KL term away",
        ),
        sentence=told(found, OFF, evidence),
        dataset=evidence.dataset,
        conclusive=found.conclusive,
        evidence={"rows": rows(evidence, found)},
        **figure_of(("heatmaps",), evidence, found.found[0].cell),
    )


@finder
def point(evidence: Evidence) -> Iterator[Finding]:
    """What a deterministic autoencoder gains and loses."""
    tallies = [
        found
        for metric in (evidence.error_metric, "probe_accuracy", "sample_fid")
        if (found := contrasted(evidence, "point", metric))
    ]
    if not tallies:
        return
    subject = "Taking the variance and the KL term away"
    yield Finding(
        kind="point",
        headline=_point_headline(tallies),
        sentence=" ".join(told(found, subject, evidence) for found in tallies),
        dataset=evidence.dataset,
        conclusive=all(found.conclusive for found in tallies),
        evidence={"rows": [row for found in tallies for row in rows(evidence, found)]},
        **figure_of(("effects", "heatmaps"), evidence, tallies[0].found[0].cell),
    )


def _point_headline(tallies: Sequence[Tally]) -> str:
    better = {1: "better", -1: "worse", 0: "undecided"}
    parts = [f"{words.metric_name(found.metric)} {better[_side(found)]}" for found in tallies]
    return f"Deterministic against variational: {words.join(parts)}"


def _side(found: Tally) -> int:
    """1 where every comparison is better than its reference, -1 where every one is worse."""
    if not found.conclusive:
        return 0
    return described(found.metric).sign * (1 if found.up else -1)
