"""Isolation of parts that are computed in turn: an error in one does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from vae_ablation.common.errors import UserError, out_of_memory

log = logging.getLogger(__name__)

T = TypeVar("T")


def unforeseen(error: Exception) -> bool:
    """Whether an error is a mistake in the program.

    The others are errors that a user can mend and faults of the machine (disk, memory): another
    attempt may succeed, and a reason written into a table would outlive it.
    """
    mendable = isinstance(error, (UserError, OSError)) or type(error).__name__ == "SafetensorError"
    return not (mendable or out_of_memory(error))


def error_text(error: BaseException) -> str:
    """Name and message of an error on one line: "ValueError: it is empty"; at most 200 characters.

    An error that a user can mend is its own sentence.
    """
    message = " ".join(str(error).split())
    if isinstance(error, UserError):
        return message
    return f"{type(error).__name__}: {message}"[:200] if message else type(error).__name__


@dataclass
class Isolated:
    """Calls of parts; one that ends in an unforeseen error is left out, logged and counted.

    Attributes:
        subject: name of the whole, for the log.
        active: false lets every error through.
        reasons: "part (error)" of each part that was left out.
    """

    subject: str
    active: bool = True
    reasons: list[str] = field(default_factory=list)

    def __call__(self, part: str, compute: Callable[[], T], otherwise: T) -> T:
        """The result of `compute`, or `otherwise` where it ends in an unforeseen error."""
        try:
            return compute()
        except Exception as error:
            if not self.active or not unforeseen(error):
                raise
            log.exception("%s: %s could not be computed", self.subject, part)
            self.reasons.append(f"{part} ({error_text(error)})")
            return otherwise

    @property
    def reason(self) -> str:
        """One line about everything that was left out; empty where nothing was."""
        return f"could not be computed: {'; '.join(self.reasons)}" if self.reasons else ""
