"""Models made elsewhere: objects that encode, and may decode and sample. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vae_ablation.common.registry import Options, Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TrainData:
    """What an external model is read or fitted from.

    Attributes:
        x: the train split as `ExternalModel.encode` gets examples, [n, dims] float32; of very large
            data a part, evenly spaced.
        labels: of these examples, [n]; −1 for none.
        latent_dim: dimensions that the codes are to have.
        seed: of this replicate; 0 for a model without randomness.
        path: the file that the config names, or None.
        options: the model's settings.
    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    latent_dim: int
    seed: int
    path: Path | None
    options: Mapping[str, Any]


EXTERNAL_MODELS: Registry[type[ExternalModel]] = Registry("external model", lambda cls: cls)
"""Classes of external models by name; an object is made for each latent dimension and seed."""


class ExternalModel(ABC):
    """A model that this package does not train, which an arm of the config's `external` names.

    Attributes:
        name: what the config calls it.
        options: its settings, keys of the arm's `options` with their JSON schema.
        log_counts: of counts, whether x is log-normalised (log1p of library-normalised RNA, log1p
            of proteins) wherever it comes or goes, and not the counts themselves.
    """

    registry: ClassVar[Registry[type[ExternalModel]]] = EXTERNAL_MODELS
    name: ClassVar[str]
    options: ClassVar[Options] = {}
    log_counts: ClassVar[bool] = False

    def load(self, data: TrainData) -> None:  # noqa: B027
        """Read or fit what the other methods need."""

    @abstractmethod
    def encode(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        """Codes of examples x [n, dims]: [n, latent]."""

    def decode(self, codes: NDArray[np.floating]) -> NDArray[np.floating] | None:
        """Mean of x at codes [n, latent], [n, dims]; None for a model without a decoder."""
        return None

    def sample(self, count: int, random: np.random.Generator) -> NDArray[np.floating] | None:
        """Draws of x, [count, dims]; None for a model that does not generate."""
        return None
