"""Shapes of convolutions, which planning needs without torch."""

from __future__ import annotations

from collections.abc import Sequence

KERNEL = 4
"""Width of every convolution's kernel; with stride 2 and padding 1 an even side is halved."""


def halved(shape: Sequence[int], times: int) -> list[tuple[int, int]]:
    """Sides of an image before and after each strided convolution."""
    sides = [(int(shape[0]), int(shape[1]))]
    for _ in range(times):
        sides.append((sides[-1][0] // 2, sides[-1][1] // 2))
    return sides
