"""Files of an analysis: findings are worded on verdicts, and noise makes no claim."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from study_rows import product
from vae_ablation.cli import main
from vae_ablation.report.analysis import FINDERS, markdown
from vae_ablation.report.findings.finding import findings
from vae_ablation.report.page.elsewhere import TablePage
from vae_ablation.tables.analysis import Analysis, read_metric, read_primary
from vae_ablation.tables.foreign import read_runs

CALL = ["--axes", "lr,model", "--metrics", "elbo:higher:0.5,fid:lower:log"]
DIFFERENT = {"better", "worse", "higher", "lower", "depends", "leads"}


def table(rng: np.random.Generator, effect: float = 0.0) -> pd.DataFrame:
    """Three learning rates and models with three seeds that share noise; lr 0.1 costs an effect."""
    shared = rng.normal(size=3)
    return pd.DataFrame(
        one | {"elbo": -90 - effect * (one["lr"] == 0.1) + shared[one["seed"]] + rng.normal(),
               "fid": np.exp(0.1 * rng.normal())}
        for one in product(lr=[0.001, 0.01, 0.1], model=["a", "b", "c"], seed=range(3))
    )  # fmt: skip


def claims(path: Path, frame: pd.DataFrame) -> list[str]:
    """Headlines of findings that state a difference."""
    frame.to_csv(path, index=False)
    metrics = [read_metric(text) for text in CALL[3].split(",")]
    found = read_runs(path, ["lr", "model"], "seed", metrics)
    with found.known():
        analysis = Analysis(found, {}, read_primary([], found))
        tables = {"metrics": analysis.runs.assign(model="vae"), "contrasts": analysis.contrasts,
                  "importance": analysis.importance}  # fmt: skip
        entries = findings(tables, {"statistics": {"primary_metrics": [*analysis.primary]},
                                    "elsewhere": True}, FINDERS)  # fmt: skip
        return [str(one.headline) for one in entries if one.verdict in DIFFERENT]


def test_pure_noise_makes_no_claim_in_nineteen_of_twenty_tables(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    claimed = sum(bool(claims(tmp_path / "noise.csv", table(rng))) for _ in range(60))
    assert claimed <= 6  # binomial with p = .05: more than 6 of 60 in 3 % of cases


def test_a_planted_effect_is_claimed_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    found = [claims(tmp_path / "sweep.csv", table(rng, effect=6.0)) for _ in range(10)]
    assert all(any("elbo" in one and "lr" in one.lower() for one in each) for each in found)
    others = [one for each in found for one in each if "fid" in one or " model " in f" {one} "]
    assert sum("moves" not in one for one in others) <= 2


def analysed(frame: pd.DataFrame, folder: Path, *more: str) -> Path:
    path = folder / "sweep.csv"
    frame.to_csv(path, index=False)
    assert main(["analyse", str(path), *(more or CALL)]) == 0
    return folder / "sweep-analysis"


def test_every_number_of_the_findings_stands_in_the_tables_under_the_callers_names(
    tmp_path: Path,
) -> None:
    out = analysed(table(np.random.default_rng(5), effect=6.0), tmp_path)
    entries = json.loads((out / "findings.json").read_text("utf-8"))
    assert any(one["question"] == "lr" and one["verdict"] == "worse" for one in entries)
    assert not re.search(r"axis\d|metric\d", (out / "findings.json").read_text("utf-8"))
    tables = {name: pd.read_csv(out / f"{name}.csv") for name in ("contrasts", "importance")}
    checked = 0
    for number in (one for entry in entries for one in entry["numbers"]):
        rows = tables[number["table"]]
        for name, wanted in number["where"].items():
            if name not in rows:
                continue
            cells = rows[name]
            rows = rows[cells.isna() if wanted is None else cells.astype(str).map(tidy)
                        == tidy(str(wanted))]  # fmt: skip
        if number["how"] == "cell" and number["column"] not in ("rectangle", "level", "reference"):
            values = rows[number["column"]].astype(float).unique()
            assert len(values) == 1
            assert values[0] == pytest.approx(number["value"])
            checked += 1
        if number["how"] == "rows":
            assert len(rows) == number["value"]
    assert checked > 20


def tidy(text: str) -> str:
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def test_names_of_the_caller_keep_their_spelling_in_findings_and_headings(tmp_path: Path) -> None:
    names = {"lr": "my_lr", "model": "eNet", "elbo": "val_elbo", "fid": "fid"}
    frame = table(np.random.default_rng(5), effect=6.0).rename(columns=names)
    frame["eNet"] = "a_" + frame["eNet"]
    out = analysed(frame, tmp_path, "--axes", "my_lr,eNet", "--metrics", "val_elbo:higher:0.5,fid")
    entries = json.loads((out / "findings.json").read_text("utf-8"))
    text = " ".join(f"{one['headline']}. {one['text']}" for one in entries)
    assert "The my_lr moves the val_elbo more than the eNet does" in text
    for name in [*names.values(), "a_a"]:
        assert {*re.findall(name, text, re.IGNORECASE)} <= {name}
    data = page_data(out)
    assert [axis["given"] for axis in data["axes"]] == [False, True, True]
    assert all(one["given"] for one in data["metrics"].values())
    study = analysed(frame.rename(columns={"fid": "mse"}), tmp_path, "--axes", "my_lr,eNet",
                     "--metrics", "mse")  # fmt: skip
    assert [one["given"] for one in page_data(study)["metrics"].values()] == [True]


def test_the_findings_are_a_page_of_markdown(tmp_path: Path) -> None:
    out = analysed(table(np.random.default_rng(5), effect=6.0), tmp_path)
    text = (out / "findings.md").read_text("utf-8")
    assert text.startswith("# Findings: sweep.csv\n")
    entries = json.loads((out / "findings.json").read_text("utf-8"))
    first = next(one for one in entries if one["lead"])
    assert f"## {first['headline']}" in text
    assert first["text"] in text


def test_without_a_claim_the_findings_say_so() -> None:
    assert "## Limits\n\n- one seed\n" in markdown("t.csv", [], ["one seed"])
    entry: dict[str, Any] = {"dataset": "t", "verdict": "", "lead": False, "caveats": [],
                             "headline": "*x* <b>", "text": "y"}  # fmt: skip
    text = markdown("t.csv", [entry], [])
    assert "No comparison of this table supports a claim." in text
    assert "## \\*x\\* \\<b\\>" in text


def page_data(out: Path) -> Any:
    text = (out / "report.html").read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    data, curves = json.loads(found[1]), part(text, "curves")
    return data | {
        "contrasts": data["contrasts"] | {"columns": part(text, "contrasts")},
        "curves": curves,
    }


def part(text: str, name: str) -> Any:
    """A table that the page holds compressed."""
    found = re.search(rf'id="part-{name}">([^<]*)<', text)
    assert found
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def test_the_report_keeps_the_contract_of_the_page(tmp_path: Path) -> None:
    import vae_ablation.report.page as package

    path = tmp_path / "sweep.csv"
    table(np.random.default_rng(5), effect=6.0).to_csv(path, index=False)
    metrics = [read_metric(text) for text in CALL[3].split(",")]
    found = read_runs(path, ["lr", "model"], "seed", metrics)
    schema = Path(package.__file__).with_name("contract.schema.json")
    with found.known():
        page = TablePage(Analysis(found, {}, read_primary([], found)), [])
        jsonschema.validate(page.data(), json.loads(schema.read_text("utf-8")))


def test_the_report_has_only_sections_that_the_table_fills(tmp_path: Path) -> None:
    out = analysed(table(np.random.default_rng(5), effect=6.0), tmp_path)
    text = (out / "report.html").read_text("utf-8")
    sections = re.findall(r'<section id="([^"]+)"', text)
    assert sections == ["answer", "axis1", "axis2", "effects", "importance", "trust", "paper",
                        "tables", "provenance"]  # fmt: skip
    assert "What do lr and model change in elbo and fid?" in text
    assert "has 27 runs of 9 arms, every combination of lr (0.001, 0.01" in text
    part = analysed(table(np.random.default_rng(5), effect=6.0).iloc[:-3], tmp_path)
    text = (part / "report.html").read_text("utf-8")
    assert "has 24 runs of 8 arms, 8 of the 9 combinations of lr (0.001, 0.01" in text
    assert page_data(out)["shown"] == {}
    alone = analysed(table(np.random.default_rng(5))[lambda t: t["seed"] == 0], tmp_path)
    assert "Every arm has one seed" in (alone / "report.html").read_text("utf-8")


HOSTILE = "</script><img src=x onerror=alert(1)>"


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    frame = table(np.random.default_rng(5), effect=6.0).rename(
        columns={"lr": "answer", "elbo": f"e{HOSTILE}"}
    )
    frame["model"] = frame["model"].replace({"a": HOSTILE, "b": "=1+1", "c": "../../{{7*7}}"})
    out = analysed(frame, tmp_path, "--axes", "answer,model", "--metrics", f"e{HOSTILE}")
    text = (out / "report.html").read_text("utf-8")
    assert "<img" not in text
    assert "{{7*7}}" in text
    assert text.count('<section id="answer"') == 1
    assert "<img" not in (out / "findings.md").read_text("utf-8").replace("\\<", "")
    assert not any(line.startswith("=") or ",=" in line
                   for line in (out / "contrasts.csv").read_text("utf-8").splitlines())  # fmt: skip


def test_data_sets_are_never_pooled(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frame = pd.concat([table(rng, 6.0).assign(dataset="x"), table(rng, 0.0).assign(dataset="y")])
    out = analysed(frame, tmp_path, "--axes", "dataset,lr,model", *CALL[2:])
    found = pd.read_csv(out / "contrasts.csv")
    assert set(found.loc[found["scope"] == "pooled", "dataset"]) == {"x", "y"}
    entries = json.loads((out / "findings.json").read_text("utf-8"))
    worse = {one["dataset"] for one in entries if one["verdict"] == "worse"}
    assert worse == {"x"}


def test_a_name_with_a_comma_is_quoted(tmp_path: Path) -> None:
    frame = table(np.random.default_rng(5)).rename(columns={"elbo": "elbo, test", "lr": "lr, 1e-3"})
    names = ["--axes", '"lr, 1e-3",model', "--metrics", 'fid:lower:log,"elbo, test":higher:0.5']
    out = analysed(frame, tmp_path, *names)
    assert {"elbo, test", "fid"} == set(pd.read_csv(out / "contrasts.csv")["metric"])


@pytest.mark.parametrize("option", ["--axes", "--metrics"])
def test_no_column_at_all_is_one_sentence(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    table(np.random.default_rng(5)).to_csv(path, index=False)
    names = dict(zip(CALL[::2], CALL[1::2], strict=True)) | {option: ", "}
    assert main(["analyse", str(path), *(part for pair in names.items() for part in pair)]) == 1
    assert f"Error: {option} is ', '; allowed: names of one column" in capsys.readouterr().err
    assert not (tmp_path / "runs-analysis").exists()
