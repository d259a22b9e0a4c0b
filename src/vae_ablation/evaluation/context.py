"""Context of an evaluation: what families of metrics share, each part computed when first asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced, stratified
from vae_ablation.data.loading import Examples
from vae_ablation.evaluation.aggregate import Aggregate, aggregates, density_in_plane, joined
from vae_ablation.evaluation.bounds import distortions, encode
from vae_ablation.evaluation.codes import active_units
from vae_ablation.evaluation.gaps import GAP_EXAMPLES, encoder_gaps
from vae_ablation.evaluation.nll import (
    OTHER_CODES,
    NllEstimate,
    Scores,
    scored_levels,
    scores,
)
from vae_ablation.evaluation.pictures import Pictures, default_pairs, draw_pictures
from vae_ablation.evaluation.reconstruction import log_errors, squared_errors
from vae_ablation.evaluation.refined import Gaussians, Target, refined
from vae_ablation.evaluation.samples import RealFeatures, sample_columns
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.posteriors import POSTERIORS, Posterior
from vae_ablation.models.priors import Prior
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.study.run import Run
from vae_ablation.training.stacked import StackedVAE

Array = NDArray[np.float64]

TRAIN_CODES = 60_000
"""Most train examples whose codes are compared with held-out ones, evenly spaced: all of MNIST."""

CODE_DRAWS = 4
"""Draws of each held-out code whose label is named."""

GAP_DRAWS = 4
"""Draws of z per train and validation example behind the generalisation gap."""

RATE_DRAWS = 32
"""Draws of z per example behind a rate that has no closed form."""

T = TypeVar("T")


class once(Generic[T]):  # in lower case, like `property`
    """A property that is computed when first asked, and never again.

    An error is kept as well: whoever asks next meets the same one, and no draw is made twice.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"{name} (once)"

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        """The value, computed where it is not known yet."""
        kept = instance.__dict__
        if self._name not in kept:
            try:
                kept[self._name] = self._compute(instance), None
            except Exception as error:
                kept[self._name] = None, error
        value, failure = kept[self._name]
        if failure is not None:
            raise failure
        result: T = value
        return result


class CodeContext:
    """Codes of a dataset, of whatever origin: what metrics of runs and of controls share.

    Args:
        dataset: the prepared dataset.
        seed: of the evaluation.
        codes: codes of the test split, [n, latent].
        train_codes: codes of some train examples, [m, latent].
        train_rows: positions of these in the dataset, [m].
        scaled: whether a prior fixes the scale of the codes.
        latent_dim: dimensions that they were to have; None for those that they have.
    """

    def __init__(
        self,
        dataset: Dataset,
        seed: int,
        codes: NDArray[np.floating],
        train_codes: NDArray[np.floating],
        train_rows: NDArray[np.int64],
        scaled: bool = False,
        latent_dim: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.seed = seed
        self.codes = codes
        self.train_codes = train_codes
        self.train_rows = train_rows
        self.scaled = scaled
        self.latent_dim = codes.shape[1] if latent_dim is None else latent_dim

    @property
    def collapsed(self) -> bool:
        """Whether training under a prior left no unit active; what is not trained cannot be."""
        return False

    @once
    def labels(self) -> NDArray[np.int64]:
        """Labels of the test split, [n]; −1 for none."""
        return self.dataset.labels_of("test")

    @once
    def train_labels(self) -> NDArray[np.int64]:
        """Labels of the train examples, [m]."""
        return self.dataset.labels[self.train_rows]

    @once
    def batches(self) -> NDArray[np.int64] | None:
        """Batch of each example of the test split, [n], where there are batches."""
        cells = self.dataset.cells
        if cells is None or cells.batch is None:
            return None
        return cells.batch[self.dataset.rows("test")]

    @once
    def factors(self) -> NDArray[np.integer] | None:
        """Known generative factors of the test split, [n, factors]."""
        return self.dataset.factors_of("test")

    @once
    def train_factors(self) -> NDArray[np.integer] | None:
        """Known generative factors of the train examples, [m, factors]."""
        factors = self.dataset.factors
        return None if factors is None else factors[self.train_rows]


class EvaluationContext:
    """Shared quantities of an evaluation of a pack; the first axis of an array is the run.

    Every purpose has a stream of its own: no draw depends on what else is asked.

    Args:
        runs: runs of one pack, all with status ok.
        models: their trained models.
        histories: as in `TrainingResult.history` up to the kept weights, one per run.
        dataset: the prepared dataset.
        real: features of the dataset, None where they could not be computed.
        settings: the config's evaluation section.
        device: where to compute.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        models: Sequence[VAE],
        histories: Sequence[Array],
        dataset: Dataset,
        real: RealFeatures | None,
        settings: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        self.runs = runs
        self.histories = histories
        self.dataset = dataset
        self.real = real
        self.settings = settings
        self.device = device
        self.model = StackedVAE.stack(models, device)

    @once
    def held_out(self) -> Examples:
        """The test split as observed."""
        return Examples.of(self.dataset, "test", self.runs[0].condition, self.device)

    @once
    def train_rows(self) -> NDArray[np.int64]:
        """Positions of the train examples whose codes are compared with held-out ones."""
        rows = self.dataset.rows("train")
        return rows[spaced(len(rows), TRAIN_CODES)]

    @once
    def posterior(self) -> Posterior:
        """Posteriors of the test split, [runs, n, latent]."""
        return encode(self.model, self.held_out)

    @once
    def train_posterior(self) -> Posterior:
        """Posteriors of the train examples at `train_rows`, [runs, m, latent]."""
        fitted = Examples.of(self.dataset, "train", self.runs[0].condition, self.device)
        return encode(self.model, fitted.spaced(TRAIN_CODES))

    @once
    def validation_posterior(self) -> Posterior:
        """Posteriors of the validation split, [runs, k, latent]."""
        condition = self.runs[0].condition
        seen = Examples.of(self.dataset, "validation", condition, self.device)
        return encode(self.model, seen.spaced(TRAIN_CODES))

    @once
    def noise(self) -> list[torch.Generator]:
        """One stream per run, which depends on its seed and on that of the evaluation."""
        return [stream(run.seed, f"evaluation {self.settings['seed']}") for run in self.runs]

    @once
    def distortions(self) -> Array:
        """Distortion of every test example, [runs, n], nats."""
        points = [POSTERIORS[run.posterior].deterministic for run in self.runs]
        return distortions(self.model, self.posterior, self.held_out, self.noise, points)

    def streams(self, purpose: str) -> list[torch.Generator]:
        """One stream per run for a purpose of its own."""
        seed = self.settings["seed"]
        return [stream(run.seed, f"{purpose} {seed}") for run in self.runs]

    @once
    def generalization_gaps(self) -> Array:
        """Validation minus train distortion, both after training, [runs], nats."""
        points = [POSTERIORS[run.posterior].deterministic for run in self.runs]
        parts = ("validation", self.validation_posterior), ("train", self.train_posterior)
        found = []
        for split, posterior in parts:
            seen = Examples.of(self.dataset, split, self.runs[0].condition, self.device)
            noise = [stream(run.seed, f"{split} {self.settings['seed']}") for run in self.runs]
            split_examples = seen.spaced(TRAIN_CODES)
            each = distortions(self.model, posterior, split_examples, noise, points, GAP_DRAWS)
            found.append(each.mean(1))
        gaps: Array = found[0] - found[1]
        return gaps

    @once
    def nll_places(self) -> NDArray[np.int64]:
        """Positions in the test split of the examples whose NLL is estimated."""
        return stratified(self.dataset.labels_of("test"), self.settings["nll_examples"])

    @once
    def _nll_noise(self) -> list[torch.Generator]:
        """Streams that `modes` draws from first, then `scores`."""
        return self.streams("nll")

    @once
    def modes(self) -> tuple[Gaussians, ...]:
        """Gaussians at modes of p(z | x) of the examples at `nll_places`, the best first."""
        target = Target.of(self.model, self.held_out.chosen(self.nll_places))
        return refined(target, self.posterior.mean[:, self.nll_places], self._nll_noise)

    @once
    def scores(self) -> Scores:
        """Estimates of −log p(x) of the examples at `nll_places`, [runs, n]."""
        likelihood = self.runs[0].likelihood
        known = self.train_posterior.mean
        modes = self.modes
        return scores(
            self.model,
            self.posterior.mean[:, self.nll_places],
            self.held_out.chosen(self.nll_places),
            self.settings["nll_samples"],
            self._nll_noise,
            scored_levels(likelihood, self.dataset),
            LIKELIHOODS[likelihood].mass,
            known[:, spaced(known.shape[1], OTHER_CODES)],
            modes,
        )

    @once
    def encoder_gaps(self) -> Array:
        """Nats that the best diagonal Gaussian gets back, of a few test examples, [runs, m]."""
        few = spaced(len(self.nll_places), GAP_EXAMPLES)
        places, main = self.nll_places[few], self.modes[0].examples(few)
        mean, log_std = (part[:, places] for part in (self.posterior.mean, self.posterior.log_std))
        target = Target.of(self.model, self.held_out.chosen(places))
        return encoder_gaps(target, Posterior(mean, log_std), main, self.streams("encoder gap"))

    @once
    def aggregates(self) -> list[Aggregate]:
        """The aggregate posterior of each run; one of point posteriors means nothing."""
        seed, priors = self.settings["seed"], self.model.priors()
        noise = [stream(run.seed, f"aggregate posterior {seed}") for run in self.runs]
        held_out, train = self.posterior, self.train_posterior
        mixture = joined(held_out, self.validation_posterior, train)
        return aggregates(held_out, train, noise, priors, mixture)

    @once
    def squared_errors(self) -> Array:
        """Squared error of the reconstruction of every test example, [runs, n]."""
        means, context = self.posterior.mean, self.held_out.context
        return squared_errors(self.model, means, self.dataset, context)

    @once
    def log_errors(self) -> Array:
        """The same of log-normalised counts, where the data are counts."""
        means, context = self.posterior.mean, self.held_out.context
        seed = self.settings["seed"]
        return log_errors(self.model, self.runs, means, self.dataset, context, seed)

    @once
    def samples(self) -> list[dict[str, Any]]:
        """Quality of each run's samples; empty without features of the dataset."""
        if self.real is None:
            return [{} for _ in self.runs]
        means, settings = self.train_posterior.mean, self.settings
        common = self.dataset, self.real, settings["seed"], settings["sample_draws"]
        return sample_columns(self.model, self.runs, means, *common)

    @once
    def pictures(self) -> list[Pictures]:
        """Pictures of each run, interpolated between the settings' label pairs or the data's."""
        named = self.settings["interpolations"]
        pairs = (
            self.dataset.label_pairs(named)
            if named
            else default_pairs(self.dataset.labels_of("test"))
        )
        each = [self.of(place).rate_per_dim for place in range(len(self.runs))]
        known = [rates.mean(0) for rates in each if rates is not None]
        rates = torch.stack(known) if len(known) == len(each) else None
        return draw_pictures(self.model, self.runs, self.dataset, self.posterior.mean, pairs, rates)

    def of(self, place: int) -> RunContext:
        """The part of one run."""
        return RunContext(self, place)


class RunContext(CodeContext):
    """One run's part of the context of its pack.

    Args:
        shared: context of the pack.
        place: position of the run in it.
    """

    def __init__(self, shared: EvaluationContext, place: int) -> None:
        self.shared = shared
        self.place = place
        self.run = shared.runs[place]
        self.history = shared.histories[place]
        super().__init__(
            shared.dataset,
            shared.settings["seed"],
            shared.posterior.mean[place].cpu().numpy(),
            shared.train_posterior.mean[place].cpu().numpy(),
            shared.train_rows,
            self.run.kl,
            self.run.latent_dim,
        )

    @property
    def point(self) -> bool:
        """Whether its posteriors are points, which have neither a KL nor a density."""
        return POSTERIORS[self.run.posterior].deterministic

    @property
    def collapsed(self) -> bool:
        """Whether training under a prior left no unit active."""
        return self.scaled and not active_units(self.codes)

    @once
    def posterior(self) -> Posterior:
        """Posteriors of the test split in float64, [n, latent]."""
        shared = self.shared.posterior
        return Posterior(shared.mean[self.place].double(), shared.log_std[self.place].double())

    @once
    def prior(self) -> Prior:
        """p(z)."""
        return self.shared.model.one(self.place).prior

    @property
    def noise_scale(self) -> Tensor | None:
        """Standard deviation of p(x | z) where z does not set it, [dims] or [1]; else None."""
        decoder = self.shared.model.template.decoder
        weights = self.shared.model.run_weights(self.place)
        scales = {name: weights[f"decoder.scales.{name}"] for name in decoder.scale_sizes}
        return decoder.likelihood.noise_scale(scales, decoder.options)

    @once
    def rate_per_dim(self) -> Tensor | None:
        """KL per dimension of the test split, [n, latent], nats; None without a closed form."""
        return self.prior.kl_per_dim(self.posterior)

    @once
    def rate(self) -> Tensor:
        """KL of the test split, [n], nats; from draws without a closed form."""
        if self.rate_per_dim is not None:
            return self.rate_per_dim.sum(-1)
        mean, generator = self.posterior.mean, stream(self.run.seed, f"rate {self.seed}")
        noise = torch.randn(
            len(mean), RATE_DRAWS, mean.shape[-1], generator=generator, dtype=mean.dtype
        )
        return self.prior.rate(self.posterior, noise.to(mean.device))

    @once
    def sampled_codes(self) -> tuple[Array, Array]:
        """Draws of train codes, [m, latent], and of held-out ones, [CODE_DRAWS, n, latent]."""
        generator = stream(self.run.seed, f"sampled codes {self.seed}")
        shared = self.shared.train_posterior
        train = Posterior(shared.mean[self.place].double(), shared.log_std[self.place].double())

        def at(posterior: Posterior, draws: int) -> Array:
            shape = (len(posterior.mean), draws, posterior.mean.shape[-1])
            noise = torch.randn(shape, generator=generator, dtype=torch.float64)
            found: Array = posterior.at(noise.to(posterior.mean.device)).cpu().numpy()
            return found.swapaxes(0, 1)

        return at(train, 1)[0], at(self.posterior, CODE_DRAWS)

    @property
    def generalization_gap(self) -> float:
        """Validation minus train distortion, nats."""
        return float(self.shared.generalization_gaps[self.place])

    @property
    def distortion(self) -> Array:
        """Distortion of every test example, [n], nats."""
        return self.shared.distortions[self.place]

    @property
    def bounds(self) -> NllEstimate:
        """Estimates of −log p(x) of the examples at `nll_places`, [n]."""
        return self.shared.scores.own.of(self.place)

    @property
    def level_bounds(self) -> NllEstimate | None:
        """The same with the mass of the data's own grey levels, where there is one."""
        found = self.shared.scores.levels
        return None if found is None else found.of(self.place)

    @property
    def encoder_gap(self) -> Array:
        """Nats that the best diagonal Gaussian gets back, of a few test examples, [m]."""
        gaps: Array = self.shared.encoder_gaps[self.place]
        return gaps

    @property
    def aggregate(self) -> Aggregate:
        """Its aggregate posterior."""
        return self.shared.aggregates[self.place]

    @property
    def squared_errors(self) -> Array:
        """Squared error of the reconstruction of every test example, [n]."""
        return self.shared.squared_errors[self.place]

    @property
    def log_errors(self) -> Array:
        """The same of log-normalised counts, where the data are counts."""
        return self.shared.log_errors[self.place]

    @property
    def samples(self) -> dict[str, Any]:
        """Quality of its samples."""
        return self.shared.samples[self.place]

    @property
    def pictures(self) -> Pictures:
        """Arrays of pictures.npz."""
        return self.shared.pictures[self.place]

    @property
    def density(self) -> dict[str, NDArray[Any]]:
        """Arrays of density.npz; none where the codes are no plane or the posteriors points."""
        if self.point or self.run.latent_dim != 2:
            return {}
        train = self.shared.train_posterior
        part = Posterior(train.mean[self.place], train.log_std[self.place])
        return density_in_plane(part, self.posterior, self.aggregate.hole_level, self.prior)

    @property
    def stored_codes(self) -> dict[str, NDArray[Any]]:
        """Arrays of codes.npz; a point posterior has no width."""
        std = self.shared.posterior.std[self.place].cpu().numpy()
        names = self.dataset.class_names
        return {
            **({"label_names": np.array(names)} if names else {}),
            "mean": self.codes,
            "std": np.zeros_like(std) if self.point else std,
            "labels": self.labels,
        }
