"""The record with which a failed job ends its log, and its sentence read back."""

from __future__ import annotations

import logging
from pathlib import Path

_FAILED = "the job failed: "
"""Begins the last record of a failed job's log; the sentence comes after it."""


def failure_sentence(log: Path) -> str | None:
    """The error sentence of a failed job.

    Args:
        log: the log of the job.

    Returns:
        None where the log records no failure: the job was killed, runs, ended well or never began.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    sentences = [line.partition(_FAILED)[2] for line in lines if _FAILED in line]
    return sentences[-1] if sentences else None


def log_failure(sentence: str) -> None:
    """Write the sentence of a failed job into its log."""
    logging.error("%s%s", _FAILED, " ".join(sentence.split()))
