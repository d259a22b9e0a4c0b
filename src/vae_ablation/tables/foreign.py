"""Reader of tables of runs from elsewhere: exports of trackers, spreadsheets, metrics.csv itself.

Axes and metrics get names of our own (`axis1`, `metric1`), under which nothing of theirs can be
mistaken for a column of this package; `RunTable.names` gives them back.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

import numpy as np
import pandas as pd

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.study.axes import AXES, BORROWED, Axis, Level, axis_of, level_order, level_text
from vae_ablation.study.metrics import METRICS, Metric, described
from vae_ablation.tables.collect import read_metrics
from vae_ablation.tables.contrasts import comparable_arms

UNDEFINED = {"", "nan", "none", "null", "n/a", "na", "-", "–"}
"""Cells of a metric that say that there is no value."""
INFINITE = {"inf", "+inf", "-inf", "infinity", "-infinity", "+infinity"}
FINE = {"ok", "finished", "success", "succeeded", "completed", "complete", "done"}
BAD = {
    *("failed", "crashed", "killed", "diverged", "running", "queued", "pending", "preempted"),
    *("preempting", "scheduled", "error", "errored", "canceled", "cancelled", "interrupted"),
}
"""States of Weights & Biases, MLflow, Optuna and of this package, in lower case."""
_OWN = {
    *("run", "model", "dataset", "likelihood", "latent_dim", "beta", "kl", "posterior", "seed"),
    *("arm", "measure", "status"),
}
"""Columns by which a table is metrics.csv of a study."""
_SETTINGS = ("config", "params", "parameters", "hparams", "hyperparameters", "cfg")
_RESULTS = ("metrics", "summary", "test", "eval", "final")
_RUN_NAMES = ("run", "name", "run_name", "tags.mlflow.runname", "run_id", "id", "trial")
_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+")


@dataclass(frozen=True)
class RunTable:
    """Runs of a table with columns under names of our own.

    Attributes:
        path: the file.
        runs: a row per run: run, dataset, the axes, seed, status, reason, measure, the metrics.
        axes: definitions of the axes by column of `runs`, in the caller's order.
        metrics: definitions of the metrics by column of `runs`, in the caller's order.
        names: the caller's name of each axis and metric.
        columns: the file's column of each of these, and of `seed`.
        related: columns that are none of these and change with an axis, by axis.
        notes: sentences on how the file was read.
    """

    path: Path
    runs: pd.DataFrame
    axes: dict[str, Axis]
    metrics: dict[str, Metric]
    names: dict[str, str]
    columns: dict[str, str]
    related: dict[str, list[str]]
    notes: tuple[str, ...]

    @contextmanager
    def known(self) -> Iterator[None]:
        """A context in which `axis_of` and `described` know the table's axes and metrics."""
        BORROWED.update(self.axes)
        METRICS.update(self.metrics)
        try:
            yield
        finally:
            for name in self.axes:
                BORROWED.pop(name, None)
            for name in self.metrics:
                METRICS.pop(name, None)


# --- the file -------------------------------------------------------------------------------------


def read_cells(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Cells of a table as text, and notes on how they were read.

    Raises:
        UserError: the file cannot be read, or has no table in it.
    """
    if path.suffix.lower() in (".xlsx", ".xlsm", ".xls"):
        notes: list[str] = []
        table = _excel(path)
    else:
        text, notes = _text(path)
        table = _separated(path, text, notes)
    table.columns = [str(name).strip() for name in table.columns]
    table = table.fillna("").astype(str).apply(lambda column: column.str.strip())
    table = table[(table != "").any(axis=1)] if len(table.columns) else table
    if table.empty:
        raise UserError(f"{path}: the table has no row; allowed: one row for each run.")
    return table, notes


def _excel(path: Path) -> pd.DataFrame:
    try:
        return pd.read_excel(path, dtype=str, keep_default_na=False)
    except ImportError:
        raise UserError(
            f"{path}: reading it needs openpyxl; install that, or save the sheet as CSV."
        ) from None
    except Exception as error:  # zipfile, XML and openpyxl have errors of their own
        raise UserError(f"{path}: cannot be read as a sheet ({_one_line(error)}).") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _text(path: Path) -> tuple[str, list[str]]:
    """Text of a file in UTF-8, UTF-16 (with its mark) or, as old spreadsheets write, CP1252."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from None
    if not raw.strip():
        raise UserError(f"{path}: the file is empty; allowed: a table with one row for each run.")
    code = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(code), []
    except UnicodeDecodeError as error:
        if code == "utf-16" or b"\0" in raw:
            raise UserError(
                f"{path}: cannot be read as a table ({_one_line(error)}); allowed: CSV in UTF-8."
            ) from None
    note = "The file is not in UTF-8 and was read as Windows-1252; look at names with accents."
    return raw.decode("cp1252", errors="replace"), [note]


def _separated(path: Path, text: str, notes: list[str]) -> pd.DataFrame:
    text = text.lstrip("\r\n")
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep="):
        text, first = rest, rest.partition("\n")[0]
    bare = re.sub(r'"[^"]*"', "", first)
    separator = max(",;\t|", key=bare.count)
    if separator != ",":
        named = {";": "semicolons", "\t": "tabs", "|": "bars"}[separator]
        notes.append(f"Columns are separated by {named}.")
    header = next(csv.reader([first.strip("\r\n")], delimiter=separator), [])
    twice = sorted({name.strip() for name in header if header.count(name) > 1})
    if twice:
        named = ", ".join(twice[:3])
        notes.append(f"Several columns are called {named}: the first of them counts.")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False,
                na_filter=False, index_col=False, skipinitialspace=True, skip_blank_lines=False,
            )  # fmt: skip
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a CSV table ({_one_line(error)}).") from None
    if seen:
        raise UserError(
            f"{path}: rows have more cells than the {len(table.columns)} columns of its first "
            "line; allowed: as many (quote text with the separator in it)."
        )
    return table


# --- columns --------------------------------------------------------------------------------------


def find_column(path: Path, wanted: str, known: Sequence[str], homes: Sequence[str]) -> str:
    """The column that a name means: itself, or the one column that ends in it.

    Trackers put names into groups (`config.lr`, `params.lr`, `summary/elbo`, `optimizer.lr`).

    Args:
        path: the file, for the error.
        wanted: the name.
        known: columns of the file.
        homes: groups that are preferred.

    Raises:
        UserError: no column is meant, or several.
    """
    if wanted in known:
        return wanted
    tails = {name: re.split(r"[./]", name.lower()) for name in known}
    parts = re.split(r"[./]", wanted.lower())
    found = [name for name, tail in tails.items() if tail[-len(parts) :] == parts]
    at_home = [name for name in found if tails[name][0] in homes]
    found = at_home if len(at_home) == 1 else found
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{path}: {wanted!r} may be {' or '.join(sorted(found))}; name one whole.")
    if len(known) > 40:
        near = [name for name in known if parts[-1][:3] in name.lower()][:20]
        known = near or [*known[:20]]
    raise unknown_name(f"{path}: column", wanted, known)


def as_numbers(path: Path, cells: pd.Series, name: str, notes: list[str]) -> pd.Series:
    """A metric's cells as numbers; NaN where they say that there is none, or are infinite.

    Raises:
        UserError: a cell is text.
    """
    lower = cells.str.lower()
    infinite = lower.isin(INFINITE)
    blank = lower.isin(UNDEFINED) | infinite
    texts = cells.where(~blank)
    commas = texts.str.contains(",", na=False)
    if commas.any() and _decimal_commas(texts.dropna()):
        texts = texts.str.replace(",", ".", regex=False)
        notes.append(f"{name} has decimal commas, which were read as points.")
    found = pd.to_numeric(texts, errors="coerce").astype(float)
    wrong = found.isna() & ~blank
    if wrong.any():
        at = int(wrong.to_numpy().argmax())
        raise UserError(
            f"{path}: row {_row(cells, at)} has {cells.iloc[at]!r} as {name}; allowed: numbers "
            "with a decimal point, and an empty cell where undefined."
        )
    if infinite.any():
        notes.append(f"{name} is infinite in {int(infinite.sum())} of {len(cells)} runs, which "
                     "count as undefined.")  # fmt: skip
    return found.where(np.isfinite(found))


def _decimal_commas(cells: pd.Series) -> bool:
    """Whether commas are decimal: no cell has a point, and not all may be thousands."""
    with_comma = cells[cells.str.contains(",")]
    decimal = with_comma.map(lambda text: bool(_COMMA.fullmatch(text))).all()
    thousands = with_comma.map(lambda text: bool(_THOUSANDS.fullmatch(text))).all()
    return bool(decimal and not thousands and not cells.str.contains(".", regex=False).any())


def _row(cells: pd.Series | pd.DataFrame, at: int) -> int:
    """Number of a row in the file, its first line being 1."""
    return int(str(cells.index[at])) + 2


def as_levels(cells: pd.Series) -> pd.Series:
    """Levels of an axis: numbers where a cell is one, text otherwise."""
    texts = cells
    distinct = [text for text in cells.unique() if text]
    if any(_COMMA.fullmatch(one) for one in distinct) and _decimal_commas(pd.Series(distinct)):
        texts = cells.str.replace(",", ".", regex=False)
    levels = {text: _level(text) for text in texts.unique()}
    shown = {level_text(level) for level in levels.values()}
    if len(shown) < len(set(levels.values())):  # numbers that read alike
        levels = {text: text for text in levels}
    return texts.map(levels).astype(object)


def _level(text: str) -> Level:
    try:
        number = float(text)
    except ValueError:
        return text
    if not isfinite(number) or "_" in text:
        return text
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def as_seeds(cells: pd.Series) -> pd.Series:
    """Seeds as whole numbers: themselves, or their rank."""
    levels = as_levels(cells)
    if all(isinstance(level, int) for level in levels):
        return levels.astype("int64")
    rank = {level: i for i, level in enumerate(sorted(set(levels), key=level_order))}
    return levels.map(rank).astype("int64")


def state_column(table: pd.DataFrame) -> str | None:
    """The column that says how runs ended, if there is one; all of its cells are known states."""
    for name in table.columns:
        if str(name).lower() in ("status", "state"):
            states = {cell.lower() for cell in table[name].unique()} - {""}
            if states and states <= FINE | BAD:
                return str(name)
    return None


# --- the whole ------------------------------------------------------------------------------------


def read_runs(path: Path, axes: Sequence[str], seed: str, metrics: Sequence[Metric]) -> RunTable:
    """Read a table of runs.

    Args:
        path: a CSV file (commas, semicolons, tabs), or a sheet (.xlsx).
        axes: names of the columns that tell arms apart.
        seed: name of the seed's column.
        metrics: the metrics, with the caller's names.

    Raises:
        UserError: the file cannot be read, lacks a column, or has missing levels, text among
            numbers or two rows of one run.
    """
    _named_once([*axes, *(one.name for one in metrics)])
    cells, notes = read_cells(path)
    own = {*cells.columns} >= _OWN
    if own:
        cells = cells[cells["model"] == "vae"]
    known = [str(name) for name in cells.columns]
    columns = {name: find_column(path, name, known, _SETTINGS) for name in [*axes, seed]}
    columns |= {one.name: find_column(path, one.name, known, _RESULTS) for one in metrics}
    notes += [f"“{name}” is the column “{column}”." for name, column in columns.items()
              if name != column]  # fmt: skip
    cells = _endings(path, cells, columns, [*axes, seed], notes)
    _check_rows(path, cells, columns, [*axes, seed])
    prefix = _free_prefix(cells)
    own_axes = _axis_names(axes, prefix)
    own_metrics = {f"{prefix}metric{i}": one for i, one in enumerate(metrics, 1)}
    levels = {name: as_levels(cells[columns[axis]]) for name, axis in own_axes.items()}
    if own:  # axes of studies are True or False as such
        levels = {name: of.replace({"True": True, "False": False}) for name, of in levels.items()}
    numbers = cells if not own else _comparable(path, cells)
    values = {name: as_numbers(path, numbers[columns[one.name]], one.name, notes)
              for name, one in own_metrics.items()}  # fmt: skip
    runs = pd.DataFrame({**levels, **values, "seed": as_seeds(cells[columns[seed]])})
    runs = runs.assign(
        run=_run_names(cells), status=cells["\0status"], reason=cells["\0reason"],
        measure=cells["measure"] if own else "",
    )  # fmt: skip
    runs.loc[runs["status"] != "ok", [*own_metrics]] = np.nan
    if "dataset" not in runs:
        runs = runs.assign(dataset=path.stem)
    by = list(dict.fromkeys(["dataset", *levels, "seed"]))
    runs = runs.sort_values(by, key=lambda c: c.map(level_order), ignore_index=True)
    names = own_axes | {name: one.name for name, one in own_metrics.items()}
    return RunTable(
        path, runs,
        {name: _axis(name, axis, columns[axis], runs[name], own)
         for name, axis in own_axes.items() if name != "dataset"},
        {name: _metric(name, one, columns[one.name], own) for name, one in own_metrics.items()},
        names, columns, {} if own else _related(cells, columns, own_axes), tuple(notes),
    )  # fmt: skip


def _related(
    cells: pd.DataFrame, columns: Mapping[str, str], axes: Mapping[str, str]
) -> dict[str, list[str]]:
    """Further columns with one value at each level of an axis, and not the same at all."""
    others = [name for name in cells.columns
              if name not in {*columns.values()} and not str(name).startswith("\0")
              and 1 < cells[name].nunique() < len(cells)]  # fmt: skip
    found = {}
    for place, axis in axes.items():
        levels = cells[columns[axis]]
        if 1 < levels.nunique() < len(cells) and others:
            most = cells[others].groupby(levels.to_numpy()).nunique().max()
            if names := [str(name) for name in others if most[name] == 1]:
                found[place] = names
    return {place: names for place, names in found.items() if place != "dataset"}


def _comparable(path: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Cells of a study's metrics.csv without values that enter no comparison (bounds, collapse)."""
    known = comparable_arms(read_metrics(path)).set_index("run").reindex(cells["run"])
    numbers = known.select_dtypes("number").set_axis(cells.index)
    return cells.assign(**{str(name): numbers[name].map(repr) for name in numbers})


def _named_once(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--axes and --metrics name {name!r} twice; allowed: once.")


def _endings(
    path: Path, cells: pd.DataFrame, columns: Mapping[str, str], keys: Sequence[str],
    notes: list[str],
) -> pd.DataFrame:  # fmt: skip
    """Rows with their status; those that did not end well and name no run of their own go."""
    state = state_column(cells.drop(columns=list(columns.values()), errors="ignore"))
    states = cells[state].str.lower() if state else pd.Series("ok", cells.index)
    fine = states.isin(FINE | {""})
    reason = cells["reason"] if "reason" in cells else states.where(~fine, "")
    cells = cells.assign(**{"\0status": np.where(fine, "ok", "failed"), "\0reason": reason})
    if fine.all():
        return cells
    counts = ", ".join(f"{n} {name}" for name, n in states[~fine].value_counts().items())
    notes.append(f"Of {len(cells)} rows {int((~fine).sum())} did not end well ({counts}): their "
                 "values do not count.")  # fmt: skip
    named = [columns[key] for key in keys]
    unnamed = (cells[named] == "").any(axis=1)
    rank = cells.assign(bad=~fine).sort_values("bad", kind="stable")
    again = rank.duplicated(named).reindex(cells.index)
    gone = ~fine & (unnamed | again)
    if gone.any():
        notes.append(f"{int(gone.sum())} of these rows are left out, since another row is of the "
                     "same run or a level is empty.")  # fmt: skip
    if not (kept := cells[~gone])["\0status"].eq("ok").any():
        raise UserError(f"{path}: no run ended well ({counts}); allowed: at least two arms.")
    return kept


def _check_rows(
    path: Path, cells: pd.DataFrame, columns: Mapping[str, str], keys: Sequence[str]
) -> None:
    """Every row has its levels and seed, and no two rows are of one run."""
    for key in keys:
        empty = (cells[columns[key]] == "").to_numpy()
        if empty.any():
            row = _row(cells, int(empty.argmax()))
            raise UserError(f"{path}: row {row} has no {key}; allowed: a level in every row.")
    named = [columns[key] for key in keys]
    twice = cells.duplicated(named).to_numpy()
    if not twice.any():
        return
    at = int(twice.argmax())
    same = (cells[named] == cells[named].iloc[at]).all(axis=1)
    first, second = cells[same].iloc[0], cells.iloc[at]
    measured = {*columns.values(), *_RUN_NAMES}
    other = [str(name) for name in cells.columns
             if first[name] != second[name] and name not in measured
             and cells[name].nunique() <= len(cells) / 2]  # fmt: skip
    hint = f"name a further axis, perhaps {' or '.join(other[:3])}" if other else \
        "name a further axis"  # fmt: skip
    raise UserError(
        f"{path}: row {_row(cells, at)} repeats the axes and seed of row {_row(cells[same], 0)}; "
        f"allowed: one row for each run ({hint}, or average them first)."
    )


def _free_prefix(cells: pd.DataFrame) -> str:
    """Beginning of names that no cell or column begins with: as a rule nothing."""
    prefix = ""
    known = [text for name in cells for text in (str(name), *cells[name].unique())]
    while any(text.startswith((f"{prefix}axis", f"{prefix}metric")) for text in known):
        prefix += "own_"
    return prefix


def _axis_names(axes: Sequence[str], prefix: str) -> dict[str, str]:
    """The caller's axes by names of our own; `dataset`, over which nothing is pooled, stays."""
    return {axis if axis == "dataset" else f"{prefix}axis{i}": axis
            for i, axis in enumerate(axes, 1)}  # fmt: skip


def _run_names(cells: pd.DataFrame) -> pd.Series:
    """A name for each run: the tracker's where it is unique, else the row in the file."""
    rows = pd.Series([f"row {_row(cells, at)}" for at in range(len(cells))], cells.index)
    by_name = {str(name).lower(): name for name in reversed(list(cells.columns))}
    for wanted in _RUN_NAMES:
        if wanted in by_name and (cells[by_name[wanted]] != "").all():
            names = cells[by_name[wanted]]
            return names if names.is_unique else names + " (" + rows + ")"
    return rows


def _axis(name: str, label: str, column: str, levels: pd.Series, own: bool) -> Axis:
    """Definition of an axis: that of a study where the table is one's metrics.csv."""
    if own and (column in AXES or "." in column):
        return replace(axis_of(column), name=name)
    numbers = [level for level in levels.unique() if not isinstance(level, str)]
    if len(numbers) < levels.nunique():
        return Axis(name, label, shapes=False)
    positive = min(numbers) > 0 and max(numbers) >= 10 * min(numbers)
    return Axis(name, label, shapes=False, scale="log" if positive else "linear")


def _metric(name: str, metric: Metric, column: str, own: bool) -> Metric:
    """Definition of a metric: that of a study, but for what the caller says."""
    if not own or column not in METRICS:
        return replace(metric, name=name)
    known = described(column)
    return replace(
        known,
        name=name,
        better=metric.better or known.better,
        scale=known.scale if metric.scale == "identity" else metric.scale,
        margin=known.margin if metric.margin is None else metric.margin,
    )
