"""The registry of likelihoods: what each observes, its base measure, its decoder outputs.

Reading the registry costs no torch import (the workflow is parsed on every cluster job), so the
distributions are imported where they are built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vae_ablation.common.registry import Options, Registry, register
from vae_ablation.data.base import Observed

if TYPE_CHECKING:
    from torch import Tensor

    from vae_ablation.models.distributions import Distribution

ModelOptions = Mapping[str, Any]


@dataclass(frozen=True)
class Given:
    """Inputs of p(x | z) beside the decoder's output.

    Attributes:
        observed: the observed variable.
        options: the config's model section.
        library: observed library size of each cell, [..., 1]; None where x are no counts.
        present: 1 where a number of x is there, 0 where it is missing, [..., dims]; None where none
            is missing.
    """

    observed: Observed
    options: ModelOptions
    library: Tensor | None = None
    present: Tensor | None = None


LIKELIHOODS: Registry[Likelihood] = Registry("likelihood")


class Likelihood(ABC):
    """p(x given z) of one decoder. A registered subclass and a test is all a new one needs.

    Attributes:
        name: what the config calls it.
        options: settings that it reads, in the config's model section.
        limits: those of its options without which its score would have no upper bound.
        mass: whether it is a mass (on grey levels: comparable in bits) or a density.
        cells: of the grey levels over which its density or mass is integrated: "open" where the
            outer ones reach to ±∞, "equal" where they cut [0, 1] into equal parts, "" where a
            level has no mass.
        counts: whether it is for counts.
        dispersed: whether it has a dispersion, per gene or per gene and cell.
        unbounded: whether its support is the real line, so that it is for tables too.
    """

    registry: ClassVar[Registry[Likelihood]] = LIKELIHOODS
    name: ClassVar[str]
    options: ClassVar[Options] = ()
    limits: ClassVar[tuple[str, ...]] = ()
    mass: ClassVar[bool] = False
    cells: ClassVar[str] = ""
    counts: ClassVar[bool] = False
    dispersed: ClassVar[bool] = False
    unbounded: ClassVar[bool] = False

    def unsupported(self, observed: Observed) -> str | None:
        """Why this likelihood cannot stand on this observed variable, or None where it can."""
        if observed.counts:
            known = ", ".join(one.name for one in LIKELIHOODS.values() if one.counts)
            return f"{self.name} is for images, and these are counts; allowed: {known}"
        if observed.real and not self.unbounded:
            known = ", ".join(one.name for one in LIKELIHOODS.values() if one.unbounded)
            return f"{self.name} is for images, and these are real numbers; allowed: {known}"
        return None

    def outputs(self, observed: Observed, options: ModelOptions) -> int:
        """Numbers that the decoder's network gives for one example."""
        return observed.dims

    def proper(self, observed: Observed) -> bool:
        """Whether log p is a normalised log-mass or log-density on this observed variable."""
        return True

    def measure(self, observed: Observed) -> str:
        """Observed variable and base measure: scores are compared only where these agree."""
        if observed.real:
            return "standardised/density"
        if not self.proper(observed):
            return "grey/cross-entropy"
        if observed.binary:
            return "binary/mass" if self.mass else "binary/density"
        return self.level_measure(observed) if self.mass else "grey/density"

    def level_measure(self, observed: Observed) -> str:
        """Measure of the mass of each grey level; empty where there is none."""
        if observed.counts or not self.proper(observed) or not self.cells:
            return ""
        if observed.binary:
            return "binary/mass" if self.mass else f"binary/mass-{self.cells}"
        return f"grey{observed.levels}/mass-{self.cells}" if observed.levels else ""

    def noise_scale(self, parameters: Mapping[str, Tensor], options: ModelOptions) -> Tensor | None:
        """Standard deviation of p(x | z) where z does not set it, [dims] or [1]; else None."""
        return None

    def reads(self, options: ModelOptions) -> Collection[str]:
        """Those of its options that change anything under these settings."""
        return self.options

    def active_limits(self, options: ModelOptions) -> tuple[str, ...]:
        """Options that bound the score under these settings."""
        return self.limits

    def parameters(self, observed: Observed, options: ModelOptions) -> dict[str, Tensor]:
        """Initial values of what is learned beside the decoder's output (scales)."""
        return {}

    @abstractmethod
    def distribution(
        self, output: Tensor, parameters: Mapping[str, Tensor], given: Given
    ) -> Distribution:
        """Decoder output [..., outputs] and learned scales to p(x given z)."""


@register
class Bernoulli(Likelihood):
    """Logits to a mass on {0, 1}; on grey pixels a cross-entropy, which is marked improper."""

    name = "bernoulli"
    mass = True
    cells = "equal"

    def proper(self, observed: Observed) -> bool:
        """Only binary x has a Bernoulli likelihood."""
        return observed.binary

    def distribution(
        self, output: Tensor, parameters: Mapping[str, Tensor], given: Given
    ) -> Distribution:
        """η = output."""
        from vae_ablation.models import distributions

        return distributions.Bernoulli(output)


@register
class ContinuousBernoulli(Likelihood):
    """Logits, softly bounded by logit_clamp, to a density on [0, 1]."""

    name = "continuous_bernoulli"
    options = limits = ("logit_clamp",)
    cells = "equal"

    def distribution(
        self, output: Tensor, parameters: Mapping[str, Tensor], given: Given
    ) -> Distribution:
        """η = c·tanh(output / c), c = logit_clamp."""
        from vae_ablation.models import distributions

        bound = given.options["logit_clamp"]
        return distributions.ContinuousBernoulli(bound * (output / bound).tanh())


def _floored(raw: Tensor, floor: float) -> Tensor:
    """A learned scale above its floor: floor + e^raw."""
    return floor + raw.exp()


@register
class Gaussian(Likelihood):
    """A free mean and a scale that is fixed, one learned number, or learned per dimension."""

    name = "gaussian"
    unbounded = True
    options = ("gaussian_scale", "gaussian_sigma", "scale_floor")
    limits = ("scale_floor",)
    cells = "open"

    def reads(self, options: ModelOptions) -> Collection[str]:
        """A fixed scale is given; a learned one has a floor."""
        fixed = options["gaussian_scale"] == "fixed"
        return "gaussian_scale", "gaussian_sigma" if fixed else "scale_floor"

    def active_limits(self, options: ModelOptions) -> tuple[str, ...]:
        """A fixed scale has no floor."""
        return () if options["gaussian_scale"] == "fixed" else self.limits

    def parameters(self, observed: Observed, options: ModelOptions) -> dict[str, Tensor]:
        """Log σ: one, one per dimension, or none where σ is fixed."""
        import torch

        if options["gaussian_scale"] == "fixed":
            return {}
        size = 1 if options["gaussian_scale"] == "learned_scalar" else observed.dims
        return {"log_scale": torch.full((size,), -1.0)}

    def distribution(
        self, output: Tensor, parameters: Mapping[str, Tensor], given: Given
    ) -> Distribution:
        """μ = output."""
        from vae_ablation.models import distributions

        if "log_scale" in parameters:
            scale = _floored(parameters["log_scale"], given.options["scale_floor"])
        else:
            scale = output.new_full((1,), given.options["gaussian_sigma"])
        return distributions.Gaussian(output, scale.expand(output.shape[-1]), given.present)

    def noise_scale(self, parameters: Mapping[str, Tensor], options: ModelOptions) -> Tensor:
        """σ."""
        import torch

        if "log_scale" in parameters:
            return _floored(parameters["log_scale"], options["scale_floor"])
        return torch.tensor([float(options["gaussian_sigma"])])


@register
class Laplace(Likelihood):
    """A free median and a learned scale per dimension: heavier tails than the Gaussian's."""

    name = "laplace"
    unbounded = True
    options: ClassVar[Options] = ("scale_floor",)
    limits = ("scale_floor",)

    def parameters(self, observed: Observed, options: ModelOptions) -> dict[str, Tensor]:
        """Log scale per dimension."""
        import torch

        return {"log_scale": torch.full((observed.dims,), -1.0)}

    def distribution(
        self, output: Tensor, parameters: Mapping[str, Tensor], given: Given
    ) -> Distribution:
        """μ = output."""
        from vae_ablation.models import distributions

        scale = _floored(parameters["log_scale"], given.options["scale_floor"])
        return distributions.Laplace(output, scale, given.present)

    def noise_scale(self, parameters: Mapping[str, Tensor], options: ModelOptions) -> Tensor | None:
        """√2·b, its standard deviation."""
        return math.sqrt(2) * _floored(parameters["log_scale"], options["scale_floor"])


@register
class StudentT(Laplace):
    """As the Laplace, with tails of the power student_freedom + 1 (degrees of freedom, fixed)."""

    name = "student_t"
    options = ("scale_floor", "student_freedom")

    def distribution(
        self, output: Tensor, parameters: Mapping[str, Tensor], given: Given
    ) -> Distribution:
        """μ = output."""
        from vae_ablation.models import distributions

        scale = _floored(parameters["log_scale"], given.options["scale_floor"])
        freedom = float(given.options["student_freedom"])
        return distributions.StudentT(output, scale, freedom, given.present)

    def noise_scale(self, parameters: Mapping[str, Tensor], options: ModelOptions) -> Tensor | None:
        """s·√(ν/(ν − 2)), its standard deviation; None where that is infinite, ν ≤ 2."""
        freedom = float(options["student_freedom"])
        if freedom <= 2:
            return None
        scale = _floored(parameters["log_scale"], options["scale_floor"])
        return scale * math.sqrt(freedom / (freedom - 2))


@register
class DiscretizedLogistic(Likelihood):
    """An honest mass on the data's own grey levels, with a learned scale per dimension."""

    name = "discretized_logistic"
    options = ("scale_floor",)
    mass = True
    cells = "open"

    def unsupported(self, observed: Observed) -> str | None:
        """Continuous intensities have no grey levels to put a mass on."""
        if observed.levels is None and not (observed.counts or observed.real):
            return (
                "discretized_logistic needs grey levels (8-bit data), found continuous intensities"
            )
        return super().unsupported(observed)

    def parameters(self, observed: Observed, options: ModelOptions) -> dict[str, Tensor]:
        """Log s per dimension."""
        import torch

        return {"log_scale": torch.full((observed.dims,), -2.0)}

    def distribution(
        self, output: Tensor, parameters: Mapping[str, Tensor], given: Given
    ) -> Distribution:
        """μ = output."""
        from vae_ablation.models import distributions

        assert given.observed.levels is not None
        scale = _floored(parameters["log_scale"], given.options["scale_floor"])
        return distributions.DiscretizedLogistic(output, scale, given.observed.levels)

    def noise_scale(self, parameters: Mapping[str, Tensor], options: ModelOptions) -> Tensor:
        """πs/√3, the standard deviation of the logistic before it is cut into levels."""
        return _floored(parameters["log_scale"], options["scale_floor"]) * math.pi / math.sqrt(3)


class CountLikelihood(Likelihood):
    """p(RNA counts given z and library size), with proteins as a second, independent block.

    As in scVI (Lopez et al. 2018): the decoder's softmax gives proportions over genes, times the
    observed library size their means. Where the library size counts further genes too, these have
    together a proportion of their own, whose logit is that of as many genes at 0. Proteins have no
    library: the decoder's output is their log mean, and their counts are negative binomial whatever
    the likelihood of RNA.

    Attributes:
        heads: outputs of the decoder for each gene; a dispersion per gene and cell is one more.
    """

    mass = True
    counts = True
    heads: ClassVar[int] = 1

    def unsupported(self, observed: Observed) -> str | None:
        """Only counts."""
        if observed.counts:
            return None
        kind = "real numbers" if observed.real else "images"
        return f"{self.name} needs counts, and these are {kind}"

    def measure(self, observed: Observed) -> str:
        """Scores are conditional on the library size."""
        return f"counts/{'mass' if self.mass else 'density'} given library"

    def _per_cell(self, options: ModelOptions) -> bool:
        return self.dispersed and options["dispersion"] == "gene_cell"

    def outputs(self, observed: Observed, options: ModelOptions) -> int:
        """Every head of every gene, then the proteins."""
        return (self.heads + self._per_cell(options)) * observed.genes + observed.proteins

    def parameters(self, observed: Observed, options: ModelOptions) -> dict[str, Tensor]:
        """Log inverse dispersions, θ = 1 at first: per gene unless per cell, and per protein."""
        import torch

        parameters = {}
        if self.dispersed and not self._per_cell(options):
            parameters["log_dispersion"] = torch.zeros(observed.genes)
        if observed.proteins:
            parameters["protein_log_dispersion"] = torch.zeros(observed.proteins)
        return parameters

    def distribution(
        self, output: Tensor, parameters: Mapping[str, Tensor], given: Given
    ) -> Distribution:
        """RNA alone, or RNA and proteins as blocks of x."""
        from vae_ablation.models import count_distributions as distributions

        genes, proteins = given.observed.genes, given.observed.proteins
        heads = list(output[..., : output.shape[-1] - proteins].split(genes, dim=-1))
        per_gene = "log_dispersion" in parameters  # nn.ParameterDict's get has no default
        dispersion = parameters["log_dispersion"] if per_gene else None
        if self._per_cell(given.options):
            dispersion = heads.pop()
        rna = self.rna(heads, dispersion, parameters, given)
        if not proteins:
            return rna
        protein = distributions.NegativeBinomial(
            output[..., -proteins:], parameters["protein_log_dispersion"]
        )
        return distributions.Joint((rna, protein), (genes, proteins))

    @abstractmethod
    def rna(
        self,
        heads: list[Tensor],
        log_dispersion: Tensor | None,
        parameters: Mapping[str, Tensor],
        given: Given,
    ) -> Distribution:
        """Distribution of the RNA counts from the decoder's heads, [..., genes] each."""


def _log_mean(head: Tensor, given: Given) -> Tensor:
    """Log of library size times proportion, [..., genes]."""
    from torch.nn.functional import softplus

    assert given.library is not None
    if given.observed.outside:
        # log of e^head / (genes + Σ e^head): at first, heads near 0, half the counts are outside
        outside = math.log(given.observed.genes)
        total = outside + softplus(head.logsumexp(-1, keepdim=True) - outside)
        return given.library.log() + head - total
    return given.library.log() + head.log_softmax(-1)


@register
class Poisson(CountLikelihood):
    """Counts without overdispersion."""

    name = "poisson"

    def rna(
        self,
        heads: list[Tensor],
        log_dispersion: Tensor | None,
        parameters: Mapping[str, Tensor],
        given: Given,
    ) -> Distribution:
        """Rate = library size × proportion."""
        from vae_ablation.models import count_distributions as distributions

        return distributions.Poisson(_log_mean(heads[0], given))


@register
class NegativeBinomial(CountLikelihood):
    """Overdispersed counts: variance μ + μ²/θ."""

    name = "negative_binomial"
    dispersed = True

    def rna(
        self,
        heads: list[Tensor],
        log_dispersion: Tensor | None,
        parameters: Mapping[str, Tensor],
        given: Given,
    ) -> Distribution:
        """Mean = library size × proportion."""
        from vae_ablation.models import count_distributions as distributions

        assert log_dispersion is not None
        return distributions.NegativeBinomial(_log_mean(heads[0], given), log_dispersion)


@register
class ZeroInflatedNegativeBinomial(CountLikelihood):
    """A negative binomial, and zeros beside it whose share is an output of the decoder."""

    name = "zero_inflated_negative_binomial"
    heads = 2
    dispersed = True

    def rna(
        self,
        heads: list[Tensor],
        log_dispersion: Tensor | None,
        parameters: Mapping[str, Tensor],
        given: Given,
    ) -> Distribution:
        """Mean of the negative binomial = library size × proportion; the gate comes on top."""
        from vae_ablation.models import count_distributions as distributions

        assert log_dispersion is not None
        return distributions.ZeroInflatedNegativeBinomial(
            _log_mean(heads[0], given), log_dispersion, heads[1]
        )


@register
class LogNormalGaussian(CountLikelihood):
    """A Gaussian on log1p of library-normalised counts, as a density on the counts' own scale.

    It carries the Jacobian of that map, so that its score is a log-density of x; still a density
    and no mass, which is why it ranks with no other likelihood of counts.
    """

    name = "log_normal_gaussian"
    mass = False
    options = limits = ("scale_floor",)

    def parameters(self, observed: Observed, options: ModelOptions) -> dict[str, Tensor]:
        """Log σ per gene, beside what proteins need."""
        import torch

        scale = torch.full((observed.genes,), -1.0)
        return {"log_scale": scale, **super().parameters(observed, options)}

    def rna(
        self,
        heads: list[Tensor],
        log_dispersion: Tensor | None,
        parameters: Mapping[str, Tensor],
        given: Given,
    ) -> Distribution:
        """Mean of log1p(10⁴ x / library size) = output."""
        from vae_ablation.models import count_distributions as distributions

        assert given.library is not None
        scale = _floored(parameters["log_scale"], given.options["scale_floor"])
        return distributions.LogNormalGaussian(
            heads[0], scale.expand(heads[0].shape[-1]), given.library
        )
