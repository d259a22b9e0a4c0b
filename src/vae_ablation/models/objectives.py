"""Training objectives: terms of a batch, and the loss that is minimised; nats.

Imports no torch: the workflow reads the registry on every cluster job.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from vae_ablation.common.registry import Options, Registry, register

if TYPE_CHECKING:
    from torch import Tensor

    from vae_ablation.models.distributions import Distribution
    from vae_ablation.models.posteriors import Posterior
    from vae_ablation.models.priors import Prior

Terms = Mapping[str, Any]
"""Named terms: tensors [..., batch] in training, floats or arrays of means in tables."""

Numbers = Mapping[str, Any]
"""Named numbers of a run: tensors that broadcast against the terms, or floats in tables."""


class Model(Protocol):
    """A VAE of one run, as a module or bound to weights."""

    @property
    def prior(self) -> Prior:
        """p(z)."""

    @property
    def encoder(self) -> Any:
        """X and its context → q(z | x)."""

    @property
    def decoder(self) -> Any:
        """Z and its context → p(x | z)."""

    def __call__(self, x: Tensor, context: Tensor, noise: Tensor) -> tuple[Posterior, Distribution]:
        """q(z | x) and p(x | z) at draws of z."""


@dataclass(frozen=True)
class Batch:
    """A batch of one run.

    Attributes:
        x: observed variable, [batch, dims].
        context: conditioning variables of both networks, [batch, context].
        noise: standard normal draws, [batch, draws, latent]; zeros give the deterministic
            autoencoder.
        weight: weight of each example in a mean over the batch, [batch]; the weights add up to 1.
            Batches are filled up with repeats, whose weight is 0: an estimator over pairs of
            examples must weigh by it.
        split_size: examples of the split that the batch comes from.
        epoch: epochs before this one, a tensor without axes; None unless the objective reads it.
    """

    x: Tensor
    context: Tensor
    noise: Tensor
    weight: Tensor
    split_size: int
    epoch: Tensor | None = None

    @classmethod
    def whole(cls, x: Tensor, context: Tensor, noise: Tensor) -> Batch:
        """All examples of a split in one batch, without repeats."""
        return cls(x, context, noise, x.new_full((len(x),), 1 / len(x)), len(x))


OBJECTIVES: Registry[Objective] = Registry("objective")


class Objective(ABC):
    """A training objective. A registered subclass and a test is all that a new one needs.

    Steps are traced: neither `terms` nor `loss` may branch on the values of tensors.

    Attributes:
        name: what the config calls it.
        options: settings that it reads, in the config's training section, beside its numbers.
        names: names of its terms, in order; `distortion` and `rate` are always among them.
        numbers: names and defaults of the numbers that weigh its terms. A run brings those that
            are an axis, the training section the others.
        warmed: those numbers that rise linearly over `kl_warmup_epochs`.
        reads_epoch: whether its terms depend on the epoch.
    """

    registry: ClassVar[Registry[Objective]] = OBJECTIVES
    name: ClassVar[str]
    options: ClassVar[Options] = ()
    names: ClassVar[tuple[str, ...]] = ("distortion", "rate")
    numbers: ClassVar[Mapping[str, float]] = {"beta": 1.0}
    warmed: ClassVar[frozenset[str]] = frozenset({"beta"})
    reads_epoch: ClassVar[bool] = False

    @abstractmethod
    def terms(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Terms of each example, [batch] each, by the names in `names` and in their order."""

    @abstractmethod
    def loss(self, terms: Terms, numbers: Numbers) -> Any:
        """The loss of each example, [..., batch], from terms and numbers that broadcast.

        Given means of the terms and floats, the value of the history and of tables: where it is
        not linear in the terms, it must be a term itself.
        """

    def columns(self, means: Terms, numbers: Numbers) -> dict[str, Any]:
        """Columns of the history from the means of the terms of an epoch."""
        return {
            "distortion": means["distortion"],
            "rate": means["rate"],
            "objective": self.loss(means, numbers),
        }

    def run_numbers(self, run: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, float]:
        """A run's numbers, without warm-up.

        Args:
            run: levels by axis.
            settings: the training section as it holds for the run.
        """
        return {
            name: float(run[name] if name in run else settings.get(name, default))
            for name, default in self.numbers.items()
        }


def weighted(number: Any, term: Any) -> Any:
    """Number · term; 0 where the number is the float 0, even of an infinite term."""
    return 0.0 if isinstance(number, float) and number == 0 else number * term


@register
class Elbo(Objective):
    """Distortion + β·rate (Alemi et al. 2018; Higgins et al. 2017).

    distortion: −log p(x | z) summed over data dimensions, mean over the draws of z ~ q(z | x);
    rate: KL(q(z | x) ‖ p(z)), analytic where the prior has a closed form.
    """

    name = "elbo"

    def terms(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """See Objective."""
        posterior, likelihood = model(batch.x, batch.context, batch.noise)
        distortion = distortion_of_draws(likelihood, batch.x).mean(-1)
        return {"distortion": distortion, "rate": model.prior.rate(posterior, batch.noise)}

    def loss(self, terms: Terms, numbers: Numbers) -> Any:
        """Distortion + β·rate."""
        return terms["distortion"] + weighted(numbers["beta"], terms["rate"])


@register
class Iwae(Objective):
    """The importance-weighted bound (Burda, Grosse, Salakhutdinov 2016, eq. 8).

    bound: −log (1/k) Σ p(x | zᵢ) p(zᵢ) / q(zᵢ | x) over k draws. It has no β: it is defined for
    β = 1 alone.
    """

    name = "iwae"
    names = ("distortion", "rate", "bound")
    numbers: ClassVar[Mapping[str, float]] = {}

    def terms(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """See Objective."""
        posterior, likelihood = model(batch.x, batch.context, batch.noise)
        distortion = distortion_of_draws(likelihood, batch.x)
        rate = model.prior.rate(posterior, batch.noise)
        log_weights = -distortion - model.prior.log_ratio(posterior, batch.noise)
        bound = math.log(batch.noise.shape[-2]) - log_weights.logsumexp(-1)
        return {"distortion": distortion.mean(-1), "rate": rate, "bound": bound}

    def loss(self, terms: Terms, numbers: Numbers) -> Any:
        """The bound."""
        return terms["bound"]


@register
class Mvae(Elbo):
    """The ELBO of both modalities together and of each alone (Wu and Goodman 2018, eq. 5).

    distortion_apart: Σ over modalities m of −log p(x_m | z), z ~ q(z | x_m); rate_apart: Σ of
    KL(q(z | x_m) ‖ p(z)). Without them the experts of single modalities would never be trained to
    stand alone. All posteriors share the noise.
    """

    name = "mvae"
    names = ("distortion", "rate", "distortion_apart", "rate_apart")
    present: ClassVar[Sequence[tuple[bool, bool]]] = ((True, False), (False, True))

    def terms(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """See Objective."""
        from vae_ablation.models.count_distributions import Joint

        joint = super().terms(model, batch)
        distortions, rates = [], []
        for place, present in enumerate(self.present):
            posterior = model.encoder(batch.x, batch.context, present)
            likelihood = model.decoder(posterior.at(batch.noise), batch.context[:, None])
            assert isinstance(likelihood, Joint)
            log_probs = likelihood.log_probs(batch.x[:, None])
            distortions.append(-log_probs[..., place].mean(-1))
            rates.append(model.prior.rate(posterior, batch.noise))
        apart = {
            "distortion_apart": distortions[0] + distortions[1],
            "rate_apart": rates[0] + rates[1],
        }
        return joint | apart

    def loss(self, terms: Terms, numbers: Numbers) -> Any:
        """Distortions + β·rates, those of single modalities added to those of both."""
        distortion = terms["distortion"] + terms["distortion_apart"]
        return distortion + weighted(numbers["beta"], terms["rate"] + terms["rate_apart"])


def distortion_of_draws(likelihood: Distribution, x: Tensor) -> Tensor:
    """−log p(x | z) of every draw: [batch, draws]."""
    return -likelihood.log_prob(x[:, None])
