"""CSV tables of the user's."""

from __future__ import annotations

import csv
import re
import warnings
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.data.kinds import kind_of
from vae_ablation.data.labels import MISSING_TEXT

_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]{0,17}))(?:\.0+)?")


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV of the user's, every cell as text, a missing one empty.

    Raises:
        UserError: it cannot be read, has no rows or two columns of one name.
    """
    try:
        _check_kind(path)
        with warnings.catch_warnings():  # a row that is longer than the header would be cut
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, index_col=False, **_AS_TEXT)
        header = pd.read_csv(path, header=None, nrows=1, **_AS_TEXT)
    except pd.errors.ParserWarning:
        raise UserError(f"{path}: not readable as a CSV table ({_long_row(path)}).") from None
    except UnicodeError:
        raise UserError(f"{path}: not readable as a CSV table (it is not in UTF-8).") from None
    except (ValueError, OSError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise UserError(f"{path}: not readable as a CSV table ({reason}).") from None
    table.columns = table.columns.str.strip()
    names = header.iloc[0].str.strip().tolist()
    twice = sorted(name for name, count in Counter(names).items() if name and count > 1)
    if twice:
        raise UserError(f"{path}: has the column {twice[0]!r} twice; allowed: different names.")
    if table.empty:
        raise UserError(f"{path}: has no rows; allowed: a CSV table with a header and rows.")
    return table


_AS_TEXT: dict[str, Any] = {"dtype": str, "keep_default_na": False, "skipinitialspace": True}


def _check_kind(path: Path) -> None:
    """Refuse files of other kinds, encodings and separators."""
    kind = kind_of(path)
    if kind and not kind.endswith(("pandas.read_csv reads it", "plain text")):
        raise UserError(f"{path}: not readable as a CSV table (it is {kind}).")
    with path.open(encoding="utf-8-sig") as text:
        lines = [*islice(text, 2)]
    for separator in (";", "\t"):
        counts = [line.count(separator) for line in lines]
        if len(lines) == 2 and counts[0] == counts[1] > 0 and "," not in lines[0]:
            raise UserError(
                f"{path}: not readable as a CSV table (its columns are separated by "
                f"{separator!r}); allowed: commas, and points in decimals."
            )


def _long_row(path: Path) -> str:
    """The first row of more cells than the header, in words."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, skipinitialspace=True)
        header = next(rows)
        for row in rows:
            if len(row) > len(header):
                return f"Length of header is {len(header)}, and line {rows.line_num} has {len(row)}"
    return "Length of header is less than that of a row"


def label_column(column: NDArray[Any]) -> NDArray[Any]:
    """Labels of a CSV: numbers where all are whole ones from −1, as in other files, else text."""
    texts = column.astype(str)
    missing = np.isin(texts, MISSING_TEXT)
    matches = [_WHOLE.fullmatch(text) for text in texts[~missing].tolist()]
    whole = [int(match[1]) for match in matches if match]
    if len(whole) < len(matches) or min(whole, default=-2) < -1:
        return texts
    numbers = np.full(len(texts), -1, np.int64)
    numbers[~missing] = whole
    return numbers
