"""Values as the page's JSON holds them: short numbers, columns, text without places."""

from __future__ import annotations

import base64
import getpass
import gzip
import json
import math
import re
import socket
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

DIGITS = 5
"""Significant digits of a number in the page."""

Column = list[Any] | dict[str, list[Any]]
"""Numbers in order, or `{"words": [...], "at": [...]}`: distinct texts, and the place of each."""


def short(value: Any) -> float | int | None:
    """A number of at most five significant digits; None where it is missing or not finite."""
    if value is None or pd.isna(value) or not math.isfinite(value):
        return None
    number = float(f"{float(value):.{DIGITS}g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def shorts(values: Iterable[Any]) -> list[float | int | None]:
    """`short` of each value."""
    return [short(value) for value in values]


def plain(value: Any) -> Any:
    """A cell as JSON: text, a short number, True, False or None."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, float, np.number)):
        return short(value)
    return None if value is None or value is pd.NA else str(value)


def column(values: pd.Series) -> Column:
    """A column of a table: numbers as they are, text by its distinct values."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return shorts(values)
    cells = [plain(value) if not _missing(value) else None for value in values]
    words = list(dict.fromkeys(cells))
    place = {word: at for at, word in enumerate(words)}
    return {"words": words, "at": [place[cell] for cell in cells]}


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def table(frame: pd.DataFrame) -> dict[str, Column]:
    """A table by column, without columns that are empty throughout."""
    return {str(name): column(frame[name]) for name in frame if frame[name].notna().any()}


def in_script(value: Any) -> str:
    """JSON that can stand in a script element: no `<` can end or open one.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def packed(value: Any) -> str:
    """JSON as base64 of its gzip; equal values give equal texts."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


_ABSOLUTE = re.compile(
    r"(?<![\w./:])(?:/|[A-Za-z]:\\)(?:[^\s'\"<>|:;,()]*[/\\])+(?=[^\s'\"<>|:;,()]*)"
)


def without_places(text: str) -> str:
    """Text without absolute paths, the user's name in them, and the machine's name.

    Of a path the last part stays: "cannot read /home/me/data/x.npz" is "cannot read …/x.npz".
    """
    text = _ABSOLUTE.sub("…/", text)
    for name in _own_names():
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return text


@cache
def _own_names() -> list[str]:
    """The name of this machine, and of this user's folder where it is unlikely to be a word."""
    names = {socket.gethostname(), str(Path.home()), str(Path.cwd())}
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    if user not in ("root", "user"):
        names.add(user)
    return [name for name in names if len(name) > 3 and name != "localhost"]


def scrubbed(value: Any) -> Any:
    """A config or record in which every text is `without_places`."""
    if isinstance(value, dict):
        return {scrubbed(key): scrubbed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    return without_places(value) if isinstance(value, str) else value
