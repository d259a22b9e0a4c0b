"""Sprites: the geometry of what is drawn, one picture per combination, and the draw itself."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import assert_one_sentence, dataset_options
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import Dataset, RawData
from vae_ablation.data.prepare import describe_observed, load_dataset, prepare_dataset
from vae_ablation.data.sprites import (
    FACTORS,
    ORIENTATIONS,
    SCALES,
    SHAPES,
    Sprites,
    draw,
    factor_sizes,
    stencil,
)

RECTANGLE, ELLIPSE, HEART = range(3)
FINE = 300  # pixels: a radius at which pixels hardly matter


def load(**options: Any) -> RawData:
    return Sprites().load(dataset_options(source="sprites", **options))


def combinations(*sizes: int) -> np.ndarray:
    """Every combination of factors, one a row."""
    return np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)


def in_the_middle(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Factors and pictures of every shape, scale and orientation, in the middle."""
    middle = factor_sizes(size)[3] // 2
    factors = np.pad(combinations(3, 6, 20), ((0, 0), (0, 2)), constant_values=middle)
    return factors, draw(factors, size)


def fine(shape: int, angle: float = 0.0) -> np.ndarray:
    return stencil(list(SHAPES.values())[shape], FINE, angle, FINE + 1)


def centroid(picture: np.ndarray) -> np.ndarray:
    """Mean row and column of the lit pixels."""
    return np.argwhere(picture).mean(0)


def trimmed(picture: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    """The lit part of a picture, wherever it stands."""
    lit = np.argwhere(picture)
    (top, left), (bottom, right) = lit.min(0), lit.max(0)
    part = picture[top : bottom + 1, left : right + 1]
    return part.shape, part.tobytes()


# --- geometry ------------------------------------------------------------------------------------


def test_a_rectangle_is_twice_as_wide_as_high_and_touches_the_circle() -> None:
    rows, columns = np.nonzero(fine(RECTANGLE))
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert width == pytest.approx(2 * height, abs=2)
    assert math.hypot(width, height) == pytest.approx(2 * FINE, abs=2)
    assert fine(RECTANGLE).sum() == width * height


def test_an_ellipse_has_the_area_of_its_axes() -> None:
    rows, columns = np.nonzero(fine(ELLIPSE))
    width, height = np.ptp(columns), np.ptp(rows)
    assert width == 2 * FINE
    assert height < 0.6 * width
    for angle in ORIENTATIONS:
        area = fine(ELLIPSE, angle).sum()
        assert area == pytest.approx(math.pi / 4 * width * height, rel=2e-3)


def test_a_heart_is_a_square_with_two_half_discs() -> None:
    """A square of half side h stood on its tip: what follows for width, height and area."""
    picture = fine(HEART)
    rows, columns = np.nonzero(picture)
    h = np.ptp(columns) / (2 + math.sqrt(2))
    assert np.ptp(rows) == pytest.approx(h * (1 + 1.5 * math.sqrt(2)), abs=2)
    assert picture.sum() == pytest.approx((4 + math.pi) * h**2, rel=1e-2)
    tip = columns[rows == rows.max()]
    assert tip.mean() == FINE + 1
    assert len(tip) <= 3
    np.testing.assert_array_equal(picture, picture[:, ::-1])


def test_every_shape_lies_around_its_centroid_and_within_its_circle() -> None:
    for shape in range(3):
        lit = np.argwhere(fine(shape)) - (FINE + 1)
        np.testing.assert_allclose(lit.mean(0), 0, atol=0.2)
        assert 0.9 * FINE < np.linalg.norm(lit, axis=1).max() <= FINE


def test_pictures_have_the_area_of_their_shape_to_within_their_edge() -> None:
    """Half a pixel along an edge no longer than the circle's; over all turns errors cancel."""
    _, pictures = in_the_middle()
    area = pictures.sum((1, 2)).reshape(3, 6, 20)
    unit = [1.6, math.pi * 0.54, 1 + math.pi / 4]
    radius = 16 * np.linspace(0.5, 1, 6)
    expected = np.outer(unit, radius**2)[:, :, None]
    assert (np.abs(area - expected) <= math.pi * radius[None, :, None]).all()
    np.testing.assert_allclose(area.mean(2), expected[..., 0], rtol=0.02)


def test_scales_are_steps_of_a_tenth_from_half_to_whole() -> None:
    assert pytest.approx(np.linspace(0.5, 1, 6)) == SCALES


@pytest.mark.parametrize("size", [8, 9, 31, 64, 101])
def test_the_position_is_the_pixel_of_the_centroid(size: int) -> None:
    rng = np.random.default_rng(size)
    sizes = factor_sizes(size)
    factors = np.column_stack([rng.integers(0, values, 300) for values in sizes])
    margin = (size - sizes[3]) / 2
    for row, picture in zip(factors, draw(factors, size), strict=True):
        expected = row[[4, 3]] + margin
        tolerance = 0.5 if row[0] == HEART else 1e-9
        np.testing.assert_allclose(centroid(picture), expected, atol=tolerance)


def test_positions_are_32_by_32_at_size_64_and_centred() -> None:
    assert factor_sizes(64) == (3, 6, 20, 32, 32)
    corners = np.array([[RECTANGLE, 5, 3, 0, 0], [RECTANGLE, 5, 3, 31, 31]])
    first, last = draw(corners, 64)
    np.testing.assert_array_equal(first, last[::-1, ::-1])


@pytest.mark.parametrize("size", [8, 9, 10, 11, 30, 64, 67])
def test_every_shape_lies_wholly_inside_the_canvas(size: int) -> None:
    """The circle around the largest shape ends within; no pixel is lost at any border."""
    places = factor_sizes(size)[3]
    assert places >= 1
    assert (size - places) / 2 + 0.5 >= size / 4
    kinds, _ = in_the_middle(size)
    whole = [
        stencil(region, size / 4 * scale, angle, size).sum()
        for region in SHAPES.values()
        for scale in SCALES
        for angle in ORIENTATIONS
    ]
    for x, y in ((0, 0), (0, places - 1), (places - 1, 0), (places // 2, places // 2)):
        kinds[:, 3:] = x, y
        np.testing.assert_array_equal(draw(kinds, size).sum((1, 2)), whole)
    assert min(whole) >= 1


def test_moving_is_a_shift_by_one_pixel() -> None:
    kinds, pictures = in_the_middle()
    right = draw(kinds + np.array([0, 0, 0, 1, 0]), 64)
    down = draw(kinds + np.array([0, 0, 0, 0, 1]), 64)
    np.testing.assert_array_equal(right, np.roll(pictures, 1, axis=2))
    np.testing.assert_array_equal(down, np.roll(pictures, 1, axis=1))


# --- orientation ---------------------------------------------------------------------------------


def every_stencil(turn: float = 0.0, mirrored: bool = False) -> np.ndarray:
    sign = -1 if mirrored else 1
    return np.array(
        [
            stencil(region, 16 * scale, sign * angle + turn, 16)
            for region in SHAPES.values()
            for scale in SCALES
            for angle in ORIENTATIONS
        ]
    )


def test_a_quarter_turn_is_numpys() -> None:
    np.testing.assert_array_equal(
        every_stencil(math.pi / 2), np.rot90(every_stencil(), axes=(1, 2))
    )


def test_half_a_turn_is_seen_in_hearts_only() -> None:
    turned, original = every_stencil(math.pi), every_stencil()
    np.testing.assert_array_equal(turned[:240], original[:240])
    assert (turned[240:] != original[240:]).any((1, 2)).all()


def test_a_mirrored_turn_is_a_mirrored_picture() -> None:
    np.testing.assert_array_equal(every_stencil(mirrored=True), every_stencil()[:, :, ::-1])


@pytest.mark.parametrize("shape", [RECTANGLE, ELLIPSE])
def test_the_long_axis_points_along_the_orientation(shape: int) -> None:
    for step, angle in enumerate(ORIENTATIONS):
        rows, columns = np.nonzero(fine(shape, angle))
        _, axes = np.linalg.eigh(np.cov(columns, -rows))
        found = math.degrees(math.atan2(axes[1, 1], axes[0, 1])) % 180
        assert min(abs(found - 4.5 * step), 180 - abs(found - 4.5 * step)) < 0.1


def test_the_tip_of_a_heart_points_down_and_turns_with_it() -> None:
    for step, angle in enumerate(ORIENTATIONS):
        lit = np.argwhere(fine(HEART, angle)) - (FINE + 1)
        row, column = lit[np.linalg.norm(lit, axis=1).argmax()]
        assert math.degrees(math.atan2(-row, column)) == pytest.approx(4.5 * step - 90, abs=0.3)


# --- one picture per combination -----------------------------------------------------------------


@pytest.mark.parametrize("size", [55, 64, 96, 128])
def test_every_combination_is_a_picture_of_its_own(size: int) -> None:
    """Positions only move a picture: all differ where none of the 360 is another one moved."""
    _, pictures = in_the_middle(size)
    assert len({trimmed(picture) for picture in pictures}) == 360


def test_neighbours_differ_by_several_pixels_at_size_64() -> None:
    flat = in_the_middle()[1].reshape(360, -1).astype(np.int64)
    distance = flat.sum(1)[:, None] + flat.sum(1) - 2 * flat @ flat.T
    assert distance[~np.eye(360, dtype=bool)].min() >= 4


def test_sampled_pictures_are_distinct() -> None:
    x = load(examples=3000).x
    assert len({picture.tobytes() for picture in x}) == 3000


def test_what_is_documented_of_size_32_holds() -> None:
    assert len({trimmed(picture) for picture in in_the_middle(32)[1]}) == 329


def test_no_pixel_hangs_on_rounding() -> None:
    """The same pictures on a machine whose sines and cosines differ in their last digits."""
    for error in (-1e-9, 1e-9):
        np.testing.assert_array_equal(every_stencil(error), every_stencil())


# --- the draw ------------------------------------------------------------------------------------


def test_pictures_are_binary_and_factors_their_truth() -> None:
    raw = load(examples=500, size=32)
    assert raw.x.shape == (500, 32, 32)
    assert raw.x.dtype == np.uint8
    assert raw.levels == 2
    assert set(np.unique(raw.x)) == {0, 1}
    assert raw.factors is not None
    assert raw.factor_names == FACTORS
    np.testing.assert_array_equal(raw.x, draw(raw.factors, 32))
    np.testing.assert_array_equal(raw.labels, raw.factors[:, 0])


def test_no_combination_comes_twice_and_all_come_where_all_are_wanted() -> None:
    raw = load(examples=5760, size=8)
    assert raw.factors is not None
    rows = {tuple(row) for row in raw.factors.tolist()}
    assert rows == {tuple(row) for row in combinations(3, 6, 20, 4, 4).tolist()}


def test_every_value_of_a_factor_is_as_likely() -> None:
    raw = load(examples=20_000, size=16)
    assert raw.factors is not None
    for column, values in enumerate(factor_sizes(16)):
        counts = np.bincount(raw.factors[:, column], minlength=values)
        p = 1 / values
        assert (np.abs(counts - 20_000 * p) <= 5 * math.sqrt(20_000 * p * (1 - p))).all()


def test_a_draw_is_that_of_its_seed(tmp_path: Path) -> None:
    one, again, other = load(examples=50), load(examples=50), load(examples=50, split_seed=1)
    assert one.x.tobytes() == again.x.tobytes()
    assert one.x.tobytes() != other.x.tobytes()
    info = prepare_dataset(dataset_options(source="sprites"), tmp_path)
    assert info["checksum"] == "608997ca7338db7cdbe5712a6031e014ee22b5f100f8bc48de4239041c6cd065"


def test_the_product_of_all_factors_is_never_stored() -> None:
    """All combinations at size 64 would be 1.5 GB; 500 pictures are 2 MB."""
    options = dataset_options(source="sprites", examples=500)
    tracemalloc.start()
    Sprites().load(options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


# --- prepared ------------------------------------------------------------------------------------


def prepare(folder: Path, **options: Any) -> Dataset:
    prepare_dataset(dataset_options(source="sprites", **options), folder)
    return load_dataset("sprites", folder)


@pytest.mark.parametrize("changes", [{}, {"max_examples": 120, "split_seed": 4}])
def test_factors_tell_the_pictures_after_thinning_and_splitting(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    dataset = prepare(tmp_path, size=16, examples=400, **changes)
    assert dataset.factor_names == FACTORS
    total = 0
    for split in ("train", "validation", "test"):
        factors = dataset.factors_of(split)
        assert factors is not None
        assert factors.dtype == np.int64
        pictures = draw(factors, 16).reshape(len(factors), -1)
        np.testing.assert_array_equal(dataset.observe(split), pictures)
        np.testing.assert_array_equal(dataset.labels_of(split), factors[:, 0])
        total += len(factors)
    assert total == changes.get("max_examples", 400)


def test_what_is_described_is_what_is_prepared(tmp_path: Path) -> None:
    dataset = prepare(tmp_path, size=24, examples=60)
    described = describe_observed(dataset_options(source="sprites", size=24, examples=60))
    # how many classes there are is known once the labels are read
    assert dataset.observed == replace(described, classes=len(SHAPES))
    assert (described.shape, described.levels, described.binary) == ((24, 24), 2, True)
    assert dataset.fixed is None


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"size": 8, "examples": 5761}, ["datasets.digits.examples is 5761", "at most 5760", "8"]),
        ({"examples": 368_641}, ["datasets.digits.examples is 368641", "at most 368640"]),
        ({"examples": 5}, ["datasets.digits.examples is 5", "at least 10"]),
        ({"size": 7}, ["datasets.digits.size is 7", "at least 8"]),
        ({"size": 257}, ["datasets.digits.size is 257", "at most 256"]),
        ({"size": 20.5}, ["datasets.digits.size is 20.5", "a whole number"]),
    ],
)
def test_wrong_options_are_one_sentence(options: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        dataset_options(source="sprites", **options)
    assert_one_sentence(caught.value, *parts)
    assert "config.yaml" in str(caught.value)
