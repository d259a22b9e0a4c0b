"""Charts and tables read as what they show, whatever the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from planted import contrast
from report.page.studies import GRID, made_rows, write_study
from report.page.test_page_layout import OVERLAPS, window
from study_rows import product
from vae_ablation.tables.collect import write_csv

pytestmark = pytest.mark.browser

Rows = list[dict[str, Any]]

CUT = """
return [...document.querySelectorAll("figure svg")].flatMap((svg) => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter((one) => {
    const own = one.getBoundingClientRect();
    return own.width && (own.left < box.left - 1.5 || own.right > box.right + 1.5);
  }).map((one) => one.textContent);
});
"""


def around_another() -> Rows:
    """Conditioning varies beside the Gaussian alone, which is not shown first."""
    usual = product(likelihood=["gaussian", "discretized_logistic"], beta=[0.1, 1.0], seed=[0, 1])
    told = product(likelihood=["gaussian"], condition=["label"], seed=[0, 1])
    return made_rows([*usual, *told])


def with_contrasts(study: Path, *rows: dict[str, Any]) -> Path:
    import pandas as pd

    write_csv(pd.DataFrame(list(rows)), study / "tables" / "contrasts.csv")
    return study


def test_an_axis_is_shown_where_it_varies(page: Any, tmp_path: Path) -> None:
    study = write_study(tmp_path / "results" / "made", around_another())
    row = contrast("condition", "label", "nll", (1.5, 1.0, 2.0), "undecided", dataset="digits",
                   reference="none", likelihood="gaussian", beta=1.0)  # fmt: skip
    page.open(with_contrasts(study, row))
    assert page.run("return armTitle(state.arm)").startswith("β = 1 · discretised logistic")
    page.run("redraw(true)")
    figure = "document.querySelector('[data-figure=response-condition]')"
    marks = page.run(f"return [...{figure}.querySelectorAll('.mark')].map((one) => one.ariaLabel)")
    assert {"unconditional", "conditioned on label"} <= {
        part for mark in marks for part in mark.split(". ")[0].split(" · ")
    }
    said = page.run(f"return {figure}.querySelector('.said').textContent")
    assert said.startswith(
        "The arms chosen above do not vary in the conditioning alone; the nearest that do are "
        "shown: Gaussian."
    )
    table = page.run("return document.querySelector('[data-question=condition]').innerText")
    assert "conditioned on label" in table
    assert "At other levels than the chosen ones: Gaussian." in table
    assert "one can be undecided though its interval excludes no difference" in table
    page.run("choose(data.arms.name.lastIndexOf('beta1')); redraw(true)")
    assert "Gaussian" in page.run("return armTitle(state.arm)")
    assert "do not vary" not in page.run(f"return {figure}.querySelector('.said').textContent")


@pytest.mark.parametrize("width", [390, 1440])
def test_long_names_and_many_levels_stay_within_their_charts(
    width: int, page: Any, tmp_path: Path
) -> None:
    key = "training.learning_rate"
    betas = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    usual = product(**{key: [0.001]}, beta=betas, latent_dim=[2, 8], seed=[0, 1])
    others = product(**{key: [1e-4, 3e-4]}, latent_dim=[2, 8], seed=[0, 1])
    rows = made_rows([*usual, *others])
    study = write_study(tmp_path / "results" / "made", rows)
    effects = [
        contrast(key, level, metric, (1.5, 1.0, 2.0), "worse", dataset="digits", reference="0.001")
        for level in ("0.0001", "0.0003") for metric in ("nll", "mse")
    ]  # fmt: skip
    with window(page, width):
        page.open(with_contrasts(study, *effects))
        for arm in (0, 7, page.run("return ARM_COUNT") - 1):
            page.run("choose(arguments[0]); redraw(true)", arm)
            assert page.run(CUT) == []
            for figure in ("map", "active", "forest", f"response-{key.replace('.', '-')}"):
                selector = f'[data-figure="{figure}"] svg'
                assert page.run(OVERLAPS, selector) == [], (arm, figure)
        names = page.run("return document.querySelector('[data-figure=forest]').textContent")
        assert "learning rate 0.0001" in names or width < 600


def test_long_names_of_lines_stay_on_the_chart(page: Any, tmp_path: Path) -> None:
    dropped = {"model.dropout": [0, 0.2]}
    rows = made_rows(product(train_examples=[50, 150, 648], **dropped, seed=[0, 1]))
    with window(page, 390):
        page.open(write_study(tmp_path / "results" / "made", rows))
        page.run("redraw(true)")
        assert page.run(CUT) == []


def test_counts_have_whole_ticks(page: Any, tmp_path: Path) -> None:
    rows = made_rows(GRID)
    for one in rows:
        one["active_units"] = 1 + one["seed"] % 2
    page.open(write_study(tmp_path / "results" / "made", rows,
                          statistics={"primary_metrics": ["active_units"]}))  # fmt: skip
    ticks = page.run(
        "redraw(true); const cells = [...document.querySelectorAll('[data-figure=response-beta]"
        " .cell')].filter((one) => one.querySelector('h3').textContent.startsWith('Active units'));"
        "return cells.flatMap((one) => [...one.querySelectorAll('text[text-anchor=end]')])"
        ".map((one) => one.textContent)"
    )
    assert ticks
    assert all("." not in tick for tick in ticks)


def test_one_arm_is_counted_as_one(page: Any, tmp_path: Path) -> None:
    page.open(write_study(tmp_path / "results" / "made", made_rows([GRID[0]])))
    text = page.run("return document.querySelector('main').innerText")
    assert "1 arm\n" in text
    assert "1 of 1 row\n" in text
    assert "One seed for each arm, so there are no intervals." in text
    caption = page.run("return document.querySelector('#paper-table caption').textContent")
    assert caption.endswith("one seed for each arm")
    middle = page.run(
        "redraw(true); const svg = document.querySelector('[data-figure=trust] svg');"
        "const x = (one) => { const box = one.getBoundingClientRect();"
        " return box.left + box.width / 2; };"
        "return Math.abs(x(svg.querySelector('.mark .face')) - x(svg.querySelector('.axis[x1]')))"
    )
    assert middle < 2


def test_a_study_of_failed_runs_has_no_empty_figure(page: Any, tmp_path: Path) -> None:
    page.open(write_study(tmp_path / "results" / "made", made_rows(GRID, "diverged")))
    page.run("redraw(true)")
    assert page.run(
        "return [...document.querySelectorAll('figure .drawing')].every((one) =>"
        " one.getBoundingClientRect().height > 30)"
    )
    text = page.run("return document.getElementById('paper-table').innerText")
    assert text == "No run of these arms ended well."


def test_bars_of_a_profile_lie_on_their_side_of_zero(page: Any, tmp_path: Path) -> None:
    page.open(write_study(tmp_path / "results" / "made", made_rows(GRID[:3])))
    bars = page.run(
        "const place = document.body.appendChild(node('div', { class: 'profile' }));"
        "profile(place, [0.5, -1.5, 0], { features: ['age', 'a long name of a column'] });"
        "return [...place.querySelectorAll('i')].map((one) =>"
        " [one.style.marginLeft, one.style.width])"
    )
    assert bars == [["0%", "75%"], ["75%", "25%"], ["75%", "0%"]]


def test_no_level_has_the_colour_of_no_kl_term(page: Any, tmp_path: Path) -> None:
    page.open(write_study(tmp_path / "results" / "made", made_rows(GRID)))
    colors = page.run(
        "const probe = document.body.appendChild(node('i'));"
        "return [...LEVEL_COLORS, 'var(--warm)'].map((one) => {"
        " probe.style.color = one; return getComputedStyle(probe).color; })"
    )
    assert len(set(colors)) == len(colors)
