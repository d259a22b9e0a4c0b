"""Control rows that a study's runs on one dataset ask for. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vae_ablation.common.registry import digests
from vae_ablation.common.settings import counted
from vae_ablation.models.architectures import ARCHITECTURES
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.priors import DEFAULT_PRIOR

if TYPE_CHECKING:
    from vae_ablation.study.run import Run


@dataclass(frozen=True)
class ControlPlan:
    """Everything of a study's runs that control rows depend on: they are made from it alone.

    Attributes:
        latent_dims: of PCA.
        gaussian: whether PCA is compared with gaussian arms, whose σ² it then takes.
        starts: latent dimension, architecture, condition and seed of each untrained encoder.
        optima: latent dimension and β of each linear model whose optimum is known.
    """

    latent_dims: Sequence[int]
    gaussian: bool
    starts: Sequence[tuple[int, str, str, int]]
    optima: Sequence[tuple[int, float]]

    @classmethod
    def of(cls, runs: Sequence[Run], model: Mapping[str, Any]) -> ControlPlan:
        """The controls of runs on one dataset under the config's model section."""
        return cls(
            sorted({run.latent_dim for run in runs}),
            any(run.likelihood == "gaussian" for run in runs),
            sorted({(run.latent_dim, run.architecture, run.condition, run.seed) for run in runs}),
            sorted({(run.latent_dim, run.beta) for run in runs if has_linear_optimum(run, model)}),
        )

    def settings(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that the rows are made with, as they enter a hash."""
        read = {key for _, name, _, _ in self.starts for key in ARCHITECTURES[name].reads(model)}
        if self.gaussian:
            read |= {*LIKELIHOODS["gaussian"].reads(model)}
        return counted("model", model, model.keys() - read)

    def code(self) -> list[str]:
        """Digests of the plug-ins of the untrained encoders."""
        return digests(("architecture", name) for _, name, _, _ in self.starts)

    def to_json(self) -> dict[str, Any]:
        """Plain form, for a hash."""
        return asdict(self)


def has_linear_optimum(run: Run, model: Mapping[str, Any]) -> bool:
    """Whether the best that training can reach is known: see `controls.LinearOptimum`."""
    own = run.model_settings(model)
    linear = run.architecture == "mlp" and run.condition == "none" and not own["hidden"]
    fixed_scale = run.likelihood == "gaussian" and own["gaussian_scale"] == "fixed"
    usual = run.prior == DEFAULT_PRIOR and run.objective in {"elbo", "iwae"}
    return linear and fixed_scale and usual and run.kl and run.posterior == "gaussian"
