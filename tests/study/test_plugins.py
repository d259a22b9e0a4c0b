"""Plug-ins: parts of a file that the project has never seen are levels, settings and columns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support import assert_one_sentence
from vae_ablation.applications import APPLICATIONS, Applied
from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import (
    PLUGINS,
    REGISTRIES,
    PartError,
    Registry,
    load_parts,
    register,
)
from vae_ablation.evaluation.families import FAMILIES
from vae_ablation.models.architectures import ARCHITECTURES
from vae_ablation.models.likelihoods import LIKELIHOODS, Likelihood
from vae_ablation.models.objectives import OBJECTIVES
from vae_ablation.models.priors import PRIORS
from vae_ablation.report.figures import FIGURES
from vae_ablation.study import plugins
from vae_ablation.study.axes import axis_of
from vae_ablation.study.config import config_schema, resolve_config
from vae_ablation.study.metrics import METRICS
from vae_ablation.study.plan import Study
from vae_ablation.study.run import Run
from vae_ablation.study.workflow import open_study

HEAD = "import torch\nfrom torch import nn\nfrom vae_ablation.parts import *\n"
PARTS = {
    "likelihood": '''
@register
class Absolute(Likelihood):
    """Absolute errors."""

    name = "absolute"
    options = {"absolute_floor": {"type": "number", "exclusiveMinimum": 0, "default": 0.4}}
    limits = ("absolute_floor",)

    def distribution(self, output, parameters, given):
        scale = torch.full_like(output, given.options["absolute_floor"])
        return FromTorch(torch.distributions.Laplace(output, scale, validate_args=False))
''',
    "prior": '''
@register
class Wide(Prior):
    """N(0, 4 I)."""

    name = "wide"

    def log_prob(self, z):
        return torch.distributions.Normal(0.0, 2.0).log_prob(z).sum(-1)

    def at(self, noise, generator):
        return 2 * noise
''',
    "objective": '''
@register
class Tempered(Elbo):
    """A weight of the distortion."""

    name = "tempered"
    numbers = {"beta": 1.0, "gamma": 2.0}

    def loss(self, terms, numbers):
        return numbers["gamma"] * terms["distortion"] + numbers["beta"] * terms["rate"]
''',
    "architecture": '''
@register
class Normed(Architecture):
    """Batch normalisation."""

    name = "normed"
    options = {"hidden": {}, "slope": {"type": "number", "default": 0.1}}

    def encoder(self, observed, condition, outputs, options):
        return self.net(observed.dims + condition, outputs, options)

    def decoder(self, observed, inputs, outputs, options):
        return self.net(inputs, outputs, options)

    def net(self, inputs, outputs, options):
        width = options["hidden"][0]
        act = nn.LeakyReLU(options["slope"])
        first = [nn.Linear(inputs, width), nn.BatchNorm1d(width), act]
        return nn.Sequential(*first, nn.Linear(width, outputs))
''',
    "metric": '''
@register
class Norms(MetricFamily):
    """Length of the codes."""

    name = "norms"
    codes = True
    metrics = (Metric("code_norm", "code norm", "Length of the codes.", "", None, "everywhere"),)

    def compute(self, context):
        return {"code_norm": float((context.codes**2).sum(1).mean())}
''',
    "source": '''
@register
class Steps(Source):
    """Grey ramps."""

    name = "ramps"
    options = {"ramps": {"type": "integer", "minimum": 30, "default": 40}, "path": {}}

    def describe(self, options):
        return Observed((4, 4), 5)

    def load(self, options):
        x = torch.arange(options["ramps"])[:, None, None].expand(-1, 4, 4).numpy() % 5
        return RawData(x, None, 5)
''',
    "application": '''
@register
class Counting(Application):
    """Counts examples."""

    name = "counting"
    options = {"times": {"type": "integer", "default": 3}}

    def missing(self, dataset):
        return None

    def apply(self, model, dataset, settings, seed):
        return Applied()
''',
}


pytestmark = pytest.mark.usefixtures("forget_plugins")


def parts_file(folder: Path, *names: str, name: str = "my_parts.py") -> Path:
    path = folder / name
    text = HEAD.replace("*", ", ".join(plugins_public()))
    path.write_text(text + "".join(PARTS[one] for one in names or PARTS), encoding="utf-8")
    return path


def plugins_public() -> list[str]:
    return [
        *("Application", "Applied", "Architecture", "Elbo", "FromTorch", "Likelihood", "Metric"),
        *("MetricFamily", "Observed", "Prior", "RawData", "Source", "register"),
    ]


def study_of(folder: Path, files: list[str], **keys: Any) -> Study:
    config = {"plugins": files, **keys}
    return open_study(resolve_config(config, folder / "config.yaml"))


def train_hashes(study: Study) -> dict[str, str]:
    return {run.path: study.train_hash(run, "data") for run in study.runs}


# --- what a part becomes -------------------------------------------------------------------------


def test_each_part_is_a_level_and_its_options_are_keys(tmp_path: Path) -> None:
    parts_file(tmp_path)
    study = study_of(
        tmp_path,
        ["my_parts.py"],
        datasets={"ramps": {"source": "ramps", "ramps": 50}},
        grids=[
            {
                "likelihood": ["absolute"],
                "prior": ["standard_normal", "wide"],
                "objective": ["tempered"],
                "architecture": ["normed"],
                "model.absolute_floor": [0.4, 1],
                "model.slope": [0.2],
            }
        ],
        statistics={"primary_metrics": ["code_norm"]},
        applications={"counting": {"times": 4}},
    )
    assert {run.path for run in study.runs} == {
        "ramps/absolute/z2/beta1-normed-tempered-slope0.2/seed0",
        "ramps/absolute/z2/beta1-normed-tempered-absolute-floor1-slope0.2/seed0",
        "ramps/absolute/z2/beta1-normed-tempered-prior-wide-slope0.2/seed0",
        "ramps/absolute/z2/beta1-normed-tempered-prior-wide-absolute-floor1-slope0.2/seed0",
    }
    assert study.config["training"]["gamma"] == 2.0
    assert study.config["applications"]["counting"]["times"] == 4
    assert study.observed["ramps"].shape == (4, 4)
    assert METRICS["code_norm"].label == "code norm"
    study.check_fit("config.yaml")
    assert study.plan().packs


def test_options_are_checked_as_every_key_is(tmp_path: Path) -> None:
    parts_file(tmp_path, "likelihood")
    with pytest.raises(UserError, match=r"model\.absolute_floor is -1; allowed: .*greater than 0"):
        study_of(tmp_path, ["my_parts.py"], model={"absolute_floor": -1})
    with pytest.raises(UserError, match="absolute_floor is not known"):
        study_of(tmp_path, [], model={"absolute_floor": 1})


def test_an_option_of_a_source_is_not_read_by_another(tmp_path: Path) -> None:
    parts_file(tmp_path, "source")
    with pytest.raises(UserError, match="source sklearn-digits does not read"):
        study_of(
            tmp_path, ["my_parts.py"], datasets={"a": {"source": "sklearn-digits", "ramps": 99}}
        )


def test_numbers_of_an_objective_share_a_pack_and_other_settings_do_not(tmp_path: Path) -> None:
    parts_file(tmp_path, "objective", "likelihood")
    grid = {"objective": ["tempered"], "training.gamma": [1, 2, 3]}
    study = study_of(tmp_path, ["my_parts.py"], grids=[grid])
    assert len(study.plan().packs) == 1
    assert axis_of("training.gamma").ordered
    assert axis_of("model.absolute_floor").shapes


def test_a_part_is_gone_with_its_config(tmp_path: Path) -> None:
    parts_file(tmp_path)
    study_of(tmp_path, ["my_parts.py"])
    assert "absolute" in LIKELIHOODS
    study_of(tmp_path, [])
    assert not {"absolute", "wide", "tempered", "normed"} & {
        *LIKELIHOODS, *PRIORS, *OBJECTIVES, *ARCHITECTURES
    }  # fmt: skip
    assert "code_norm" not in METRICS
    assert "gamma" not in config_schema()["properties"]["training"]["properties"]
    assert not PLUGINS


def test_jobs_have_the_classes_themselves(tmp_path: Path) -> None:
    parts_file(tmp_path)
    study_of(tmp_path, ["my_parts.py"])
    assert type(LIKELIHOODS["absolute"]).__module__.startswith("declared by")
    load_parts()
    assert type(LIKELIHOODS["absolute"]).__module__.startswith("vae_ablation_parts_my_parts")
    assert FAMILIES["norms"].codes
    assert FAMILIES["norms"].columns == {"code_norm"}


WORKERS = '''
from vae_ablation.parts import Application, Applied, Figure, Finding, Question, register, say


@register
class Counting(Application):
    """Counts."""

    name = "counting"

    def missing(self, dataset):
        return None

    def apply(self, model, dataset, settings, seed):
        return Applied()


@register
class Dots(Figure):
    """Dots."""

    name = "dots"
    scope = "dataset"

    def draw(self, results, selection):
        return None


@register
class Which(Question):
    """Which run it is."""

    name = "which"

    def answer(self, evidence):
        headline, text = say("This one"), say("It is this one.")
        yield Finding(evidence.dataset, "which", "trust", headline, text)
'''


def test_applications_figures_and_questions_enter_their_tables(tmp_path: Path) -> None:
    (tmp_path / "my_parts.py").write_text(WORKERS, encoding="utf-8")
    study_of(tmp_path, ["my_parts.py"])
    assert plugins.captions() == {"dots": "Dots."}
    load_parts()
    assert isinstance(APPLICATIONS["counting"].apply(None, None, {}, 0), Applied)  # type: ignore[arg-type]
    assert (FIGURES["dots"].scope, FIGURES["dots"].category) == ("dataset", "Comparison")
    evidence = SimpleNamespace(dataset="digits")
    (found,) = REGISTRIES["question"]["which"](evidence)
    assert str(found.text) == "It is this one."
    study_of(tmp_path, [])
    assert "counting" not in APPLICATIONS
    assert "dots" not in FIGURES


def test_the_report_has_a_line_for_each_part(tmp_path: Path) -> None:
    parts_file(tmp_path)
    study_of(tmp_path, ["my_parts.py"])
    parts = plugins.described_parts()
    assert ("likelihood", "absolute", "Absolute errors.") in parts
    assert ("metric", "code_norm", "Length of the codes.") in parts
    study_of(tmp_path, [])
    assert plugins.described_parts() == []


def test_planning_imports_no_torch(tmp_path: Path) -> None:
    parts_file(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from vae_ablation.study.config import resolve_config\n"
        "from vae_ablation.study.workflow import open_study\n"
        "grid = {'likelihood': ['absolute'], 'architecture': ['normed'], 'prior': ['wide']}\n"
        "raw = {'plugins': ['my_parts.py'], 'grids': [grid]}\n"
        "study = open_study(resolve_config(raw, Path('config.yaml')))\n"
        "study.check_fit('config.yaml'); print(len(study.plan().packs), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "False"]


# --- digests -------------------------------------------------------------------------------------

GRIDS = [{"likelihood": ["gaussian", "absolute"]}, {"prior": ["wide"]}, {"objective": ["tempered"]}]


def test_a_file_is_in_the_hashes_of_runs_that_use_it_and_of_no_others(tmp_path: Path) -> None:
    plain = train_hashes(study_of(tmp_path, []))
    file = parts_file(tmp_path, "likelihood", "prior", "objective")
    first = train_hashes(study_of(tmp_path, ["my_parts.py"], grids=GRIDS))
    assert plain.items() <= first.items()
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"""Absolute errors."""', '"""Words."""  # more'), "utf-8")
    assert train_hashes(study_of(tmp_path, ["my_parts.py"], grids=GRIDS)) == first
    file.write_text(text.replace("2 * noise", "2.0 * noise"), "utf-8")
    second = train_hashes(study_of(tmp_path, ["my_parts.py"], grids=GRIDS))
    same = {path for path in first if first[path] == second[path]}
    assert same == plain.keys()


def test_a_setting_of_a_part_is_in_the_hashes_of_runs_that_read_it(tmp_path: Path) -> None:
    parts_file(tmp_path, "likelihood", "prior", "objective")
    first = train_hashes(study_of(tmp_path, ["my_parts.py"], grids=GRIDS))
    changed = {"training": {"gamma": 3}, "model": {"absolute_floor": 0.7}}
    second = train_hashes(study_of(tmp_path, ["my_parts.py"], grids=GRIDS, **changed))
    differ = {path for path in first if first[path] != second[path]}
    assert differ == {
        "digits/absolute/z2/beta1/seed0",
        "digits/gaussian/z2/beta1-tempered/seed0",
    }


def test_a_module_beside_the_file_counts_with_it(tmp_path: Path) -> None:
    file = parts_file(tmp_path, "likelihood")
    file.write_text("import beside_parts\n" + file.read_text("utf-8"), "utf-8")
    beside = tmp_path / "beside_parts.py"
    found = []
    for value in ("1", "1  # words", "2"):
        beside.write_text(f"NUMBER = {value}\n", "utf-8")
        study = study_of(tmp_path, ["my_parts.py"], grids=[{"likelihood": ["absolute"]}])
        found.append(train_hashes(study))
    assert found[0] == found[1] != found[2]


def test_a_metric_is_in_the_evaluations_hash_and_trains_nothing(tmp_path: Path) -> None:
    without = study_of(tmp_path, [])
    hashes, evaluation = train_hashes(without), without.eval_hash
    parts_file(tmp_path, "metric")
    with_metric = study_of(tmp_path, ["my_parts.py"])
    assert train_hashes(with_metric) == hashes
    assert with_metric.eval_hash != evaluation


# --- priors --------------------------------------------------------------------------------------


def test_the_default_prior_leaves_no_trace() -> None:
    run = Run("digits", "gaussian", 2, 1.0, True, "gaussian", 0)
    assert run.prior == "standard_normal"
    assert run.path == "digits/gaussian/z2/beta1/seed0"
    assert Run(**{**run, "prior": "wide"}).path == "digits/gaussian/z2/beta1-prior-wide/seed0"


# --- sources -------------------------------------------------------------------------------------


def test_an_error_of_a_sources_code_is_one_sentence(tmp_path: Path) -> None:
    file = parts_file(tmp_path, "source")
    text = file.read_text("utf-8").replace("return Observed((4, 4), 5)", "return 1 / 0")
    file.write_text(text, "utf-8")
    study = study_of(tmp_path, ["my_parts.py"], datasets={"a": {"source": "ramps"}})
    (sentence,) = study.unreadable.values()
    assert "describe of the source 'ramps' ended in an error (ZeroDivisionError" in sentence


# --- installed packages --------------------------------------------------------------------------


def test_an_installed_package_needs_no_mention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "parts_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('not while planning')\n", "utf-8")
    parts_file(package, "likelihood", name="parts.py")
    metadata = tmp_path / "parts_of_mine-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: parts-of-mine\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[vae_ablation.parts]\nx = parts_of_mine.parts\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins._installed.cache_clear()
    try:
        study = study_of(tmp_path, [], grids=[{"likelihood": ["absolute"]}])
        assert study.runs[0].likelihood == "absolute"
        with pytest.raises(UserError, match=r"parts_of_mine\.parts: importing it ended"):
            load_parts()
    finally:
        monkeypatch.undo()
        plugins._installed.cache_clear()


# --- what is refused -----------------------------------------------------------------------------

CLASS = '@register\nclass One(Likelihood):\n    """Words."""\n    name = "one"\n'
WRONG = {
    "would read like another axis": CLASS.replace("Likelihood", "Elbo").replace('"one"', '"k5"'),
    "the likelihood 'log-normal-gaussian' is there": CLASS.replace(
        '"one"', '"log-normal-gaussian"'
    ),
    "numbers of class One": CLASS.replace("Likelihood", "Elbo") + '    numbers = ["beta"]\n',
    "metrics of class One": CLASS.replace("Likelihood", "MetricFamily") + "    metrics = 3\n",
    "registers no part": "x = 1\n",
    "line 2 is not Python": "x = 1\ndef (\n",
    "is registered and is not a part": CLASS.replace("(Likelihood)", ""),
    "has no docstring": '@register\nclass One(Likelihood):\n    name = "one"\n',
    "has no name": '@register\nclass One(Likelihood):\n    """Words."""\n',
    "has the name 'Big One'; allowed: small letters": CLASS.replace('"one"', '"Big One"'),
    "the likelihood 'gaussian' is there already, from the package": CLASS.replace(
        "one", "gaussian"
    ),
    "name of class One in line 6 cannot be read": CLASS.replace('"one"', "str(1)"),
    "options of class One in line 7 cannot be read": CLASS + "    options = make_options()\n",
    "allowed: a mapping with type, default": CLASS + '    options = {"a": {"type": "number"}}\n',
    "is not JSON schema": CLASS + '    options = {"a": {"type": "numbr", "default": 1}}\n',
    "which it does not allow": CLASS + '    options = {"a": {"type": "number", "default": "b"}}\n',
    "is a key of model already": CLASS + '    options = {"hidden": {"default": 1}}\n',
    "has no schema and is not a key of model": CLASS + '    options = {"a": {}}\n',
    "the likelihood 'one' is there already": CLASS + CLASS.replace("One", "Two"),
    "the architecture 'fixed' is there already": (
        '@register\nclass One(Architecture):\n    """Words."""\n    name = "fixed"\n'
    ),
    "there is a column of that name already": (
        '@register\nclass One(MetricFamily):\n    """Words."""\n    name = "one"\n'
        '    metrics = (Metric("elbo", "ELBO"),)\n'
    ),
    "the figure 'effects' is there already": (
        '@register\nclass One(Figure):\n    """Words."""\n    name = "effects"\n'
    ),
    "the application 'denoising' is there already": (
        '@register\nclass One(Application):\n    """Words."""\n    name = "denoising"\n'
    ),
}


_METRIC = (
    '@register\nclass One(MetricFamily):\n    """Words."""\n    name = "one"\n'
    '    metrics = (Metric("glow", "glow", LAST),)\n'
)
_TERMS = CLASS.replace("Likelihood", "Elbo")
WRONG |= {
    "better is 'up'; allowed: 'higher', 'lower', None": _METRIC.replace("LAST", 'better="up"'),
    "better is ''; allowed: 'higher'": _METRIC.replace("LAST", '"", "", ""'),
    "scale is 'sqrt'; allowed: 'identity', 'log'": _METRIC.replace("LAST", 'scale="sqrt"'),
    "margin is 'a'; allowed: a number, None": _METRIC.replace("LAST", 'margin="a"'),
    "(got an unexpected keyword argument 'colour')": _METRIC.replace("LAST", "colour=3"),
    "(missing 1 required positional argument: 'label')": _METRIC.replace(', "glow", LAST', ""),
    "metrics of class One in line 4 is ()": _METRIC.replace('Metric("glow", "glow", LAST),', ""),
    "mass of class One in line 4 is 'yes'; allowed: True or False": CLASS + '    mass = "yes"\n',
    "limits of class One in line 4 is ('a',); allowed: names": CLASS + '    limits = ("a",)\n',
    "names of class One in line 4 is 'rate'; allowed: a tuple": _TERMS + '    names = "rate"\n',
    "allowed: distortion, rate and further": _TERMS + '    names = ("rate", "tc")\n',
    "allowed: names of its numbers": _TERMS + '    warmed = frozenset({"gamma"})\n',
    "allowed: likelihood, dataset, study": CLASS.replace("Likelihood", "Figure")
    + '    scope = "all"\n',
}


@pytest.mark.parametrize("words", WRONG)
def test_a_file_that_cannot_be_used_is_one_sentence(words: str, tmp_path: Path) -> None:
    names = [*plugins_public(), "Figure"]
    head = f"import torch\nfrom vae_ablation.parts import {', '.join(names)}\n"
    text = WRONG[words] if "line 2" in words else head + WRONG[words]
    (tmp_path / "my_parts.py").write_text(text, "utf-8")
    before = {*LIKELIHOODS, *METRICS, *ARCHITECTURES}
    with pytest.raises(UserError) as caught:
        study_of(tmp_path, ["my_parts.py"])
    assert words in str(caught.value)
    assert "my_parts.py" in str(caught.value)
    assert_one_sentence(str(caught.value))
    assert {*LIKELIHOODS, *METRICS, *ARCHITECTURES} == before


def test_every_public_name_may_be_imported_at_once(tmp_path: Path) -> None:
    head = "from vae_ablation.parts import *\n"
    (tmp_path / "my_parts.py").write_text(head + CLASS, "utf-8")
    study_of(tmp_path, ["my_parts.py"], grids=[{"likelihood": ["one"]}])
    assert "one" in LIKELIHOODS


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.py: no plug-in can be read here") as caught:
        study_of(tmp_path, ["none.py"])
    assert_one_sentence(str(caught.value))


def test_an_error_while_importing_is_one_sentence(tmp_path: Path) -> None:
    file = parts_file(tmp_path, "likelihood")
    file.write_text(file.read_text("utf-8") + "\nimport no_such_module\n", "utf-8")
    study_of(tmp_path, ["my_parts.py"])
    with pytest.raises(UserError, match="importing it ended in an error") as caught:
        load_parts()
    assert_one_sentence(str(caught.value))


def test_two_parts_of_a_name_are_refused_in_the_package_too() -> None:
    with pytest.raises(PartError, match="there already"):

        @register
        class Another(Likelihood):
            """Words."""

            name = "gaussian"

    with pytest.raises(PartError, match="is not a part"):
        register(type("One", (), {"registry": Registry}))
