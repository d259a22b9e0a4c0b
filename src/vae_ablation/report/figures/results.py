"""Read-only, cached access to one study folder (paths and columns: the results contract)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from vae_ablation.common.files import read_json
from vae_ablation.data.examples import pixels
from vae_ablation.study.axes import ArmName, arm_names, text_axes, with_arms
from vae_ablation.study.metrics import columns_of_type

Arrays = dict[str, NDArray[Any]]

_TEXT_COLUMNS = (
    "run", "model", "dataset", "likelihood", "posterior", "status", "reason", "measure", "arm",
    "metric", "application", "subject", "method", "question", "scope", "level", "reference",
    "reference_arm", "scale", "verdict", "depends_on", "family", "term", "axis",
    "front", "x_metric", "y_metric",
)  # fmt: skip
_KEY_COLUMNS = (
    "run", "model", "dataset", "likelihood", "latent_dim", "beta", "kl", "posterior", "seed",
    "status", "reason", "measure", "proper", "arm",
)  # fmt: skip
_SUMMARY_COLUMNS = (
    "dataset", "likelihood", "latent_dim", "arm", "model", "metric", "n", "mean", "ci_low",
    "ci_high",
)  # fmt: skip
_CONTRAST_COLUMNS = (
    "question", "scope", "dataset", "likelihood", "latent_dim", "level", "reference", "arm",
    "reference_arm", "metric", "primary", "scale", "settings", "n", "lost", "reference_mean",
    "estimate", "ci_low", "ci_high", "effect", "effect_low", "effect_high", "margin",
    "verdict", "depends_on", "family",
)  # fmt: skip
_IMPORTANCE_COLUMNS = (
    "dataset", "likelihood", "levels", "rectangle", "metric", "scale", "term", "span", "share",
    "n",
)  # fmt: skip
_MATCHED_COLUMNS = ("dataset", "axis", "level", "reference", "latent_dim", "metric", "verdict")
_PARETO_COLUMNS = ("dataset", "front", "likelihood", "latent_dim", "arm", "x", "y")
_APPLICATION_COLUMNS = (
    "run", "dataset", "likelihood", "latent_dim", "arm", "beta", "kl", "posterior", "seed",
    "application", "subject", "method", "metric", "value",
)  # fmt: skip
_EXAMPLES_COLUMNS = ("dataset", "metric", "examples", "test")
_FAILURE_COLUMNS = ("run", "dataset", "likelihood", "latent_dim", "arm", "seed", "status", "reason")


class StudyResults:
    """Results of a study so far.

    Missing results of a run (it diverged, or the data are not images) read as None.

    Args:
        study_dir: the folder results/<study>.
    """

    def __init__(self, study_dir: Path) -> None:
        self.study_dir = Path(study_dir)
        self._arrays: dict[Path, Arrays | None] = {}
        self._histories: dict[str, pd.DataFrame | None] = {}

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """tables/metrics.csv: one row per run and control; absent key columns are empty."""
        return self._named(self._metrics)

    @cached_property
    def _metrics(self) -> pd.DataFrame:
        return _read_table(self.study_dir / "tables" / "metrics.csv", _KEY_COLUMNS)

    @cached_property
    def arms(self) -> dict[str, ArmName]:
        """Every arm of the study by name; none before there is a table."""
        there = (self.study_dir / "tables" / "metrics.csv").exists()
        return arm_names(self._metrics) if there else {}

    def _named(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with arms that carry their levels."""
        return with_arms(table, self.arms)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """tables/summary.csv: means and 95 % intervals over seeds, long."""
        path = self.study_dir / "tables" / "summary.csv"
        return self._named(_read_table(path, _SUMMARY_COLUMNS))

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """tables/contrasts.csv: differences between arms, paired by seed; empty if not written."""
        return self._later_table("contrasts", _CONTRAST_COLUMNS)

    @cached_property
    def importance(self) -> pd.DataFrame:
        """tables/importance.csv: share of the variance by axis; empty if not written."""
        return self._later_table("importance", _IMPORTANCE_COLUMNS)

    @cached_property
    def matched(self) -> pd.DataFrame:
        """tables/matched.csv: levels of an axis at the same rate; empty if not written."""
        return self._later_table("matched", _MATCHED_COLUMNS)

    @cached_property
    def pareto(self) -> pd.DataFrame:
        """tables/pareto.csv: the undominated arms; empty if not written."""
        return self._later_table("pareto", _PARETO_COLUMNS)

    @cached_property
    def examples(self) -> pd.DataFrame:
        """tables/examples.csv: metrics that rest on a part of the test split, if written."""
        return self._later_table("examples", _EXAMPLES_COLUMNS)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """tables/failures.csv: runs that diverged or failed; empty if not written."""
        return self._later_table("failures", _FAILURE_COLUMNS)

    @cached_property
    def applied_rows(self) -> pd.DataFrame:
        """Rows of tables/applications.csv, those without a score included; empty if not written."""
        return self._later_table("applications", (*_APPLICATION_COLUMNS, "reason"))

    @cached_property
    def applications(self) -> pd.DataFrame:
        """Scores of tables/applications.csv."""
        return self.applied_rows[self.applied_rows["metric"].notna()]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config, empty where the study has none yet."""
        path = self.study_dir / "config.yaml"
        if not path.exists():
            return {}
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}

    def history(self, run: str) -> pd.DataFrame | None:
        """history.csv of a run: epoch, split, distortion, rate, objective, elbo (nats)."""
        if run not in self._histories:
            path = self._run_dir(run) / "history.csv"
            self._histories[run] = pd.read_csv(path) if path.exists() else None
        return self._histories[run]

    def rate_per_dim(self, run: str) -> NDArray[np.float64] | None:
        """KL of each latent dimension in nats, [latent], in the order of the dimensions."""
        path = self._run_dir(run) / "metrics.json"
        rates = read_json(path).get("rate_per_dim") if path.exists() else None
        return None if rates is None else np.asarray(rates, dtype=float)

    def codes(self, run: str) -> Arrays | None:
        """Arrays mean [n, latent], std [n, latent] and labels [n] (-1: none) of the test split."""
        return self._load(self._run_dir(run) / "codes.npz")

    def pictures(self, run: str) -> Arrays | None:
        """Arrays of pictures.npz: images [..., H, W]; None where the data are not images.

        Grey ones are uint8, those in colour `examples.PIXEL`.
        """
        return self._load(self._run_dir(run) / "pictures.npz") or None

    def density(self, run: str) -> Arrays | None:
        """Arrays of density.npz (`density_in_plane`); None where the codes are no plane."""
        return self._load(self._run_dir(run) / "density.npz") or None

    def snapshots(self, run: str) -> Arrays | None:
        """Arrays epochs [s], images [s, k, H, W] and originals [k, H, W], taken in training."""
        return self._load(self._run_dir(run) / "snapshots.npz")

    def applied(self, run: str, application: str) -> Arrays | None:
        """Arrays of an application of a run for figures; None without any."""
        arrays = self._load(self._run_dir(run) / "applications.npz") or {}
        prefix = f"{application}/"
        found = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        return found or None

    def umap(self, run: str) -> NDArray[Any] | None:
        """UMAP embedding [n, 2] of a run's codes where it was computed."""
        path = self.study_dir / "umap" / f"{run.replace('/', '__')}.npz"
        arrays = self._load(path)
        return None if arrays is None else arrays["embedding"]

    def means(self, metric: str, dataset: str, likelihood: str) -> pd.DataFrame:
        """Rows of the summary for one metric of the trained models: latent_dim, arm, mean, ci."""
        table = self.summary
        keep = (
            (table["metric"] == metric)
            & (table["model"] == "vae")
            & (table["dataset"] == dataset)
            & (table["likelihood"] == likelihood)
            & table["mean"].notna()
        )
        return table[keep]

    def _later_table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        path = self.study_dir / "tables" / f"{name}.csv"
        if not path.exists():
            return pd.DataFrame(columns=list(columns))
        return self._named(_read_table(path, columns))

    def _run_dir(self, run: str) -> Path:
        return self.study_dir / "runs" / run

    def _load(self, path: Path) -> Arrays | None:
        if path not in self._arrays:
            self._arrays[path] = _load_arrays(path) if path.exists() else None
        return self._arrays[path]


def _load_arrays(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return _as_pixels({name: arrays[name] for name in arrays.files})


def _as_pixels(arrays: Arrays) -> Arrays:
    """Pictures in colour among some arrays as PIXEL, known by the originals [k, H, W, channels]."""
    shape = arrays["originals"].shape[1:] if "originals" in arrays else ()
    if len(shape) != 3:
        return arrays
    return {
        name: pixels(values) if values.dtype == np.uint8 and values.shape[-3:] == shape else values
        for name, values in arrays.items()
    }


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    # A dataset may be called "NA" or "1": only the empty cell is empty, and names stay text.
    text = [*_TEXT_COLUMNS, *columns_of_type("text"), *text_axes(pd.read_csv(path, nrows=0))]
    table = pd.read_csv(
        path, dtype=dict.fromkeys(text, "object"), keep_default_na=False, na_values=[""]
    )
    missing = [name for name in columns if name not in table]
    return table.assign(**dict.fromkeys(missing, np.nan))
