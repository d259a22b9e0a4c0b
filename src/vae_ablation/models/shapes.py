"""Shapes and bounds of networks, which planning needs without torch."""

from __future__ import annotations

from collections.abc import Sequence

KERNEL = 4
"""Width of every convolution's kernel; with stride 2 and padding 1 an even side is halved."""

LOG_STD_BOUND = 10.0
"""Largest absolute log σ of a learned posterior, so that an exploding run overflows no float."""


def halved(shape: Sequence[int], times: int) -> list[tuple[int, int]]:
    """Sides of an image before and after each strided convolution."""
    sides = [(int(shape[0]), int(shape[1]))]
    for _ in range(times):
        sides.append((sides[-1][0] // 2, sides[-1][1] // 2))
    return sides
