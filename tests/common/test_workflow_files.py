"""The workflow's files: part of the package, free of code that no test reaches."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from vae_ablation.common.closure import import_closure
from vae_ablation.common.workflow_files import (
    CAPTIONS,
    PACKAGE,
    SCHEMA,
    WORKFLOW,
    script_file,
)

REPOSITORY = Path(__file__).parents[2]
RULES = sorted((REPOSITORY / "workflow" / "rules").glob("*.smk"))
SCRIPTS = sorted((REPOSITORY / "workflow" / "scripts").glob("*.py"))
SNAKEFILES = [REPOSITORY / "Snakefile", REPOSITORY / "workflow" / "Snakefile"]


def test_the_package_has_the_workflow_as_a_folder_of_its_own() -> None:
    assert WORKFLOW.parent == PACKAGE
    assert WORKFLOW.resolve() == (REPOSITORY / "workflow").resolve()
    assert SCHEMA.is_file()
    assert list(CAPTIONS.glob("*.rst"))


@pytest.mark.parametrize("path", [*SNAKEFILES, *RULES], ids=lambda path: str(path.name))
def test_rules_define_no_functions(path: Path) -> None:
    assert not re.findall(r"^\s*(?:async )?(?:def|class) \w+", path.read_text(), re.MULTILINE)


def test_snakefiles_are_short_and_alike() -> None:
    texts = [path.read_text(encoding="utf-8").splitlines() for path in SNAKEFILES]
    assert all(len(lines) <= 40 for lines in texts)
    root, own = (
        [line for line in lines if not line.startswith(("#", "include"))] for lines in texts
    )
    assert root == own


def test_the_package_imports_no_snakemake_and_does_not_look_above_itself() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if (PACKAGE / "workflow") in path.parents:
            continue
        tree = ast.parse(path.read_bytes())
        names = [
            name
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
        ]
        assert not [name for name in names if name and name.split(".")[0] == "snakemake"], path
        depth = len(path.relative_to(PACKAGE).parts)
        above = re.findall(r"__file__\)(?:\.resolve\(\))?\.parents\[(\d+)\]", path.read_text())
        assert all(int(level) < depth for level in above), path


def test_digests_of_code_do_not_take_the_workflow_in() -> None:
    closure = import_closure(*(script_file(path.stem) for path in SCRIPTS))
    assert closure
    assert not [name for name in closure if name.startswith("vae_ablation.workflow")]
