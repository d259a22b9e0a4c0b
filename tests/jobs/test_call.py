"""A call of Snakemake, by stand-ins for the objects that Snakemake hands over."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faults.made import SMALL, planned
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import write_json
from vae_ablation.jobs import call as module
from vae_ablation.jobs.call import AGAIN_HINT, MISSING_HINT, Call
from vae_ablation.study.missing import NOTE

HERE = "VAE_ABLATION_KEEP_GOING"


@pytest.fixture(autouse=True)
def _study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(tmp_path, SMALL)
    monkeypatch.chdir(tmp_path)


class Made:
    """A call, and what it was given."""

    def __init__(self, *arguments: str, config: dict[str, Any] | None = None, **flags: Any) -> None:
        self.workflow = SimpleNamespace(
            **{
                "is_main_process": True,
                "local_exec": True,
                "dryrun": False,
                "configfiles": ["study.yaml"],
                "modifier": modifier(),
                "config_settings": SimpleNamespace(config_args=[], config={}),
                "deployment_settings": SimpleNamespace(deployment_method=set()),
                "dag_settings": SimpleNamespace(targets=set(), until=set(), omit_from=set()),
                **flags,
            }
        )
        self.config = dict(config or SMALL)
        self.lines: list[str] = []
        logger = logging.Logger("snakemake")
        logger.addHandler(Kept(self.lines))
        environment = {HERE: "yes"} if "env" in arguments else {}
        self.call = Call(self.workflow, self.config, logger, arguments, environment)


class Kept(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def modifier(prefix: str = "", foreign: bool = False) -> SimpleNamespace:
    paths = SimpleNamespace(replace_prefix=lambda path: prefix + path)
    return SimpleNamespace(path_modifier=paths, skip_configfile=foreign)


def target(**wanted: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"targets": set(), "until": set(), "omit_from": set(), **wanted})


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "draws", "goes_on"),
    [
        ((), False, False),
        (("--cores", "2"), False, False),
        (("-k",), False, True),
        (("--keep-going",), False, True),
        (("env",), False, True),
        (("--report", "a.html"), True, True),
        (("--report=a.html",), True, True),
    ],
)
def test_what_a_command_line_asks_for(
    arguments: tuple[str, ...], draws: bool, goes_on: bool
) -> None:
    call = Made(*arguments).call
    assert (call.draws, call.goes_on) == (draws, goes_on)


@pytest.mark.parametrize("name", ["targets", "until", "omit_from"])
def test_a_call_for_a_part_is_known_by_its_targets(name: str) -> None:
    assert not Made().call.is_partial
    assert Made(dag_settings=target(**{name: {"a"}})).call.is_partial


def test_jobs_have_a_python_of_their_own_with_conda_alone() -> None:
    def command(*names: str) -> str:
        methods = [SimpleNamespace(name=name) for name in names]
        settings = SimpleNamespace(deployment_method=methods)
        return Made(deployment_settings=settings).call.script("train")(None, None)

    assert "PYTHONPATH" in command("CONDA")
    assert "PYTHONPATH" not in command()
    assert "PYTHONPATH" not in command("APPTAINER")


# --- the study -----------------------------------------------------------------------------------


def test_the_main_process_plans_and_jobs_elsewhere_read_what_it_froze() -> None:
    main = Made()
    main.call.begin()
    assert main.call.state.plan.to_train
    changed = SMALL | {"training": {"epochs": 9}}
    job = Made(config=changed, is_main_process=False).call
    assert job.state.study.config == main.call.state.study.config
    assert job.state.plan.packs == main.call.state.plan.packs


def test_a_report_is_drawn_over_what_is_there() -> None:
    assert not Made().call.state.study.config["allow_missing"]
    drawn = Made("--report").call
    assert drawn.state.study.config["allow_missing"]
    assert drawn.targets.trainable == "|".join(sorted(drawn.state.plan.packs))


def test_values_of_the_command_line_have_the_type_of_their_keys() -> None:
    given = SimpleNamespace(config_args=["allow_missing=true"], config={"allow_missing": "true"})
    made = Made(config=SMALL | {"allow_missing": "true"}, config_settings=given)
    assert made.call.state.study.config["allow_missing"] is True


def test_a_prefix_moves_the_results_and_is_put_before_them_once() -> None:
    made = Made(modifier=modifier("below/"))
    assert made.call.folder == Path("below/results/small")
    assert made.workflow.modifier.path_modifier.prefix is None


def test_a_module_has_its_config_from_another_file_which_is_not_looked_through() -> None:
    Path("other.yaml").write_text("a: 1\na: 2\n", encoding="utf-8")
    made = Made(configfiles=["other.yaml"], modifier=modifier(foreign=True))
    assert made.call.folder == Path("results/small")
    with pytest.raises(UserError, match="a"):
        _ = Made(configfiles=["other.yaml"]).call.state


def test_the_plan_is_told_and_the_report_gets_its_texts() -> None:
    made = Made()
    made.call.announce()
    assert made.lines[0] == f"Study small: {made.call.state.plan.summary()}."
    assert any(line.startswith("Disk: ") for line in made.lines)
    assert made.config["overview"] == {}
    assert "effects" in made.config["captions"]


# --- the start -----------------------------------------------------------------------------------


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bool]]:
    """What fork servers were started for."""
    started: list[dict[str, bool]] = []

    def start(study: Path, threads: int, **wanted: bool) -> list[Any]:
        started.append(wanted)
        return []

    monkeypatch.setattr(module, "start_forkservers", start)
    return started


def test_a_start_freezes_the_study_and_forgets_the_last_failure(
    servers: list[dict[str, bool]],
) -> None:
    note = Path("results/small") / NOTE
    write_json(note, [])
    Made(config=SMALL | {"allow_missing": True}).call.begin()
    assert note.exists()
    Made().call.begin()
    assert not note.exists()
    assert Path("results/small/plan.json").is_file()
    assert servers == [{"figures": True, "embed": False}] * 2


def test_jobs_are_forks_only_here_and_in_this_environment(servers: list[dict[str, bool]]) -> None:
    conda = SimpleNamespace(deployment_method=[SimpleNamespace(name="CONDA")])
    Made(local_exec=False).call.begin()
    Made(deployment_settings=conda).call.begin()
    Made(config=SMALL | {"packs": {"fork": False}}).call.begin()
    assert servers == []
    Made(dag_settings=target(until={"train"})).call.begin()
    assert servers == [{"figures": False, "embed": False}]


def test_codes_of_more_than_two_dimensions_are_embedded_once(
    servers: list[dict[str, bool]],
) -> None:
    deep = SMALL | {"grids": [{"likelihood": ["gaussian"], "latent_dim": [3]}]}
    Made(config=deep).call.begin()
    (Path("results/small") / "umap").mkdir()
    (Path("results/small") / "umap" / "index.json").touch()
    Made(config=deep).call.begin()
    assert [one["embed"] for one in servers] == [True, False]


# --- the end -------------------------------------------------------------------------------------


def test_a_call_that_failed_notes_why_and_names_the_command_that_goes_on() -> None:
    made = Made()
    made.call.fail()
    assert (Path("results/small") / NOTE).is_file()
    assert made.lines == [MISSING_HINT]


def test_a_call_for_everything_that_misses_something_names_it_and_ends_with_status_1() -> None:
    lenient = SMALL | {"allow_missing": True}
    made = Made(config=lenient)
    with pytest.raises(SystemExit) as ended:
        made.call.succeed()
    assert ended.value.code == 1
    assert made.lines
    assert all(line.startswith("Missing: ") for line in made.lines)
    Made(config=lenient, dag_settings=target(targets={"train"})).call.succeed()


def test_a_call_that_succeeded_names_the_next_command() -> None:
    first, part = Made(), Made(dag_settings=target(until={"train"}))
    first.call.succeed()
    part.call.succeed()
    assert (first.lines, part.lines) == ([AGAIN_HINT], [])
    report = first.call.targets.report
    report.parent.mkdir(parents=True, exist_ok=True)
    report.touch()
    last = Made()
    last.call.succeed()
    assert last.lines == ["Report: results/small/report.html"]
