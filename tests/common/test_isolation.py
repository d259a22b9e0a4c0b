"""Errors of one part stay its own; faults that another attempt may mend do not."""

from __future__ import annotations

import pandas as pd
import pytest

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json
from vae_ablation.common.isolation import Isolated, error_text, unforeseen
from vae_ablation.report.findings import finding
from vae_ablation.report.overview import write_overview
from vae_ablation.tables.failures import failures


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            ValueError("n_components=0\n must be larger"),
            "ValueError: n_components=0 must be larger",
        ),
        (AssertionError(), "AssertionError"),
        (ValueError("x" * 900), f"ValueError: {'x' * 900}"[:200]),
    ],
)
def test_an_unforeseen_error_is_told_on_one_line(error: Exception, text: str) -> None:
    assert unforeseen(error)
    assert error_text(error) == text


@pytest.mark.parametrize(
    "error",
    [UserError("no."), OSError(28, "full"), MemoryError(), RuntimeError("CUDA out of memory")],
)
def test_faults_of_user_and_machine_are_foreseen(error: Exception) -> None:
    assert not unforeseen(error)


def test_what_is_left_out_is_counted_and_the_rest_returned() -> None:
    part = Isolated("run")
    assert part("a", lambda: 1, 0) == 1
    assert part.reason == ""
    assert part("b", lambda: 1 // 0, 7) == 7
    assert part.reason.startswith("could not be computed: b (ZeroDivisionError: ")
    with pytest.raises(ZeroDivisionError):
        Isolated("run", active=False)("b", lambda: 1 // 0, 7)


def test_a_finder_that_fails_says_so_and_the_others_speak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: object) -> object:
        raise KeyError("the bug")

    runs = pd.DataFrame(
        [{"model": "vae", "dataset": "d", "likelihood": "gaussian", "latent_dim": 2, "seed": 0,
          "arm": "beta1", "beta": 1.0, "kl": True, "posterior": "gaussian", "status": "ok",
          "reason": "", "measure": "m", "proper": True, "run": "r"}]
    )  # fmt: skip
    columns = ("dataset", "likelihood", "latent_dim", "arm", "model", "metric", "n", "mean",
               "ci_low", "ci_high")  # fmt: skip
    summary = pd.DataFrame(columns=columns)
    tables = {"metrics": runs, "summary": summary}
    before = finding.findings(tables, {})
    monkeypatch.setitem(finding._FINDERS, "broken", broken)
    after = finding.findings(tables, {})
    (told,) = [one for one in after if one.topic == "error/broken"]
    assert [one for one in after if one is not told] == before
    assert "KeyError: 'the bug'" in str(told.text)
    assert not told.claims
    monkeypatch.setitem(finding._FINDERS, "broken", lambda _: iter(["words"]))
    (told,) = [one for one in finding.findings(tables, {}) if one.topic == "error/broken"]
    assert "TypeError: answer gives str; allowed: findings" in str(told.text)


def test_a_finding_may_be_plain_text() -> None:
    entry = finding.Finding("d", "topic", "trust", "It holds", "In every run.").entry
    assert (entry["headline"], entry["text"], entry["numbers"]) == ("It holds", "In every run.", [])


def test_a_run_of_which_something_is_missing_is_listed(tmp_path) -> None:
    common = {"model": "vae", "dataset": "d", "likelihood": "gaussian", "latent_dim": 2,
              "beta": 1.0, "arm": "beta1", "kl": True, "posterior": "gaussian", "proper": True,
              "drift": 0.0, "train_seconds": 1.0, "device": "cpu", "epochs": 2}  # fmt: skip
    told = "could not be computed: samples (KeyError: 'x')"
    metrics = pd.DataFrame(
        [
            common | {"run": "a", "seed": 0, "status": "ok", "reason": ""},
            common | {"run": "b", "seed": 1, "status": "ok", "reason": told},
            common | {"run": "c", "seed": 2, "status": "failed", "reason": "no memory"},
        ]
    )
    assert failures(metrics)["run"].tolist() == ["b", "c"]
    write_overview(tmp_path, metrics)
    overview = read_json(tmp_path / "tables" / "overview.json")
    assert [row["run"] for row in overview["not_ok"]] == ["c"]
    assert [row["run"] for row in overview["incomplete"]] == ["b"]
