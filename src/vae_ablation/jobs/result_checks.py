"""Checks of parts that read results: metrics, applications, figures, questions.

They are tried on scikit-learn's digits, and on a made study of tables alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vae_ablation.applications import APPLICATIONS, Applied
from vae_ablation.common.registry import PLUGINS, REGISTRIES
from vae_ablation.data.base import Dataset
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.evaluation.context import EvaluationContext, RunContext
from vae_ablation.evaluation.families import FAMILIES
from vae_ablation.evaluation.family import means
from vae_ablation.jobs.check_tools import (
    Found,
    Settings,
    changes,
    drawn_from,
    fingerprint,
    judged,
    traced,
    without_streams,
)
from vae_ablation.models.vae import VAE
from vae_ablation.report.figures import FIGURES
from vae_ablation.report.figures.drawing import Drawing
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import Selection
from vae_ablation.report.findings.evidence import Evidence, Row, matching
from vae_ablation.report.findings.quotes import Quote
from vae_ablation.store.trained import TrainedRun
from vae_ablation.study.axes import AXES, is_setting
from vae_ablation.study.config import resolve_config
from vae_ablation.study.metrics import METRICS
from vae_ablation.study.run import Run, canonical_run
from vae_ablation.tables.collect import run_columns, summarize, write_csv
from vae_ablation.tables.contrasts import contrasts

LATENT = 3
FROM_FILES = (
    *("history", "rate_per_dim", "codes", "pictures", "density", "snapshots", "applied", "umap"),
    *("matched", "pareto", "failures", "examples", "applications"),
)
"""Attributes of a study's results that a study of tables alone does not have."""
SECTIONS = {"collapse", "map", "trust", "applications", "effects", "cells"}
SPECIAL = {"kl_off", "least_beta", "point"}


# --- what they are tried on -----------------------------------------------------------------------


def dataset_options(source: str) -> dict[str, Any]:
    """A dataset's section of a config with this source and no other setting."""
    resolved = resolve_config(
        {"plugins": _files(), "datasets": {"checked": {"source": "sklearn-digits"}}}, Path("check")
    )
    return {**resolved["datasets"]["checked"], "source": source}


def _files() -> list[str]:
    return [str(plugin.path) for plugin in PLUGINS.values() if not plugin.module]


@cache
def digits() -> Dataset:
    """Small pictures on which parts are tried."""
    options = {**dataset_options("sklearn-digits"), "max_examples": 300}
    with TemporaryDirectory() as folder:
        prepare_dataset(options, Path(folder))
        return load_dataset("digits", Path(folder))


def _run(**levels: Any) -> Run:
    return canonical_run("digits", "gaussian", LATENT, 1.0, True, "gaussian", 0, **levels)


def _model(config: Settings) -> VAE:
    """A VAE on digits whose weights are moved off their initial values."""
    model = VAE.of(_run(), digits().observed, config["model"]).eval()
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=noise))
    return model


def made_study(folder: Path) -> Path:
    """Tables of a study in which β matters in every metric; its folder.

    Two likelihoods, latent dimensions 2 and 8, β 0.1, 1 and 4, no KL term, three seeds.
    """
    noise = np.random.default_rng(0)
    numbers = [one for one in METRICS.values() if one.is_number and one.role != "cost"]
    rows = []
    for likelihood in ("gaussian", "discretized_logistic"):
        for dim in (2, 8):
            for beta in (0.0, 0.1, 1.0, 4.0):
                for seed in range(3):
                    run = canonical_run(
                        "digits", likelihood, dim, beta or 1.0, beta > 0, "gaussian", seed
                    )
                    values = {one.name: _value(one.unit, one.type, beta, noise) for one in numbers}
                    rows.append(
                        {
                            **run_columns(run),
                            "status": "ok",
                            "reason": "",
                            "measure": f"grey/{likelihood}",
                            "proper": True,
                            **values,
                        }
                    )
    metrics = pd.DataFrame(rows)
    tables = folder / "tables"
    tables.mkdir(parents=True)
    write_csv(metrics, tables / "metrics.csv")
    write_csv(summarize(metrics), tables / "summary.csv")
    write_csv(contrasts(metrics, ["elbo", "mse"], None), tables / "contrasts.csv")
    return folder


def _value(unit: str, kind: str, beta: float, noise: np.random.Generator) -> float:
    """A value of a metric: a share, a whole number or a positive number that grows with β."""
    size = 0.1 + 0.1 * beta + 0.01 * noise.normal()
    share = unit == "0–1"
    return float(round(10 * size)) if kind == "whole" else size if share else 10 * size


# --- the file -------------------------------------------------------------------------------------

_UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}


def unpickling(path: Path) -> Iterator[str]:
    """Sentences on calls of a file that unpickle, since a pickle can run any code."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call) and (what := _unpickled(node)):
            yield f"line {line} unpickles ({what}), which can run any code in the file read"
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if found := sorted({name.partition(".")[0] for name in names} & _UNPICKLERS):
            yield (
                f"line {line} imports {found[0]}; wanted: .npz, .json or .safetensors, "
                "which hold data alone"
            )


def _unpickled(call: ast.Call) -> str:
    """A call that unpickles, in words; empty where it does not."""
    name = ast.unparse(call.func)
    given = {one.arg: ast.unparse(one.value) for one in call.keywords}
    if name == "torch.load" and given.get("weights_only", "True") != "True":
        return "torch.load with weights_only=False"
    if given.get("allow_pickle", "False") != "False":
        return f"{name} with allow_pickle={given['allow_pickle']}"
    return name if name.endswith("read_pickle") else ""


# --- metrics --------------------------------------------------------------------------------------


def _context(config: Settings) -> RunContext:
    shared = EvaluationContext(
        [_run()],
        [_model(config)],
        [np.ones((3, 6))],
        digits(),
        None,
        config["evaluation"],
        torch.device("cpu"),
    )
    return shared.of(0)


def _arrays(context: RunContext) -> dict[str, str]:
    """Digests of what families of metrics share."""
    shared = context.shared
    own = {name: value for name, value in vars(context).items() if name != "shared"}
    return fingerprint({**own, "weights": shared.model.run_weights(0), **_posteriors(context)}, 4)


def _posteriors(context: RunContext) -> dict[str, Any]:
    return {"posterior": context.posterior, "posterior of the pack": context.shared.posterior}


def check_metrics(name: str, config: Settings) -> Iterator[Found]:
    """Checks of a family of metrics."""
    family, context = FAMILIES[name], _context(config)
    before, given = _arrays(context), list[Any]()
    with traced() as traces:
        yield without_streams(drawn_from(lambda: given.append(family.compute(context))), "compute")
    yield from traces.verdicts("compute")
    if not isinstance(given[0], Mapping):
        yield "wrong", f"compute gives {type(given[0]).__name__}; wanted: a mapping of columns"
        return
    found = given[0]
    wrong = {key: value for key, value in found.items() if not _is_number(value)}
    yield judged(
        not wrong,
        "its values are numbers, or arrays with one for each test example",
        f"it gives {', '.join(f'{key} as {type(v).__name__}' for key, v in wrong.items())}; "
        "wanted: numbers, or arrays with one for each test example",
    )
    if wrong:
        return
    known = {key: value for key, value in means(found).items() if value is not None}
    bad = [key for key, value in known.items() if not np.isfinite(value)]
    yield judged(
        not bad,
        "its values are finite",
        f"{', '.join(bad)} {'are' if len(bad) > 1 else 'is'} not finite for a healthy run on "
        "digits; wanted: a finite number, or no value where it is undefined",
    )
    if known:
        shown = ", ".join(f"{key} = {value:.4g}" for key, value in known.items())
        yield "ok", f"it gives {shown} for a run"
    else:
        yield "note", "it gives no column for a run on digits: all are undefined, or for other data"
    changed = changes(before, _arrays(context))
    yield judged(
        not changed,
        "it leaves what metrics share as it was",
        f"it changes {', '.join(changed[:3])}, which the metrics after it read; wanted: a copy",
    )
    with traced():
        again = means(family(_context(config)))
    same = all(again.get(key) == value for key, value in known.items() if key not in bad)
    yield judged(same, "it gives the same numbers twice", "it gives other numbers the second time")


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float, np.number)) or value is None
    per_example = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    return number or (per_example and value.shape == (len(digits().rows("test")),))


# --- applications ---------------------------------------------------------------------------------


def check_application(name: str, config: Settings) -> Iterator[Found]:
    """Checks of an application."""
    application, dataset = APPLICATIONS[name], digits()
    resolved = resolve_config(
        {"plugins": _files(), "applications": {name: {}}, "datasets": {"digits": {}}}, Path("check")
    )
    settings = resolved["applications"][name]
    reason = application.missing(dataset) or application.absent(dataset, settings)
    if reason:
        yield "note", f"it cannot be tried on digits (the dataset {reason}); a study shows it"
        return
    run, model = _run(), _model(config)
    trained = TrainedRun(run, {"run": {**run}, "status": "ok", "reason": ""}, model)
    before = fingerprint({"weights": model.state_dict(), "data": dataset})
    results: list[Applied] = []
    with traced() as traces:
        yield without_streams(
            drawn_from(lambda: results.append(application.apply(trained, dataset, settings, 0))),
            "apply",
        )
    yield from traces.verdicts("apply")
    changed = changes(before, fingerprint({"weights": model.state_dict(), "data": dataset}))
    yield judged(
        not changed,
        "it leaves the model and the data as they were",
        f"it changes {', '.join(changed[:3])}; wanted: a copy",
    )
    yield judged(
        not model.training,
        "the model is still in evaluation mode",
        "it leaves the model in training mode; wanted: model.eval()",
    )
    first = results[0]
    if not isinstance(first, Applied):
        yield "wrong", f"apply gives {type(first).__name__}; wanted: Applied"
        return
    yield from _scores(first)
    with traced():
        other = application.apply(trained, dataset, settings, 0)
    same = first.scores == other.scores and fingerprint(first.arrays) == fingerprint(other.arrays)
    yield judged(same, "it gives the same results twice", "it gives other results the second time")


def _scores(applied: Applied) -> Iterator[Found]:
    wanted = {"subject", "method", "metric", "value"}
    odd = [
        row
        for row in applied.scores
        if {*row} != wanted
        or not isinstance(row["value"], (int, float))
        or not np.isfinite(row["value"])
    ]
    yield judged(
        not odd,
        f"it gives {len(applied.scores)} scores",
        f"a score is {odd[0] if odd else ''}; wanted: subject, method, metric and a finite value "
        "(as Applied.add makes them)",
    )
    held = [
        key
        for key, value in applied.arrays.items()
        if not isinstance(value, np.ndarray) or value.dtype.hasobject
    ]
    yield judged(
        not held,
        "its arrays can be stored without pickling",
        f"{', '.join(held)} would have to be pickled; wanted: arrays of numbers or text",
    )
    if not applied.scores:
        yield "note", f"it gives no score ({applied.reason or 'and no reason'})"


# --- figures --------------------------------------------------------------------------------------


class _AskedResults(StudyResults):
    """Results that note which files beside the tables were asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if name in FROM_FILES:
            self.asked.add(name)
        return super().__getattribute__(name)


def check_figure(name: str, config: Settings) -> Iterator[Found]:
    """Checks of a figure."""
    spec = FIGURES[name]
    selection = Selection(
        None if spec.scope == "study" else "digits",
        "gaussian" if spec.scope == "likelihood" else None,
        8 if spec.per_latent_dim else None,
    )
    with TemporaryDirectory() as temporary:
        results = _AskedResults(made_study(Path(temporary) / "made"))
        metrics, drawn = results.metrics.copy(), list[Any]()
        with traced() as traces:
            streams = drawn_from(lambda: drawn.append(spec.draw(results, selection)))
            left_open = plt.get_fignums()
            plt.close("all")
        yield without_streams(streams, "draw")
        yield from traces.verdicts("draw")
        yield judged(
            not left_open,
            "it leaves no figure open in pyplot",
            "it leaves its figure open in pyplot, which keeps all of them in memory; wanted: "
            "matplotlib.figure.Figure()",
        )
        yield judged(
            results.metrics.equals(metrics),
            "it leaves the tables as they were",
            "it changes the table of metrics, which the figures after it read; wanted: a copy",
        )
        yield from _picture(drawn[0], results.asked)
        if isinstance(drawn[0], Drawing) and isinstance(drawn[0].figure, Figure):
            with traced():
                again = spec.draw(StudyResults(Path(temporary) / "made"), selection)
            same = again is not None and np.array_equal(
                _pixels(drawn[0].figure), _pixels(again.figure)
            )
            yield judged(
                same, "it draws the same twice", "it draws another picture the second time"
            )


def _picture(drawn: Any, asked: set[str]) -> Iterator[Found]:
    if drawn is None and asked:
        wanted = ", ".join(sorted(asked))
        yield "note", f"it draws nothing of a study of tables alone (it asked for {wanted})"
        return
    if drawn is None:
        yield "wrong", "it draws nothing of a study that has every metric; wanted: a figure"
        return
    figure = drawn.figure
    if not isinstance(figure, Figure):
        yield "wrong", f"draw gives {type(figure).__name__}; wanted: a matplotlib Figure, or None"
        return
    marks = [*figure.texts, *figure.images, *figure.lines, *figure.patches]
    full = [axes for axes in figure.axes if axes.has_data() or axes.texts]
    yield judged(
        bool(marks or full),
        f"it draws {len(full)} of {len(figure.axes)} panels",
        "its figure is empty: no panel has a mark; wanted: what the study shows, or None",
    )


def _pixels(figure: Figure) -> Any:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


# --- questions ------------------------------------------------------------------------------------


class _AskedEvidence(Evidence):
    """Evidence that notes the questions it was asked about."""

    asked: set[str]

    def pooled(self, question: str, metric: str = "", primary: bool = False) -> list[Row]:
        """As `Evidence.pooled`."""
        self.asked.add(question)
        return super().pooled(question, metric, primary)

    def decidable(self, question: str) -> bool:
        """As `Evidence.decidable`."""
        self.asked.add(question)
        return super().decidable(question)


def check_question(name: str, config: Settings) -> Iterator[Found]:
    """Checks of a question."""
    with TemporaryDirectory() as temporary:
        results = StudyResults(made_study(Path(temporary) / "made"))
        tables = {
            one: getattr(results, one)
            for one in ("metrics", "summary", "contrasts", "importance", "applications")
        }
        evidence = _AskedEvidence("digits", tables, dict(config))
        evidence.asked = set()
        before = {one: table.copy() for one, table in tables.items()}
        found: list[Any] = []
        answer = REGISTRIES["question"][name]
        with traced() as traces:
            streams = drawn_from(lambda: found.extend(answer(evidence)))
        yield without_streams(streams, "answer")
        yield from traces.verdicts("answer")
        unchanged = all(table.equals(before[one]) for one, table in tables.items())
        yield judged(
            unchanged,
            "it leaves the tables as they were",
            "it changes a table, which the questions after it read; wanted: a copy",
        )
        unknown = sorted(one for one in evidence.asked if not _is_question(one, config))
        yield judged(
            not unknown,
            "the questions that it reads are known",
            f"it asks about {', '.join(unknown)}, which is no axis of any study; allowed: an axis "
            f"({', '.join(AXES)}, or a key as model.hidden), or {', '.join(sorted(SPECIAL))}",
        )
        yield from _findings(found, evidence, config)


def _is_question(name: str, config: Settings) -> bool:
    section, _, key = name.partition(".")
    known = is_setting(name) and key in config.get(section, {})
    return name in AXES or name in SPECIAL or known


def _findings(found: list[Any], evidence: Evidence, config: Mapping[str, Any]) -> Iterator[Found]:
    if not found:
        yield "note", "it has no finding in a made study in which β matters in every metric"
        return
    if strange := [type(one).__name__ for one in found if type(one).__name__ != "Finding"]:
        yield "wrong", f"answer gives {strange[0]}; wanted: findings"
        return
    places = sorted(
        {
            one.section
            for one in found
            if one.section not in SECTIONS and not _is_question(one.section, config)
        }
    )
    yield judged(
        not places,
        f"it has {len(found)} finding{'' if len(found) == 1 else 's'} in a made study",
        f"a finding is for the section {', '.join(places)}, which no report has; allowed: "
        f"{', '.join(sorted(SECTIONS))}, or an axis",
    )
    topics = [one.topic for one in found]
    yield judged(
        len(topics) == len(set(topics)),
        "each finding has a topic of its own",
        "two findings have one topic, of which only the first would count",
    )
    quotes = [quote for one in found for part in (one.headline, one.text) for quote in part.quotes]
    wrong = [quote for quote in quotes if not _stands(quote, evidence)]
    yield judged(
        not wrong,
        f"its {len(quotes)} quoted numbers stand in the tables",
        f"the number {wrong[0].text if wrong else ''} does not stand where it is said to "
        f"({wrong[0].table if wrong else ''}.csv, {wrong[0].column if wrong else ''})",
    )


def _stands(quote: Quote, evidence: Evidence) -> bool:
    """Whether a cell, or a count of rows, is in its table."""
    if quote.how not in ("cell", "rows") or not quote.table:
        return True
    rows = matching(evidence.table(quote.table), quote.where)
    if quote.how == "rows":
        return len(rows) == quote.value
    cells = [] if quote.column not in rows else [*rows[quote.column].dropna().unique()]
    return any(cell == quote.value or str(cell) == str(quote.value) for cell in cells)
