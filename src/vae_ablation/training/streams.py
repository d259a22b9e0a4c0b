"""Random streams of a run while it trains, on the device that draws them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vae_ablation.models.streams import stream

CPU = torch.device("cpu")
BLOCKS = {"cpu": 2**22, "cuda": 2**18}
"""Normals drawn at once per run: a function of nothing but the device, since it orders the stream.
On a GPU a thousand runs each hold a block."""


def drawing_device(device: torch.device) -> torch.device:
    """The device that draws the numbers of runs on a device: a GPU its own, others the CPU."""
    return device if device.type == "cuda" else CPU


def noise_blocks(
    count: int, batch_size: int, per_example: int, device: torch.device
) -> list[range]:
    """Whole batches of an epoch's examples whose noise is drawn at once.

    Args:
        count: examples of the epoch.
        batch_size: of training.
        per_example: normals of an example.
        device: that draws them.
    """
    size = max(1, BLOCKS[device.type] // (per_example * batch_size)) * batch_size
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


class RunStreams:
    """The random streams of one run, one for each purpose.

    A GPU draws other numbers than a CPU from the same seed; each draws the same ones every time.

    Args:
        seed: of the run.
        device: that draws, and holds what is drawn.
    """

    def __init__(self, seed: int, device: torch.device = CPU) -> None:
        self.seed, self.device = seed, device
        self._streams = {
            name: stream(seed, name, device) for name in ("shuffle", "noise", "binarize", "dropout")
        }
        self._drawn_from = {name: self._streams[name].get_state() for name in ("shuffle", "noise")}

    def order(self, count: int) -> Tensor:
        """The order of an epoch's examples, [count]."""
        return torch.randperm(count, generator=self._begin("shuffle"), device=self.device)

    def normals(self, *shape: int) -> Tensor:
        """A block of standard normals."""
        return torch.randn(shape, generator=self._begin("noise"), device=self.device)

    def fixed(self, purpose: str, *shape: int) -> Tensor:
        """Standard normals that are the same whenever they are asked for."""
        own = stream(self.seed, purpose, self.device)
        return torch.randn(shape, generator=own, device=self.device)

    def uniforms(self, purpose: str, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) to binarize or for dropout."""
        return torch.rand(shape, generator=self._streams[purpose], device=self.device)

    def state(self) -> dict[str, Tensor]:
        """From where this epoch's order, this block's noise and the next uniforms are drawn."""
        now = {name: self._streams[name].get_state() for name in ("binarize", "dropout")}
        return {**self._drawn_from, **now}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up `state` again."""
        for name, own in self._streams.items():
            own.set_state(state[name])

    def _begin(self, purpose: str) -> torch.Generator:
        own = self._streams[purpose]
        self._drawn_from[purpose] = own.get_state()
        return own
