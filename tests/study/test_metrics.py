"""Metrics: one definition shows everywhere, and docs/metrics.md says the same."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study_rows import product, row, written
from support import make_run, resolved
from tables.test_collect import plan_of, write_run
from vae_ablation import cli
from vae_ablation.common.errors import UserError
from vae_ablation.evaluation import batches, samples
from vae_ablation.evaluation.aggregate import SATURATION
from vae_ablation.evaluation.codes import SILHOUETTE_EXAMPLES
from vae_ablation.evaluation.disentanglement import MAX_EXAMPLES
from vae_ablation.evaluation.gaps import GAP_EXAMPLES
from vae_ablation.evaluation.nll import NLL_LOOSE
from vae_ablation.report.figures import style
from vae_ablation.report.figures.effects import shown_metrics
from vae_ablation.report.findings.finding import findings
from vae_ablation.report.findings.wording import subject
from vae_ablation.report.page.arms import metrics_json
from vae_ablation.study import metrics
from vae_ablation.study.metrics import (
    METRICS,
    Bound,
    Metric,
    bounded_by_flag,
    cost_columns,
    described,
    metric_columns,
    primary_candidates,
    register,
)
from vae_ablation.study.plan import Study
from vae_ablation.tables.collect import collect, summarize
from vae_ablation.tables.contrasts import contrasts
from vae_ablation.tables.importance import importance

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


# --- the guide -----------------------------------------------------------------------------------

Row = dict[str, str]


def guide_rows(text: str) -> list[Row]:
    """Rows of all tables of a Markdown page, by heading; a row outside of a table is an error."""
    rows: list[Row] = []
    head: list[str] | None = None
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("|"):
            head = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if head is None:
            assert re.fullmatch(r"\|(-+\|)+", following), f"a row outside of a table: {line}"
            head = cells
        elif not re.fullmatch(r"\|(-+\|)+", line):
            rows.append(dict(zip(head, cells, strict=True)))
    return rows


def named(rows: list[Row], heading: str) -> dict[str, Row]:
    """The rows of the tables that have a column of some heading, by the metric that they are of."""
    return {one["column"].strip("`"): one for one in rows if heading in one}


WITHIN = {
    "measure": "one dataset and one `measure`",
    "levels": "one dataset and one `levels_measure`",
    "dataset": "one dataset",
    "everywhere": "everywhere",
}


def faults_of_guide(text: str) -> list[str]:
    """Sentences on what the guide's tables and the metrics do not agree on."""
    rows = guide_rows(text)
    defined, bounds = named(rows, "better"), named(rows, "only a bound where")
    compared = [one for one in rows if "comparable within" in one]
    within = {one["comparable within"]: one["columns"] for one in compared}
    faults = [f"{name} is not a metric" for name in [*defined, *bounds] if name not in METRICS]
    for metric in METRICS.values():
        heading = WITHIN[metric.comparable]
        if metric.name not in defined:
            faults.append(f"{metric.name} has no row")
        elif of_row(defined[metric.name]) != (metric.unit, metric.better or "", metric.undefined):
            faults.append(f"{metric.name}: {of_row(defined[metric.name])}")
        elif of_bound(bounds.get(metric.name)) != metric.bound:
            faults.append(f"{metric.name}: {of_bound(bounds.get(metric.name))}")
        elif metric.role != "cost" and f"`{metric.name}`" not in within[heading]:
            faults.append(f"{metric.name} is comparable within {heading}")
    return faults


def of_row(said: Row) -> tuple[str, str, str]:
    return said["unit"], said["better"], said["empty for"]


def of_bound(said: Row | None) -> Bound | None:
    """The bound that a row describes; its threshold is the number of nats in it."""
    if said is None:
        return None
    limit = re.search(r"[\d.]+(?= nats?)", said["because it"])
    assert limit
    because = said["because it"].replace(limit[0], "{limit}", 1)
    side: Any = said["which"]
    return Bound(said["only a bound where"].strip("`"), side, float(limit[0]), because)


def test_the_guide_says_of_every_metric_what_its_object_says() -> None:
    assert faults_of_guide(GUIDE) == []


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("| `ari` |", "| `arii` |", "arii is not a metric"),
        ("(Ghosh et al. 2020) |  | lower |", "(Ghosh et al. 2020) |  | higher |", "sample_fid_exp"),
        ("| `nll` | `nll_loose` | upper", "| `nll` | `nll_loose` | lower", "nll: "),
        ("`effective_beta`, `silhouette`,", "`effective_beta`,", "silhouette is comparable"),
    ],
)
def test_a_guide_that_says_otherwise_is_caught(right: str, wrong: str, fault: str) -> None:
    assert GUIDE.count(right) == 1
    assert any(fault in one for one in faults_of_guide(GUIDE.replace(right, wrong)))


def test_a_row_outside_of_a_table_is_caught() -> None:
    broken = GUIDE.replace("| `probe_accuracy` | accuracy", "\n| `probe_accuracy` | accuracy")
    with pytest.raises(AssertionError, match="outside of a table"):
        guide_rows(broken)


# --- the registry --------------------------------------------------------------------------------


def test_what_metrics_name_is_there() -> None:
    config = resolved()
    for metric in METRICS.values():
        assert metric.label
        assert metric.description.endswith("."), metric.name
        if metric.bound:
            assert METRICS[metric.bound.flag].type == "flag"
        if metric.follows:
            assert METRICS[metric.follows].role == "result"
        if metric.draws:
            section, key = metric.draws.split(".")
            assert config[section][key] > 0


@pytest.mark.parametrize(
    ("drift", "margin", "truth"),
    [(0.49, 0.5, True), (-0.49, 0.5, True), (-0.51, 0.5, False), (0.5, 0.5, False),
     (-3.0, 4.0, True), (float("nan"), 0.5, False)],
)  # fmt: skip
def test_a_run_has_converged_below_the_margin(drift: float, margin: float, truth: bool) -> None:
    assert metrics.converged(drift, margin) is truth
    assert resolved()["statistics"]["converged_drift"] == metrics.CONVERGED_DRIFT


def test_labels_tell_metrics_apart() -> None:
    labels = [metric.label for metric in METRICS.values()]
    assert len(set(labels)) == len(labels)


def test_thresholds_of_flags_are_those_of_the_evaluation() -> None:
    limits = {flag: {one.bound.limit for one in of if one.bound} for flag, of in bounded_by_flag()}
    assert limits == {
        "nll_loose": {NLL_LOOSE},
        "levels_loose": {NLL_LOOSE},
        "mi_saturated": {SATURATION},
    }


def test_limits_on_examples_are_those_of_the_evaluation() -> None:
    assert {name: metric.most for name, metric in METRICS.items() if metric.most} == {
        **dict.fromkeys(("nll", "inference_gap", "nll_levels", "bits_per_dim"),
                        ("evaluation.nll_examples",)),
        "encoder_gap": ("evaluation.nll_examples", GAP_EXAMPLES),
        "silhouette": (SILHOUETTE_EXAMPLES,),
        **dict.fromkeys((*(name for name in METRICS if name.startswith("scib_")),
                         "batch_knn_mixing", "batch_knn_accuracy", "batch_knn_floor",
                         "batch_silhouette"),
                        (batches.EXAMPLES,)),
        **dict.fromkeys(("mig", "dci_disentanglement", "sap"), (MAX_EXAMPLES,)),
        **dict.fromkeys(("sample_fid", "sample_fid_expost"), (samples.EXAMPLES,)),
        **dict.fromkeys(("sample_coverage", "sample_density", "sample_precision",
                         "sample_recall"), (samples.NEIGHBOUR_EXAMPLES,)),
    }  # fmt: skip


def test_no_other_module_knows_which_metric_has_which_flag() -> None:
    flags = re.compile("|".join(f'"{flag}"' for flag, _ in bounded_by_flag()))
    package = Path(metrics.__file__).parents[1]
    knowing = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        if flags.search(path.read_text(encoding="utf-8"))
    }
    assert knowing == {"study", "evaluation"}


@pytest.mark.parametrize("name", ["nll", "latent_dim", "status"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        register(Metric(name, "another"))


def test_the_module_is_cheap_to_import() -> None:
    code = "import sys, vae_ablation.study.metrics as _; "
    code += "print({'torch', 'pandas', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- a metric that is new ------------------------------------------------------------------------

LOOSE = Bound("glow_loose", "lower", 0.5, "flickers by more than {limit}")
GLOW = Metric(
    "glow", "glow of codes", "Light of the codes.", "lux", "higher", "measure",
    undefined="dark data", bound=LOOSE, needs_kl=True, per_example=True,
)  # fmt: skip
FLAG = Metric("glow_loose", "loose glow", "Whether it flickers.", role="check", type="flag")
PRICE = Metric("price", "price", "Price of the electricity.", "€", "lower", role="cost")


@pytest.fixture
def glowing() -> Iterator[None]:
    """The registry with a metric, its flag and a cost, and afterwards without them."""
    before = dict(METRICS)
    for metric in (GLOW, FLAG, PRICE):
        register(metric)
    yield
    METRICS.clear()
    METRICS.update(before)


def glowing_rows() -> list[dict[str, Any]]:
    """Three β under two likelihoods and no KL term; one bound at β = 8, seed 2."""
    arms: list[dict[str, Any]] = [{"beta": 1.0}, {"beta": 4.0}, {"beta": 8.0}, {"kl": False}]
    cells = product(likelihood=["gaussian", "continuous_bernoulli"], arm=arms, seed=range(3))
    return [
        row(
            metrics={"glow": 10.0 + cell["seed"] / 10 + cell["arm"].get("beta", 0.0),
             "glow_loose": cell["arm"].get("beta") == 8.0 and cell["seed"] == 2,
             "mse": 0.1 + cell["seed"] / 100 + cell["arm"].get("beta", 0.0)},
            likelihood=cell["likelihood"], seed=cell["seed"], **cell["arm"],
        )
        for cell in cells
    ]  # fmt: skip


@pytest.fixture
def table(glowing: None, tmp_path: Path) -> pd.DataFrame:
    return written(glowing_rows(), tmp_path)


def test_its_column_stands_behind_the_other_metrics(glowing: None, tmp_path: Path) -> None:
    run = make_run()
    write_run(tmp_path, run, glow=1.0, glow_loose=True, further=2.0)
    record = tmp_path / "runs" / run.path / "run.json"
    record.write_text(record.read_text().replace("{", '{"price": 3.0, ', 1))
    frame = collect(Study(resolved(), tmp_path, tmp_path / ".data"), plan_of(run), [])
    assert metric_columns()[-3:] == ["feature_accuracy", "glow", "glow_loose"]
    assert list(frame.columns[-9:]) == [
        "feature_accuracy", "glow", "glow_loose", "further", *cost_columns()[:-1], "price",
    ][-9:]  # fmt: skip
    assert (frame["glow"][0], frame["price"][0]) == (1.0, 3.0)


def test_it_is_averaged_and_its_flag_is_not(table: pd.DataFrame) -> None:
    assert set(summarize(table)["metric"]) == {"glow", "mse", "knn_accuracy"}


def test_it_is_contrasted_where_it_is_no_bound_and_has_an_optimum(table: pd.DataFrame) -> None:
    found = contrasts(table, ["glow"], None)
    glow = found[found["metric"] == "glow"]
    assert set(glow["question"]) == {"beta"}
    assert set(glow["level"]) == {"4"}
    assert set(found.loc[found["question"] == "beta", "level"]) == {"4", "8"}
    assert list(glow["n"]) == [3, 3, 3]
    assert glow["estimate"].tolist() == pytest.approx([3.0, 3.0, 3.0])
    assert glow["primary"].all()


def test_its_examples_give_its_margin(table: pd.DataFrame, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for run in table.loc[table["model"] == "vae", "run"]:
        (tmp_path / "runs" / run).mkdir(parents=True)
        glow = rng.normal(size=20).astype(np.float32)
        np.savez(tmp_path / "runs" / run / "examples.npz", glow=glow)
    found = contrasts(table.assign(glow_loose=False), ["glow"], tmp_path).set_index("metric")
    assert set(found.loc["glow", "margin_from"]) == {"examples"}
    assert set(found.loc["mse", "margin_from"]) == {"convention"}


def test_as_a_score_it_is_explained_within_one_likelihood_alone(table: pd.DataFrame) -> None:
    found = importance(table)
    assert "all" in set(found.loc[found["metric"] == "mse", "likelihood"])
    likelihoods = set(found.loc[found["metric"] == "glow", "likelihood"])
    assert likelihoods == {"gaussian", "continuous_bernoulli"}


def test_figures_and_sentences_have_its_label_and_unit(table: pd.DataFrame) -> None:
    assert shown_metrics(summarize(table)) == ["knn_accuracy", "mse", "glow"]
    assert style.metric_label("glow") == "glow of codes (lux)"
    assert (subject(described("glow")), described("glow").suffix) == ("the glow of codes", " lux")


def test_a_config_may_name_it_as_primary_and_not_its_flag(glowing: None) -> None:
    assert resolved(statistics={"primary_metrics": ["glow"]})
    assert {"glow_loose", "price", "epochs"}.isdisjoint(primary_candidates())


@pytest.mark.parametrize("name", ["nll_loose", "epochs", "train_seconds"])
def test_what_no_contrast_compares_is_not_primary(name: str) -> None:
    with pytest.raises(UserError, match=rf"primary_metrics\[0\].*'{name}'"):
        resolved(statistics={"primary_metrics": [name]})


def test_a_finding_says_where_it_is_a_bound(table: pd.DataFrame) -> None:
    found = findings({"metrics": table, "summary": summarize(table)}, {})
    bound = next(one for one in found if one.topic == "bounds/glow_loose")
    assert str(bound.headline) == "The glow of codes is only a bound in 2 of 24 runs"
    assert "the glow of codes is a lower bound: the glow of codes flickers by more than 0.5" in str(
        bound.text
    )


def test_the_report_explains_it(glowing: None) -> None:
    said = metrics_json(["glow"])["glow"]
    assert (said["label"], said["unit"], said["better"]) == ("glow of codes", "lux", 1)
    for part in (
        "Light of the codes.", "dark data", "within one dataset and measure",
        "no optimum without the KL term",
        "only a lower bound where glow_loose: it flickers by more than 0.5",
    ):  # fmt: skip
        assert part in said["help"]


def test_compare_marks_it_where_it_is_a_bound(glowing: None) -> None:
    left = {"path": "a", "glow": 2.0, "glow_loose": True, "price": 1.0}
    right = {"path": "b", "glow": 3.0, "glow_loose": False, "price": 1.0}
    assert list(cli._compared(left, right)) == [
        ("glow", "≥2", "3", "+1"),
        ("glow_loose", "True", "False", ""),
    ]


@pytest.mark.parametrize(
    ("name", "left", "right", "difference"),
    [
        ("mse", 0.02, 0.03, "+0.01 (×1.5)"),
        ("knn_accuracy", 0.5, 0.525, "+2.5 points"),
        ("elbo", -2.0, -3.0, "-1"),
        ("rate", 0.0, 3.0, "+3"),
    ],
)
def test_compare_shows_a_difference_on_the_scale_of_the_metric(
    name: str, left: float, right: float, difference: str
) -> None:
    rows = list(cli._compared({name: left}, {name: right}))
    assert [one[-1] for one in rows] == [difference]


def test_compare_names_what_two_datasets_do_not_share() -> None:
    values = {"measure": "m", "rate": 1.0, "mse": 1.0, "elbo": 1.0}
    notes = list(cli._incomparable({"dataset": "a", **values}, {"dataset": "b", **values}))
    assert notes == ["The data sets differ, so these are not comparable: elbo, mse."]
    assert not list(cli._incomparable({"dataset": "a", **values}, {"dataset": "a", **values}))


def test_the_guide_has_to_name_it(glowing: None) -> None:
    assert faults_of_guide(GUIDE) == [
        f"{name} has no row" for name in ("glow", "glow_loose", "price")
    ]


def test_a_column_that_nobody_registered_is_a_result_of_its_name() -> None:
    assert described("odd_score") == Metric("odd_score", "odd score")
    assert (described("odd_score").role, described("odd_score").is_number) == ("result", True)
