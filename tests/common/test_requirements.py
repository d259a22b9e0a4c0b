"""Bounds of requirements hold the locked versions, which are those that the tests see."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIRED = [Requirement(line) for line in PROJECT["dependencies"]]
LOCKED = {
    canonicalize_name(line.split("==")[0]): line.split("==")[1].split(" ")[0]
    for line in Path("requirements.lock").read_text(encoding="utf-8").splitlines()
    if "==" in line and not line.startswith("#")
}


@pytest.mark.parametrize("requirement", REQUIRED, ids=lambda one: one.name)
def test_the_locked_version_is_within_its_bounds(requirement: Requirement) -> None:
    assert requirement.specifier.contains(LOCKED[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_versions_of_torch_newer_than_the_tested_one_are_shut_out_everywhere(name: str) -> None:
    (requirement,) = (one for one in REQUIRED if one.name == name)
    major, minor, *_ = map(int, LOCKED[name].split("."))
    assert not requirement.specifier.contains(f"{major}.{minor + 1}.0")
    file = Path("workflow/envs/environment.yaml")
    packages = [line for line in yaml.safe_load(file.read_text())["dependencies"] if " " in line]
    bounds = dict(line.split(" ", 1) for line in packages)
    conda = {"torch": "pytorch"}.get(name, name)
    assert Requirement(f"{name}{bounds[conda]}").specifier == requirement.specifier
