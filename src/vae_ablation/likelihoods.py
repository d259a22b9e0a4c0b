"""The registry of likelihoods: what each observes, its base measure, its decoder outputs.

Reading the registry costs no torch import (the workflow is parsed on every cluster job), so the
distributions are imported where they are built.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from vae_ablation.data.base import Observed

if TYPE_CHECKING:
    from torch import Tensor

    from vae_ablation.distributions import Distribution

ModelOptions = Mapping[str, Any]


class Likelihood(ABC):
    """p(x given z) of one decoder. A subclass here and a test is all a new likelihood needs.

    Attributes:
        name: what the config calls it.
        options: keys of the config's model section that it reads; only they enter a run's hash.
        limits: those of its options without which its score would have no upper bound.
        mass: whether it is a mass on grey levels (comparable in bits) or a density.
    """

    name: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    limits: ClassVar[tuple[str, ...]] = ()
    mass: ClassVar[bool] = False

    def unsupported(self, observed: Observed) -> str | None:
        """Why this likelihood cannot stand on this observed variable, or None where it can."""
        return None

    def proper(self, observed: Observed) -> bool:
        """Whether log p is a normalised log-mass or log-density on this observed variable."""
        return True

    def measure(self, observed: Observed) -> str:
        """Observed variable and base measure: scores are compared only where these agree."""
        if not self.proper(observed):
            return "grey/cross-entropy"
        if observed.binary:
            return "binary/mass" if self.mass else "binary/density"
        return f"grey{observed.levels}/mass" if self.mass else "grey/density"

    def active_limits(self, options: ModelOptions) -> tuple[str, ...]:
        """Options that bound the score under these settings."""
        return self.limits

    def parameters(self, observed: Observed, options: ModelOptions) -> dict[str, Tensor]:
        """Initial values of what is learned beside the decoder's output (scales)."""
        return {}

    @abstractmethod
    def distribution(
        self,
        output: Tensor,
        parameters: Mapping[str, Tensor],
        observed: Observed,
        options: ModelOptions,
    ) -> Distribution:
        """Decoder output [..., dims] and learned scales to p(x given z)."""


class Bernoulli(Likelihood):
    """Logits to a mass on {0, 1}; on grey pixels a cross-entropy, which is marked improper."""

    name = "bernoulli"
    mass = True

    def proper(self, observed: Observed) -> bool:
        """Only binary x has a Bernoulli likelihood."""
        return observed.binary

    def distribution(
        self,
        output: Tensor,
        parameters: Mapping[str, Tensor],
        observed: Observed,
        options: ModelOptions,
    ) -> Distribution:
        """η = output."""
        from vae_ablation import distributions

        return distributions.Bernoulli(output)


class ContinuousBernoulli(Likelihood):
    """Logits, softly bounded by logit_clamp, to a density on [0, 1]."""

    name = "continuous_bernoulli"
    options = limits = ("logit_clamp",)

    def distribution(
        self,
        output: Tensor,
        parameters: Mapping[str, Tensor],
        observed: Observed,
        options: ModelOptions,
    ) -> Distribution:
        """η = c·tanh(output / c), c = logit_clamp."""
        from vae_ablation import distributions

        bound = options["logit_clamp"]
        return distributions.ContinuousBernoulli(bound * (output / bound).tanh())


def _floored(raw: Tensor, floor: float) -> Tensor:
    """A learned scale above its floor: floor + e^raw."""
    return floor + raw.exp()


class Gaussian(Likelihood):
    """A free mean and a scale that is fixed, one learned number, or learned per dimension."""

    name = "gaussian"
    options = ("gaussian_scale", "gaussian_sigma", "scale_floor")
    limits = ("scale_floor",)

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
        self,
        output: Tensor,
        parameters: Mapping[str, Tensor],
        observed: Observed,
        options: ModelOptions,
    ) -> Distribution:
        """μ = output."""
        from vae_ablation import distributions

        if "log_scale" in parameters:
            scale = _floored(parameters["log_scale"], options["scale_floor"])
        else:
            scale = output.new_full((1,), options["gaussian_sigma"])
        return distributions.Gaussian(output, scale.expand(output.shape[-1]))


class DiscretizedLogistic(Likelihood):
    """An honest mass on the data's own grey levels, with a learned scale per dimension."""

    name = "discretized_logistic"
    options = ("scale_floor",)
    mass = True

    def unsupported(self, observed: Observed) -> str | None:
        """Continuous intensities have no grey levels to put a mass on."""
        if observed.levels is None:
            return (
                "discretized_logistic needs grey levels (8-bit data), found continuous intensities"
            )
        return None

    def parameters(self, observed: Observed, options: ModelOptions) -> dict[str, Tensor]:
        """Log s per dimension."""
        import torch

        return {"log_scale": torch.full((observed.dims,), -2.0)}

    def distribution(
        self,
        output: Tensor,
        parameters: Mapping[str, Tensor],
        observed: Observed,
        options: ModelOptions,
    ) -> Distribution:
        """μ = output."""
        from vae_ablation import distributions

        assert observed.levels is not None
        scale = _floored(parameters["log_scale"], options["scale_floor"])
        return distributions.DiscretizedLogistic(output, scale, observed.levels)


LIKELIHOODS: dict[str, Likelihood] = {
    likelihood.name: likelihood
    for likelihood in (Bernoulli(), ContinuousBernoulli(), Gaussian(), DiscretizedLogistic())
}
