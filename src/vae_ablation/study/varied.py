"""Axes that a study varies beside those that every study has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vae_ablation.study.axes import AXES, Level, axis_order, is_setting, level_cell
from vae_ablation.study.run import Run

if TYPE_CHECKING:
    from vae_ablation.study.plan import Study


@dataclass(frozen=True)
class VariedAxes:
    """Axes that have a column only where a study varies them: settings, priors, splits and sizes.

    Attributes:
        names: the axes, in order.
        shared: the study's own level of each; for train_examples the whole split of all data, for
            split_seed the own one of each dataset.
    """

    names: list[str]
    shared: dict[str, Level | dict[str, Any]]

    @classmethod
    def of(cls, study: Study, runs: Iterable[Run]) -> VariedAxes:
        """The axes of a study's wanted runs."""
        known = list(runs)
        names = {name for run in known for name in run if is_setting(name)}
        names |= {"train_examples" for run in known if run.train_examples is not None}
        names |= {"prior" for run in known if run.prior != AXES["prior"].default}
        names |= {"split_seed" for run in known if run.split_seed is not None}
        shared = {name: study.setting(name) for name in names if is_setting(name)}
        datasets = study.config["datasets"]
        own = {name: datasets[name]["split_seed"] for name in study.datasets}
        shared |= {"train_examples": study.train_sizes, "split_seed": own}
        return cls(sorted(names, key=axis_order), shared)

    def columns(self, run: Run) -> dict[str, Any]:
        """The levels of a run, as cells of a table."""
        return {name: level_cell(self._level(run, name)) for name in self.names}

    def _level(self, run: Run, name: str) -> Level:
        if name == "train_examples":
            return run.train_examples or self.shared[name][run.data]
        if name == "split_seed":
            own = self.shared[name][run.dataset]
            return own if run.split_seed is None else run.split_seed
        return run[name] if name in run else self.shared[name]

    def of_control(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The split of a control row that names none: the dataset's own."""
        if "split_seed" not in self.names:
            return {}
        return {"split_seed": self.shared["split_seed"][row["dataset"]]}
