"""A tiny study, run once: each test gets a copy of what it left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from workflow.place import Place, copy_checkout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.workflow)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of pytest-xdist's workers to ask for it makes for all of them."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    done = folder / f"{name}.done"
    with FileLock(folder / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder / name, ignore_errors=True)  # of a worker whose attempt failed
            (folder / name).mkdir()
            make(folder / name)
            done.touch()
    return folder / name


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workflow, so that an edit during the tests cannot change what is tested."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Place:
    """The tiny study, run to its end. Read only: tests that change it take `place`."""

    def run(folder: Path) -> None:
        place = Place(folder, checkout)
        call = place.call()
        assert (place.metrics()["status"] == "ok").all(), place.metrics()["reason"].tolist()
        assert call.jobs["all"] == 1

    return Place(once(tmp_path_factory, "finished-study", run), checkout)


@pytest.fixture
def place(tmp_path: Path, finished: Place) -> Place:
    """A copy of the finished study, links and dates preserved."""
    shutil.copytree(finished.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Place(tmp_path, finished.checkout)


@pytest.fixture
def fresh(tmp_path: Path, checkout: Path) -> Place:
    """An empty folder and no results."""
    return Place(tmp_path, checkout)


@pytest.fixture
def own_checkout(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the test's own, to be edited, from which `place` then runs."""
    folder = tmp_path_factory.mktemp("edited")
    shutil.copytree(place.checkout, folder, symlinks=True, dirs_exist_ok=True)
    place.checkout = folder
    return folder
