"""−log p(x) by importance sampling from a mixture that is fitted to each example's posterior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.data.loading import Examples
from vae_ablation.evaluation.refined import Gaussians, Target, broadened, normals, refined, smoothed
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.priors import draws_from
from vae_ablation.training.stacked import StackedVAE

NLL_LOOSE = 0.03
"""An estimate whose mean bias exceeds this many nats is loose."""

FEW_EFFECTIVE = 10
"""Effective samples below which an example counts as badly covered."""

BADLY_COVERED = 0.1
"""Largest share of badly covered examples of an estimate that is not loose."""

PRIOR_SHARE = 0.05
"""Share of draws from the prior, which bounds the weights where a Gaussian has no mass."""

SHARES = (0.75, 0.25)
"""Shares, among the others, of the smoothed main mode and of the second one."""

BROAD_SHARES = (0.55, 0.2, 0.25)
"""The same with a third component that began broad."""

WIDTHS = ((0.7, 1.1), (0.3, 2.0))
"""Each component is this mixture of copies of itself: share, and factor of the standard
deviation."""

PROBED = 100
"""Examples on which draws made for a density are tried for the mass of its grey levels."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NllEstimate:
    """Estimates of −log p(x) of every example: each [runs, n], or [n] of one run.

    Attributes:
        nll: nats; an upper bound in expectation, by about `bias`.
        ess: effective samples, of K.
        samples: K.
    """

    nll: Array
    ess: Array
    samples: int

    @property
    def bias(self) -> Array:
        """½(1/ess − 1/K), nats: the bias of the logarithm of a mean, to first order."""
        return np.asarray(0.5 * (1 / self.ess - 1 / self.samples))

    @property
    def variance(self) -> Array:
        """Monte-Carlo variance, nats²: 1/ess − 1/K, to first order."""
        return 2 * self.bias

    @property
    def loose(self) -> NDArray[np.bool_]:
        """Whether the estimate of a run is only an upper bound, [runs] or []."""
        few = (self.ess < min(FEW_EFFECTIVE, self.samples / 2)).mean(-1)
        return np.asarray((self.bias.mean(-1) > NLL_LOOSE) | (few > BADLY_COVERED))

    def of(self, place: int) -> NllEstimate:
        """The estimate of one run: each [n]."""
        return NllEstimate(self.nll[place], self.ess[place], self.samples)

    def improved(self, runs: Sequence[int], new: NllEstimate) -> NllEstimate:
        """With a new estimate of some runs wherever its bias is smaller."""
        nll, ess = self.nll.copy(), self.ess.copy()
        for place, run in enumerate(runs):
            if new.bias[place].mean() < self.bias[run].mean():
                nll[run], ess[run] = new.nll[place], new.ess[place]
        return NllEstimate(nll, ess, self.samples)


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

    m is .95 (.75 main + .25 second) + .05 p(z) with the Gaussians of `refined`, each as a narrow
    and a wide copy; all weights have the whole mixture below the line (Owen and Zhou 2000; bound:
    Burda et al. 2016). Runs that are loose get a third component that began broad.

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
    """
    target = Target.of(model, examples)
    pair = refined(target, means, generators)
    draws = _Draws.of(target, list(zip(SHARES, pair, strict=True)), samples, generators)
    own = _with_broad(draws.estimate(target), target, pair, means, samples, generators)
    if levels is None:
        return Scores(own, None)
    if mass:
        return Scores(own, own)
    return Scores(own, _of_levels(draws, target.of_levels(levels), pair, means, generators))


def _with_broad(
    found: NllEstimate,
    target: Target,
    pair: Sequence[Gaussians],
    means: Tensor,
    samples: int,
    generators: Sequence[torch.Generator],
) -> NllEstimate:
    """With the loose runs tried once more with a third component."""
    loose = np.flatnonzero(found.loose).tolist()
    if not loose:
        return found
    target, streams = target.runs(loose), [generators[place] for place in loose]
    third = broadened(target, means[loose], streams)
    parts = [*(one.runs(loose) for one in pair), third]
    draws = _Draws.of(target, list(zip(BROAD_SHARES, parts, strict=True)), samples, streams)
    return found.improved(loose, draws.estimate(target))


def _of_levels(
    draws: _Draws,
    target: Target,
    pair: Sequence[Gaussians],
    means: Tensor,
    generators: Sequence[torch.Generator],
) -> NllEstimate | None:
    """The mass of grey levels at draws made for the density, and at others where it is loose."""
    try:
        found = draws.probed(target)
    except NotImplementedError:
        return None
    loose = np.flatnonzero(found.loose).tolist()
    if not loose:
        return found
    again, streams = target.runs(loose), [generators[place] for place in loose]
    parts = [smoothed(again, one.runs(loose), streams) for one in pair]
    own = _Draws.of(again, list(zip(SHARES, parts, strict=True)), found.samples, streams)
    better = own.estimate(again)
    better = _with_broad(better, again, parts, means[loose], found.samples, streams)
    return found.improved(loose, better)


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
    """

    z: Tensor
    base: Tensor

    @classmethod
    def of(
        cls,
        target: Target,
        shared: Sequence[tuple[float, Gaussians]],
        samples: int,
        generators: Sequence[torch.Generator],
    ) -> _Draws:
        mixture = _Mixture.of(shared, samples)
        z = mixture.draw(target, generators)
        log_prior = target.log_prior(z)
        return cls(z, log_prior - mixture.log_prob(z, log_prior))

    def probed(self, target: Target) -> NllEstimate:
        """The estimate of those runs that are not loose on a few examples; of others, infinity."""
        few = torch.from_numpy(spaced(len(target), PROBED)).to(self.z.device)
        some = _Draws(self.z[:, few], self.base[:, few])
        sample = some.estimate(target.at(few.expand(len(self.z), -1)))
        shape = tuple(self.base.shape[:2])
        none = NllEstimate(np.full(shape, np.inf), np.ones(shape), sample.samples)
        fine = np.flatnonzero(~sample.loose).tolist()
        if not fine:
            return none
        whole = _Draws(self.z[fine], self.base[fine]).estimate(target.runs(fine))
        return none.improved(fine, whole)

    def estimate(self, target: Target) -> NllEstimate:
        """−log of the mean weight, and the effective samples."""
        weights = torch.nan_to_num(target.log_likelihood(self.z) + self.base, nan=-math.inf)
        total, samples = weights.logsumexp(-1), weights.shape[-1]
        ess = (2 * total - (2 * weights).logsumexp(-1)).exp()
        nll = math.log(samples) - total
        return NllEstimate(nll.cpu().numpy(), ess.cpu().numpy(), samples)
