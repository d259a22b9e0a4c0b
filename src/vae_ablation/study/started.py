"""Index of checkpoints on disk. No torch."""

from __future__ import annotations

import logging
from pathlib import Path

from vae_ablation.common.files import read_json

log = logging.getLogger(__name__)

MEMBERS = "members.json"


def started(folder: Path, code_version: str) -> list[tuple[dict[str, str], Path]]:
    """Sets of runs that have checkpoints.

    Args:
        folder: results/<study>/checkpoints.
        code_version: of the training code whose checkpoints count.

    Returns:
        Run path → train hash, and where the set's checkpoints lie; the largest sets last.
    """
    found = []
    for path in sorted(folder.glob(f"*/{MEMBERS}")):
        try:
            members = read_json(path)
            if members["code_version"] == code_version:
                found.append((dict(members["runs"]), path.parent))
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("%s: damaged, and left out", path)
    return sorted(found, key=lambda item: len(item[0]))
