"""What a source from outside loads: right data pass, and any other are named in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from vae_ablation.data.base import Cells, Observed, RawData, Source
from vae_ablation.data.loaded import complaints

GREY = np.random.default_rng(0).random((9, 4, 4))
COUNTS = np.random.default_rng(0).poisson(2, (9, 3))
GENES = Cells(("a", "b", "c"))
NUMBERS = np.arange(9) % 3


class _Made(Source):
    """Data that a test makes."""

    name = "made"

    def describe(self, options: Any) -> Observed:
        """Never asked."""
        raise NotImplementedError

    def load(self, options: Any) -> RawData:
        """Never asked."""
        raise NotImplementedError


class _Counts(_Made):
    counts = True


class _Table(_Made):
    real = True


PICTURE = Observed((4, 4), None)
MOLECULES = Observed((3,), None, counts=True)


@pytest.mark.parametrize(
    ("source", "described", "raw"),
    [
        (_Made(), PICTURE, RawData(GREY, NUMBERS, None)),
        (_Made(), Observed((4, 4), 5), RawData((4 * GREY).round(), None, 5)),
        (_Made(), Observed((4, 4), 5), RawData((4 * GREY).astype("u1"), None, 5)),
        (_Counts(), MOLECULES, RawData(COUNTS, NUMBERS, None, cells=GENES)),
        (_Counts(), MOLECULES, RawData(sparse.csr_matrix(COUNTS), None, None, cells=GENES)),
        (
            _Table(),
            Observed((3,), None, real=True),
            RawData(COUNTS - 9.5, None, None, features=("a", "b", "c")),
        ),
    ],
)
def test_right_data_pass(source: Source, described: Observed, raw: RawData) -> None:
    assert list(complaints(source, described, raw)) == []


@pytest.mark.parametrize(
    ("source", "described", "raw", "words"),
    [
        (_Made(), None, RawData(GREY, None, None), "describe gives NoneType"),
        (_Made(), PICTURE, (GREY, None), "load gives tuple"),
        (_Made(), PICTURE, RawData(torch.zeros(9, 4, 4), None, None), "x is Tensor"),
        (_Made(), PICTURE, RawData(GREY[:, :3], None, None), "(4, 4) with None levels, and loads"),
        (_Made(), PICTURE, RawData(9 * GREY, None, None), "allowed: 0 to 1"),
        (_Made(), PICTURE, RawData(GREY * np.nan, None, None), "x lies in nan to nan"),
        (_Made(), PICTURE, RawData(GREY.astype(str), None, None), "x holds <U"),
        (_Made(), Observed((4, 4), 5), RawData(4 * GREY, None, 5), "allowed: whole numbers"),
        (_Made(), PICTURE, RawData(GREY, NUMBERS[:8], None), "shape (8,); allowed: (9,)"),
        (_Made(), PICTURE, RawData(GREY, NUMBERS.astype(str), None), "labels are <U"),
        (_Made(), PICTURE, RawData(GREY, [0] * 9, None), "labels are list"),
        (_Made(), MOLECULES, RawData(COUNTS, None, None), "counts is False in the class and True"),
        (_Counts(), MOLECULES, RawData(COUNTS, None, None), "and cells are None; allowed: counts"),
        (
            _Counts(),
            MOLECULES,
            RawData(-COUNTS, None, None, cells=GENES),
            "to 0; allowed: 0 to inf",
        ),
        (
            _Counts(),
            MOLECULES,
            RawData(COUNTS, None, None, cells=Cells(("a",))),
            "cells name 1 features; allowed: 3",
        ),
        (
            _Made(),
            Observed((3,), None, real=True),
            RawData(COUNTS, None, None),
            "real is False in the class and True in Observed, and features are empty",
        ),
    ],
)
def test_other_data_are_named(source: Source, described: Any, raw: Any, words: str) -> None:
    (found,) = complaints(source, described, raw)
    assert words in found
