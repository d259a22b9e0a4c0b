"""CSV tables of the user's."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from vae_ablation.common.errors import UserError


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV of the user's, every cell as text, a missing one empty.

    Raises:
        UserError: it cannot be read, has no rows or two columns of one name.
    """
    try:
        with warnings.catch_warnings():  # a row that is longer than the header would be cut
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
    except (
        ValueError,
        OSError,
        pd.errors.ParserError,
        UnicodeError,
        pd.errors.ParserWarning,
    ) as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise UserError(f"{path}: not readable as a CSV table ({reason}).") from None
    names = header.iloc[0].tolist()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path}: has the column {twice[0]!r} twice; allowed: different names.")
    if table.empty:
        raise UserError(f"{path}: has no rows; allowed: a CSV table with a header and rows.")
    return table
