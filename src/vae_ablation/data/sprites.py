"""Pictures whose generative factors are known: shapes that this module draws.

In the manner of dSprites (Matthey, Higgins, Hassabis and Lerchner 2017): binary pictures of one
shape, made from independent factors. It differs where dSprites is ambiguous: there a square turned
by 90° and an ellipse turned by 180° are the pictures that they were before, so that no code can
tell those orientations apart. Here shapes turn through a quarter circle only, in which none of them
comes back to itself; so orientation also has two ends, and one latent dimension can hold it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import register
from vae_ablation.data.base import Observed, Options, RawData, Source, generator

Grid = NDArray[np.float64]
Region = Callable[[Grid, Grid], NDArray[np.bool_]]

FACTORS = ("shape", "scale", "orientation", "x", "y")
COLORS = {
    "red": (1, 0, 0),
    "yellow": (1, 1, 0),
    "green": (0, 1, 0),
    "cyan": (0, 1, 1),
    "blue": (0, 0, 1),
    "magenta": (1, 0, 1),
}
"""Red, green and blue of each colour, off or on, so that pictures in colour are binary too."""
SCALES = tuple(0.5 + 0.1 * step for step in range(6))
ORIENTATIONS = tuple(math.radians(4.5 * step) for step in range(20))

# Lengths are such that no pixel's centre lies on the outline of a shape that is turned: there,
# rounding would decide whether it is drawn.
HALF_SIDES = (2 / math.sqrt(5), 1 / math.sqrt(5))
SEMI_MINOR = 0.54
# The heart is a square with half discs on two neighbouring sides. Its centroid lies this many half
# sides from the middle of the square, along both axes.
HEART_HALF_SIDE = 0.5
_CENTROID = (math.pi / 2 + 2 / 3) / (4 + math.pi)


def _rectangle(u: Grid, v: Grid) -> NDArray[np.bool_]:
    return (np.abs(u) <= HALF_SIDES[0]) & (np.abs(v) <= HALF_SIDES[1])


def _ellipse(u: Grid, v: Grid) -> NDArray[np.bool_]:
    return u**2 + (v / SEMI_MINOR) ** 2 <= 1


def _heart(u: Grid, v: Grid) -> NDArray[np.bool_]:
    """Its tip points along −v; s and t run along the sides of the square, in half sides."""
    s = (v + u) / (math.sqrt(2) * HEART_HALF_SIDE) + _CENTROID
    t = (v - u) / (math.sqrt(2) * HEART_HALF_SIDE) + _CENTROID
    square = (np.abs(s) <= 1) & (np.abs(t) <= 1)
    return square | ((s - 1) ** 2 + t**2 <= 1) | (s**2 + (t - 1) ** 2 <= 1)


SHAPES: dict[str, Region] = {"rectangle": _rectangle, "ellipse": _ellipse, "heart": _heart}
"""Each shape as a region of the plane: its centroid at the origin, inside the unit circle."""


def _reach(size: int) -> int:
    """Pixels from the middle of a shape's centre pixel that the largest shape can cover."""
    return math.ceil(size / 4 - 0.5)


def factor_sizes(size: int) -> tuple[int, ...]:
    """Number of values of each factor; a centre lies on any pixel that keeps the shape inside."""
    places = size - 2 * _reach(size)
    return (len(SHAPES), len(SCALES), len(ORIENTATIONS), places, places)


def stencil(region: Region, radius: float, angle: float, reach: int) -> NDArray[np.bool_]:
    """[2·reach + 1, 2·reach + 1] true where a pixel's centre lies in the shape.

    Args:
        region: the shape, inside the unit circle.
        radius: of the circle around it, in pixels.
        angle: turn in radians, counter-clockwise as one sees the picture.
        reach: pixels drawn to each side of the shape's centre.
    """
    offset = np.arange(-reach, reach + 1.0) / radius
    right, up = offset[None, :], -offset[:, None]
    cos, sin = math.cos(angle), math.sin(angle)
    return region(cos * right + sin * up, cos * up - sin * right)


def draw(factors: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Draw pictures from their factors.

    Shapes are drawn once per shape, scale and orientation, and moved by whole pixels.

    Args:
        factors: [n, 5] values of FACTORS, each as its index; x counts to the right, y downwards.
        size: height and width of a picture in pixels.

    Returns:
        [n, size, size] zeros and ones.
    """
    reach = _reach(size)
    stencils = [
        [
            [stencil(region, size / 4 * scale, angle, reach) for angle in ORIENTATIONS]
            for scale in SCALES
        ]
        for region in SHAPES.values()
    ]
    side = 2 * reach + 1
    pictures = np.zeros((len(factors), size, size), np.uint8)
    for picture, (shape, scale, angle, x, y) in zip(pictures, factors.tolist(), strict=True):
        picture[y : y + side, x : x + side] = stencils[shape][scale][angle]
    return pictures


@register
class Sprites(Source):
    """A rectangle, an ellipse or a heart: five factors, drawn at random without replacement.

    Factors: 3 shapes, 6 scales (circumradius of 1/8 to 1/4 of the picture), 20 orientations (steps
    of 4.5° from 0° to 85.5°), and the pixel of the centroid, x and y: 32 values each at size 64.
    At size 64, as at nearly every larger one, each combination is a picture of its own. The coarse
    pixels of smaller ones make neighbours coincide: at size 32, of the 360 combinations of shape,
    scale and orientation 329 can be distinguished. With `color` there is a sixth factor, the colour
    of the shape, and a picture has three channels.
    """

    name = "sprites"
    own_options = frozenset({"size", "examples", "color"})

    def check_options(self, where: str, options: Options) -> None:
        """There must be as many combinations of factors as examples are asked for."""
        most = math.prod(_sizes(options))
        if options["examples"] > most:
            raise UserError(
                f"{where}.examples is {options['examples']}; allowed: at most {most}, the number "
                f"of combinations of factors at size {options['size']}."
            )

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """The shapes."""
        return tuple(map(str, range(len(SHAPES))))

    def describe(self, options: Options) -> Observed:
        """Square and binary."""
        channels = (3,) if options["color"] else ()
        shape = (options["size"], options["size"], *channels)
        return Observed(shape, levels=2, binary=True, classes=len(SHAPES))

    def load(self, options: Options) -> RawData:
        """Draw combinations by their place in the product, which is never stored, and decode."""
        sizes = _sizes(options)
        random = generator(options["split_seed"], "draw")
        drawn = random.choice(math.prod(sizes), options["examples"], replace=False)
        factors = np.stack(np.unravel_index(drawn, sizes), axis=1).astype(np.int64)
        x = draw(factors[:, : len(FACTORS)], options["size"])
        if options["color"]:
            colors = np.array(list(COLORS.values()), np.uint8)
            x = x[..., None] * colors[factors[:, -1], None, None]
        return RawData(
            x,
            labels=factors[:, 0],
            levels=2,
            factors=factors,
            factor_names=(*FACTORS, "color") if options["color"] else FACTORS,
        )


def _sizes(options: Options) -> tuple[int, ...]:
    """Number of values of each factor."""
    return factor_sizes(options["size"]) + ((len(COLORS),) if options["color"] else ())
