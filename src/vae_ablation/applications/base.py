"""The interface of applications of trained models."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from vae_ablation.common.errors import UserError
from vae_ablation.common.isolation import error_text, unforeseen
from vae_ablation.common.registry import Options, Registry
from vae_ablation.data.base import Dataset
from vae_ablation.store.applied import Applied
from vae_ablation.store.trained import TrainedRun

log = logging.getLogger(__name__)

TRUTH = "truth"
"""Method of rows about the truth itself: effect_p, the p of there being anything to predict."""
NOTHING = "none of its scores is defined on these data"
"""Reason of an application that gives no score and does not say why."""
PERMUTATIONS = 199
"""Permutations behind a p, whose smallest value is 1 / 200."""


APPLICATIONS: Registry[Application] = Registry("application")


class Application(ABC):
    """One thing that a trained model is for. A registered subclass is all that a new one needs.

    Attributes:
        name: the key of its block in the config's applications section.
        options: settings in that block, where the config's schema does not have them.
    """

    registry: ClassVar[Registry[Application]] = APPLICATIONS
    name: ClassVar[str]
    options: ClassVar[Options] = ()

    @abstractmethod
    def missing(self, dataset: Dataset) -> str | None:
        """Reason why it cannot be applied to these data, to follow the data's name, or None."""

    def absent(self, dataset: Dataset, settings: Mapping[str, Any]) -> str | None:
        """The same of data that lack what the settings name."""
        return None

    @abstractmethod
    def apply(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """Apply a trained model.

        Args:
            model: the run.
            dataset: the prepared dataset that it was trained on.
            settings: the application's block of the config.
            seed: of the evaluation.
        """

    def attempt(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """`apply`, whose errors are the reason why there is nothing to score.

        So they take no other application and no other run along. Faults of the machine are raised,
        since another attempt may succeed. Where there is no score there is always a reason.
        """
        try:
            applied = self.apply(model, dataset, settings, seed)
        except Exception as error:
            if not isinstance(error, UserError) and not unforeseen(error):
                raise
            log.exception("%s of %s ended in an error", self.name, model.run.path)
            return Applied(reason=f"ended in an error ({error_text(error).rstrip('.')})")
        if not applied.scores and not applied.reason:
            applied = replace(applied, reason=NOTHING)
        if applied.reason:
            log.info("%s of %s: %s", self.name, model.run.path, applied.reason)
        return applied
