"""Tables of runs as trackers and spreadsheets write them; bad ones end in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study_rows import product
from vae_ablation.common.errors import UserError
from vae_ablation.study.axes import BORROWED, axis_of
from vae_ablation.study.metrics import METRICS, Metric, described
from vae_ablation.tables.foreign import RunTable, read_runs

ELBO = Metric("elbo", "elbo", better="higher")


def sweep(**levels: Any) -> pd.DataFrame:
    """Runs over a learning rate and a model, three seeds each, unless levels say otherwise."""
    rng = np.random.default_rng(0)
    names = {"lr": [0.001, 0.01], "model": ["a", "b"], "seed": range(3)} | levels
    return pd.DataFrame(one | {"elbo": rng.normal()} for one in product(**names))


def read(path: Path, text: str | bytes, axes: str = "lr,model", **more: Any) -> RunTable:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_runs(path, axes.split(","), more.get("seed", "seed"), more.get("metrics", [ELBO]))


def values(table: RunTable) -> list[float]:
    return table.runs[next(iter(table.metrics))].tolist()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.csv"


def test_a_plain_table_keeps_its_numbers_and_names(path: Path) -> None:
    frame = sweep()
    table = read(path, frame.to_csv(index=False))
    assert values(table) == frame["elbo"].tolist()
    lr, model = table.axes.values()
    assert (lr.label, lr.ordered, lr.scale) == ("lr", True, "log")
    assert (model.label, model.ordered) == ("model", False)
    assert table.notes == ()


def test_its_axes_and_metrics_are_known_only_while_it_is_analysed(path: Path) -> None:
    table = read(path, sweep().to_csv(index=False))
    before = {*METRICS}
    with table.known():
        assert axis_of("axis1").label == "lr"
        assert described("metric1").better == "higher"
    assert BORROWED == {}
    assert {*METRICS} == before


@pytest.mark.parametrize(
    ("lr", "seed", "elbo", "state", "fine", "bad"),
    [
        ("config.lr", "config.seed", "summary.elbo", "State", "finished", "crashed"),
        ("params.lr", "params.seed", "metrics.elbo", "status", "FINISHED", "FAILED"),
        ("optimizer.lr", "seed", "elbo", "state", "COMPLETE", "RUNNING"),
        ("config/lr", "config/seed", "summary/elbo", "status", "ok", "diverged"),
    ],
    ids=["wandb", "mlflow", "hydra and optuna", "slashes"],
)
def test_exports_of_trackers_are_met(
    lr: str, seed: str, elbo: str, state: str, fine: str, bad: str, path: Path
) -> None:
    frame = sweep().rename(columns={"lr": lr, "seed": seed, "elbo": elbo})
    frame[state] = fine
    frame.loc[0, [state, elbo]] = [bad, None]
    frame.insert(0, "Name", [f"run-{i}" for i in range(len(frame))])
    table = read(path, frame.to_csv(index=False))
    assert list(table.runs["status"]) == ["failed"] + ["ok"] * 11
    assert table.runs["run"].iloc[0] == "run-0"
    assert any(f"“lr” is the column “{lr}”" in note for note in table.notes)
    assert any("1 did not end well" in note for note in table.notes)


def test_a_crashed_run_gives_way_to_the_one_that_took_its_place(path: Path) -> None:
    frame = sweep().assign(State="finished")
    crashed = frame.head(1).assign(State="crashed", elbo=np.nan)
    empty = frame.head(1).assign(State="running", model=None)
    table = read(path, pd.concat([crashed, empty, frame]).to_csv(index=False))
    assert len(table.runs) == 12
    assert (table.runs["status"] == "ok").all()
    assert any("2 of these rows are left out" in note for note in table.notes)


def test_a_column_called_status_that_holds_something_else_is_no_state(path: Path) -> None:
    table = read(path, sweep().assign(status="tall").to_csv(index=False))
    assert (table.runs["status"] == "ok").all()


def test_spreadsheets_of_other_languages_are_read(path: Path) -> None:
    frame = sweep()
    text = frame.to_csv(index=False, sep=";", decimal=",")
    wanted = read(path, frame.to_csv(index=False))
    for raw in (text.encode("utf-8-sig"), text.encode("utf-16"), f"sep=;\n{text}".encode()):
        found = read(path, raw)
        assert values(found) == values(wanted)
        assert set(found.runs["axis1"]) == {0.001, 0.01}
        assert any("semicolons" in note for note in found.notes)
        assert any("decimal commas" in note for note in found.notes)
    tabs = read(path, frame.to_csv(index=False, sep="\t"))
    assert values(tabs) == values(wanted)


def test_text_of_an_old_spreadsheet_is_read_and_said_so(path: Path) -> None:
    found = read(path, sweep(model=["café", "b"]).to_csv(index=False).encode("cp1252"))
    assert "café" in set(found.runs["axis2"])
    assert any("Windows-1252" in note for note in found.notes)


def test_sheets_need_openpyxl_or_are_read(tmp_path: Path) -> None:
    path = tmp_path / "runs.xlsx"
    path.write_bytes(b"no sheet")
    with pytest.raises(UserError, match=r"runs\.xlsx: (reading it needs openpyxl|cannot be read)"):
        read_runs(path, ["lr"], "seed", [ELBO])
    pytest.importorskip("openpyxl")
    sweep().to_excel(path, index=False)
    assert len(read_runs(path, ["lr", "model"], "seed", [ELBO]).runs) == 12


def test_undefined_and_infinite_values_are_empty_and_counted(path: Path) -> None:
    frame = sweep().astype({"elbo": object})
    frame.loc[:4, "elbo"] = ["NaN", "Infinity", "-inf", "None", ""]
    table = read(path, frame.to_csv(index=False))
    assert sum(np.isnan(values(table))) == 5
    assert "elbo is infinite in 2 of 12 runs, which count as undefined." in table.notes


def cell(row: int, column: str, value: Any) -> str:
    frame = sweep().astype({column: object})
    frame.loc[row, column] = value
    return frame.to_csv(index=False)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["is empty"]),
        ("\n\n", ["is empty"]),
        ("lr,model,seed,elbo\n", ["no row"]),
        (sweep().drop(columns="lr").to_csv(index=False), ["column is 'lr'", "not known"]),
        (cell(3, "model", None), ["row 5", "no model"]),
        (cell(3, "seed", None), ["row 5", "no seed"]),
        (cell(3, "elbo", "oops"), ["row 5", "'oops' as elbo"]),
        (cell(3, "elbo", "1,234"), ["row 5", "'1,234'"]),
        (cell(1, "seed", 0), ["row 3 repeats", "row 2"]),
        (pd.concat([sweep().assign(width=w) for w in (8, 9)]).to_csv(index=False),
         ["repeats", "perhaps width"]),
        (sweep().assign(**{"a.lr": 1, "b.lr": 2}).drop(columns="lr").to_csv(index=False),
         ["'lr' may be a.lr or b.lr"]),
        (sweep().assign(State="crashed").to_csv(index=False), ["no run ended well", "12 crashed"]),
        ("lr,model,seed,elbo\n1,a,0,1,7\n2,b,0,2,8\n", ["more cells than the 4 columns"]),
        (b"\x89PNG\r\n\x1a\n\0\0", ["cannot be read"]),
        (b"\xff\xfea", ["cannot be read"]),
    ],
    ids=["empty", "blank", "no runs", "no column", "no level", "no seed", "text", "thousands",
         "twice", "twice with a further axis", "ambiguous", "all crashed", "more cells", "binary",
         "half a text"],
)  # fmt: skip
def test_bad_tables_end_in_one_sentence(text: str | bytes, parts: list[str], path: Path) -> None:
    with pytest.raises(UserError) as error:
        read(path, text)
    said = str(error.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    for part in parts:
        assert part in said


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for place in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_runs(place, ["lr"], "seed", [ELBO])


def test_numbers_that_read_alike_stay_apart(path: Path) -> None:
    table = read(path, sweep(lr=[1000000, 1000001]).to_csv(index=False))
    assert set(table.runs["axis1"]) == {"1000000", "1000001"}


def test_names_of_ours_in_the_table_cannot_be_mistaken(path: Path) -> None:
    table = read(path, sweep(model=["axis1", "metric1"]).to_csv(index=False))
    assert list(table.axes) == ["own_axis1", "own_axis2"]


def test_columns_that_change_with_an_axis_are_found(path: Path) -> None:
    frame = sweep()
    frame["width"] = frame["model"].map({"a": 16, "b": 32})
    table = read(path, frame.to_csv(index=False))
    assert table.related == {"axis2": ["width"]}


def test_seeds_may_be_text(path: Path) -> None:
    table = read(path, sweep(seed=["x", "y"]).to_csv(index=False))
    assert sorted(set(table.runs["seed"])) == [0, 1]
