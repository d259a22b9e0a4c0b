"""Effects of removing the KL term, and the posterior variance with it (deterministic)."""

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
    sentence,
    tally_of,
)
from vae_ablation.study.metrics import described

KL_FIGURES = ("kl_on_off", "heatmaps")
OFF = "Removing the KL term"

Scale = tuple[Cell, Cell, Estimate, Estimate]
"""KL off and the reference β, and the RMS of the codes of both."""


@finder
def kl_off_codes(evidence: Evidence) -> Iterator[Finding]:
    """Scale of the codes without the KL term; it has no optimum, hence no effect size."""
    scales = [pair for cells in evidence.settings.values() for pair in _scales(evidence, cells)]
    if not scales:
        return
    scales.sort(key=lambda pair: pair[2].mean / max(pair[3].mean, 1e-12))
    sides = [_side_of(evidence, off, on) for off, on, *_ in scales]
    wider, narrower = sides.count(1), sides.count(-1)
    epochs = evidence.by_seed(scales[-1][0], "epochs").max()
    yield Finding(
        kind="kl_off_codes",
        headline=_scale_headline(wider, narrower, len(scales)),
        sentence=_scale_sentence(scales, wider, narrower, int(epochs)),
        dataset=evidence.dataset,
        conclusive=len(scales) in (wider, narrower),
        evidence={"epochs": int(epochs), "rows": [_scale_row(*pair) for pair in scales]},
        **figure_of(KL_FIGURES, evidence, scales[-1][0]),
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
        return "Inconclusive: whether codes spread out without the KL term"
    text = "Without the KL term codes " + ("spread out" if wider else "contract")
    if total in (wider, narrower):
        return text
    text += f" in {wider or narrower} of {total} comparisons"
    return text + (f" and contract in {narrower}" if wider and narrower else "")


def _scale_sentence(scales: Sequence[Scale], wider: int, narrower: int, epochs: int) -> str:
    total = len(scales)
    counts = (
        f"Without the KL term the RMS of the codes is larger than at the reference β in {wider} of "
        f"{words.count(total, 'comparison')}, smaller in {narrower} and not significantly "
        f"different in {total - wider - narrower}, paired by seed. "
    )
    most = f"{'The ratio is largest with' if total > 1 else 'It is'} {_scale(scales[-1])}"
    least = f", and smallest with {_scale(scales[0])}" if total > 1 else ""
    return (
        f"{counts}{most}{least}. Without the KL term this scale is unbounded and depends on the "
        f"length of training (here {words.count(epochs, 'epoch')}), so the ratio is not an effect "
        "size."
    )


def _scale(scale: Scale) -> str:
    off, on, without, with_kl = scale
    return (
        f"{words.estimate(without, ' prior standard deviations', words.place(off))} compared with "
        f"{words.estimate(with_kl)} at {on.arm.label}"
    )


def _scale_row(off: Cell, on: Cell, without: Estimate, with_kl: Estimate) -> Row:
    names = off.row | {"reference": on.arm}
    return names | without.ends("code_rms") | with_kl.ends("reference") | {"n": without.n}


@finder
def kl_off_holes(evidence: Evidence) -> Iterator[Finding]:
    """Share of the prior in holes of the aggregate posterior."""
    tally = contrasted(evidence, "kl_off", "hole_rate")
    if tally is None:
        return
    yield Finding(
        kind="kl_off_holes",
        headline=headline(
            tally,
            "Without the KL term more of the prior lies in holes",
            "Without the KL term less of the prior lies in holes",
            "whether the prior has more holes without the KL term",
        ),
        sentence=sentence(tally, OFF, evidence)
        + " If the codes filled the prior, the hole rate would be 0.01.",
        dataset=evidence.dataset,
        conclusive=tally.conclusive,
        evidence={"filled": 0.01, "rows": rows(evidence, tally)},
        **figure_of(KL_FIGURES, evidence, tally.comparisons[-1].cell),
    )


@finder
def kl_off_samples(evidence: Evidence) -> Iterator[Finding]:
    """Sample quality without the KL term, and its cause: the prior or the decoder."""
    tally = contrasted(evidence, "kl_off", "sample_fid")
    if tally is None:
        return
    tallies = [part for part in (_prior_misses(evidence), _decoder(evidence)) if part]
    yield Finding(
        kind="kl_off_samples",
        headline=headline(
            tally,
            "Without the KL term samples are worse",
            "Without the KL term samples are better",
            "whether samples are worse without the KL term",
        ),
        sentence=" ".join(
            [sentence(tally, OFF, evidence), *_fault(evidence), _floors(evidence)]
        ).strip(),
        dataset=evidence.dataset,
        conclusive=tally.conclusive,
        evidence={
            "rows": [row for part in (tally, *tallies) for row in rows(evidence, part)],
            "floor": _floor(evidence),
        },
        **figure_of(KL_FIGURES, evidence, tally.comparisons[-1].cell),
    )


def _prior_misses(evidence: Evidence) -> Tally | None:
    """Of each KL-off arm: distance with a mixture fitted to the codes minus that with the prior."""
    comparisons = []
    for cell in evidence.cells:
        gap = paired(
            evidence.by_seed(cell, "sample_fid_expost"), evidence.by_seed(cell, "sample_fid")
        )
        if cell.arm.kind == "kl-off" and gap:
            comparisons.append(Comparison(cell, cell, gap))
    return tally_of("sample_fid_expost", comparisons, against="sample_fid")


def _decoder(evidence: Evidence) -> Tally | None:
    """Distance of KL-off arms with the fitted mixture minus that of their reference from the prior.

    The references are those of the contrast of `sample_fid`.
    """
    comparisons = []
    for cell in evidence.cells:
        pair = evidence.contrast("kl_off", cell, "sample_fid")
        expost = evidence.by_seed(cell, "sample_fid_expost")
        gap = pair and paired(expost, evidence.by_seed(pair[0], "sample_fid"))
        if pair and gap:
            comparisons.append(Comparison(cell, pair[0], gap))
    return tally_of("sample_fid_expost", comparisons, against="sample_fid")


def _fault(evidence: Evidence) -> Iterator[str]:
    prior, decoder = _prior_misses(evidence), _decoder(evidence)
    if prior is None or decoder is None:
        return
    mixture = "Drawing z from a mixture fitted to the codes instead of the prior"
    yield sentence(prior, mixture, evidence, "Fréchet distance without the KL term")
    total = words.count(len(decoder.comparisons), "comparison")
    yield (
        "Compared with samples from the prior at the reference β, that distance is larger in "
        f"{decoder.up} of {total}, smaller in {decoder.down} and not significantly different in "
        f"{decoder.open}"
        f"{_verdict(prior, decoder)}."
    )


def _verdict(prior: Tally, decoder: Tally) -> str:
    """Cause of worse samples; empty unless all comparisons agree."""
    if prior.conclusive and prior.down and not decoder.up:
        return ": the prior does not match the codes, and there is no evidence of a worse decoder"
    if decoder.conclusive and decoder.up:
        return ": the decoder itself produces worse samples"
    return ""


def _floor(evidence: Evidence) -> float | None:
    column = "sample_fid_floor"
    floors = [value.mean for cell in evidence.cells if (value := evidence.estimate(cell, column))]
    return min(floors) if floors else None


def _floors(evidence: Evidence) -> str:
    floor = _floor(evidence)
    if floor is None:
        return ""
    return f"The distance between held-out and training data is {words.number(floor)}."


@finder
def kl_off_reconstruction(evidence: Evidence) -> Iterator[Finding]:
    """Reconstruction error without the KL term."""
    tally = contrasted(evidence, "kl_off", evidence.error_metric)
    if tally is None:
        return
    yield Finding(
        kind="kl_off_reconstruction",
        headline=headline(
            tally,
            "Without the KL term reconstruction is worse",
            "Without the KL term reconstruction is better",
            "whether removing the KL term improves reconstruction",
        ),
        sentence=sentence(tally, OFF, evidence),
        dataset=evidence.dataset,
        conclusive=tally.conclusive,
        evidence={"rows": rows(evidence, tally)},
        **figure_of(("heatmaps",), evidence, tally.comparisons[0].cell),
    )


@finder
def point(evidence: Evidence) -> Iterator[Finding]:
    """A deterministic autoencoder compared with the reference β."""
    tallies = [
        tally
        for metric in (evidence.error_metric, "probe_accuracy", "sample_fid")
        if (tally := contrasted(evidence, "point", metric))
    ]
    if not tallies:
        return
    subject = "Removing the posterior variance and the KL term"
    yield Finding(
        kind="point",
        headline=_point_headline(tallies),
        sentence=" ".join(sentence(tally, subject, evidence) for tally in tallies),
        dataset=evidence.dataset,
        conclusive=all(tally.conclusive for tally in tallies),
        evidence={"rows": [row for tally in tallies for row in rows(evidence, tally)]},
        **figure_of(("effects", "heatmaps"), evidence, tallies[0].comparisons[0].cell),
    )


def _point_headline(tallies: Sequence[Tally]) -> str:
    better = {1: "better", -1: "worse", 0: "inconclusive"}
    parts = [f"{words.metric_name(tally.metric)} {better[_side(tally)]}" for tally in tallies]
    return f"Deterministic compared with variational: {words.join(parts)}"


def _side(tally: Tally) -> int:
    """1 where every comparison is better than its reference, -1 where every one is worse."""
    if not tally.conclusive:
        return 0
    return described(tally.metric).sign * (1 if tally.up else -1)
