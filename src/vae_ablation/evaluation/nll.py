"""−log p(x) by importance sampling from a mixture that is fitted to each example's posterior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.data.loading import Examples
from vae_ablation.evaluation.refined import (
    Gaussians,
    Target,
    bank_of,
    broadened,
    elsewhere,
    normals,
    picked,
    refined,
    smoothed,
)
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.priors import draws_from

if TYPE_CHECKING:
    from vae_ablation.training.stacked import StackedVAE

NLL_LOOSE = 0.03
"""An estimate whose mean bias exceeds this many nats is loose."""

FEW_EFFECTIVE = 10
"""Effective samples below which an example counts as badly covered."""

BADLY_COVERED = 0.1
"""Largest share of badly covered examples of an estimate that is not loose."""

PRIOR_SHARE = 0.05
"""Share of draws from the prior, which bounds the weights where a Gaussian has no mass."""

SHARES = (0.6, 0.25, 0.15)
"""Shares, among the others, of the modes of an example, the best first."""

WIDTHS = ((0.6, 1.05), (0.3, 1.3), (0.1, 1.8))
"""Each component is this mixture of copies of itself: share, and factor of the standard
deviation."""

HARD = 0.3
"""Share of effective samples below which an example is estimated once more."""

UNLIKELY = 0.05
"""Share of the examples, those of the greatest −log p(x), that are estimated once more too: a mode
that nobody drew from leaves no other trace."""

OTHER_CODES = 1024
"""Most codes of other examples among which modes of hard ones are sought."""

AGAIN = 4
"""Factor of the number of draws that such an example gets then."""

AGAIN_MODES, AGAIN_STEPS = 2, 6
"""Further modes that are sought then, and steps towards each."""

AGAIN_SHARES = (0.15, 0.07, 0.06, 0.07)
"""Shares then: of a mode from the draw of greatest weight, of the further modes, and of a Gaussian
that began broad; the modes that were known share the rest as before."""

PROBED = 40
"""Examples on which draws made for a density are tried for the mass of its grey levels."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NllEstimate:
    """Estimates of −log p(x) of every example: each [runs, n], or [n] of one run.

    Attributes:
        nll: nats; an upper bound in expectation, by about `bias`.
        ess: effective samples, of as many as were drawn.
        samples: draws behind each: K, and those of a repetition.
    """

    nll: Array
    ess: Array
    samples: Array

    @property
    def bias(self) -> Array:
        """½(1/ess − 1/samples), nats: the bias of the log of a mean, to first order."""
        return np.asarray(0.5 * (1 / self.ess - 1 / self.samples))

    @property
    def variance(self) -> Array:
        """Monte-Carlo variance, nats²: 1/ess − 1/samples, to first order."""
        return 2 * self.bias

    @property
    def loose(self) -> NDArray[np.bool_]:
        """Whether the estimate of a run is only an upper bound, [runs] or []."""
        few = (self.ess < np.minimum(FEW_EFFECTIVE, self.samples / 2)).mean(-1)
        return np.asarray((self.bias.mean(-1) > NLL_LOOSE) | (few > BADLY_COVERED))

    def of(self, place: int) -> NllEstimate:
        """The estimate of one run: each [n]."""
        return NllEstimate(self.nll[place], self.ess[place], self.samples[place])

    def pooled(self, places: NDArray[np.int64], new: NllEstimate) -> NllEstimate:
        """With more draws of the examples at places [runs, m]: a mean over all of their weights.

        Draws are kept whatever they say: an example is chosen for its weights, and without them
        those that had none of the rare great ones would stand alone.
        """
        here = [np.take_along_axis(part, places, 1) for part in (self.nll, self.ess, self.samples)]
        old = NllEstimate(*here)
        totals = [np.log(one.samples) - one.nll for one in (old, new)]
        with np.errstate(invalid="ignore"):  # of an exploded run
            total = np.logaddexp(*totals)
            squares = np.logaddexp(2 * totals[0] - np.log(old.ess), 2 * totals[1] - np.log(new.ess))
        samples = old.samples + new.samples
        found = NllEstimate(self.nll.copy(), self.ess.copy(), self.samples.copy())
        np.put_along_axis(found.nll, places, np.log(samples) - total, 1)
        np.put_along_axis(found.ess, places, np.exp(2 * total - squares), 1)
        np.put_along_axis(found.samples, places, samples, 1)
        return found

    def with_runs(self, runs: Sequence[int], new: NllEstimate) -> NllEstimate:
        """With another estimate of some runs."""
        found = NllEstimate(self.nll.copy(), self.ess.copy(), self.samples.copy())
        for name in ("nll", "ess", "samples"):
            getattr(found, name)[list(runs)] = getattr(new, name)
        return found


@dataclass(frozen=True)
class Scores:
    """Estimates of the same examples.

    Attributes:
        own: with p(x | z) as it was trained.
        levels: with the mass of the data's own grey levels; None where there is none.
    """

    own: NllEstimate
    levels: NllEstimate | None


def scored_levels(likelihood: str, dataset: Dataset) -> int | None:
    """Number of grey levels of the data's own whose mass is scored; None where there are none.

    Data that we binarise have no levels of their own, and a cross-entropy is no score.
    """
    observed = dataset.observed
    if observed.counts or dataset.fixed is not None or dataset.dynamic:
        return None
    if not LIKELIHOODS[likelihood].level_measure(observed):
        return None
    return 2 if observed.binary else observed.levels


def importance_nll(
    model: StackedVAE,
    means: Tensor,
    examples: Examples,
    samples: int,
    generators: Sequence[torch.Generator],
) -> NllEstimate:
    """−log (1/K) Σ p(x | z) p(z)/m(z) with z stratified over the components of the mixture m.

    m is .95 of the Gaussians of `refined`, each in copies of several widths, and .05 p(z); all
    weights have the whole mixture below the line (Owen and Zhou 2000; bound: Burda et al. 2016).
    Hard examples get more draws from a wider mixture.

    Args:
        model: the pack.
        means: of the encoder's posteriors, [runs, n, latent].
        examples: as observed.
        samples: K.
        generators: one stream per run.
    """
    return scores(model, means, examples, samples, generators).own


@torch.no_grad()
def scores(
    model: StackedVAE,
    means: Tensor,
    examples: Examples,
    samples: int,
    generators: Sequence[torch.Generator],
    levels: int | None = None,
    mass: bool = False,
    others: Tensor | None = None,
    modes: Sequence[Gaussians] | None = None,
) -> Scores:
    """`importance_nll`, and with the same draws the mass of grey levels.

    Where a density is so narrow that its draws miss the mass, which is wider, its runs get draws
    of their own from Gaussians smoothed once more with the mass in the place of the density.

    Args:
        model: the pack.
        means: of the encoder's posteriors, [runs, n, latent].
        examples: as observed.
        samples: K.
        generators: one stream per run.
        levels: number of grey levels whose mass is wanted.
        mass: whether p(x | z) is that mass itself.
        others: codes of other examples, from which modes of hard ones are sought too,
            [runs, m, latent].
        modes: what `refined` gives with the same streams before; None to seek them here.
    """
    target = Target.of(model, examples)
    if modes is None:
        modes = refined(target, means, generators)
    draws = _Draws.of(target, _shared(modes), samples, generators)
    start = means if others is None else torch.cat([means, others], dim=1)
    own, more = _estimated(draws, target, modes, start, generators)
    if levels is None:
        return Scores(own, None)
    if mass:
        return Scores(own, own)
    target = target.of_levels(levels)
    of_levels = _of_levels([draws, more], target, modes, start, generators)
    return Scores(own, of_levels)


def _shared(parts: Sequence[Gaussians]) -> list[tuple[float, Gaussians]]:
    return list(zip(SHARES, parts, strict=True))


def _estimated(
    draws: _Draws,
    target: Target,
    parts: Sequence[Gaussians],
    codes: Tensor,
    generators: Sequence[torch.Generator],
) -> tuple[NllEstimate, _Draws]:
    """The estimate from draws, and from more of them of the examples that are hard; those draws.

    Args:
        draws: of the examples.
        target: the log joint.
        parts: Gaussians at modes of each.
        codes: the encoder's means of these examples, and codes of others behind them.
        generators: one stream per run.
    """
    weights = draws.weights(target)
    found = _estimate(weights)
    at = torch.from_numpy(_hard(found)).to(codes.device)
    again = target.at(at)
    kept = [Gaussians(picked(one.mean, at), picked(one.root, at)) for one in parts]
    third, _ = again.mode(_heaviest(picked(draws.z, at), picked(weights, at)))
    bank = bank_of(again, parts[0], generators, codes[:, len(target) :])
    others = [one for one, _ in elsewhere(again, [*kept, third], bank, AGAIN_MODES, AGAIN_STEPS)]
    wider = [smoothed(again, one, generators) for one in (third, *others)]
    wider.append(broadened(again, picked(codes, at), generators))
    rest = 1 - sum(AGAIN_SHARES)
    shared = [(rest * share, one) for share, one in _shared(kept)]
    shared += zip(AGAIN_SHARES, wider, strict=True)
    more = _Draws.of(again, shared, AGAIN * draws.z.shape[2], generators, at)
    return more.added(found, target), more


def _of_levels(
    draws: Sequence[_Draws],
    target: Target,
    parts: Sequence[Gaussians],
    codes: Tensor,
    generators: Sequence[torch.Generator],
) -> NllEstimate | None:
    """The mass of grey levels at draws made for the density, and at others where it is loose.

    Args:
        draws: of all examples, and more of the hard ones.
        target: the log joint with the mass.
        parts: Gaussians at modes of the density.
        codes: see `_estimated`.
        generators: one stream per run.
    """
    first, more = draws
    try:
        loose = first.probed(target)
    except NotImplementedError:
        return None
    shape = tuple(first.base.shape[:2])
    drawn = np.full(shape, float(first.z.shape[2]))
    found = NllEstimate(np.full(shape, np.nan), np.ones(shape), drawn)
    fine, far = np.flatnonzero(~loose).tolist(), np.flatnonzero(loose).tolist()
    if fine:
        some = target.runs(fine)
        new = more.runs(fine).added(_estimate(first.runs(fine).weights(some)), some)
        found = found.with_runs(fine, new)
    if far:
        some, streams = target.runs(far), [generators[place] for place in far]
        wide = [smoothed(some, one.runs(far), streams) for one in parts]
        own = _Draws.of(some, _shared(wide), first.z.shape[2], streams)
        new, _ = _estimated(own, some, wide, codes[far], streams)
        found = found.with_runs(far, new)
    return found


def _hard(found: NllEstimate) -> NDArray[np.int64]:
    """Examples that are estimated once more, [runs, m]: as many of each run as of the worst."""
    score = found.ess / found.samples
    last = max(1, round(UNLIKELY * score.shape[1]))
    unlikely = np.argpartition(-found.nll, last - 1, axis=1)[:, :last]
    np.put_along_axis(score, unlikely, -1.0, 1)
    return np.argsort(score, axis=1)[:, : int((score < HARD).sum(1).max())]


def _heaviest(z: Tensor, weights: Tensor) -> Tensor:
    """The draw of the greatest weight, [runs, n, latent]."""
    at = weights.argmax(-1)[..., None, None].expand(*weights.shape[:2], 1, z.shape[-1])
    return z.gather(2, at)[:, :, 0]


def strata(shares: Sequence[float], samples: int) -> list[int]:
    """Draws of each component: whole numbers of this sum by largest remainders, ties to the first.

    Args:
        shares: of the components; their sum is 1.
        samples: draws in all.
    """
    exact = samples * np.asarray(shares)
    counts = np.floor(exact).astype(int)
    most = np.argsort(counts - exact, kind="stable")[: samples - counts.sum()]
    counts[most] += 1
    return [int(count) for count in counts]


@dataclass(frozen=True)
class _Mixture:
    """Components of the proposal with their draws.

    Attributes:
        components: Gaussians, with the factor of their standard deviation and their number of
            draws.
        prior: number of draws from the prior.
    """

    components: list[tuple[Gaussians, float, int]]
    prior: int

    @classmethod
    def of(cls, shared: Sequence[tuple[float, Gaussians]], samples: int) -> _Mixture:
        copies = [
            ((1 - PRIOR_SHARE) * share * part, gaussians, width)
            for share, gaussians in shared
            for part, width in WIDTHS
        ]
        *counts, prior = strata([*(share for share, _, _ in copies), PRIOR_SHARE], samples)
        each = zip(copies, counts, strict=True)
        return cls([(one, width, count) for (_, one, width), count in each], prior)

    def draw(self, target: Target, generators: Sequence[torch.Generator]) -> Tensor:
        """Z of every component, [runs, n, samples, latent]."""
        n, latent = len(target), target.model.template.encoder.latent_dim
        counts = [count for _, _, count in self.components]
        noise = normals(generators, (n, sum(counts) + self.prior, latent), target.places)
        *blocks, rest = noise.split([*counts, self.prior], dim=2)
        each = zip(self.components, blocks, strict=True)
        drawn = [one.at(width * block) for (one, width, _), block in each]
        # rounded to what the decoder sees, so that draw and density are of the same z
        z = torch.cat([*drawn, draws_from(target.priors, rest, generators)], dim=2)
        return torch.nan_to_num(z).float().double()

    def log_prob(self, z: Tensor, log_prior: Tensor) -> Tensor:
        """Log density of the mixture: [runs, n, draws]."""
        latent, total = z.shape[-1], z.shape[2]
        constant = 0.5 * latent * math.log(2 * math.pi)
        terms, squares = [], {}
        if self.prior:
            terms.append(log_prior + math.log(self.prior / total))
        for one, width, count in self.components:
            if id(one) not in squares:
                squares[id(one)] = one.squares(z)
            if count:
                height = one.half_log_det - latent * math.log(width) - constant
                share = math.log(count / total)
                terms.append(height[..., None] + share - 0.5 * squares[id(one)] / width**2)
        return torch.stack(terms).logsumexp(0)


@dataclass(frozen=True)
class _Draws:
    """Draws of a mixture and their weights without p(x | z).

    Attributes:
        z: [runs, n, K, latent].
        base: log p(z) − log m(z), [runs, n, K].
        places: examples that they were made for, [runs, n]; None for all.
    """

    z: Tensor
    base: Tensor
    places: Tensor | None = None

    @classmethod
    def of(
        cls,
        target: Target,
        shared: Sequence[tuple[float, Gaussians]],
        samples: int,
        generators: Sequence[torch.Generator],
        places: Tensor | None = None,
    ) -> _Draws:
        mixture = _Mixture.of(shared, samples)
        z = mixture.draw(target, generators)
        log_prior = target.log_prior(z)
        return cls(z, log_prior - mixture.log_prob(z, log_prior), places)

    def runs(self, keep: Sequence[int]) -> _Draws:
        """Those of some runs."""
        places = None if self.places is None else self.places[list(keep)]
        return _Draws(self.z[list(keep)], self.base[list(keep)], places)

    def added(self, found: NllEstimate, target: Target) -> NllEstimate:
        """An estimate of all examples with these draws of some pooled."""
        assert self.places is not None
        new = _estimate(self.weights(target.at(self.places)))
        return found.pooled(self.places.cpu().numpy(), new)

    def probed(self, target: Target) -> NDArray[np.bool_]:
        """Whether the estimate of each run would be loose, from a few examples: [runs]."""
        few = torch.from_numpy(spaced(len(target), PROBED)).to(self.z.device)
        some = _Draws(self.z[:, few], self.base[:, few])
        return _estimate(some.weights(target.at(few.expand(len(self.z), -1)))).loose

    def weights(self, target: Target) -> Tensor:
        """Log weights, [runs, n, K]."""
        return torch.nan_to_num(target.log_likelihood(self.z) + self.base, nan=-math.inf)


def _estimate(weights: Tensor) -> NllEstimate:
    """−log of the mean weight, and the effective samples, from log weights [runs, n, K]."""
    total, samples = weights.logsumexp(-1), weights.shape[-1]
    ess = (2 * total - (2 * weights).logsumexp(-1)).exp()
    nll = math.log(samples) - total
    drawn = np.full(tuple(nll.shape), float(samples))
    return NllEstimate(nll.cpu().numpy(), ess.cpu().numpy(), drawn)
