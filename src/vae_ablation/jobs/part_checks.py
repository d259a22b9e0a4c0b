"""Checks of parts from outside the package, each in a few seconds and in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from vae_ablation.common.errors import UserError, out_of_memory
from vae_ablation.common.isolation import error_text
from vae_ablation.common.registry import ORIGINS, load_parts
from vae_ablation.data import SOURCES
from vae_ablation.data.base import Observed
from vae_ablation.data.loaded import complaints
from vae_ablation.evaluation.external_models import Held
from vae_ablation.evaluation.family import means
from vae_ablation.jobs.check_tools import (
    Check,
    Found,
    Settings,
    changes,
    drawn_from,
    effects,
    fingerprint,
    judged,
    without_streams,
)
from vae_ablation.jobs.densities import disagreement, integral, mass_disagreement, total_mass
from vae_ablation.jobs.result_checks import (
    check_application,
    check_figure,
    check_metrics,
    check_question,
    dataset_options,
    digits,
    unpickling,
)
from vae_ablation.models.architectures import ARCHITECTURES
from vae_ablation.models.contexts import DEFAULT_LIBRARY
from vae_ablation.models.likelihoods import LIKELIHOODS, Given
from vae_ablation.models.objectives import OBJECTIVES, Batch
from vae_ablation.models.posteriors import POSTERIORS, Posterior
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.study.config import resolve_config
from vae_ablation.study.external import ExternalArm, Place, check_options
from vae_ablation.study.run import Run, canonical_run
from vae_ablation.training.alone import gradients, why_alone
from vae_ablation.training.pack import mapped_terms
from vae_ablation.training.stacked import StackedVAE

LATENT, ROWS, DRAWS = 3, 12, 4000
CPU = torch.device("cpu")
SINGLE = torch.float32
PACKED = 1e-4
"""Largest relative difference of numbers in a pack from the same ones alone."""
IMAGES = (
    Observed((4, 4), 17),
    Observed((4, 4), None),
    Observed((4, 4), 2, binary=True),
    Observed((12,), None, counts=True),
    Observed((12,), None, counts=True, proteins=4),
)
"""Observed variables on which parts are tried, in this order."""


@dataclass(frozen=True)
class Outcome:
    """Result of one check.

    Attributes:
        part: kind and name.
        verdict: ok, note or wrong.
        sentence: what was seen.
    """

    part: str
    verdict: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.verdict:5} {self.part}: {self.sentence}"


def check_file(path: Path) -> list[Outcome]:
    """Check every part that a file registers.

    Raises:
        UserError: the file cannot be read, or one of its parts cannot be registered.
    """
    config = resolve_config({"plugins": [str(path.resolve())]}, path.resolve())
    importing = list(effects(load_parts))
    settings = {**config["model"], "hidden": [8], "dispersion": "gene"}
    everything = {**config, "model": settings}
    outcomes = []
    for (kind, name), plugin in list(ORIGINS.items()):
        if plugin.path == path.resolve():
            outcomes += _outcomes(kind, name, everything)
    whole = [*importing, *unpickling(path)]
    return [*outcomes, *(Outcome(f"file {path.name}", "wrong", text) for text in whole)]


def _outcomes(kind: str, name: str, config: Settings) -> list[Outcome]:
    """Outcomes of one part; a check that ends in an error is one too, and the last."""
    label = f"{kind} {name}"
    found = [Outcome(label, "ok", "its name is free and its options can be read")]
    for check in CHECKS.get(kind, (_in_a_study,)):
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                for each in check(name, config):
                    found.append(Outcome(label, *each))
        except (Exception, SystemExit) as error:
            if out_of_memory(error):
                raise
            what = check.__name__.strip("_").removeprefix("check_").replace("_", " ")
            sentence = f"the check of {what} ended in an error ({error_text(error).rstrip('.')})"
            return [*found, Outcome(label, "wrong", sentence)]
    return found


def _in_a_study(name: str, config: Settings) -> Iterator[Found]:
    yield "note", "nothing else is checked here; a study shows what it does"


# --- likelihoods ----------------------------------------------------------------------------------


def _observed_of(name: str) -> Observed | None:
    return next((one for one in IMAGES if LIKELIHOODS[name].unsupported(one) is None), None)


def _distribution(name: str, observed: Observed, config: Settings, rows: int, seed: int) -> Any:
    """P(x | z) at random outputs [rows, outputs] and parameters, which have gradients."""
    likelihood, options = LIKELIHOODS[name], config["model"]
    output = 1.5 * torch.randn(
        rows, likelihood.outputs(observed, options), generator=stream(seed, "outputs")
    )
    output.requires_grad_()
    noise = stream(seed, "parameters")
    parameters = {
        key: (value + 0.3 * torch.randn(value.shape, generator=noise)).requires_grad_()
        for key, value in likelihood.parameters(observed, options).items()
    }
    library = torch.full((rows, 1), 6.0) if observed.counts else None
    given = Given(observed, options, library)
    return likelihood.distribution(output, parameters, given), output, parameters


def _values(observed: Observed, rows: int, seed: int = 0) -> Tensor:
    """Random values of x, the edges of its range among them, [rows, dims]."""
    uniform = torch.rand(rows, observed.dims, generator=stream(seed, "values"))
    if observed.counts:
        return (uniform * 5).floor()
    levels = observed.levels
    x = uniform if levels is None else (uniform * levels).floor() / (levels - 1)
    x[0], x[-1] = 0.0, 1.0
    return x


def _shapes(name: str, config: Settings) -> Iterator[Found]:
    observed = _observed_of(name)
    if observed is None:
        reasons = {LIKELIHOODS[name].unsupported(one) for one in IMAGES}
        yield "wrong", f"it stands on no data that were tried ({'; '.join(map(str, reasons))})"
        return
    found, _, _ = _distribution(name, observed, config, ROWS, 0)
    x = _values(observed, ROWS)
    shape, wanted = tuple(found.log_prob(x).shape), (ROWS,)
    yield judged(
        shape == wanted,
        f"log_prob of x {tuple(x.shape)} has the shape {shape}",
        f"log_prob of x {tuple(x.shape)} has the shape {shape}; wanted: {wanted}, summed over x",
    )
    measure = LIKELIHOODS[name].measure(observed)
    if not (isinstance(measure, str) and measure):
        yield "wrong", f"its measure is {measure!r}; wanted: text, as grey/density"
    values = {"mean": found.mean, "sample": found.sample(stream(0, "draw"))}
    yield _single({"log_prob": found.log_prob(x), **values})
    for what, value in values.items():
        yield judged(
            tuple(value.shape) == tuple(x.shape) and bool(torch.isfinite(value).all()),
            f"{what} has the shape {tuple(value.shape)} and finite values",
            f"{what} has the shape {tuple(value.shape)}; wanted: {tuple(x.shape)}, all finite",
        )


def _single(values: Mapping[str, Tensor]) -> Found:
    """The verdict on dtypes of what a part gives for float32."""
    other = [f"{name} is {value.dtype}" for name, value in values.items() if value.dtype != SINGLE]
    return judged(
        not other,
        "it keeps float32",
        f"{', '.join(other)} where it is given {SINGLE}; wanted: same",
    )


def _gradients(name: str, config: Settings) -> Iterator[Found]:
    observed = _observed_of(name)
    if observed is None:
        return
    found, output, parameters = _distribution(name, observed, config, ROWS, 1)
    total = found.log_prob(_values(observed, ROWS)).sum()
    inputs = [output, *parameters.values()]
    grads = torch.autograd.grad(total, inputs, allow_unused=True)
    bad = [
        key
        for key, grad in zip(["the decoder's output", *parameters], grads, strict=True)
        if grad is not None and not bool(torch.isfinite(grad).all())
    ]
    yield judged(not bad, "gradients are finite", f"the gradient by {', '.join(bad)} is not finite")


def _normalised(name: str, config: Settings) -> Iterator[Found]:
    first = _observed_of(name)
    if first is None:
        return
    likelihood = LIKELIHOODS[name]
    if not likelihood.proper(first):
        yield "note", "it says itself that it is not normalised on such data (proper is False)"
        return
    for dims in (1, 2):
        observed = Observed(
            (dims,) if first.counts else (1, dims), first.levels, first.binary, first.counts
        )
        for seed in range(3):
            found, _, _ = _distribution(name, observed, config, 1, seed)
            with torch.no_grad():
                if likelihood.mass:
                    sums = [total_mass(found.log_prob, observed)]
                else:
                    draws = torch.stack(
                        [found.sample(stream(each, "draw"))[0] for each in range(200)]
                    )
                    sums = integral(found.log_prob, draws, unit=not observed.counts)
            best = min(sums, key=lambda value: abs(value - 1))
            if not abs(best - 1) < 0.01:
                word = "mass sums" if likelihood.mass else "density integrates"
                yield "wrong", f"its {word} to {best:.4g} over {dims} dimensions; wanted: 1"
                return
            unit = len(sums) > 1 and best == sums[1]
            if dims == 1 and (sentence := _drawn_unlike(found, observed, likelihood.mass, unit)):
                yield "wrong", sentence
                return
    word = "mass sums" if likelihood.mass else "density integrates"
    yield "ok", f"its {word} to 1 over one and over two dimensions"


@torch.no_grad()
def _drawn_unlike(found: Any, observed: Observed, mass: bool, unit: bool) -> str | None:
    """Sentence on draws of one number that have another distribution than log_prob says."""
    draws = torch.stack([found.sample(stream(each, "draw"))[0] for each in range(DRAWS)])
    if mass:
        gap, limit = mass_disagreement(found.log_prob, draws, observed)
    else:
        gap, limit = disagreement(found.log_prob, draws, unit)
    return None if gap < limit else _disagree(gap, limit)


def _disagree(gap: float, limit: float) -> str:
    return (
        f"sample and log_prob disagree: the distribution of {DRAWS:,} draws differs from that of "
        f"log_prob by {gap:.3f}; allowed: {limit:.3f} (Kolmogorov and Smirnov)"
    )


def _samples(name: str, config: Settings) -> Iterator[Found]:
    observed = _observed_of(name)
    if observed is None:
        return
    found, _, _ = _distribution(name, observed, config, ROWS, 2)
    with torch.no_grad():
        yield without_streams(drawn_from(lambda: found.sample(stream(0, "draw"))), "sample")
        same = torch.equal(found.sample(stream(0, "draw")), found.sample(stream(0, "draw")))
        yield judged(
            same, "the same generator gives the same draws", "the same generator gives other draws"
        )
        wide, _, _ = _distribution(name, observed, config, 1, 2)
        draws = torch.stack([wide.sample(stream(each, "draw"))[0] for each in range(1000)])
        error = draws.std(0) / len(draws) ** 0.5
        gap = ((draws.mean(0) - wide.mean[0]).abs() / (error + 1e-3)).max()
        yield judged(
            float(gap) < 7,
            "draws have the mean that it says",
            f"the mean of 1,000 draws is {float(gap):.0f} standard errors from what it says",
        )


def _packed(name: str, config: Settings) -> Iterator[Found]:
    observed = _observed_of(name)
    if observed is None:
        return
    yield from _same_in_a_pack(_run(likelihood=name), observed, config)


def _run(**levels: Any) -> Run:
    likelihood = levels.pop("likelihood", "gaussian")
    return canonical_run("digits", likelihood, LATENT, 1.0, True, "gaussian", 0, **levels)


def _models(run: Run, observed: Observed, config: Settings) -> list[VAE]:
    """Two of other seeds, in evaluation mode, with parameters moved off their initial values."""
    models = []
    for seed in (0, 1):
        model = VAE.of(Run(**{**run, "seed": seed}), observed, config["model"]).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=stream(seed, "moved")))
        models.append(model)
    return models


def _inputs(observed: Observed, draws: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """A batch: x, context and noise."""
    x = _values(observed, ROWS)
    context = torch.full((ROWS, 1), DEFAULT_LIBRARY / 100) if observed.counts else x[:, :0]
    return x, context, torch.randn(ROWS, draws, LATENT, generator=stream(0, "noise"))


def _same_in_a_pack(run: Run, observed: Observed, config: Settings) -> Iterator[Found]:
    """Terms and gradients of two runs together and apart."""
    models, objective = _models(run, observed, config), OBJECTIVES[run.objective]
    pack = StackedVAE.stack(models, CPU)
    apart = [StackedVAE.stack([model], CPU) for model in models]
    batch = _inputs(observed, run.importance_samples)
    together = gradients(objective, pack, *batch)
    worst = 0.0
    for place, one in enumerate(apart):
        for leaf, own in zip(together, gradients(objective, one, *batch), strict=True):
            scale = float(own.abs().max().clamp_min(1e-6))
            worst = max(worst, float((leaf[place] - own[0]).abs().max()) / scale)
    yield judged(
        worst <= PACKED,
        f"gradients in a pack are those alone (largest relative difference {worst:.1g})",
        f"gradients in a pack differ from those alone by {worst:.2g} of the largest",
    )


# --- priors ---------------------------------------------------------------------------------------


def _prior(name: str, latent: int, config: Settings, seed: int = 0) -> Any:
    run = canonical_run("digits", "gaussian", latent, 1.0, True, "gaussian", 0, prior=name)
    model = VAE.of(run, IMAGES[0], config["model"]).eval()
    with torch.no_grad():
        for parameter in model.prior_parameters.values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=stream(seed, "moved")))
    return model.prior


def _prior_shapes(name: str, config: Settings) -> Iterator[Found]:
    prior = _prior(name, LATENT, config)
    z = torch.randn(5, 2, LATENT, generator=stream(0, "z")).requires_grad_()
    density, draws = prior.log_prob(z), prior.sample(stream(0, "draw"), 7)
    right = tuple(density.shape) == (5, 2) and tuple(draws.shape) == (7, LATENT)
    shapes = f"log_prob {tuple(density.shape)} and sample {tuple(draws.shape)}"
    yield judged(
        right,
        f"shapes are right: {shapes}",
        f"shapes are {shapes}; wanted: (5, 2) for z (5, 2, {LATENT}) and (7, {LATENT}) for 7 draws",
    )
    yield _single({"log_prob": density, "sample": draws})
    try:
        with torch.no_grad():
            prior.log_prob(z.double())
    except RuntimeError as error:
        sentence = (
            f"log_prob of z in float64, as evaluation asks for, ended in an error "
            f"({error_text(error)}); wanted: learned values in the dtype of z (.to(z.dtype))"
        )
        yield "wrong", sentence
    learned = [value for value in prior.learned.values() if value.requires_grad]
    found = torch.autograd.grad(density.sum(), [z, *learned], allow_unused=True)
    finite = all(one is None or bool(torch.isfinite(one).all()) for one in found)
    yield judged(finite, "gradients are finite", "a gradient of log_prob is not finite")
    with torch.no_grad():
        yield without_streams(drawn_from(lambda: prior.sample(stream(0, "draw"), 7)), "sample")
        one, other = (prior.sample(stream(0, "draw"), 7) for _ in range(2))
    yield judged(
        torch.equal(one, other),
        "the same generator gives the same draws",
        "the same generator gives other draws",
    )


@torch.no_grad()
def _prior_density(name: str, config: Settings) -> Iterator[Found]:
    for latent in (1, 2):
        for seed in range(2):
            prior = _prior(name, latent, config, seed)
            draws = prior.sample(stream(seed, "draw"), DRAWS)
            total = integral(prior.log_prob, draws)[0]
            if not abs(total - 1) < 0.01:
                yield "wrong", f"its density integrates to {total:.4g} over z; wanted: 1"
                return
            gap, limit = disagreement(prior.log_prob, draws)
            if not gap < limit:
                yield "wrong", _disagree(gap, limit)
                return
    yield "ok", "its density integrates to 1, and sample and log_prob agree"


@torch.no_grad()
def _prior_kl(name: str, config: Settings) -> Iterator[Found]:
    prior = _prior(name, LATENT, config)
    mean = torch.randn(4, LATENT, generator=stream(0, "mean"), dtype=torch.float32)
    posterior = Posterior(mean, -0.5 + 0.2 * mean)
    closed = prior.kl(posterior)
    if closed is None:
        yield "note", "it has no KL in closed form, so that the rate is estimated from draws"
        return
    noise = torch.randn(4, 20_000, LATENT, generator=stream(0, "noise"))
    ratios = prior.log_ratio(posterior, noise)
    error = ratios.std(-1) / ratios.shape[-1] ** 0.5 + 1e-3
    gap = float(((ratios.mean(-1) - closed).abs() / error).max())
    yield judged(
        gap < 6,
        "its KL in closed form is the mean of log q − log p over draws",
        f"its KL in closed form is {gap:.0f} standard errors from the mean of log q − log p",
    )


def _prior_packed(name: str, config: Settings) -> Iterator[Found]:
    yield from _same_in_a_pack(_run(prior=name), IMAGES[0], config)


# --- posteriors -----------------------------------------------------------------------------------


def _posterior(name: str, config: Settings) -> Iterator[Found]:
    kind = POSTERIORS[name]
    output = torch.randn(5, kind.outputs(LATENT), generator=stream(0, "outputs"))
    found = kind.posterior(output, config["model"])
    shapes = tuple(found.mean.shape), tuple(found.log_std.shape)
    yield judged(
        shapes == ((5, LATENT), (5, LATENT)),
        "mean and log_std have a value for each latent dimension",
        f"mean and log_std have the shapes {shapes}; wanted: (5, {LATENT}) each",
    )
    finite = bool(torch.isfinite(found.mean).all() and torch.isfinite(found.log_std).all())
    yield judged(finite, "both are finite", "mean or log_std is not finite; wanted: numbers")
    run = canonical_run("digits", "gaussian", LATENT, 1.0, True, name, 0)
    yield from _same_in_a_pack(run, IMAGES[0], config)


# --- objectives -----------------------------------------------------------------------------------


def _objective(name: str, config: Settings) -> Iterator[Found]:
    run, objective = _run(objective=name, importance_samples=2), OBJECTIVES[name]
    model = _models(run, IMAGES[0], config)[0]
    x, context, noise = _inputs(IMAGES[0], 2)
    epoch = torch.tensor(0.0) if objective.reads_epoch else None
    weight = torch.full((ROWS,), 1 / ROWS)
    batch = Batch(x, context, noise, weight, ROWS, epoch)
    before = fingerprint({"weights": model.state_dict(), "batch": batch})
    with torch.no_grad():
        streams = drawn_from(lambda: objective.terms(model, batch))
        changed = changes(before, fingerprint({"weights": model.state_dict(), "batch": batch}))
        terms = objective.terms(model, batch)
    shapes = {key: tuple(value.shape) for key, value in terms.items()}
    right = tuple(terms) == tuple(objective.names) and set(shapes.values()) == {(ROWS,)}
    yield judged(
        right,
        f"its terms are {', '.join(terms)}, a value for each example",
        f"its terms are {shapes}; wanted: {', '.join(objective.names)}, in this order, with the "
        f"shape ({ROWS},)",
    )
    yield without_streams(streams, "terms")
    yield judged(
        not changed,
        "it leaves batch and model as they were",
        f"it changes {', '.join(changed[:3])} in place; wanted: a copy",
    )
    endless = [key for key, value in terms.items() if not bool(torch.isfinite(value).all())]
    if endless:
        yield "wrong", f"its term {endless[0]} is not finite for a healthy model; wanted: numbers"
    if endless or changed or not right:
        return
    numbers = dict(objective.numbers)
    loss = objective.loss(terms, numbers)
    if tuple(loss.shape) != (ROWS,):
        yield "wrong", f"its loss has the shape {tuple(loss.shape)}; wanted: ({ROWS},), unreduced"
        return
    of_means = float(objective.loss({k: v.mean() for k, v in terms.items()}, numbers))
    yield judged(
        bool(np.isclose(of_means, float(loss.mean()), rtol=1e-4, atol=1e-5)),
        "its loss is linear in the terms, as tables need it",
        f"its loss of mean terms is {of_means:.6g} and the mean of its losses "
        f"{float(loss.mean()):.6g}; wanted: the same (make what is not linear a term)",
    )
    yield _filled(name, model, batch)


@torch.no_grad()
def _filled(name: str, model: VAE, batch: Batch) -> Found:
    """Whether repeats that fill a batch up change the terms of the others."""
    objective, rows = OBJECTIVES[name], torch.arange(16) % ROWS
    weight = (torch.arange(16) < ROWS).float() / ROWS
    parts = (batch.x[rows], batch.context[rows], batch.noise[rows])
    filled = Batch(*parts, weight, ROWS, batch.epoch)
    whole, wide = objective.terms(model, batch), objective.terms(model, filled)
    wrong = [
        key
        for key, value in whole.items()
        if not torch.allclose(value, wide[key][:ROWS], rtol=1e-3, atol=1e-4)
    ]
    return judged(
        not wrong,
        "examples that fill a batch up (weight 0) do not count",
        f"examples that fill a batch up (weight 0) change {', '.join(wrong)} of the others; "
        "wanted: means over pairs that weigh by batch.weight",
    )


def _objective_packed(name: str, config: Settings) -> Iterator[Found]:
    run, objective = _run(objective=name, importance_samples=2), OBJECTIVES[name]
    models = _models(run, IMAGES[0], config)
    parts = _inputs(IMAGES[0], 2)
    weight, epoch = torch.full((ROWS,), 1 / ROWS), torch.tensor(0.0)
    now = epoch if objective.reads_epoch else None
    stacked = tuple(part.expand(2, *part.shape) for part in parts)
    pack = StackedVAE.stack(models, CPU)
    with torch.no_grad():
        together = mapped_terms(objective, pack, stacked, weight, ROWS, now)  # type: ignore[arg-type]
        alone = objective.terms(models[1], Batch(*parts, weight, ROWS, now))
    worst = max(
        float((together[key][1] - value).abs().max() / value.abs().max().clamp_min(1e-3))
        for key, value in alone.items()
    )
    yield judged(
        worst <= PACKED,
        f"terms in a pack are those alone (largest relative difference {worst:.1g})",
        f"terms in a pack differ from those alone by {worst:.2g} of the largest",
    )
    found = gradients(objective, pack, *parts)
    finite = all(bool(torch.isfinite(one).all()) for one in found)
    yield judged(finite, "gradients are finite", "a gradient of its loss is not finite")


# --- architectures --------------------------------------------------------------------------------


def _architecture(name: str, config: Settings) -> Iterator[Found]:
    architecture, options = ARCHITECTURES[name], config["model"]
    fits = [one for one in IMAGES if architecture.unsupported(one, options) is None]
    if not fits:
        reason = architecture.unsupported(IMAGES[0], options)
        yield "wrong", f"it fits no data that were tried ({reason})"
        return
    likelihood = "poisson" if fits[0].counts else "gaussian"
    run = _run(architecture=name, likelihood=likelihood)
    model, again = (VAE.of(run, fits[0], options) for _ in range(2))
    x, context, noise = _inputs(fits[0])
    posterior, found = model.eval()(x, context, noise)
    shapes = tuple(posterior.mean.shape), tuple(found.mean.shape)
    yield judged(
        shapes == ((ROWS, LATENT), (ROWS, 1, fits[0].dims)),
        "encoder and decoder give the right shapes",
        f"the shapes of posterior and reconstruction are {shapes}",
    )
    pairs = list(zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    yield judged(
        not any(one.numel() and one.data_ptr() == other.data_ptr() for one, other in pairs),
        "each run has networks of its own",
        "two runs share weights; wanted: new modules from each call of encoder and decoder",
    )
    yield judged(
        all(bool(torch.isfinite(one).all()) for one, _ in pairs),
        "initial weights are finite",
        "an initial weight is not finite; wanted: numbers",
    )
    yield judged(
        all(torch.allclose(one, other, 0, 0, equal_nan=True) for one, other in pairs),
        "the same seed gives the same initial weights",
        "the same seed gives other initial weights; allowed: draws from torch's global stream only",
    )
    outputs = LIKELIHOODS[likelihood].outputs(fits[0], options)
    size = architecture.size(fits[0], LATENT, outputs, options)[0]
    weights = sum(
        one.numel() for net in (model.encoder, model.decoder) for one in net.network.parameters()
    )
    yield judged(
        abs(size - weights) <= 0.1 * weights,
        f"its networks have {weights:,} weights for 4×4 pixels, as size says",
        f"its networks have {weights:,} weights, and size says {size:,}",
    )
    yield without_streams(drawn_from(lambda: model.eval()(x, context, noise)), "evaluation")
    in_training = drawn_from(lambda: model.train()(x, context, noise))
    if {"NumPy", "Python"} & set(in_training):
        yield without_streams(in_training, "training")
    elif in_training:
        yield "note", "training draws from torch's global stream (dropout): one stream for each run"


def _architecture_packs(name: str, config: Settings) -> Iterator[Found]:
    run, dataset = _run(architecture=name), digits()
    if complaint := ARCHITECTURES[name].unsupported(dataset.observed, config["model"]):
        yield "note", f"whether it can share packs was not tried ({complaint})"
        return
    reason = why_alone(run, dataset, config["model"], CPU)
    if reason:
        yield "note", f"its runs train one by one: {reason}"
    else:
        yield "ok", "its runs can share packs"


# --- sources --------------------------------------------------------------------------


def _source(name: str, config: Settings) -> Iterator[Found]:
    source, options = SOURCES[name], dataset_options(name)
    try:
        source.check_options("the check", options)
    except UserError as error:
        yield "note", f"it needs options, and is checked where a study names them ({error})"
        return
    empty = [key for key in sorted(source.shared_options - {"test"}) if not options.get(key)]
    try:
        described = source.describe(options)
        with torch.random.fork_rng(devices=[]):
            raw, again = source.load(options), source.load(options)
    except Exception as error:
        if not empty:
            raise
        reason = f"without {' and '.join(empty)} it ended in an error ({error_text(error)})"
        yield "note", f"a study that names its data shows it: {reason}"
        return
    found = list(complaints(source, described, raw))
    yield from (("wrong", one) for one in found)
    if found:
        return
    yield "ok", f"it describes what it loads: {raw.x.shape[0]} examples of shape {described.shape}"
    if sparse.issparse(raw.x):
        same = (raw.x != again.x).nnz == 0
    else:
        same = np.array_equal(raw.x, again.x, equal_nan=raw.x.dtype.kind == "f")
    yield judged(same, "it loads the same data twice", "it loads other data the second time")


# --- models made elsewhere ------------------------------------------------------------------------


def _external(name: str, config: Settings) -> Iterator[Found]:
    dataset, own = digits(), check_options("the check", {}, name)
    arm = ExternalArm("checked", "digits", model=name, latent_dims=(LATENT,), options=own)
    held, again = (Held(arm, Place(LATENT, 0, None), dataset) for _ in range(2))
    try:
        _ = held.model, again.model
    except Exception as error:
        reason = error_text(error).rstrip(".")
        yield "note", f"it was not tried, since load without a file ended in an error ({reason})"
        return
    codes = held.codes.test
    yield judged(
        codes.shape[1] == LATENT,
        f"encode gives codes of shape {codes.shape} for {len(codes)} digits",
        f"encode gives codes of {codes.shape[1]} dimensions; wanted: {LATENT}, as latent_dim says",
    )
    yield judged(
        np.allclose(codes, again.codes.test, rtol=1e-4, atol=1e-6),
        "the same seed gives the same codes",
        "the same seed gives other codes the second time",
    )
    drawn_of = drawn_from(lambda: held.model.encode(held.x("test")))
    yield without_streams(drawn_of, "encode")
    if errors := means(held.reconstruction()):
        shown = ", ".join(f"{key} = {value:.4g}" for key, value in errors.items())
        yield "ok", f"decode gives reconstructions: {shown}"
    else:
        yield "note", "it has no decoder: reconstruction stays empty"
    if held.generates:
        shape = held.drawn(ROWS, np.random.default_rng(0)).shape
        yield "ok", f"sample gives draws of shape {shape}"
    else:
        yield "note", "it has no sample: columns of samples stay empty"


CHECKS: dict[str, tuple[Check, ...]] = {
    "likelihood": (_shapes, _normalised, _gradients, _samples, _packed),
    "prior": (_prior_shapes, _prior_density, _prior_kl, _prior_packed),
    "posterior": (_posterior,),
    "objective": (_objective, _objective_packed),
    "architecture": (_architecture, _architecture_packs),
    "source": (_source,),
    "metric family": (check_metrics,),
    "application": (check_application,),
    "figure": (check_figure,),
    "question": (check_question,),
    "external model": (_external,),
}
