"""The device that tests of GPUs compare with the CPU.

`VAE_ABLATION_TEST_DEVICE` names another than cuda, so that the tests themselves can be tried.
"""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture
def card() -> str:
    """Name of the device to compare with the CPU."""
    wanted = os.environ.get("VAE_ABLATION_TEST_DEVICE", "cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    return wanted
