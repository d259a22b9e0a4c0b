"""Refined posteriors: Gaussians fitted to each example's own p(z | x) before any draw is made.

Proposals of an importance sampler must cover the posterior of the *decoder*. The encoder's q(z | x)
does not where it is too narrow, as without the KL term, and no diagnostic of the weights sees mass
that was never drawn. So modes of log p(x | z) + log p(z) are sought from the encoder's mean and
from a bank of other codes, and smoothed over the kinks of ReLU networks by variational Gauss–Newton
steps (Khan and Rue 2023, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vae_ablation.data.examples import spaced
from vae_ablation.data.loading import Examples
from vae_ablation.evaluation.bounds import example_blocks, run_blocks
from vae_ablation.evaluation.jacobians import linearised
from vae_ablation.models.distributions import (
    expansion_of,
    level_expansion_of,
    level_log_mass,
)
from vae_ablation.models.priors import Prior, draws_from, log_probs

if TYPE_CHECKING:
    from vae_ablation.training.stacked import BoundVAE, StackedVAE

MODE_STEPS, OTHER_STEPS = 6, 3
"""Damped Gauss–Newton steps towards a mode, and towards one that is smoothed afterwards."""

OTHER_MODES = 2
"""Modes that are sought beside the one that the encoder's mean leads to. One is not enough: counts
without the KL term have posteriors of three modes already at latent_dim 2."""

STEP_SIZES = (1.0, 0.4, 0.1, 0.02)
"""Shares of a Gauss–Newton step that are tried; the best is taken, or none."""

SMOOTHING = (1.0, 0.7, 0.5)
"""Step sizes of the variational Gauss–Newton steps."""

ANTITHETIC = 2
"""Antithetic pairs of draws behind each of these."""

BANK_MODES, BANK_DRAWS = 512, 128
"""Most modes of other examples, and draws of the prior, among which a second mode is sought."""

BANK_SHARE = 2
"""Factor by which the bank is smaller where every example has a context of its own."""

CANDIDATES = 64
"""Codes of the bank, the best of each example, that are looked at more closely."""

BASIN = 9.0
"""Squared distance from a mode, in its own metric and per dimension, within which codes belong
to it."""

BROAD = 0.2
"""Standard deviation of the Gaussian round the encoder's mean from which a third component starts,
in units of the prior."""


@dataclass(frozen=True)
class Gaussians:
    """A full-covariance Gaussian for each example of each run, in float64.

    Attributes:
        mean: [runs, n, latent].
        root: lower Cholesky factor of the precision, [runs, n, latent, latent].
    """

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, mean: Tensor, precision: Tensor) -> Gaussians:
        """From precisions; one that is not positive definite is replaced by the prior's, 1."""
        root, failed = torch.linalg.cholesky_ex(precision)
        identity = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        bad = (failed > 0)[..., None, None] | ~root.isfinite().all(-1).all(-1)[..., None, None]
        return cls(mean, torch.where(bad, identity, root))

    @property
    def half_log_det(self) -> Tensor:
        """½ log |precision|, [runs, n]."""
        return self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def at(self, noise: Tensor) -> Tensor:
        """Draws from standard normals [runs, n, draws, latent]."""
        steps = torch.linalg.solve_triangular(self.root.mT, noise.mT, upper=True)
        return self.mean[:, :, None] + steps.mT

    def squares(self, z: Tensor) -> Tensor:
        """Squared Mahalanobis distances of z [runs, n, draws, latent]: [runs, n, draws]."""
        return ((z - self.mean[:, :, None]) @ self.root).square().sum(-1)

    def solve(self, gradient: Tensor) -> Tensor:
        """precision⁻¹·gradient, [runs, n, latent]."""
        return torch.cholesky_solve(gradient[..., None], self.root)[..., 0]

    def chosen(self, first: Tensor, other: Gaussians) -> Gaussians:
        """These where `first` [runs, n] is true, the others else."""
        mean = torch.where(first[..., None], self.mean, other.mean)
        return Gaussians(mean, torch.where(first[..., None, None], self.root, other.root))

    def runs(self, keep: Sequence[int]) -> Gaussians:
        """Those of some runs."""
        return Gaussians(self.mean[list(keep)], self.root[list(keep)])

    def examples(self, keep: Iterable[int]) -> Gaussians:
        """Those of some examples."""
        return Gaussians(self.mean[:, list(keep)], self.root[:, list(keep)])


def picked(values: Tensor, places: Tensor) -> Tensor:
    """Values [runs, n, …] at places [runs, m]: [runs, m, …]."""
    return torch.stack([own[each] for own, each in zip(values, places, strict=True)])


@dataclass(frozen=True)
class Target:
    """log p(x | z) + log p(z) as a function of z, for some examples of every run.

    Attributes:
        model: the pack.
        priors: of each run.
        examples: all examples of the split, as observed.
        places: those meant, [runs, n]; every run may have others.
        levels: number of grey levels whose mass takes the place of p(x | z); None for p(x | z).
    """

    model: StackedVAE
    priors: Sequence[Prior]
    examples: Examples
    places: Tensor
    levels: int | None = None

    @classmethod
    def of(cls, model: StackedVAE, examples: Examples) -> Target:
        """Every example, for every run."""
        places = torch.arange(len(examples), device=model.device).expand(len(model), -1)
        return cls(model, model.priors(), examples, places)

    def __len__(self) -> int:
        """Number of examples."""
        return self.places.shape[1]

    def at(self, places: Tensor) -> Target:
        """The examples at these of its places, [runs, m]."""
        return replace(self, places=self.places.gather(1, places))

    def runs(self, keep: Sequence[int]) -> Target:
        """Some of the runs."""
        priors = [self.priors[place] for place in keep]
        model, places = self.model.select(keep), self.places[list(keep)]
        return replace(self, model=model, priors=priors, places=places)

    def of_levels(self, levels: int) -> Target:
        """With the mass of grey levels in the place of p(x | z)."""
        return replace(self, levels=levels)

    def log_joint(self, z: Tensor) -> Tensor:
        """Log p(x, z) at z [runs, n, draws, latent]: [runs, n, draws], nats; −∞ for NaN."""
        joint = self.log_likelihood(z) + self.log_prior(z)
        return torch.nan_to_num(joint, nan=-math.inf, posinf=-math.inf)

    def log_prior(self, z: Tensor) -> Tensor:
        """Log p(z), float64."""
        return log_probs(self.priors, z.double()).double()

    def log_likelihood(self, z: Tensor) -> Tensor:
        """Log p(x | z), or of the mass of the levels, float64."""
        return self.map(partial(_log_prob, levels=self.levels), z, z.shape[2] * self._dims)

    def log_likelihoods(self, bank: Tensor) -> Tensor:
        """Log p(x | z) of every example at every z of a bank [runs, bank, latent]: [runs, n, bank].

        The bank is decoded once where nothing but z enters the decoder.
        """
        if self.examples.context.shape[-1]:
            return self.log_likelihood(bank[:, None].expand(-1, len(self), *bank.shape[1:]))
        x, _ = self.examples.at(self.places)
        found = [
            self.model.select([run]).map(
                _pair_log_probs, bank[[run]].to(x.dtype), x[[run]], plain=True
            )
            for run in range(len(self.model))
        ]
        return torch.cat(found).double()

    def map(self, function: Callable[..., Tensor], z: Tensor, elements: int) -> Tensor:
        """`function(model, z, x, context)` of every run, in blocks of examples and of runs.

        Args:
            function: of z [n, draws, latent], x [n, dims] and context [n, context].
            z: [runs, n, draws, latent].
            elements: numbers that one example needs on its way.
        """
        parts = []
        for rows in example_blocks(len(self), elements):
            x, context = self.examples.at(self.places[:, rows])
            narrow, blocks = z[:, rows].to(x.dtype), []
            for group in run_blocks(len(self.model), len(x[0]) * elements, x.device):
                model = self.model if len(group) == len(self.model) else self.model.select(group)
                blocks.append(
                    model.map(function, narrow[group], x[group], context[group], plain=True)
                )
            parts.append(torch.cat(blocks).double())
        return torch.cat(parts, dim=1)

    @property
    def _dims(self) -> int:
        return self.model.template.decoder.observed.dims

    def expansion(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient and Gauss–Newton precision of the log joint, averaged over draws.

        Args:
            z: [runs, n, draws, latent].

        Returns:
            [runs, n, latent] and [runs, n, latent, latent], float64.
        """
        latent = z.shape[-1]
        function = partial(_expansion, levels=self.levels)
        both = self.map(function, z, 2 * (latent + 1) * z.shape[2] * self._dims)
        both = torch.nan_to_num(both, nan=0.0, posinf=0.0, neginf=0.0)
        each = [prior.expansion(own) for prior, own in zip(self.priors, z, strict=True)]
        slopes, curvatures = (torch.stack(part).mean(2) for part in zip(*each, strict=True))
        return both[..., 0] + slopes, both[..., 1:] + curvatures

    def mode(self, start: Tensor, steps: int = MODE_STEPS) -> tuple[Gaussians, Tensor]:
        """Laplace approximation after damped Gauss–Newton steps from `start` [runs, n, latent].

        Returns:
            the Gaussians, and the log joint at their means, [runs, n].
        """
        z, best = start.double(), self.log_joint(start[:, :, None])[..., 0]
        sizes = torch.tensor([0.0, *STEP_SIZES], dtype=z.dtype, device=z.device)
        for _ in range(steps):
            gradient, precision = self.expansion(z[:, :, None])
            step = torch.nan_to_num(Gaussians.of(z, precision).solve(gradient))
            tried = z[:, :, None] + sizes[:, None] * step[:, :, None]
            values = torch.cat([best[..., None], self.log_joint(tried[:, :, 1:])], dim=-1)
            best, at = values.max(-1)
            z = tried.gather(2, at[..., None, None].expand(*at.shape, 1, z.shape[-1]))[:, :, 0]
        _, precision = self.expansion(z[:, :, None])
        return Gaussians.of(z, precision), best

    def smoothed(self, start: Gaussians, noise: Tensor) -> Gaussians:
        """Gaussians after variational Gauss–Newton steps.

        Args:
            start: where to begin.
            noise: standard normals, [runs, n, steps · pairs, latent].
        """
        now, precision = start, start.root @ start.root.mT
        for size, half in zip(SMOOTHING, noise.split(ANTITHETIC, dim=2), strict=True):
            draws = now.at(torch.cat([half, -half], dim=2))
            gradient, expected = self.expansion(draws)
            precision = (1 - size) * precision + size * expected
            now = Gaussians.of(now.mean, precision)
            now = Gaussians(now.mean + size * torch.nan_to_num(now.solve(gradient)), now.root)
        return now


def _log_prob(model: BoundVAE, z: Tensor, x: Tensor, context: Tensor, levels: int | None) -> Tensor:
    """Log p(x | z) of one run, or of the mass of levels: [n, draws]."""
    decoded = model.decoder(z, context[:, None])
    if levels is None:
        return decoded.log_prob(x[:, None])
    mass = level_log_mass(decoded, x[:, None], levels)
    if mass is None:
        raise NotImplementedError("the distribution gives no mass of a grey level")
    return mass


def _pair_log_probs(model: BoundVAE, bank: Tensor, x: Tensor) -> Tensor:
    """Log p(x | z) of one run at every pair of x [n, dims] and z [bank, latent]: [n, bank]."""
    decoded = model.decoder(bank[None])
    blocks = example_blocks(len(x), len(bank) * x.shape[-1])
    return torch.cat([decoded.log_prob(x[rows, None]) for rows in blocks])


def _expansion(
    model: BoundVAE, z: Tensor, x: Tensor, context: Tensor, levels: int | None
) -> Tensor:
    """Gradient of log p(x | z), then its Gauss–Newton precision: [n, latent, 1 + latent].

    With J = ∂parameters/∂z, the gradient is Jᵀ·slope and the precision
    Jᵀ·curvature·J; both averaged over draws.
    """
    draws, latent = z.shape[-2:]
    decoded, columns = linearised(model, z, context[:, None])
    if levels is None:
        expansions = expansion_of(decoded, x[:, None])
    else:
        expansions = level_expansion_of(decoded, x[:, None], levels)
    total = z.new_zeros(len(x), latent, 1 + latent)
    for jacobian, each in zip(columns, expansions, strict=True):
        rows = jacobian.movedim(0, 1).flatten(2)
        weighted = (jacobian * each.curvature).movedim(0, 1).flatten(2)
        slope = each.slope.expand_as(jacobian[0]).flatten(1)[..., None]
        total = total + torch.cat([rows @ slope, weighted @ rows.mT], dim=-1)
    return total / draws


@torch.no_grad()
def refined(
    target: Target, means: Tensor, generators: Sequence[torch.Generator]
) -> tuple[Gaussians, ...]:
    """Gaussians at three modes of each example, that of the greatest evidence first.

    Args:
        target: the log joint.
        means: the encoder's, where the search begins, [runs, n, latent].
        generators: one stream per run.
    """
    first, height = target.mode(means)
    bank = bank_of(target, first, generators)
    others = elsewhere(target, [first], bank, OTHER_MODES, OTHER_STEPS)
    return tuple(smoothed(target, one, generators) for one in _sorted([(first, height), *others]))


def _sorted(found: Sequence[tuple[Gaussians, Tensor]]) -> list[Gaussians]:
    """Gaussians by Laplace's evidence, given beside the log joint at their means."""
    evidence = torch.stack([height - one.half_log_det for one, height in found])
    order = evidence.argsort(0, descending=True)[..., None]
    means = torch.stack([one.mean for one, _ in found])
    roots = torch.stack([one.root for one, _ in found])
    means = means.gather(0, order.expand(means.shape))
    roots = roots.gather(0, order[..., None].expand(roots.shape))
    return [Gaussians(*each) for each in zip(means, roots, strict=True)]


def smoothed(target: Target, start: Gaussians, generators: Sequence[torch.Generator]) -> Gaussians:
    """Gaussians after variational Gauss–Newton steps from others."""
    return target.smoothed(start, _noise(target, generators))


def broadened(target: Target, means: Tensor, generators: Sequence[torch.Generator]) -> Gaussians:
    """Smoothed Gaussians that begin broad, round the encoder's means."""
    identity = torch.eye(means.shape[-1], dtype=torch.float64, device=means.device)
    wide = Gaussians(means.double(), (identity / BROAD).expand(*means.shape, means.shape[-1]))
    return smoothed(target, wide, generators)


def _noise(target: Target, generators: Sequence[torch.Generator]) -> Tensor:
    latent = target.model.template.encoder.latent_dim
    return normals(generators, (len(target), ANTITHETIC * len(SMOOTHING), latent), target.places)


def normals(generators: Sequence[torch.Generator], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard normals in float64, [runs, *shape], each run from its own stream."""
    drawn = [torch.randn(shape, generator=g, dtype=torch.float64) for g in generators]
    return torch.stack(drawn).to(like.device)


def elsewhere(
    target: Target, known: Sequence[Gaussians], bank: Tensor, count: int, steps: int
) -> list[tuple[Gaussians, Tensor]]:
    """Other modes of every example, each from the best code of the bank outside known basins.

    Args:
        target: the log joint.
        known: modes that are known; examples for which the bank has no code outside start at the
            first of them.
        bank: codes, [runs, bank, latent].
        count: number of modes.
        steps: Gauss–Newton steps towards each.
    """
    scores = target.log_likelihoods(bank) + target.log_prior(bank)[:, None]
    scores = torch.where(scores.isfinite(), scores, -math.inf)
    scores, at = scores.topk(min(CANDIDATES, scores.shape[-1]), sorted=False)
    codes = picked(bank, at)
    last, found = list(known), []
    for _ in range(count):
        for one in last:
            scores = torch.where(one.squares(codes) < BASIN * bank.shape[-1], -math.inf, scores)
        best, place = scores.max(-1, keepdim=True)
        start = codes.gather(2, place[..., None].expand(*place.shape, codes.shape[-1]))[:, :, 0]
        found.append(target.mode(torch.where(best.isfinite(), start, known[0].mean), steps))
        last, scores = [found[-1][0]], scores.scatter(-1, place, -math.inf)
    return found


def bank_of(
    target: Target,
    known: Gaussians,
    generators: Sequence[torch.Generator],
    others: Tensor | None = None,
) -> Tensor:
    """Modes of other examples and draws of the prior, [runs, bank, latent].

    Args:
        target: the log joint.
        known: modes of examples.
        generators: one stream per run.
        others: more codes, [runs, m, latent].
    """
    share = BANK_SHARE if target.examples.context.shape[-1] else 1
    modes = known.mean[:, spaced(known.mean.shape[1], BANK_MODES // share)]
    noise = normals(generators, (BANK_DRAWS // share, modes.shape[-1]), modes)
    bank = [modes, draws_from(target.priors, noise, generators)]
    if others is not None:
        bank.append(others[:, :: share**2].to(modes.dtype))
    return torch.cat(bank, dim=1)
