"""The frame of every rule's script: a log, and one sentence for a user's error."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vae_ablation.errors import UserError


def prepare_caches() -> None:
    """Send the caches of matplotlib and numba to scratch where HOME cannot be written."""
    home = Path.home()
    if os.access(home, os.W_OK):
        return
    scratch = Path(tempfile.gettempdir()) / f"vae-ablation-{os.getuid()}"
    for name, variable in (("matplotlib", "MPLCONFIGDIR"), ("numba", "NUMBA_CACHE_DIR")):
        folder = scratch / name
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault(variable, str(folder))


@contextmanager
def job(log_file: str) -> Iterator[None]:
    """Run a job: log to `log_file`; a UserError ends the process with its sentence and status 1.

    Args:
        log_file: path of the rule's log.
    """
    path = Path(log_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=path, filemode="w", level=logging.INFO, format="%(asctime)s %(message)s"
    )
    prepare_caches()
    try:
        yield
    except UserError as error:
        logging.error("%s", error)
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except Exception:
        logging.exception("the job failed")
        raise
