"""Encoder, decoder and VAE, written once for one run; a pack is a `torch.func.vmap` of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vae_ablation.data.base import Observed
from vae_ablation.models.architectures import ARCHITECTURES
from vae_ablation.models.contexts import split_context
from vae_ablation.models.distributions import Distribution
from vae_ablation.models.likelihoods import LIKELIHOODS, Given
from vae_ablation.models.networks import RichDense, Rows
from vae_ablation.models.posteriors import POSTERIORS, Posterior
from vae_ablation.models.priors import DEFAULT_PRIOR, PRIORS, Prior
from vae_ablation.models.streams import seeded

if TYPE_CHECKING:
    from vae_ablation.study.run import Run


def as_network(architecture: str, module: nn.Module, outputs: int) -> nn.Module:
    """A module of an architecture as `Encoder` and `Decoder` call it."""
    return module if ARCHITECTURES[architecture].padded else Rows(module, outputs)


def split_present(observed: Observed, context: Tensor | None) -> Tensor | None:
    """Mask of the numbers of x that are there, [..., dims]; None where none is missing."""
    return context[..., : observed.dims] if observed.missing and context is not None else None


def context_size(observed: Observed, condition: str) -> int:
    """Columns of a context: see `Dataset.context`."""
    present = observed.dims if observed.missing else 0
    return int(observed.counts) + present + observed.condition_size(condition)


def draws_of(network: nn.Module) -> int:
    """Uniform numbers that the dropout of a network needs for an example."""
    draws = (one.draws for one in network.modules() if isinstance(one, RichDense))
    return sum(draws)


def split_draws(
    context: Tensor | None, size: int, draws: int
) -> tuple[Tensor | None, Tensor | None]:
    """A context [..., size] and the uniform draws of dropout that training puts behind it.

    None where there are none, as in evaluation, or the network has no dropout.
    """
    if context is None or context.shape[-1] <= size:
        return context, None
    return context[..., :size], context[..., size:] if draws else None


class Encoder(nn.Module):
    """x [..., dims] and its context [..., context] → q(z given x).

    Counts are seen as log1p(x).

    Attributes:
        centre: what is taken from x, [dims] (the train split's mean where options say so), or None.
    """

    centre: Tensor | None

    def __init__(
        self,
        observed: Observed,
        latent_dim: int,
        options: Mapping[str, Any],
        architecture: str = "mlp",
        posterior: str = "gaussian",
        condition: str = "none",
    ) -> None:
        super().__init__()
        self.observed = observed
        self.latent_dim = latent_dim
        self.register_buffer("centre", torch.zeros(observed.dims) if options["center"] else None)
        self.options = options
        self.kind = POSTERIORS[posterior]
        outputs = self.kind.outputs(latent_dim)
        self.network = as_network(
            architecture,
            ARCHITECTURES[architecture].encoder(
                observed, observed.condition_size(condition), outputs, options
            ),
            outputs,
        )
        self.context_size = context_size(observed, condition)
        self.draws = draws_of(self.network)

    def center_on(self, x: Tensor) -> None:
        """Take the mean of the train split x [n, dims] for the centre, if there is one."""
        if self.centre is not None:
            self.centre = self._seen(x).double().mean(0).to(x.dtype)

    def _seen(self, x: Tensor) -> Tensor:
        return x.log1p() if self.observed.counts else x

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        present: Sequence[bool] | None = None,
    ) -> Posterior:
        """The posterior of each example.

        Args:
            x: [..., dims].
            context: [..., context].
            present: which modalities are there, for a product of experts.
        """
        context, draws = split_draws(context, self.context_size, self.draws)
        _, condition = split_context(self.observed, context)
        seen = self._seen(x)
        seen = seen if self.centre is None else seen - self.centre
        apart: dict[str, Any] = {} if present is None else {"present": present}
        apart |= {} if draws is None else {"draws": draws[..., : self.draws]}
        output = self.network(seen, condition, **apart).to(seen.dtype)
        return self.kind.posterior(output, self.options)


class Decoder(nn.Module):
    """z [..., latent] and its context [..., context] → p(x given z)."""

    def __init__(
        self,
        observed: Observed,
        likelihood: str,
        latent_dim: int,
        options: Mapping[str, Any],
        architecture: str = "mlp",
        condition: str = "none",
    ) -> None:
        super().__init__()
        self.observed = observed
        self.likelihood = LIKELIHOODS[likelihood]
        self.options = options
        self.conditional = observed.condition_size(condition) > 0
        outputs = self.likelihood.outputs(observed, options)
        self.network = as_network(
            architecture,
            ARCHITECTURES[architecture].decoder(
                observed, latent_dim + observed.condition_size(condition), outputs, options
            ),
            outputs,
        )
        self.context_size = context_size(observed, condition)
        self.draws = draws_of(self.network)
        initial = self.likelihood.parameters(observed, options)
        self.scale_sizes = {name: len(value) for name, value in initial.items()}
        self.scales = nn.ParameterDict({name: nn.Parameter(v) for name, v in initial.items()})

    def forward(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """The likelihood; the leading axes of the context broadcast against those of z."""
        context, draws = split_draws(context, self.context_size, self.draws)
        library, condition = split_context(self.observed, context)
        scales = {name: scale[: self.scale_sizes[name]] for name, scale in self.scales.items()}
        apart = {} if draws is None else {"draws": draws[..., -self.draws :]}
        output = self.network(z, condition, **apart).to(z.dtype)
        given = Given(self.observed, self.options, library, split_present(self.observed, context))
        return self.likelihood.distribution(output, scales, given)


class VAE(nn.Module):
    """A variational autoencoder (Kingma and Welling 2014).

    Attributes:
        padded: whether its networks take weights that are wider than their own.
    """

    def __init__(
        self,
        observed: Observed,
        likelihood: str,
        latent_dim: int,
        options: Mapping[str, Any],
        seed: int,
        architecture: str = "mlp",
        posterior: str = "gaussian",
        condition: str = "none",
        prior: str = DEFAULT_PRIOR,
    ) -> None:
        """Networks and prior at initial weights, which depend on the seed and the shapes alone.

        Args:
            observed: the observed variable.
            likelihood: name of the likelihood.
            latent_dim: dimensions of z.
            options: the config's model section, and the run's dispersion.
            seed: of the initial weights.
            architecture: name of the networks' architecture.
            posterior: name of the kind of posterior.
            condition: what both networks are conditioned on: none, label or batch.
            prior: name of the prior.
        """
        super().__init__()
        self.padded = ARCHITECTURES[architecture].padded
        with seeded(seed, "encoder weights"):
            self.encoder = Encoder(
                observed, latent_dim, options, architecture, posterior, condition
            )
        with seeded(seed, "decoder weights"):
            self.decoder = Decoder(
                observed, likelihood, latent_dim, options, architecture, condition
            )
        self.prior_type = PRIORS[prior]
        with seeded(seed, "prior parameters"):
            initial = self.prior_type.initial(observed, latent_dim, options)
        self.prior_shapes = {name: value.shape for name, value in initial.items()}
        self.prior_parameters = nn.ParameterDict(
            {name: nn.Parameter(value) for name, value in initial.items()}
        )

    @property
    def prior(self) -> Prior:
        """p(z)."""
        return self.prior_of(dict(self.prior_parameters.items()), self.encoder)

    def prior_of(
        self, parameters: Mapping[str, Tensor], encode: Callable[[Tensor], Posterior]
    ) -> Prior:
        """The prior with other learned parameters, which may be padded, and another encoder."""
        learned = {
            name: parameters[name][tuple(map(slice, shape))]
            for name, shape in self.prior_shapes.items()
        }
        encoder = self.encoder
        return self.prior_type(encoder.latent_dim, encoder.options, learned, encode)

    @classmethod
    def of(cls, run: Run, observed: Observed, options: Mapping[str, Any]) -> VAE:
        """The VAE of a run at its initial weights."""
        return cls(
            observed,
            run.likelihood,
            run.latent_dim,
            {**run.model_settings(options), "dispersion": run.dispersion},
            run.seed,
            run.architecture,
            run.posterior,
            run.condition,
            run.prior,
        )

    def forward(self, x: Tensor, context: Tensor, noise: Tensor) -> tuple[Posterior, Distribution]:
        """q(z given x) and p(x given z) at draws of z.

        Args:
            x: [batch, dims].
            context: [batch, context].
            noise: [batch, draws, latent]; z = μ + σ·noise, so that 0 gives a point.
        """
        posterior = self.encoder(x, context)
        return posterior, self.decoder(posterior.at(noise), context[:, None])
