"""Errors that a user can cause, one sentence each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error in the user's input: the file or key, the value found, the values allowed."""


MOST_NAMES = 100
"""Names that an error lists: all of a config, and the first of a file of thousands of columns."""


def unknown_name(where: str, found: object, known: Iterable[str]) -> UserError:
    """An error for a name that is not among `known`, with the nearest known one.

    Args:
        where: file and key, e.g. ``config.yaml: grids[0].likelihood[1]``.
        found: the name that stands there.
        known: every allowed name.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(found), names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    shown = f"{', '.join(names[:MOST_NAMES])}{more}"
    return UserError(f"{where} is {found!r}, which is not known{hint}; allowed: {shown}.")


_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    message = " ".join(str(error).split())
    return isinstance(error, RuntimeError) and any(words in message for words in _NO_MEMORY)
