"""The page as readers use it: by pointer and keys, on a phone, on paper, with hostile names."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from report.page.studies import GRID, draw_pictures, made_rows, write_study
from report.page.trained import train_study
from study_rows import product
from vae_ablation.common.files import write_json
from vae_ablation.store.trained import load_run
from vae_ablation.tables.collect import read_metrics, summarize, write_csv

pytestmark = pytest.mark.browser


def contrasts(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Pooled contrasts of β and KL off in the engine's layout, one with each verdict."""
    verdicts = ["better", "worse", "higher", "lower", "equivalent", "depends", "undecided"]
    questions = [("beta", "0.1"), ("beta", "4"), ("kl_off", "off")]
    metrics = ["mse", "sample_fid", "probe_accuracy"]
    made = [
        {
            "question": question, "scope": "pooled", "dataset": "digits", "level": level,
            "reference": "1", "metric": metric, "primary": True, "scale": "log", "settings": 4,
            "n": 3, "lost": 0, "estimate": 0.1 * k, "ci_low": 0.1 * k - 0.2,
            "ci_high": 0.1 * k + 0.2, "effect": 1.1, "effect_low": 0.9, "effect_high": 1.4,
            "margin": 0.1, "verdict": verdicts[(3 * i + k) % 7], "depends_on": "likelihood",
            "family": "primary",
        }
        for i, (question, level) in enumerate(questions)
        for k, metric in enumerate(metrics)
    ]  # fmt: skip
    within = {**made[5], "scope": "likelihood=gaussian", "likelihood": "gaussian"}
    one_seed = {**made[0], "metric": "nll", "ci_low": None, "ci_high": None, "effect_low": None,
                "effect_high": None, "verdict": "undecided"}  # fmt: skip
    setting = {**made[1], "scope": "setting", "likelihood": "gaussian", "latent_dim": 8,
               "level": "4", "verdict": "worse", "family": "setting"}  # fmt: skip
    return pd.DataFrame([*made, within, one_seed, setting])


FINDINGS = [
    {"section": "beta", "headline": "β trades one for the other", "text": "It is 1.2 (1.1 to 1.3).",
     "verdict": "worse", "dataset": "digits", "lead": True, "caveats": ["One caveat."]},
    {"section": "kl_off", "headline": "Without it, codes spread", "text": "By 3.", "lead": True,
     "verdict": "worse", "dataset": "digits", "caveats": []},
]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = made_rows(GRID[:-2]) + made_rows(GRID[-2:], "diverged")
    folder = tmp_path_factory.mktemp("browser") / "results" / "made"
    write_study(folder, rows, FINDINGS)
    draw_pictures(folder, rows, (8, 8))
    write_csv(contrasts(rows), folder / "tables" / "contrasts.csv")
    costs = [{"stage": "train", "jobs": 2, "seconds": 100.0, "peak_memory_mb": 500.0}]
    write_csv(pd.DataFrame(costs), folder / "tables" / "costs.csv")
    return folder


def test_the_answer_and_headings_are_findings(study: Path, page: Any) -> None:
    page.open(study)
    answer = page.run("return document.querySelector('.answer').innerText")
    assert "It is 1.2 (1.1 to 1.3)." in answer
    headings = page.run("return [...document.querySelectorAll('h2')].map((one) => one.innerText)")
    assert any("β trades one for the other" in one for one in headings)
    link = page.run("return document.querySelector('.answer a').hash")
    assert link in page.run(
        "return [...document.querySelectorAll('section')].map((s) => '#' + s.id)"
    )
    depends = page.run("return document.getElementById('beta').innerText")
    assert "depends on likelihood" in depends
    assert "β = 4, Gaussian" in depends


def test_a_switch_drives_every_figure_and_the_address(study: Path, page: Any) -> None:
    page.open(study)
    before = page.run("return document.querySelector('#map svg').getAttribute('aria-label')")
    for axis, level in (("likelihood", 1), ("beta", 3)):
        page.run(
            "document.querySelector(`input[name='axis-${axisAt[arguments[0]]}']"
            "[value='${arguments[1]}']`).click()",
            axis,
            level,
        )
    page.run("redraw(true)")
    page.settle()
    after = page.run("return document.querySelector('#map svg').getAttribute('aria-label')")
    assert before != after
    address = page.run("return location.hash")
    assert address.count("~") == 3
    arm = page.run("return state.arm")
    said = page.run("return document.getElementById('live').textContent")
    assert said == f"Showing {page.run('return armTitle(state.arm)')}"
    page.driver.get("about:blank")
    page.driver.get((page.folder / "report.html").as_uri() + address)
    page.settle()
    assert page.run("return state.arm") == arm


def test_the_filter_keeps_its_grammar(study: Path, page: Any) -> None:
    page.open(study)

    def rows(table: str, text: str) -> int:
        page.run(f"document.getElementById('tab-{table}').click()")
        return page.run(
            f"return document.getElementById('table-{table}').table.filter(arguments[0])", text
        )

    assert rows("runs", "gaussian beta1 d=8") == 3
    assert rows("arms", "") == 16
    assert rows("arms", "gaussian") == 8
    assert rows("arms", "d=8 gaussian") == 4
    assert rows("arms", "β<1 d>2") == 2
    assert rows("arms", "kl-off") == 4
    assert rows("arms", "nothing-like-it") == 0
    assert rows("arms", "mse>1000") == 0
    assert rows("arms", "unknown=3") == 0
    assert rows("runs", "status=diverged") == 2
    elbo = page.run("return data.runs.m.elbo.filter((v) => v !== null && v > -60).length")
    assert 0 < rows("runs", "elbo>−60") == elbo


def test_the_papers_table_takes_its_emphasis_from_the_verdicts(study: Path, page: Any) -> None:
    page.open(study)
    page.run("choose(data.runs.arm[data.runs.path.indexOf('digits/gaussian/z8/beta1/seed0')])")
    bold = page.run(
        "return [...document.querySelectorAll('#paper-table td.clear')].map((cell) =>"
        " [cell.parentNode.cells[0].textContent, cell.className])"
    )
    assert bold == [["β = 4", "clear bad"]]


def test_tables_sort_choose_columns_and_leave_as_text(study: Path, page: Any) -> None:
    page.open(study)
    page.run("[...document.querySelectorAll('#table-arms thead button')].at(-1).click()")
    assert page.run(
        "return document.querySelector('#table-arms th[aria-sort=descending]') !== null"
    )
    page.run(
        "const pick = document.querySelector('#table-arms details.pick'); pick.open = true;"
        "[...pick.querySelectorAll('input')].at(-1).click()"
    )
    columns = page.run("return document.querySelectorAll('#table-arms thead th').length")
    matrix = page.run("return document.getElementById('table-arms').table.matrix(true)")
    assert len(matrix[0]) == columns
    assert len(matrix) == 17
    text = page.run("return csvText([['=1+1', 'a,b', null, -2.5]])")
    assert text == '\'=1+1,"a,b",,-2.5\n'
    latex = page.run("return latexText([['Arm', 'ELBO (nats)'], ['β_1 & 2 %', '−1.2 ± 3']], 'A_b')")
    assert "$\\beta$\\_1 \\& 2 \\% & $-$1.2 $\\pm$ 3 \\\\" in latex
    assert page.run("return markdownText([['a|b'], ['*c*']])") == "| a\\|b |\n|---|\n| \\*c\\* |\n"
    assert page.run("return bibtexText()").startswith("@misc{vae-ablation-made,")


def test_figures_leave_as_csv_and_as_svg_that_stands_alone(study: Path, page: Any) -> None:
    page.open(study)
    rows = page.run("return figures.get('map').rows")
    assert rows[0][0] == "arm"
    assert len(rows) > 3
    svg = page.run("return figureSvg(figures.get('map').place).text")
    assert svg.startswith("<svg")
    assert "var(" not in svg
    assert "color-mix" not in svg
    assert page.driver.execute_async_script(
        "const done = arguments[0]; const image = new Image();"
        "image.onload = () => done(image.naturalWidth); image.onerror = () => done(0);"
        "image.src = 'data:image/svg+xml;charset=utf-8,' +"
        " encodeURIComponent(figureSvg(figures.get('map').place).text)"
    ) > 500  # fmt: skip


def test_the_keyboard_alone_reaches_arms_runs_and_tables(study: Path, page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open(study)
    body = page.driver.find_element("tag name", "body")
    body.send_keys(Keys.TAB)
    assert page.run("return document.activeElement.className") == "skip"
    mark = page.driver.find_element("css selector", "#map .mark[tabindex='0']")
    page.run("arguments[0].focus()", mark)
    first = page.run("return document.activeElement.getAttribute('aria-label')")
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    second = page.run("return document.activeElement.getAttribute('aria-label')")
    assert first != second
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.settle()
    assert page.run("return document.activeElement.getAttribute('aria-pressed')") == "true"
    assert second.startswith(page.run("return armTitle(state.arm)"))
    assert (
        page.run("return document.querySelectorAll('#map svg .mark[tabindex=\"0\"]').length") == 1
    )
    page.run("document.querySelector('#map .textual').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.run("return document.getElementById('drawer').open")
    assert "run=" in page.run("return decodeURIComponent(location.hash)")
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.run("return document.getElementById('drawer').open")
    page.run("document.getElementById('tab-arms').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.run("return document.activeElement.id") == "tab-runs"


def test_a_run_opens_with_curve_snapshots_settings_and_metrics(study: Path, page: Any) -> None:
    page.open(study)
    page.run("openRun(data.runs.path.indexOf('digits/gaussian/z8/beta1/seed1'))")
    page.settle()
    text = page.run("return document.getElementById('drawer-body').innerText")
    assert "β = 1 · Gaussian · latent dimension 8" in text
    assert "Reconstructions over training" in text
    page.run("const s = document.querySelector('#drawer-body input[type=range]'); s.value = 0;"
             "s.dispatchEvent(new Event('input'))")  # fmt: skip
    assert "before training" in page.run("return document.getElementById('drawer-body').innerText")
    page.run("openRun(data.runs.arm.length - 1)")
    page.settle()
    assert "it diverged" in page.run(
        "return data.runs.reason.words.join() + document.getElementById('drawer-body').innerText"
    )
    assert page.broken() == []


def test_axe_finds_no_violation_in_light_and_dark(study: Path, page: Any) -> None:
    page.open(study)
    assert page.violations() == {"light": [], "dark": []}


def test_everything_that_is_drawn_or_pressed_has_a_name(study: Path, page: Any) -> None:
    page.open(study)
    nameless = page.run(
        "return [...document.querySelectorAll('button, select, input, svg[role], canvas[role],"
        " .mark, [role=region]')].filter((one) => !(one.getAttribute('aria-label')"
        " || one.textContent.trim() || one.labels?.length)).map((one) => one.outerHTML)"
    )
    assert nameless == []
    levels = page.run(
        "return [...document.querySelectorAll('h1,h2,h3')].map((one) => Number(one.tagName[1]))"
    )
    ids = page.run("return [...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def contrast_ratio(one: list[float], other: list[float]) -> float:
    """WCAG 2's contrast of two sRGB colours, 0 to 255."""

    def luminance(rgb: list[float]) -> float:
        linear = [
            v / 12.92 if (v := c / 255) <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for c in rgb
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_of_text_and_marks_can_be_told_from_their_ground(
    theme: str, study: Path, page: Any
) -> None:
    page.open(study)
    colors = page.run(
        "document.documentElement.dataset.theme = arguments[0];"
        "const probe = document.body.appendChild(document.createElement('i'));"
        "const read = (name) => { probe.style.color = `var(--${name})`;"
        " return getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map(Number); };"
        "return Object.fromEntries(arguments[1].map((name) => [name, read(name)]))",
        theme,
        ["page", "card", "ink", "soft", "faint", "accent", "warm", "good"]
        + [f"k{rank}" for rank in range(10)],
    )
    for ground in ("page", "card"):
        for name, color in colors.items():
            if name in ("page", "card"):
                continue
            least = 3.0 if name == "faint" else 4.5
            assert contrast_ratio(color, colors[ground]) >= least, (name, ground)


def test_a_phone_shows_all_without_sideways_scrolling(study: Path, page: Any) -> None:
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        page.open(study)
        assert page.overflow() <= 0
        assert page.run("return innerWidth") == 390
        assert page.broken() == []
        page.run("openRun(0)")
        page.settle()
        assert page.run("return document.getElementById('drawer').scrollWidth") <= 390
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_print_has_text_figures_and_the_papers_table(study: Path, page: Any) -> None:
    page.open(study)
    printed = page.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") >= 4 or pdf.count(b"/Type /Page") >= 5
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        page.run("dispatchEvent(new Event('beforeprint'))")
        shown = page.run(
            "const seen = (one) => one.getClientRects().length > 0;"
            "return { figures: [...document.querySelectorAll('figure svg')].filter(seen).length,"
            " paper: document.querySelectorAll('#paper-table tbody tr').length,"
            " folded: [...document.querySelectorAll('.findings details')].every((d) => d.open),"
            " bar: seen(document.querySelector('.bar')) }"
        )
        page.run("dispatchEvent(new Event('afterprint'))")
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown["figures"] > 10
    assert shown["paper"] == 5
    assert shown["folded"]
    assert not shown["bar"]


def test_reduced_motion_scrolls_at_once(study: Path, page: Any) -> None:
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        page.open(study)
        how = page.run("return getComputedStyle(document.documentElement).scrollBehavior")
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert how == "auto"


HOSTILE = (
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "=HYPERLINK(1)",
    "{{ 7*7 }}", "مرحبا بالعالم", "a" * 100, "\u202egnp.exe", "&amp;\"'`", "__proto__", "$x^2$",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str, page: Any, tmp_path: Path) -> None:
    settings = product(latent_dim=[2], beta=[1.0, 4.0], seed=[0, 1])
    rows = made_rows([{**one, "dataset": name} for one in settings])
    rows += made_rows([{**one, "dataset": "other"} for one in settings])
    for one in rows:
        one["reason"] = name
    finding = {"section": "beta", "headline": name, "text": name, "verdict": "worse",
               "dataset": name, "lead": True, "caveats": [name]}  # fmt: skip
    study = write_study(tmp_path / "results" / "made", rows, [finding])
    write_json(study / "tables" / "costs.json", {})
    page.open(study)
    assert page.every_state() == 4
    held = f"'{name}" if name.startswith("=") else name  # a table's formula is text
    assert page.run("return data.axes[0].levels.map((level) => level.id)").count(held) == 1
    assert " ".join(name.split()) in " ".join(
        page.run("return document.querySelector('.answer').textContent").split()
    )
    assert page.run("return document.querySelectorAll('main img, main script').length") == 0
    page.run("openRun(0)")
    page.settle()
    assert name in page.run("return document.getElementById('drawer-body').textContent")
    assert page.overflow() <= 0
    assert "49" not in page.run("return document.querySelector('.answer').textContent")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that is really trained, with its summary."""
    grids = [
        {"likelihood": ["gaussian", "continuous_bernoulli", "discretized_logistic", "bernoulli"],
         "latent_dim": [2, 5], "kl": [True, False]},
        {"likelihood": ["bernoulli"], "latent_dim": [2], "architecture": ["conv"]},
        {"likelihood": ["bernoulli"], "latent_dim": [2], "condition": ["label"]},
    ]  # fmt: skip
    folder = train_study(tmp_path_factory.mktemp("trained"), grids=grids)
    metrics = read_metrics(folder / "tables" / "metrics.csv")
    write_csv(summarize(metrics), folder / "tables" / "summary.csv")
    return folder


def test_the_decoder_of_every_arm_gives_what_pytorchs_gives(trained: Path, page: Any) -> None:
    page.open(trained)
    arms = page.run("return Object.keys(data.shown).map(Number)")
    assert len(arms) == 18
    rng = np.random.default_rng(0)
    for arm in arms:
        run = page.run("return data.shown[arguments[0]].run", arm)
        model = load_run(trained / "runs" / run)
        z = rng.normal(0, 2, model.run.latent_dim).astype(np.float32)
        drawn = page.driver.execute_async_script(
            "const [arm, z, done] = arguments; loadArm(arm).then((loaded) =>"
            " done(Array.from(decodeAt(loaded, Float32Array.from(z), 3))))",
            arm,
            z.tolist(),
        )
        label = np.eye(10, dtype=np.float32)[[3]] if model.run.condition == "label" else None
        wanted = model.decode(z[None], label).mean[0].numpy().ravel().clip(0, 1)
        assert np.abs(np.clip(drawn, 0, 1) - wanted).max() <= 1 / 255, run


def test_arrow_keys_move_the_live_decoder(trained: Path, page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open(trained)
    page.run(
        "choose(Object.keys(data.shown).map(Number).find((arm) =>"
        " levelOf(arm, axisAt.latent_dim).value === 2)); redraw(true)"
    )
    page.settle()
    page.run("document.querySelector('#card-plane svg').focus()")
    before = json.loads(page.run("return document.getElementById('card-plane').dataset.z"))
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP)
    after = json.loads(page.run("return document.getElementById('card-plane').dataset.z"))
    assert after[0] > before[0]
    assert after[1] > before[1]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained study of simulated cells, with scores of an application beside a baseline."""
    data = {"source": "simulated-cells", "examples": 300, "genes": 30, "proteins": 5}
    grids = [
        {"likelihood": ["negative_binomial", "poisson"], "latent_dim": [2, 3], "kl": [True, False],
         "seed": [0, 1]}
    ]  # fmt: skip
    folder = train_study(
        tmp_path_factory.mktemp("cells"), datasets={"cells": data}, grids=grids,
        training={"epochs": 4, "batch_size": 64, "device": "cpu"},
    )  # fmt: skip
    metrics = read_metrics(folder / "tables" / "metrics.csv")
    write_csv(summarize(metrics), folder / "tables" / "summary.csv")
    scores = [
        {"run": run, "dataset": "cells", "likelihood": likelihood, "latent_dim": dim, "arm": arm,
         "beta": 1.0, "kl": True, "posterior": "gaussian", "seed": seed,
         "application": "denoising", "subject": "all", "method": method, "metric": "mse_log1p",
         "value": 0.1 + 0.01 * seed, "reason": ""}
        for run, likelihood, dim, arm, seed in metrics.loc[
            metrics["model"] == "vae", ["run", "likelihood", "latent_dim", "arm", "seed"]
        ].itertuples(index=False)
        for method in ("vae", "mean")
    ]  # fmt: skip
    write_csv(pd.DataFrame(scores), folder / "tables" / "applications.csv")
    return folder


def test_cells_have_profiles_and_applications_instead_of_pictures(cells: Path, page: Any) -> None:
    page.open(cells)
    page.every_state()
    page.settle()
    assert page.broken() == []
    assert page.run("return document.querySelectorAll('canvas').length") == 0
    text = page.run("return document.getElementById('map').innerText")
    assert "Test cells above, reconstructions below" in text
    assert "Samples from the prior" in text
    assert page.run("return document.querySelectorAll('#map svg .heatcell').length") > 200
    assert page.run("return document.querySelectorAll('#applications .mark').length") > 4
    names = page.run("return Object.values(data.datasets)[0].features")
    assert len(names) == 35
    profile = page.run("return document.querySelector('#card-probe .profile').innerText")
    assert any(name in profile for name in names)
    label = page.run(
        "return document.querySelector('#applications svg').getAttribute('aria-label')"
    )
    assert "mean: 0.1" in label
    assert page.overflow() <= 0


def test_the_card_of_a_conditional_arm_decodes_a_chosen_class(trained: Path, page: Any) -> None:
    page.open(trained)
    page.run(
        "choose(Object.keys(data.shown).map(Number).find((arm) => data.shown[arm].conditions));"
        "redraw(true)"
    )
    page.settle()
    assert "decoded with each class" in page.run("return document.getElementById('map').innerText")
    picture = "return document.querySelector('#card-probe canvas').toDataURL()"
    first = page.run(picture)
    page.run(
        "const select = document.querySelector('#map select[aria-label^=Class]');"
        "select.value = 7; select.dispatchEvent(new Event('change'))"
    )
    page.settle()
    assert page.run(picture) != first
    page.run("document.querySelector('#mosaic').click()")
    page.settle()
    assert page.run("return document.querySelectorAll('#card-plane canvas.behind').length") == 1
    draws = page.run("return normals(4000)")
    assert abs(np.mean(draws)) < 0.06
    assert abs(np.std(draws) - 1) < 0.06
    assert abs(np.corrcoef(draws[::2], draws[1::2])[0, 1]) < 0.08
