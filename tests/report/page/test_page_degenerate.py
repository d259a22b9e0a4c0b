"""Studies with next to nothing, or with too much, open without an error in every state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from report.page.studies import GRID, draw_pictures, made_rows, ten_axes, write_study
from study_rows import product

pytestmark = pytest.mark.browser

Rows = list[dict[str, Any]]


def some(**levels: Any) -> Rows:
    """Rows of the grid with these levels."""
    return made_rows([one for one in GRID if all(one[k] == v for k, v in levels.items())])


def without_metrics(rows: Rows, *names: str) -> Rows:
    return [{k: v for k, v in one.items() if k not in names} for one in rows]


STUDIES: dict[str, Callable[[], Rows]] = {
    "whole": lambda: made_rows(GRID),
    "one likelihood": lambda: some(likelihood="gaussian"),
    "one dimension": lambda: some(latent_dim=2),
    "one seed": lambda: some(seed=0),
    "no KL-off arm": lambda: some(kl=True),
    "one arm": lambda: some(likelihood="gaussian", latent_dim=2, beta=1.0, kl=True),
    "one run": lambda: some(likelihood="gaussian", latent_dim=2, beta=1.0, kl=True, seed=0),
    "KL-off arms alone": lambda: some(kl=False),
    "every run failed": lambda: made_rows(GRID, "failed"),
    "some runs failed": lambda: made_rows(GRID[:-4]) + made_rows(GRID[-4:], "diverged"),
    "two data sets": lambda: made_rows(
        [{**one, "dataset": name} for one in GRID[:12] for name in ("digits", "other")]
    ),
    "no rate": lambda: without_metrics(made_rows(GRID), "rate", "elbo", "distortion"),
    "no metric": lambda: [
        {k: v for k, v in one.items() if k in made_rows(GRID[:1], "failed")[0]}
        for one in made_rows(GRID)
    ],
    "ten axes": ten_axes,
    "a deterministic arm": lambda: made_rows(
        [*GRID[:6], *product(posterior=["point"], latent_dim=[2], seed=[0, 1])]
    ),
}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_tables_opens_with_every_state_drawn(
    name: str, page: Any, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "results" / "made", STUDIES[name]())
    page.open(study)
    assert page.every_state() >= 1
    page.settle()
    assert page.broken() == []
    assert page.overflow() <= 0
    assert page.run("return document.querySelectorAll('#every-number tbody tr').length") > 0


def test_a_study_of_one_change_at_a_time_opens_at_its_middle(page: Any, tmp_path: Path) -> None:
    page.open(write_study(tmp_path / "results" / "made", ten_axes()))
    assert page.run("return state.at.filter((_, i) => along(i, state.at).length > 1).length") >= 9
    assert page.run("return document.querySelectorAll('#paper-table tbody tr').length") >= 10
    assert page.run("return document.querySelectorAll('#switches > *').length") == 5


@pytest.mark.parametrize(
    ("shape", "classes"), [((8, 8), 10), ((28, 28), 0), ((32, 32, 3), 3), ((1, 1), 1)]
)
def test_pictures_of_every_shape_are_drawn(
    shape: tuple[int, ...], classes: int, page: Any, tmp_path: Path
) -> None:
    rows = made_rows(GRID[:-3]) + made_rows(GRID[-3:], "diverged")
    study = write_study(tmp_path / "results" / "made", rows)
    draw_pictures(study, rows, shape, classes)
    page.open(study)
    page.every_state()
    page.settle()
    assert page.broken() == []
    colored = page.run("return document.querySelectorAll('canvas.color').length")
    assert page.run("return document.querySelectorAll('canvas.pixels').length") > 5
    assert (colored > 0) == (len(shape) == 3)
    for run in (0, len(rows) - 1):
        page.run("openRun(arguments[0])", run)
        page.settle()
        assert page.broken() == []
        page.run("document.getElementById('drawer').close()")


def test_a_study_without_runs_says_so(page: Any, tmp_path: Path) -> None:
    study = write_study(tmp_path / "results" / "made", made_rows(GRID[:1]))
    table = study / "tables" / "metrics.csv"
    lines = table.read_text("utf-8").splitlines(keepends=True)
    table.write_text(lines[0] + lines[-1], "utf-8")
    from vae_ablation.report.page.build import report

    assert "has no runs yet" in report(study)


def test_ten_thousand_runs_are_under_20_mb_and_open(page: Any, tmp_path: Path) -> None:
    settings = product(
        likelihood=["gaussian", "discretized_logistic"], latent_dim=[2, 4, 8, 16, 32],
        beta=[round(0.02 * k, 2) for k in range(1, 101)], kl=[True], seed=list(range(10)),
    )  # fmt: skip
    study = write_study(tmp_path / "results" / "made", made_rows(settings))
    path = page.open(study)
    assert path.stat().st_size < 20e6
    assert page.broken() == []
    assert page.run("return document.documentElement.dataset.ready") is not None
