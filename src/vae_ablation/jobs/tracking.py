"""Trackers: curves of training in TensorBoard, Weights & Biases or MLflow as it goes on.

They are copies for the eye: no result depends on them, and none of their errors stops a job.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vae_ablation.store.trained import HISTORY_COLUMNS, history_cells
from vae_ablation.study.run import Run

log = logging.getLogger(__name__)

SPLITS = ("train", "validation")


class Tracker(ABC):
    """One place that curves are written to.

    Args:
        folder: results/<study>.
        setting: value of its key in the config's tracking section.

    Attributes:
        package: to install for it.
    """

    package: ClassVar[str]

    def __init__(self, folder: Path, setting: Any) -> None:
        self.folder = folder
        self.setting = setting
        self.opened: dict[str, Any] = {}

    @abstractmethod
    def open(self, run: Run, fresh: bool) -> Any:
        """A place for the curves of a run; `fresh` where training begins and is not resumed."""

    @abstractmethod
    def write(self, place: Any, values: Mapping[str, float], epoch: int) -> None:
        """Write the values of an epoch."""

    @abstractmethod
    def finish(self, place: Any) -> None:
        """Close the place of a run."""

    def record(self, run: Run, epoch: int, values: Mapping[str, float]) -> None:
        """Write the values of a run's epoch, counted from 1."""
        if run.path not in self.opened:
            self.opened[run.path] = self.open(run, fresh=epoch == 1)
        self.write(self.opened[run.path], values, epoch)

    def close(self) -> None:
        """Close the places of all runs."""
        for place in self.opened.values():
            self.finish(place)
        self.opened = {}


class TensorBoard(Tracker):
    """Event files below results/<study>/tensorboard/<run>."""

    package = "tensorboard"

    def open(self, run: Run, fresh: bool) -> Any:
        """A writer of event files; those of an earlier training of the run go."""
        from torch.utils.tensorboard import SummaryWriter

        place = self.folder / "tensorboard" / run.path
        if fresh:
            shutil.rmtree(place, ignore_errors=True)
        return SummaryWriter(str(place))

    def write(self, place: Any, values: Mapping[str, float], epoch: int) -> None:
        """A scalar for each value."""
        for name, value in values.items():
            place.add_scalar(name, value, epoch)

    def finish(self, place: Any) -> None:
        """Write what is still in memory."""
        place.close()


class WeightsAndBiases(Tracker):
    """Runs of a project of Weights & Biases, grouped by study."""

    package = "wandb"

    def open(self, run: Run, fresh: bool) -> Any:
        """A run named after its path."""
        import wandb

        return wandb.init(
            project=self.setting, group=self.folder.name, name=run.path, config=run.to_json(),
            dir=str(self.folder), reinit="create_new",
        )  # fmt: skip

    def write(self, place: Any, values: Mapping[str, float], epoch: int) -> None:
        """All values of the epoch as one step."""
        place.log(dict(values), step=epoch)

    def finish(self, place: Any) -> None:
        """Send what is still here."""
        place.finish()


class MLflow(Tracker):
    """Runs of an experiment of MLflow, where MLFLOW_TRACKING_URI says."""

    package = "mlflow"

    def open(self, run: Run, fresh: bool) -> Any:
        """A client and the id of a new run, with its axes as parameters."""
        from mlflow import MlflowClient

        client = MlflowClient()
        known = client.get_experiment_by_name(self.setting)
        experiment = known.experiment_id if known else client.create_experiment(self.setting)
        tags = {"study": self.folder.name}
        place = client.create_run(experiment, tags=tags, run_name=run.path).info.run_id
        for axis, level in run.to_json().items():
            client.log_param(place, axis, level)
        return client, place

    def write(self, place: Any, values: Mapping[str, float], epoch: int) -> None:
        """A metric for each value."""
        client, run_id = place
        now = int(1000 * time.time())
        for name, value in values.items():
            client.log_metric(run_id, name.replace("/", "."), value, now, epoch)

    def finish(self, place: Any) -> None:
        """Mark the run as finished."""
        client, run_id = place
        client.set_terminated(run_id)


TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Tracking:
    """The trackers that a config switches on; one that fails is warned of once and left.

    Args:
        folder: results/<study>.
        settings: the config's tracking section.
        kinds: classes of trackers by key.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        kinds: Mapping[str, type[Tracker]] = TRACKERS,
    ) -> None:
        self._active = {
            name: kinds[name](folder, setting) for name, setting in settings.items() if setting
        }

    def recorded(self, run: Run, epoch: int, row: NDArray[np.float64]) -> None:
        """Hand an epoch of a run to every tracker.

        Args:
            run: the run.
            epoch: counted from 1.
            row: of its history: distortion, rate, objective by split, [6] nats.
        """
        values = epoch_values(run, row)
        for name, tracker in list(self._active.items()):
            self._try(name, lambda t=tracker: t.record(run, epoch, values))  # type: ignore[misc]

    def close(self) -> None:
        """Close every tracker."""
        for name, tracker in list(self._active.items()):
            self._try(name, tracker.close)

    def _try(self, name: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            package = self._active.pop(name).package
            reason = " ".join(str(error).split()) or type(error).__name__
            missing = isinstance(error, ImportError)
            hint = f"; pip install {package} installs it" if missing else ""
            log.warning("Tracking by %s is off from here on (%s%s).", name, reason, hint)


def epoch_values(run: Run, row: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """Defined terms of an epoch by name and split, such as `elbo/train`."""
    values = {}
    for split, terms in zip(SPLITS, (row[:3], row[3:]), strict=True):
        for name, cell in zip(HISTORY_COLUMNS[2:], history_cells(run, *terms), strict=True):
            if not isinstance(cell, str) and math.isfinite(cell):
                values[f"{name}/{split}"] = float(cell)
    return values
