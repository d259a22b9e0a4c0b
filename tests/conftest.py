"""Fixtures that the tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from support import cell_options, dataset_options
from vae_ablation.data.base import Dataset
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.study.plugins import use_plugins

# a busy machine is no failure, and the suite says the same thing twice
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


# Tests start hundreds of processes that import the package: each would compile all of it again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


_SLOW = ("workflow", "slurm", "browser")


@pytest.hookimpl(trylast=True)  # after other conftests have marked their own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort files with slow tests to the front, so that no worker waits for one at the end."""
    slow = {item.path for item in items if any(map(item.get_closest_marker, _SLOW))}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Same bytes holds at a fixed number of threads."""
    torch.set_num_threads(1)


@pytest.fixture
def forget_plugins() -> Iterator[None]:
    """No plug-in that a test used is known after it."""
    yield
    use_plugins([])


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The embedded digits, prepared once."""
    folder = tmp_path_factory.mktemp("digits")
    prepare_dataset(dataset_options(), folder)
    return load_dataset("digits", folder)


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """300 of the digits, for tests that train many runs."""
    folder = tmp_path_factory.mktemp("few_digits")
    prepare_dataset(dataset_options(max_examples=300), folder)
    return load_dataset("digits", folder)


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """300 simulated cells, 30 genes and 5 proteins, two batches."""
    folder = tmp_path_factory.mktemp("cells")
    prepare_dataset(cell_options(), folder)
    return load_dataset("cells", folder)


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds the real MNIST files."""
    root = os.environ.get("VAE_ABLATION_DATA")
    if not root:
        pytest.skip("VAE_ABLATION_DATA is not set: it names the folder with the real MNIST files")
    return Path(root).resolve()


@pytest.fixture(scope="session")
def mnist(mnist_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """All of MNIST; one training example is held out, so that the rest is the published split."""
    folder = tmp_path_factory.mktemp("mnist")
    options = dataset_options(source="mnist", root=str(mnist_root), validation=1e-6)
    prepare_dataset(options, folder)
    return load_dataset("mnist", folder)
