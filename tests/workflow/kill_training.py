"""Train a pack again and again in processes that are killed: STUDY PACK KILLS SECONDS SEED.

Each process is a fork of this one, so that a kill costs no import of torch. After KILLS kills at
random moments within SECONDS of a process's start the pack is left to end.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from vae_ablation.jobs.train import train_job


def main(folder: Path, pack: str, kills: int, seconds: float, seed: int) -> None:
    """Print how often training was killed in mid-work, and how often it had ended before."""
    moments = random.Random(seed)
    killed = ended = 0
    while killed < kills:
        process = begin(folder, pack)
        time.sleep(moments.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
        if os.waitpid(process, 0)[1] == signal.SIGKILL:
            killed += 1
        else:
            ended += 1
            shutil.rmtree(folder / "packs" / pack)
    status = os.waitpid(begin(folder, pack), 0)[1]
    print(killed, ended, status)


def begin(folder: Path, pack: str) -> int:
    """Start a process that trains the pack."""
    process = os.fork()
    if process == 0:
        train_job(folder, pack)
        os._exit(0)
    return process


if __name__ == "__main__":
    study, name, *numbers = sys.argv[1:]
    main(Path(study), name, int(numbers[0]), float(numbers[1]), int(numbers[2]))
