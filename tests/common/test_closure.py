"""Digests of code: what they notice, and what they do not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vae_ablation.common.closure import PACKAGE, code_digest, import_closure
from vae_ablation.common.workflow_files import WORKFLOW, script_file
from vae_ablation.study.plan import BEYOND_TRAINING, TRAINING_SCRIPTS

FILES = {
    "__init__.py": "",
    "stage.py": '"""A stage."""\nfrom vae_ablation.sums import total\n\n\ndef main():\n'
    "    from vae_ablation.late import LATE\n    return total(LATE)\n",
    "sums.py": "from __future__ import annotations\n\nfrom typing import TYPE_CHECKING\n\n"
    "if TYPE_CHECKING:\n    from vae_ablation.other import Other\n\n\n"
    "def total(values: Other) -> int:\n    return sum(values)  # of all\n",
    "late.py": 'LATE = 1\n"""A constant."""\n',
    "other.py": "class Other:\n    pass\n",
    "parts/__init__.py": "import importlib\nimport pkgutil\n\nfor found in pkgutil.iter_modules(\n"
    '    __path__\n):\n    importlib.import_module(f"{__name__}.{found.name}")\n',
    "parts/base.py": "class Part:\n    pass\n",
    "parts/one.py": "from .base import Part\n\n\nclass One(Part):\n    pass\n",
    "pages/__init__.py": "from . import made\n",
    "pages/made.py": "from .. import late\n",
    "pages/style.css": "a {}\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of this name with a stage, a registry and a page."""
    folder = tmp_path / "vae_ablation"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def names(package: Path, *roots: str | Path) -> set[str]:
    found = import_closure(*(as_root(root) for root in roots), package=package)
    return {name.removeprefix("vae_ablation.") for name in found}


def as_root(root: str | Path) -> str | Path:
    return root if isinstance(root, Path) else f"vae_ablation.{root}"


def edited(package: Path, name: str, old: str, new: str, root: str | Path = "stage") -> bool:
    """Whether an edit changes the digest of a stage."""
    before = code_digest(as_root(root), package=package)
    text = (package / name).read_text(encoding="utf-8")
    assert old in text
    (package / name).write_text(text.replace(old, new), encoding="utf-8")
    return code_digest(as_root(root), package=package) != before


# --- the closure ---------------------------------------------------------------------------------


def test_imports_count_wherever_they_stand_but_not_for_type_checkers(package: Path) -> None:
    assert names(package, "stage") == {"stage", "sums", "late"}


def test_a_new_module_that_a_stage_imports_is_in_its_digest(package: Path) -> None:
    (package / "new.py").write_text("NEW = 1\n", encoding="utf-8")
    assert edited(package, "late.py", "LATE = 1", "from vae_ablation import new\nLATE = new.NEW")
    assert "new" in names(package, "stage")
    assert edited(package, "new.py", "1", "2")


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("import vae_ablation.other", "other"),
        ("import vae_ablation.other as o", "other"),
        ("from vae_ablation import other", "other"),
        ("from vae_ablation.other import *", "other"),
        ("from .other import Other", "other"),
        ("from . import other", "other"),
        ("from vae_ablation.parts import one", "parts.one"),
        ("from .parts.one import One", "parts.one"),
        ('__import__("importlib").import_module("vae_ablation.other")', "other"),
        ("try:\n    from vae_ablation import other\nfinally:\n    pass", "other"),
    ],
)
def test_every_form_of_import_is_followed(package: Path, line: str, module: str) -> None:
    (package / "late.py").write_text(f"{line}\n", encoding="utf-8")
    assert module in names(package, "stage")


def test_a_registry_brings_every_module_of_its_package(package: Path) -> None:
    (package / "parts" / "two.py").write_text("TWO = 2\n", encoding="utf-8")
    assert names(package, "parts") == {"parts", "parts.base", "parts.one", "parts.two"}
    assert names(package, "parts.base") == {"parts.base"}, "a module alone does not"


def test_modules_that_import_each_other_end(package: Path) -> None:
    (package / "other.py").write_text("from vae_ablation import late\n", encoding="utf-8")
    (package / "late.py").write_text("from vae_ablation import other\n", encoding="utf-8")
    assert names(package, "late") == names(package, "other") == {"late", "other"}


def test_a_root_that_is_not_there_is_an_error(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="no module vae_ablation"):
        code_digest("vae_ablation.none", package=package)


def test_a_file_outside_the_package_brings_what_it_imports(package: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "my_parts.py"
    plugin.write_text("from vae_ablation.parts.base import Part\n", encoding="utf-8")
    assert names(package, plugin) == {"parts.base"}
    before = code_digest(plugin, package=package)
    plugin.write_text("from vae_ablation.parts.base import Part as P\n", encoding="utf-8")
    changed = code_digest(plugin, package=package)
    assert changed != before
    assert edited(package, "parts/base.py", "pass", "x = 1", plugin)


def test_a_file_that_is_no_python_counts_by_its_bytes(package: Path) -> None:
    assert edited(package, "late.py", "LATE = 1", "LATE = (")
    assert edited(package, "late.py", "LATE = (", "LATE = [")


# --- the digest ----------------------------------------------------------------------------------

CHANGES = [
    ("sums.py", "sum(values)", "sum(values) + 0"),
    ("sums.py", "values", "numbers"),
    ("late.py", "LATE = 1", "LATE = 2"),
    ("late.py", "LATE = 1", "LATE = 1.0"),
    ("late.py", "LATE = 1", "LATE = True"),
    ("stage.py", "def main", "async def main"),
    ("__init__.py", "", "import os\nos.environ['X'] = '1'\n"),
]
SAME = [
    ("stage.py", '"""A stage."""', '"""Another word for it."""'),
    ("stage.py", '"""A stage."""\n', ""),
    ("sums.py", "  # of all", ""),
    ("sums.py", "# of all", "# told otherwise"),
    ("sums.py", "sum(values)", "(\n        sum(\n            values,\n        )\n    )"),
    ("late.py", '"""A constant."""', '"""One."""'),
    ("late.py", "LATE = 1", "\n\n\nLATE = 0x1"),
    ("sums.py", "import Other", "import Other as Another"),
    ("other.py", "pass", "x = 1"),
    ("parts/one.py", "pass", "x = 1"),
]


@pytest.mark.parametrize(("name", "old", "new"), CHANGES)
def test_code_that_runs_differently_has_another_digest(
    package: Path, name: str, old: str, new: str
) -> None:
    assert edited(package, name, old, new)


@pytest.mark.parametrize(("name", "old", "new"), SAME)
def test_words_layout_and_other_stages_change_no_digest(
    package: Path, name: str, old: str, new: str
) -> None:
    assert not edited(package, name, old, new)


def test_files_beside_a_packages_code_count(package: Path) -> None:
    assert edited(package, "pages/style.css", "a {}", "b {}", "pages")
    assert edited(package, "pages/style.css", "b {}", "c {}", "pages.made")
    assert not edited(package, "pages/style.css", "c {}", "d {}")


def test_a_digest_does_not_depend_on_where_the_package_lies(package: Path, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere" / "vae_ablation"
    shutil.copytree(package, copied)
    roots = ("vae_ablation.stage", "vae_ablation.pages")
    assert code_digest(*roots, package=copied) == code_digest(*reversed(roots), package=package)


# --- the stages of this package ------------------------------------------------------------------

RULES = {path.stem for path in (WORKFLOW / "scripts").glob("*.py")}
JOBS = {f"vae_ablation.jobs.{path.stem}" for path in (PACKAGE / "jobs").glob("*.py")}
ROOMS = {
    "figures": ("report.figures.latent", "report.figures.style"),
    "findings": ("report.findings.words",),
    "report": ("report.page.layers",),
    "contrasts": ("tables.pooling",),
}


def of_rule(rule: str) -> set[str]:
    """Modules that the script of a rule imports."""
    return import_closure(script_file(rule))


def test_models_do_not_depend_on_tables_figures_or_words() -> None:
    training = import_closure(*map(script_file, TRAINING_SCRIPTS), beyond=BEYOND_TRAINING)
    for closure in (training, of_rule("evaluate"), of_rule("apply")):
        assert not {name.split(".")[1] for name in closure} & {"tables", "report"}
        assert "vae_ablation.study.config" not in closure
        modules = ("distributions", "count_distributions", "vae", "networks")
        assert {f"vae_ablation.models.{name}" for name in modules} <= closure
    assert not {name for name in training if "evaluation" in name or "applications" in name}
    assert "vae_ablation.study.metrics" not in training, "a metric's label trains nothing"
    assert "vae_ablation.training.pack" not in of_rule("evaluate")
    assert not of_rule("features") & {
        "vae_ablation.models.vae",
        "vae_ablation.models.distributions",
    }


def test_every_rule_has_the_modules_of_its_own_room() -> None:
    for rule, modules in ROOMS.items():
        assert {f"vae_ablation.{name}" for name in modules} <= of_rule(rule)
    for rule in RULES - {"findings", "report"}:
        assert "vae_ablation.report.findings.words" not in of_rule(rule)


def test_a_rule_depends_on_its_own_job_and_on_no_other() -> None:
    jobs = {f"vae_ablation.jobs.{rule}" for rule in RULES}
    for rule in RULES:
        own = {f"vae_ablation.jobs.{rule}"} & JOBS
        assert of_rule(rule) & jobs == own, rule


def digest_apart(cache: Path) -> str:
    """A digest as another process computes it that keeps its bytecode in `cache`."""
    code = "from vae_ablation.common.closure import code_digest as digest; "
    code += "print(digest('vae_ablation.tables.collect'))"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache), "PYTHONDONTWRITEBYTECODE": ""}
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_was_parsed_is_noted_beside_the_bytecode_and_damaged_notes_do_no_harm(
    tmp_path: Path,
) -> None:
    expected = code_digest("vae_ablation.tables.collect")
    assert digest_apart(tmp_path) == expected
    (notes,) = tmp_path.rglob("closure.*.json")
    whole = notes.read_text(encoding="utf-8")
    assert digest_apart(tmp_path) == expected
    for damaged in ("", "null", whole[:-9], whole.replace('"reader": "', '"reader": "x')):
        notes.write_text(damaged, encoding="utf-8")
        assert digest_apart(tmp_path) == expected
        assert json.loads(notes.read_text(encoding="utf-8")) == json.loads(whole)
