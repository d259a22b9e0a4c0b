"""`vae-ablation check` of parts that read results: right ones pass, planted errors are found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs import tried_parts
from jobs.tried_parts import wrong
from vae_ablation.jobs.check_tools import changes, fingerprint, traced
from vae_ablation.jobs.part_checks import CHECKS, Outcome

HEAD = """import os
import numpy as np
import torch
from matplotlib.figure import Figure as Page
from vae_ablation.parts import (
    Application, Applied, Figure, Finding, Metric, MetricFamily, Question, register, say
)
"""
RIGHT = {
    "metric family": '''
@register
class Norms(MetricFamily):
    """Length of the codes."""

    name = "norms"
    codes = True
    metrics = (Metric("code_norm", "code norm", "Length of the codes.", "", None, "everywhere"),)

    def compute(self, context):
        codes = context.codes
        return {"code_norm": float((codes**2).sum(1).mean())}
''',
    "application": '''
@register
class Counting(Application):
    """Counts examples."""

    name = "counting"

    def missing(self, dataset):
        return None

    def apply(self, model, dataset, settings, seed):
        applied = Applied()
        codes = model.encode(dataset.x[:20]).mean.numpy()
        applied.add("codes", "vae", "norm", float(np.square(codes).mean()))
        applied.arrays["codes"] = codes
        return applied
''',
    "figure": '''
@register
class ByArm(Figure):
    """ELBO of each run, by arm."""

    name = "elbo_by_arm"

    def draw(self, results, selection):
        rows = selection.ok_rows(results)
        page = Page(figsize=(4, 3))
        axes = page.subplots()
        axes.plot(rows["arm"].astype(str), rows["elbo"], "o")
        return page
''',
    "question": '''
@register
class Strength(Question):
    """How much the largest weight of the KL term changes the squared error."""

    name = "strength"

    def answer(self, evidence):
        rows = evidence.pooled("beta", "mse")
        row = rows[-1]
        text = say("The effect is {n}.", n=row.quote("effect", f"{row.number('effect'):.2f}"))
        yield Finding(evidence.dataset, "strength", "beta", say("It matters"), text)
''',
}
PLANTED = {
    "a metric that is NaN": (
        "metric family", "float((codes**2).sum(1).mean())", 'float("nan")',
        "code_norm is not finite for a healthy run",
    ),
    "a metric of the wrong name": (
        "metric family", '{"code_norm"', '{"code_length"', "gives code_length, not declared",
    ),
    "a metric that changes the codes": (
        "metric family", "codes = context.codes", "codes = context.codes\n        codes -= 1",
        "it changes codes, posterior of the pack.mean, which the metrics after",
    ),
    "a metric that changes the data": (
        "metric family", "codes = context.codes",
        "codes = context.codes\n        context.dataset.x[:] = 0",
        "it changes dataset.x",
    ),
    "a metric that is a tensor": (
        "metric family", "float((codes**2).sum(1).mean())", "torch.ones(())",
        "code_norm as Tensor; wanted: numbers",
    ),
    "a metric that is drawn": (
        "metric family", "float((codes**2).sum(1).mean())", "float(np.random.rand())",
        "drawn from the global stream of NumPy",
    ),
    "a metric that leaves a file": (
        "metric family", "codes = context.codes",
        'codes = context.codes\n        np.save("codes.npy", codes)',
        "compute leaves files: codes.npy",
    ),
    "an application that changes global state": (
        "application", "return applied",
        "torch.set_default_dtype(torch.float64)\n        return applied",
        "apply changes torch's default dtype",
    ),
    "an application that changes the environment": (
        "application", "applied = Applied()",
        'applied = Applied()\n        os.environ["SEED"] = "1"\n        os.chdir("/")',
        "the working directory and environment variables",
    ),
    "an application that trains the model": (
        "application", "applied = Applied()",
        "applied = Applied()\n        next(model.model.train().parameters()).data.add_(1)",
        "it changes weights.",
    ),
    "an application that is drawn": (
        "application", "float(np.square(codes).mean())", "float(torch.rand(()))",
        "drawn from the global stream of torch",
    ),
    "an application with an undefined score": (
        "application", "return applied",
        'applied.scores.append({"subject": "x", "value": 0 * np.inf})\n        return applied',
        "a score is {'subject': 'x'",
    ),
    "an application whose arrays are objects": (
        "application", '= codes\n', '= np.array([None, "x"], dtype=object)\n',
        "codes would have to be pickled",
    ),
    "an application that fails": (
        "application", "return applied", "return 1 / 0", "ended in an error",
    ),
    "a figure that is empty": (
        "figure", 'axes.plot(rows["arm"].astype(str), rows["elbo"], "o")', "axes.set_title('x')",
        "its figure is empty",
    ),
    "a figure that draws nothing": (
        "figure", "return page", "return None", "it draws nothing of a study that has every metric",
    ),
    "a figure that is no figure": (
        "figure", "return page", "return axes", "ended in an error",
    ),
    "a figure that leaves files elsewhere": (
        "figure", "return page", 'page.savefig("extra.png")\n        return page',
        "draw leaves files: extra.png",
    ),
    "a figure that stays open": (
        "figure", "page = Page(figsize=(4, 3))",
        "from matplotlib import pyplot\n        page = pyplot.figure()",
        "it leaves its figure open in pyplot",
    ),
    "a figure that changes the tables": (
        "figure", "return page", 'results.metrics["elbo"] = 0\n        return page',
        "it changes the table of metrics",
    ),
    "a figure that is drawn at random": (
        "figure", 'rows["elbo"], "o"', 'rows["elbo"] + np.random.rand(len(rows)), "o"',
        "drawn from the global stream of NumPy",
    ),
    "a question over an unknown axis": (
        "question", 'pooled("beta", "mse")', 'pooled("depth", "mse") or evidence.pooled("beta")',
        "it asks about depth, which is no axis of any study",
    ),
    "a question for an unknown section": (
        "question", '"strength", "beta"', '"strength", "depth"',
        "a finding is for the section depth",
    ),
    "a question that quotes another number": (
        "question", 'row.quote("effect", f"{row.number(\'effect\'):.2f}")',
        '__import__("dataclasses").replace(row.quote("effect", "9"), value=9.0)',
        "the number 9 does not stand where it is said to (contrasts.csv, effect)",
    ),
    "a question of an unknown column": (
        "question", 'evidence.pooled("beta", "mse")', 'evidence.table("metrics")["depth"]',
        "ended in an error",
    ),
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("forget_plugins")


def outcomes(folder: Path, text: str) -> list[Outcome]:
    return tried_parts.outcomes(folder, HEAD + text)


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_part_passes(kind: str, tmp_path: Path) -> None:
    found = outcomes(tmp_path, RIGHT[kind])
    assert wrong(found) == []
    assert [one.sentence for one in found if one.verdict == "note"] == []
    assert len(found) >= 6


def test_every_kind_has_checks() -> None:
    from vae_ablation.common.registry import REGISTRIES

    assert {*CHECKS} == {*REGISTRIES}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_error_is_found(fault: str, tmp_path: Path) -> None:
    kind, right, planted, words = PLANTED[fault]
    assert RIGHT[kind].count(right) == 1
    before = os.getcwd(), os.environ.get("SEED"), torch.get_default_dtype()
    found = wrong(outcomes(tmp_path, RIGHT[kind].replace(right, planted)))
    assert any(words in sentence for sentence in found), found
    assert (os.getcwd(), os.environ.get("SEED"), torch.get_default_dtype()) == before


def test_a_figure_of_pictures_is_noted_and_not_wrong(tmp_path: Path) -> None:
    text = RIGHT["figure"].replace(
        "rows = selection", 'return results.pictures("x") and None\n        rows = selection'
    )
    found = outcomes(tmp_path, text)
    assert wrong(found) == []
    assert any("it asked for pictures" in one.sentence for one in found if one.verdict == "note")


def test_an_application_of_other_data_is_noted(tmp_path: Path) -> None:
    text = RIGHT["application"].replace("return None", 'return "has no cells"', 1)
    found = outcomes(tmp_path, text)
    assert wrong(found) == []
    assert any("the dataset has no cells" in one.sentence for one in found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import pickle", "imports pickle"),
        ("from joblib import load", "imports joblib"),
        ('def late():\n    return torch.load("x", weights_only=False)', "torch.load with"),
        (
            'def late():\n    return np.load("x", allow_pickle=True)',
            "np.load with allow_pickle=True",
        ),
    ],
)
def test_a_file_that_unpickles_is_found(line: str, words: str, tmp_path: Path) -> None:
    found = outcomes(tmp_path, f"{line}\n{RIGHT['metric family']}")
    assert any(words in sentence for sentence in wrong(found)), found


def test_a_file_that_loads_weights_alone_passes(tmp_path: Path) -> None:
    line = 'def late():\n    return torch.load("x"), np.load("y", allow_pickle=False)'
    assert wrong(outcomes(tmp_path, f"{line}\n{RIGHT['metric family']}")) == []


def test_traces_are_what_is_left_and_not_what_was_there_for_a_moment() -> None:
    here = os.getcwd()
    with traced() as traces:
        Path("kept").mkdir()
        Path("gone").write_text("x", encoding="utf-8")
        Path("gone").unlink()
        np.seterr(divide="ignore")
    assert traces.files == ["kept"]
    assert traces.changed == ["NumPy's handling of errors"]
    assert os.getcwd() == here
    assert np.geterr()["divide"] == "warn"


def test_a_fingerprint_tells_arrays_apart_by_their_place() -> None:
    value = {"a": np.arange(3.0), "b": [torch.ones(2)]}
    before = fingerprint(value)
    assert {*before} == {"a", "b[0]"}
    value["b"][0][0] = 5  # type: ignore[index]
    assert changes(before, fingerprint(value)) == ["b[0]"]
