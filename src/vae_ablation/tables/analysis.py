"""Comparison of any table of runs: axes, seeds and metrics from elsewhere, nothing trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.study.axes import Level, level_cell, level_order
from vae_ablation.study.metrics import Metric
from vae_ablation.study.questions import axis_questions
from vae_ablation.tables.collect import write_csv
from vae_ablation.tables.comparison import compare
from vae_ablation.tables.importance import COLUMNS, Rectangle
from vae_ablation.tables.margins import Resolution
from vae_ablation.tables.paper import ablation, write_paper
from vae_ablation.tables.replicates import Replicates

_SETTING = "others at the reference"


def read_metric(text: str) -> Metric:
    """A metric from `fid:lower:log:1.2`: name, better way, scale and margin, all but the name free.

    Raises:
        UserError: a part is none of these.
    """
    name, *rest = text.strip().split(":")
    found: dict[str, Any] = {}
    for part in rest:
        if part in ("higher", "lower"):
            found["better"] = part
        elif part in ("identity", "log", "arcsine"):
            found["scale"] = part
        elif _is_number(part) and float(part) > 0:
            found["margin"] = float(part)
        else:
            raise UserError(
                f"--metrics {text}: {part!r} is not a way, scale or margin; allowed: higher, "
                "lower, identity, log, arcsine, or a number above 0."
            )
    return Metric(name, name, **found)


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def read_runs(
    path: Path, axes: Sequence[str], seed: str, metrics: Sequence[Metric]
) -> pd.DataFrame:
    """Runs of a CSV file: axes, `seed`, metrics as numbers, sorted.

    Raises:
        UserError: the file cannot be read, lacks a column, or has missing levels, text among
            numbers or two rows of one run.
    """
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a CSV table ({error}).") from None
    for name in [*axes, seed, *(metric.name for metric in metrics)]:
        if name not in table:
            raise unknown_name(f"{path}: column", name, list(map(str, table.columns)))
    for name in [*axes, seed]:
        if table[name].isna().any():
            row = int(table[name].isna().to_numpy().argmax()) + 2
            raise UserError(f"{path}: row {row} has no {name}; allowed: a level in every row.")
    twice = table.duplicated([*axes, seed])
    if twice.any():
        row = int(twice.to_numpy().argmax()) + 2
        raise UserError(
            f"{path}: row {row} repeats the axes and seed of an earlier one; allowed: one row for "
            "each run (name a further axis, or average them first)."
        )
    values = {metric.name: _numbers(path, table[metric.name]) for metric in metrics}
    runs = table[[*axes]].assign(seed=table[seed], **values, run="", status="ok", measure="")
    return runs.sort_values(
        [*axes, "seed"], key=lambda column: column.map(level_order), ignore_index=True
    )


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    found = pd.to_numeric(column, errors="coerce")
    wrong = found.isna() & column.notna() & (column.astype(str).str.lower() != "nan")
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(
            f"{path}: row {row + 2} has {column.iloc[row]!r} as {column.name}; allowed: numbers, "
            "and an empty cell where undefined."
        )
    return found.astype(float).replace([np.inf, -np.inf], np.nan)


def warnings(runs: pd.DataFrame, axes: Sequence[str], metrics: Sequence[Metric]) -> Iterator[str]:
    """Sentences on what limits the answers."""
    seeds = runs.groupby([*axes])["seed"].nunique()
    if seeds.max() < 2:
        yield "Every arm has one seed: differences have no interval and no verdict."
    elif (seeds < 2).any():
        yield f"{int((seeds < 2).sum())} of {len(seeds)} arms have one seed and no interval."
    for metric in metrics:
        if empty := int(runs[metric.name].isna().sum()):
            yield f"{metric.name} is empty in {empty} of {len(runs)} runs, which do not count."
    for axis in axes:
        if runs[axis].nunique() < 2:
            yield f"{axis} has one level: there is nothing to compare."


def analyse(
    runs: pd.DataFrame, axes: Sequence[str], metrics: Sequence[Metric], name: str,
    references: Mapping[str, Level],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Contrasts, importance and the paper's table of runs from `read_runs`.

    Args:
        runs: the runs.
        axes: their axes.
        metrics: their metrics; verdicts of all are adjusted together, after Holm.
        name: name of the table, the dataset of all rows.
        references: reference levels, by axis.

    Raises:
        UserError: a reference is not a level of its axis.
    """
    for axis, level in references.items():
        if axis not in axes:
            raise unknown_name("--reference", axis, list(axes))
        if level not in set(runs[axis]):
            known = ", ".join(map(str, sorted(set(runs[axis]), key=level_order)))
            raise UserError(f"--reference {axis}={level}: allowed: a level of it ({known}).")
    runs = runs.assign(dataset=name) if "dataset" not in axes else runs
    columns = list(dict.fromkeys(["dataset", *axes]))
    runs = runs.sort_values(columns, key=lambda c: c.map(level_order), kind="stable")
    replicates = Replicates(runs, columns, metrics)
    primary = [metric.name for metric in metrics]
    found = compare(replicates, axis_questions(axes, references), primary, Resolution())
    wide = runs.assign(likelihood=_SETTING)
    named = found.assign(likelihood=_SETTING) if "likelihood" not in axes else found
    arms = wide[[*columns, "likelihood", "seed", *primary]]
    of_name = {metric.name: metric for metric in metrics}
    paper = ablation(named, arms, primary, references, of_name.__getitem__)
    return found, _importance(runs, axes, metrics), paper


def _importance(runs: pd.DataFrame, axes: Sequence[str], metrics: Sequence[Metric]) -> pd.DataFrame:
    grid = Rectangle.of(runs, axes)
    common = {"dataset": runs["dataset"].iloc[0], "levels": "regular", "rectangle": grid.text}
    rows = [
        common | {"metric": metric.name, "scale": metric.scale, "seeds": grid.shape[-1],
                  "n": len(grid.runs)} | row
        for metric in metrics if grid.factors
        for row in grid.explained(metric)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def as_reference(text: str, runs: pd.DataFrame) -> tuple[str, Level]:
    """Axis and level of `lr=0.001`, the level as the table has it.

    Raises:
        UserError: there is no `=`.
    """
    axis, sign, level = text.partition("=")
    if not sign:
        raise UserError(f"--reference {text}: allowed: AXIS=LEVEL, as lr=0.001.")
    known = {str(one): one for one in runs[axis]} if axis in runs else {}
    number = float(level) if _is_number(level) else level
    equal = [one for one in known.values() if one == number]
    return axis, level_cell(known.get(level, equal[0] if equal else level))


def write_analysis(
    path: Path, axes: Sequence[str], seed: str, metrics: Sequence[Metric],
    references: Sequence[str], out: Path,
) -> list[str]:  # fmt: skip
    """Read a table of runs, write its answers, and tell what limits them.

    Args:
        path: the CSV file.
        axes: columns that tell arms apart.
        seed: column of the seed.
        metrics: from `read_metric`.
        references: `AXIS=LEVEL` each.
        out: folder to write contrasts.csv, importance.csv and ablation.* into.

    Returns:
        Sentences: warnings, then what was written.

    Raises:
        UserError: the table cannot be used.
    """
    runs = read_runs(path, axes, seed, metrics)
    if runs.empty:
        raise UserError(f"{path}: the table has no row; allowed: one row for each run.")
    wanted = dict(as_reference(text, runs) for text in references)
    found, shares, paper = analyse(runs, axes, metrics, path.stem, wanted)
    out.mkdir(parents=True, exist_ok=True)
    write_csv(found, out / "contrasts.csv")
    write_csv(shares, out / "importance.csv")
    write_paper(paper, out, {metric.name: metric for metric in metrics}.__getitem__)
    told = found[found["scope"] != "setting"]["verdict"].value_counts()
    counts = ", ".join(f"{number} {verdict}" for verdict, number in told.items())
    return [
        *warnings(runs, axes, metrics),
        f"{len(runs)} runs; verdicts over settings: {counts or 'none'}.",
        f"Written: {out}/contrasts.csv, importance.csv, ablation.csv, .md, .tex and .bib.",
    ]
