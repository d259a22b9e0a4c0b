"""Random streams: one per seed and purpose, so that no draw depends on what else is drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on a device that depends on the seed and the purpose alone.

    Never on a run's place in a pack, its β or its path: runs that differ in β only share initial
    weights, shuffles and noise, which pairs them.
    """
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def seeded_on(device: torch.device, seed: int, purpose: str) -> Iterator[None]:
    """`seeded`, for torch's generators on the CPU and on a device."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.set_state(stream(seed, purpose).get_state())
        if cuda:
            torch.cuda.manual_seed(stream(seed, purpose).initial_seed())
        yield


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Make torch's global generator the stream of one seed and purpose; restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(stream(seed, purpose).get_state())
        yield
