"""Tables of a study: one row per run, then per arm over seeds. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, replace_link, write_text
from vae_ablation.data import SOURCES
from vae_ablation.study.axes import (
    AXES,
    axis_columns,
    text_axes,
)
from vae_ablation.study.columns import (
    FIRST_COLUMNS,
    arm_columns,
)
from vae_ablation.study.metrics import columns_of_type, cost_columns, described, metric_columns
from vae_ablation.study.run import Run
from vae_ablation.study.run_files import APPLICATION_FILES
from vae_ablation.study.varied import VariedAxes
from vae_ablation.tables.splits import TEST_SHARE, crossed_datasets, overlap

if TYPE_CHECKING:
    from vae_ablation.study.missing import Missing
    from vae_ablation.study.plan import Plan, Planned, Study

_TEXT = [
    *("run", "model", "dataset", "likelihood", "posterior", "status", "reason", "measure", "arm"),
    *("architecture", "objective", "condition", "dispersion"),
]
_FORMULA = ("=", "+", "-", "@", "\t")
"""First characters by which a spreadsheet knows a formula."""
_NOT_COLUMNS = {"rate_per_dim", "sample_fid_networks", "sample_fid_expost_networks"}
_WHOLE = {"latent_dim", "importance_samples", "kl_warmup_epochs", "seed", "split_seed"}


def collect(
    study: Study,
    plan: Plan,
    controls: Iterable[Path],
    missing: Iterable[Missing] | None = None,
) -> pd.DataFrame:
    """metrics.csv: one row per wanted run and control.

    Args:
        study: the frozen study.
        plan: the frozen plan; runs outside it have no row, whatever lies on disk.
        controls: JSON files of control rows.
        missing: results that may be missing; such a run is `failed`, with its reason, and no error.

    Raises:
        UserError: a wanted run's files are missing or unreadable.
    """
    reasons: dict[str, str] | None = None
    if missing is not None:
        lost = [one for one in missing if one.essential]
        reasons = {run: one.reason for one in reversed(lost) for run in one.runs}
    varied = VariedAxes.of(study, [item.run for item in plan.planned])
    rows = [_run_row(study, item, varied, reasons) for item in plan.planned]
    share = [TEST_SHARE] if "split_seed" in varied.names else []
    for row, item in zip(rows, plan.planned if share else (), strict=False):
        row[TEST_SHARE] = test_share(study, item.run.data)
    rows += [
        {"status": "ok", "reason": "", **varied.of_control(row), **row}
        for path in controls
        for row in read_json(path)
    ]
    frame = pd.DataFrame(rows)
    known = [*FIRST_COLUMNS, *varied.names, *share, *metric_columns()]
    costs = cost_columns()
    further = [name for name in frame.columns if name not in {*known, *costs}]
    table = frame.reindex(columns=[*known, *further, *costs])
    whole = [*(_WHOLE & {*table.columns}), *columns_of_type("whole")]
    return table.astype(dict.fromkeys(whole, "Int64"))


def test_share(study: Study, data: str) -> float:
    """Share of the examples of prepared data that is drawn for the test; 0 where none is drawn."""
    options = study.data_options(data)
    if "test" not in SOURCES[options["source"]].options:
        return 0.0
    described = study.prepared[data] / "dataset.json"
    if not described.is_file():
        return float(options["test"])
    sizes = read_json(described)["sizes"]
    return float(sizes["test"] / sum(sizes.values()))


def _run_row(
    study: Study, item: Planned, varied: VariedAxes, reasons: Mapping[str, str] | None
) -> dict[str, Any]:
    folder = study.run_folder(item.run)
    axes = run_columns(item.run) | varied.columns(item.run)
    try:
        record, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
        if record["pack"] != item.pack:
            raise ValueError("it was trained with other settings or on other data")
    except (OSError, ValueError, KeyError) as error:
        if reasons is not None:
            unreadable = f"its record or metrics cannot be read ({error})"
            return {**axes, "status": "failed", "reason": reasons.get(item.run.path, unreadable)}
        raise UserError(
            f"{folder}: the run's record or metrics cannot be read ({error}); run snakemake again."
        ) from None
    return {
        **axes,
        "status": record["status"],
        "reason": record["reason"],
        **{name: value for name, value in metrics.items() if name not in _NOT_COLUMNS},
        **{name: record[name] for name in cost_columns()},
    }


APPLICATION_COLUMNS = [
    "run",
    "dataset",
    "likelihood",
    "latent_dim",
    "arm",
    "beta",
    "kl",
    "posterior",
    "seed",
    "application",
    "subject",
    "method",
    "metric",
    "value",
    "reason",
]


def collect_applications(study: Study, plan: Plan) -> pd.DataFrame:
    """applications.csv: what came of every wanted run that ended well, long.

    An application that gave nothing has one row, with its reason and without a score.
    Links to what an earlier setting gave are turned to the present one.

    Raises:
        UserError: scores are missing or unreadable.
    """
    rows: list[dict[str, Any]] = []
    varied = VariedAxes.of(study, [item.run for item in plan.planned])
    split = ["split_seed"] if "split_seed" in varied.names else []
    for item in plan.planned:
        source = study.applications_folder(item.pack) / item.run.path
        if not source.is_dir():
            continue
        for name in APPLICATION_FILES:
            replace_link(study.run_folder(item.run) / name, source / name)
        try:
            scores = read_json(source / "applications.json")
        except (OSError, ValueError) as error:
            raise UserError(
                f"{source}: the scores cannot be read ({error}); run snakemake again."
            ) from None
        axes = run_columns(item.run) | {name: varied.columns(item.run)[name] for name in split}
        axes |= {TEST_SHARE: test_share(study, item.run.data)} if split else {}
        rows += [{**axes, **score} for score in scores]
    split += [TEST_SHARE] if split else []
    return pd.DataFrame(rows, columns=[*APPLICATION_COLUMNS[:9], *split, *APPLICATION_COLUMNS[9:]])


def summarize_applications(applications: pd.DataFrame) -> pd.DataFrame:
    """Means and 95 % intervals over seeds of every score: arm, subject, method, metric, n, ...

    Over splits of the data, of which each is a mean over seeds, where a dataset has several.
    A baseline does not depend on β: it has one row for each latent dimension.
    """
    keys = ["dataset", "application", "subject", "metric", "method", "likelihood", "latent_dim"]
    rows: list[dict[str, Any]] = []
    scored = applications[applications["metric"].notna()]
    frame = scored.assign(arm=scored["arm"].where(scored["method"] == "vae", ""))
    crossed = crossed_datasets(applications)
    for key, group in frame.groupby([*keys, "arm"], sort=True):
        replicate = "split_seed" if key[0] in crossed else "seed"
        n, mean, low, high = mean_interval(
            group.groupby(replicate)["value"].mean(), overlap=overlap(group)
        )
        values = dict(zip([*keys, "arm"], key, strict=True))
        rows.append(values | {"n": n, "mean": mean, "ci_low": low, "ci_high": high})
    return pd.DataFrame(rows, columns=[*keys, "arm", "n", "mean", "ci_low", "ci_high"])


def unscored(applications: pd.DataFrame) -> list[str]:
    """Sentences about applications that gave nothing, one for each dataset and reason."""
    empty = applications[applications["metric"].isna()]
    groups = empty.groupby(["dataset", "application", "reason"], sort=True)
    return [
        f"The application {application} has no scores on {dataset} in {len(rows)} "
        f"{'run' if len(rows) == 1 else 'runs'}: {reason}."
        for (dataset, application, reason), rows in groups
    ]


MOST_FALSE = 0.05
"""Share of false ones among what is called an effect, at most (Benjamini and Hochberg 1995)."""


def detected(tests: pd.Series) -> list[str]:
    """Subjects of an application with a measurable effect.

    Args:
        tests: p (effect_p of applications.csv) by subject.
    """
    if tests.empty:
        return []
    adjusted = false_discovery_control(tests.to_numpy(float))
    return [str(name) for name, p in zip(tests.index, adjusted, strict=True) if p <= MOST_FALSE]


def run_columns(run: Run) -> dict[str, Any]:
    """Name, arm and the axes that every study has as columns of a run."""
    axes = {name: run[name] for name in FIRST_COLUMNS if name in AXES}
    return {"run": run.path, "model": "vae", **axes, "arm": str(run.arm)}


def read_metrics(path: Path) -> pd.DataFrame:
    """metrics.csv with its types: empty text stays empty, undefined numbers are missing."""
    text = [*_TEXT, *columns_of_type("text"), *text_axes(pd.read_csv(path, nrows=0))]
    frame = pd.read_csv(
        path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(text, "object")
    )
    whole = _WHOLE & set(frame.columns)
    return frame.astype(dict.fromkeys(whole, "Int64"))


def averaged_columns(metrics: pd.DataFrame) -> list[str]:
    """Numeric columns that are averaged over seeds."""
    skipped = {*FIRST_COLUMNS, *axis_columns(metrics.columns), TEST_SHARE}
    return [
        name
        for name in metrics.columns
        if name not in skipped
        and described(name).is_number
        and pd.api.types.is_numeric_dtype(metrics[name])
    ]


def mean_interval(
    values: Iterable[float], level: float = 0.95, overlap: float = 0.0
) -> tuple[int, float, float, float]:
    """n, mean and the Student-t interval of the mean; the interval is NaN where n is 1.

    Args:
        values: replicates.
        level: coverage.
        overlap: of splits of the data, as from `splits.overlap`.
    """
    known = np.array([value for value in values if not pd.isna(value)], dtype=np.float64)
    n = len(known)
    mean = float(known.mean()) if n else float("nan")
    if n < 2:
        return n, mean, float("nan"), float("nan")
    error = known.std(ddof=1) * (1 / n + overlap) ** 0.5
    half = float(student_t.ppf(0.5 + level / 2, n - 1) * error)
    return n, mean, mean - half, mean + half


def summarize(metrics: pd.DataFrame) -> pd.DataFrame:
    """summary.csv: every metric of every arm over its ok seeds, long.

    Where the split of the data varies, values are averaged over the seeds of each split; n and the
    interval are over splits, and two columns compare the spreads (`spreads`).

    Where a seed's value is only a bound (`Metric.bound`), the mean over seeds is a bound too, of
    the same side: `bound` says so, and it has no interval and no spread.

    Returns:
        axes, metric, n, mean, ci_low, ci_high (95 % Student-t over seeds; empty where n = 1),
        bound (upper, lower or empty), and sd_seeds, sd_splits where splits vary.
    """
    crossed = crossed_datasets(metrics)
    names = arm_columns(metrics.columns)
    missing = [name for name in names if name not in metrics]
    fine = metrics[metrics["status"] == "ok"].assign(**dict.fromkeys(missing))
    rows: list[Mapping[str, Any]] = []
    for key, group in fine.groupby(names, dropna=False, sort=False):
        axes = dict(zip(names, key, strict=True))
        for metric in averaged_columns(metrics):
            split = axes["dataset"] in crossed
            parts = group.groupby("split_seed")[metric].mean() if split else group[metric]
            n, mean, low, high = mean_interval(parts, overlap=overlap(group) if split else 0.0)
            if n:
                row = {"metric": metric, "n": n, "mean": mean}
                if side := bound_side(group, metric):
                    rows.append(axes | row | {"bound": side})
                    continue
                row |= {"ci_low": low, "ci_high": high}
                rows.append(axes | row | (spreads(group, metric) if crossed else {}))
    columns = [*names, "metric", "n", "mean", "ci_low", "ci_high", "bound"]
    return pd.DataFrame(rows, columns=[*columns, *(_SPREADS if crossed else [])])


def bound_side(runs: pd.DataFrame, metric: str) -> str | None:
    """Side on which a mean over runs is only a bound: upper, lower, or None where it is not one.

    Args:
        runs: runs of an arm.
        metric: the column.
    """
    bound = described(metric).bound
    if bound is None or bound.flag not in runs:
        return None
    flagged = runs[bound.flag].eq(True).fillna(False).astype(bool)
    return bound.side if (flagged & runs[metric].notna()).any() else None


_SPREADS = ["sd_seeds", "sd_splits"]


def spreads(runs: pd.DataFrame, metric: str) -> dict[str, float]:
    """Standard deviations of a metric over seeds and over splits of the data; NaN if undefined.

    The variance components of a one-way random-effects layout (Searle, Casella and McCulloch 1992,
    section 3.6): σ²_seeds is the mean square within splits, and σ²_splits = (MSB − MSW) / n₀ with
    n₀ = (N − Σnᵢ²/N) / (a − 1), cut at 0.

    Args:
        runs: runs of an arm with the columns split_seed and `metric`.
        metric: the column.
    """
    parts = [part[metric].dropna() for _, part in runs.groupby("split_seed")]
    sizes = np.array([len(part) for part in parts if len(part)])
    known = pd.concat(parts).astype(float)
    inner = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    free, total = len(known) - len(sizes), len(known)
    within = inner / free if free else float("nan")
    if len(sizes) < 2 or not free:
        return {"sd_seeds": within**0.5, "sd_splits": float("nan")}
    outer = float(((known - known.mean()) ** 2).sum()) - inner
    balance = (total - (sizes**2).sum() / total) / (len(sizes) - 1)
    between = (outer / (len(sizes) - 1) - within) / balance
    return {"sd_seeds": within**0.5, "sd_splits": max(between, 0.0) ** 0.5}


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table atomically: an undefined value is an empty cell, and no text is a formula."""
    texts = frame.select_dtypes(include=["object", "string"])
    plain = frame.assign(**{str(name): texts[name].map(_no_formula) for name in texts})
    write_text(path, plain.to_csv(index=False))


def _no_formula(value: Any) -> Any:
    """Text that a spreadsheet would calculate with a quote before it, by which it stays text."""
    if not isinstance(value, str):
        return value
    line = value.replace("\r", " ")  # it would end the row
    return f"'{line}" if line.startswith(_FORMULA) else line
