"""Every command that the documentation and the program name is run, as it stands where it can be.

The commands are taken from the texts themselves. One that is not in `FORMS` fails, and so does an
entry of `FORMS` that no text names any more.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from workflow.place import REPOSITORY, TINY, Place, copy_checkout

TEXTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PROGRAMS = (
    *("make", "snakemake", "vae-ablation", ".venv/bin/vae-ablation", "pip", "export", "kill"),
    *("scancel", "scontrol", "sacct", "qsub", "rsync", "tmux", "git", "cd", "python"),
)
NAMED = re.compile(
    r"\b(vae-ablation (?:[a-z-]+)(?= [a-z])|snakemake --[a-z-]+(?: workflow/[\w/]+)?"
    r"|make (?:study|demo|report|setup|clean)(?: [A-Z]+=\S+)*)|(--config \w+=\w+)"
)
"""A command within a sentence of the program, of a profile or of a study's config."""
PROSE = {"vae-ablation trained", "vae-ablation study"}
"""Sentences that only look like it."""


# --- the commands of the texts -------------------------------------------------------------------


def of_markdown(text: str) -> Iterator[str]:
    """Lines of bash blocks, a block with a here-document as one; and inline code."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        if "<<" in block:
            yield block
            continue
        for line in block.splitlines():
            if command := re.sub(r"(^|\s+)#.*", "", line).strip():
                yield command
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for code in re.findall(r"`([^`]+)`", prose):
        command = " ".join(code.split())
        if command.split()[0] in PROGRAMS:
            yield command


def of_python(source: str) -> Iterator[str]:
    """Commands in the texts of a module but its docstrings."""
    tree = ast.parse(source)
    documentation = {
        id(node.value) for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }  # fmt: skip
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in documentation:
            yield from named(text)


def named(text: str) -> Iterator[str]:
    for found in NAMED.finditer(" ".join(text.split())):
        if found[0] not in PROSE:
            yield found[0].rstrip('.;,)"')


def of_shell(text: str) -> Iterator[str]:
    """What run.sh calls: the program and its first words."""
    for program, words in re.findall(r'"\$bin/([a-z-]+)"((?: [a-z][a-z-]*)?)', text):
        yield f"run.sh: {program}{words}"
    yield from named(text)


def of_makefile(text: str) -> Iterator[str]:
    for target in re.findall(r"^([a-z]+):.*##", text, re.MULTILINE):
        yield f"make {target}"
    yield from named(text)


def advertised() -> dict[str, set[str]]:
    """Every command, with the texts that name it."""
    found: dict[str, set[str]] = {}
    sources = [(path, of_markdown) for path in TEXTS]
    sources += [(path, of_python) for path in sorted((REPOSITORY / "src").rglob("*.py"))]
    workflow = REPOSITORY / "workflow"
    sources += [(path, named) for path in sorted(workflow.rglob("*.smk"))]
    sources += [(path, named) for path in sorted(workflow.rglob("*.yaml"))]
    sources += [(workflow / "run.sh", of_shell), (REPOSITORY / "Makefile", of_makefile)]
    for path, read in sources:
        for command in read(path.read_text(encoding="utf-8")):
            found.setdefault(command, set()).add(str(path.relative_to(REPOSITORY)))
    return found


# --- how each is run -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """How a command is run in the finished study of a copied checkout.

    Attributes:
        run: what bash is given; None where it is the command itself.
        why: the reason for another form.
        fails: whether its status is not 0.
    """

    run: str | None = None
    why: str = ""
    fails: bool = False


MINUTES = "it takes minutes: what make would run is read and printed"
CLUSTER = "it needs a cluster: planned, and not sent"
FOREIGN = "a program of others, not called here: its syntax is checked"
NETWORK = "nothing is downloaded: pip looks whether it could install"
PLANNED = "another study, which takes long: planned"
PIP = ".venv/bin/python -m pip install --dry-run --no-deps --no-build-isolation --no-index -e "
IMAGES = (
    "python -c 'import numpy; x = numpy.arange(720).reshape(20, 6, 6) % 256; "
    'numpy.savez("images.npz", x=x.astype(numpy.uint8))\' && vae-ablation'
)
"""Writes pictures, and begins a command on them."""
RUNS = "results/default/runs/digits/gaussian/z2"


def foreign(command: str) -> Form:
    return Form(f"bash -n -c {shlex.quote(command)}", FOREIGN)


AS_WRITTEN = [
    *("make", "make help", "make setup", "make docs", "make study", "make report"),
    *("make report FORMAT=zip", "snakemake --cores all", "snakemake -n"),
    "snakemake --report results/default/snakemake-report.html",
    *("vae-ablation status default", "vae-ablation export default", "snakemake --unlock"),
    *("make study PROFILE=slurm ARGS=-n", "make study PROFILE=slurm ARGS=--unlock"),
    *("export XDG_CACHE_HOME=$PWD/.snakemake/cache", "vae-ablation missing default"),
]
FORMS = dict.fromkeys(AS_WRITTEN, Form()) | {
    "snakemake": Form("snakemake -n", "the program alone; Snakemake wants --cores to run"),
    "snakemake --cores": Form("snakemake --cores all -n", "a number follows"),
    "vae-ablation init": Form(f"{IMAGES} init one --npz images.npz", "with a name and data"),
    "vae-ablation init mine --npz images.npz": Form(
        f"{IMAGES} init two --npz images.npz", "in a folder of its own"
    ),
    "vae-ablation run": Form(
        f"{IMAGES} init four --npz images.npz && vae-ablation run four/config.yaml -n", PLANNED
    ),
    "vae-ablation split config.yaml": Form("vae-ablation split config.yaml", "writes split.npz"),
    "vae-ablation run mine/config.yaml": Form(
        f"{IMAGES} init three --npz images.npz && vae-ablation run three/config.yaml -n", PLANNED
    ),
    "--config allow_missing=true": Form(
        "snakemake --cores 2 --config allow_missing=true && "
        "make study ARGS='--cores 2 --config allow_missing=true'", "added to any command",
    ),
    "snakemake --lint": Form(),
    "snakemake --configfile": Form("make report", "what make report calls"),
    "snakemake --sdm": Form("snakemake --help | grep -e --sdm", "it wants conda"),
    "snakemake --sdm conda": Form("snakemake --help | grep -e --sdm", "it wants conda"),
    "run.sh: snakemake": Form("make study", "what make study calls"),
    "run.sh: vae-ablation study-name": Form("vae-ablation study-name config.yaml", "with a file"),
    "run.sh: vae-ablation missing": Form("vae-ablation missing default", "with a name"),
    ".venv/bin/vae-ablation": Form(".venv/bin/vae-ablation --version", "the program alone"),
    "vae-ablation seeds default": Form(
        "vae-ablation seeds default", "the study names no looks before it runs", fails=True
    ),
    "vae-ablation seeds STUDY": Form(
        "vae-ablation seeds default", "the study names no looks before it runs", fails=True
    ),
    "vae-ablation compare RUN RUN": Form(
        f"vae-ablation compare {RUNS}/beta0.5/seed0 {RUNS}/kl-off/seed0", "RUN stands for a folder"
    ),
    "vae-ablation status": Form("vae-ablation status default", "with a name"),
    "vae-ablation check my_parts.py": Form(
        f"sed -n '/^```python/,/^```/p' {REPOSITORY}/docs/extending.md | grep -v '^```'"
        " > my_parts.py && vae-ablation check my_parts.py",
        "a file of one's own",
    ),
    "vae-ablation split": Form("vae-ablation split config.yaml", "with a config"),
    "vae-ablation split study.yaml digits": Form(
        "vae-ablation split config.yaml digits", "a config of one's own"
    ),
    "vae-ablation prune default": Form("vae-ablation prune default < /dev/null", "it asks"),
    "vae-ablation prune": Form("vae-ablation prune default < /dev/null", "it asks"),
    "vae-ablation join FOLDER default": Form(
        "vae-ablation join elsewhere/default default", "FOLDER stands for a folder"
    ),
    "vae-ablation join": Form("vae-ablation join elsewhere/default", "a folder follows"),
    "vae-ablation join from-b/mnist": Form(
        "mkdir -p from-b && cp -R elsewhere/default from-b/mnist && vae-ablation join from-b/mnist",
        "a folder that another line copies",
    ),
    "vae-ablation analyse runs.csv --axes lr,model --metrics elbo:higher,fid:lower:log": Form(
        "printf 'lr,model,seed,elbo,fid\\n1,a,0,1,2\\n1,a,1,2,3\\n2,a,0,3,2\\n2,a,1,5,2\\n' "
        "> runs.csv && vae-ablation analyse runs.csv --axes lr,model "
        "--metrics elbo:higher,fid:lower:log",
        "it needs a table",
    ),
    "make study CONFIG=…": Form("make study CONFIG=config.yaml", "… stands for a file"),
    "make study CONFIG=workflow/studies/cells.yaml": Form(
        "make study CONFIG=workflow/studies/cells.yaml ARGS=-n", PLANNED
    ),
    "make demo": Form("make demo ARGS=-n", PLANNED),
    "make study PROFILE=slurm": Form("make study PROFILE=slurm ARGS=-n", CLUSTER),
    "make study PROFILE=generic": Form("make study PROFILE=generic ARGS=-n", CLUSTER),
    "snakemake --workflow-profile workflow/profiles/slurm": Form(
        "snakemake --workflow-profile workflow/profiles/slurm -n", CLUSTER
    ),
    "snakemake --workflow-profile workflow/profiles/generic": Form(
        "snakemake --workflow-profile workflow/profiles/generic -n", CLUSTER
    ),
    "make clean": Form("make clean", "it wants a name", fails=True),
    "make clean STUDY=default": Form(
        "make clean STUDY=default < /dev/null", "it asks, and deletes nothing", fails=True
    ),
    **{name: Form(f"make -n {name.split()[1]}", MINUTES)
       for name in ("make check", "make test", "make chaos", "make lint", "make bench",
                    "make site")},
    "pip install -e .": Form(f"{PIP} .", NETWORK),
    'pip install -e ".[scib]"': Form(f'{PIP} ".[scib]"', NETWORK),
    "pip install 'vae-ablation[parquet]'": Form(f'{PIP} ".[parquet]"', NETWORK),
    'pip install -e ".[tracking]"': Form(f'{PIP} ".[tracking]"', NETWORK),
    **{name: foreign(name) for name in (
        "tmux", "scancel", "sacct", "qsub", "kill -9", "rsync --archive",
        "scontrol show config | grep MinJobAge",
        "scancel --name 2f93e73e-440c-447d-b3e7-726f4105b22a",
        "rsync -a B:vae-ablation/results/mnist from-b/",
    )},
}  # fmt: skip
OWN_DATA = re.compile(r"^make study CONFIG=mine/study\.yaml$", re.MULTILINE)
"""The last line of the block on one's own data, which is run as it stands but for this."""


def form(command: str) -> Form | None:
    if command in FORMS:
        return FORMS[command]
    if OWN_DATA.search(command):
        planned = OWN_DATA.sub("make study CONFIG=mine/study.yaml ARGS=-n", command)
        return Form(planned, PLANNED)
    return None


def test_every_advertised_command_is_known_and_every_known_one_is_advertised() -> None:
    found = advertised()
    assert {command: where for command, where in found.items() if form(command) is None} == {}
    assert set(FORMS) - set(found) == set()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A checkout whose config.yaml is a tiny study, made by `make study` to its report."""
    place = Place(copy_checkout(tmp_path_factory.mktemp("advertised")), Path())
    place.checkout = folder = place.folder
    for name in ("Makefile", "README.md", "LICENSE", "pyproject.toml", "requirements.lock",
                 "requirements-dev.lock"):  # fmt: skip
        shutil.copy(REPOSITORY / name, folder)
    config = TINY | {"study": "default", "training": {"epochs": 1, "batch_size": 64}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    for name in (".ready", ".ready-dev"):  # nothing is to be installed
        (folder / ".venv" / name).touch()
    done = call(place, "make study")
    assert done.returncode == 0, done.stdout
    (folder / "elsewhere").mkdir()
    shutil.copytree(folder / "results" / "default", folder / "elsewhere" / "default", symlinks=True)
    return place


def call(place: Place, command: str) -> subprocess.CompletedProcess[str]:
    programs = os.pathsep.join([str(place.folder / ".venv" / "bin"), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=place.folder, env={**place.environment(), "PATH": programs}, text=True, timeout=600,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def forms() -> list[Form]:
    """The different ways in which commands are run."""
    known = {}
    for command in advertised():
        if found := form(command):
            run = found.run or command
            known[run] = Form(run, found.why, found.fails)
    return sorted(known.values(), key=lambda one: str(one.run))


@pytest.mark.parametrize("way", forms(), ids=lambda way: str(way.run)[:60])
def test_an_advertised_command_runs(study: Place, way: Form) -> None:
    done = call(study, str(way.run))
    assert (done.returncode != 0) == way.fails, done.stdout
    assert "Traceback" not in done.stdout
    assert "does not provide the extra" not in done.stdout
