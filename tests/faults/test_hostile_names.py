"""Names from the user's data that are HTML, formulas or templates: they stay text everywhere."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from faults.made import make_tables, run_study
from vae_ablation.report.findings import front_page, read_findings
from vae_ablation.study.columns import arm_columns
from vae_ablation.tables.collect import read_metrics, write_csv

SCRIPT = "<script>window.hit=1</script>"
IMAGE = '"><img src=x onerror=hit()>'
NAMES = [SCRIPT, IMAGE, '=HYPERLINK("http://x")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)"]
ODD = [
    "$\\frac{1}{$",
    "{{ 7*7 }}",
    "%s {title}",
    "a\tb",
    "é→β 🧬",
    "</script></style>",
    "NA",
    "1e5",
]

HOSTILE: dict[str, Any] = {
    "study": "hostile",
    "datasets": {
        "cells": {
            "source": "h5ad", "path": "cells.h5ad", "label": "kind", "batch": "plate",
            "obs": ["note"], "min_cells": 0,
            "perturbation": {"key": "drug", "control": NAMES[0], "separator": "&",
                             "held_out": [f"{SCRIPT}:{IMAGE}"]},
        },
    },
    "grids": [{"likelihood": ["poisson"], "condition": ["none", "label"], "seed": [0, 1]}],
    "model": {"hidden": [8]},
    "training": {"epochs": 1, "device": "cpu"},
    "evaluation": {"nll_samples": 4},
    "applications": {
        "predictive_checks": {"draws": 2}, "trajectory": {"start": NAMES[2], "end": SCRIPT},
        "perturbation": {"min_cells": 2, "draws": 1}, "forbidden_states": {"samples": 100},
    },
}  # fmt: skip


def as_text(names: list[str]) -> pd.Index:
    """Text as objects: anndata does not write the type that pandas has for text."""
    return pd.Index(names, dtype=object)


def categories(values: np.ndarray) -> pd.Categorical:
    found, codes = np.unique(values, return_inverse=True)
    return pd.Categorical.from_codes(codes, as_text(found.tolist()))


def write_cells(path: Path) -> None:
    """240 cells whose labels, batches, perturbations and genes have such names."""
    random = np.random.default_rng(0)
    every = [*NAMES, *ODD]
    n, genes = 240, 20
    kinds = np.array(every)[np.arange(n) % len(every)]
    cells = anndata.AnnData(
        random.poisson(2.0, (n, genes)).astype(np.float32),
        obs=pd.DataFrame(
            {
                "kind": categories(kinds),
                "plate": categories(np.array(NAMES[:2])[np.arange(n) // 120]),
                "drug": categories(np.array(NAMES[:4])[random.integers(0, 4, n)]),
                "note": categories(kinds),
            },
            index=as_text([f"={number}" for number in range(n)]),
        ),
        var=pd.DataFrame(index=as_text([*every, *(f"g{i}" for i in range(genes - len(every)))])),
    )
    cells.write_h5ad(path)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/hostile of the study, with everything that is made from it."""
    folder = tmp_path_factory.mktemp("hostile")
    write_cells(folder / "cells.h5ad")
    run_study(folder, HOSTILE)
    return make_tables(folder, HOSTILE)


class Elements(HTMLParser):
    """Every element of a page with its attributes, and what its scripts say."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script":
            self.scripts.append(data)


def pages(study: Path) -> list[Path]:
    return sorted(study.rglob("*.html"))


def test_pages_hold_no_element_that_a_name_brought(hostile: Path) -> None:
    assert {path.name for path in pages(hostile)} >= {"findings.html", "report.html"}
    for path in pages(hostile):
        elements = Elements()
        elements.feed(path.read_text(encoding="utf-8"))
        for tag, attributes in elements.found:
            assert not [name for name in attributes if name.startswith("on")], (path, tag)
            assert attributes.get("src") is None, (path, tag, attributes)
        assert not any(text.startswith("window.hit") for text in elements.scripts), path
        assert "49" not in {text.strip() for text in elements.scripts}


def test_names_stand_in_the_report_as_text(hostile: Path) -> None:
    page = (hostile / "report.html").read_text(encoding="utf-8")
    (content,) = re.findall(r'id="data">(.*)</script>', page)
    subjects = {one.get("subject", "") for one in json.loads(content)["applications"]}
    assert any('=HYPERLINK("http://x")' in subject for subject in subjects)
    assert "<script>" not in content
    assert "\\u003cscript>" in content


def test_no_cell_of_a_table_is_a_formula(hostile: Path) -> None:
    tables = sorted(hostile.rglob("*.csv"))
    assert {path.name for path in tables} >= {"applications.csv", "metrics.csv", "failures.csv"}
    quoted = 0
    for path in tables:
        with path.open(newline="", encoding="utf-8") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        formulas = [cell for cell in cells if cell[:1] in tuple("=+-@\t\r") and not is_number(cell)]
        assert formulas == [], path
        quoted += sum(cell.startswith("'") for cell in cells)
    assert quoted > 0


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_texts_of_the_first_page_are_escaped(hostile: Path) -> None:
    from docutils.core import publish_parts

    # One epoch leads to no claim, so that nothing would lead.
    entries = read_findings(hostile)
    assert entries
    for entry in front_page(one | {"lead": True} for one in entries):
        text = f"- **{entry['headline']}.** {entry['lead']}"
        html = publish_parts(text, writer="html")["body"]
        elements = Elements()
        elements.feed(html)
        assert {tag for tag, _ in elements.found} <= {"p", "ul", "li", "strong", "div", "span"}


def test_figures_are_drawn_whatever_the_names(hostile: Path) -> None:
    drawn = {path.stem for path in (hostile / "figures").rglob("*.png")}
    assert drawn >= {"latent_space", "trajectory", "perturbation", "forbidden_states"}


# --- the shared place ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@x", "\tx", "=cmd()"])
def test_text_that_a_spreadsheet_would_calculate_is_quoted(text: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"reason": [text, "plain", None], "value": [-1.5, 2.0, np.nan]})
    write_csv(frame, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[1:] == [[f"'{text}", "-1.5"], ["plain", "2.0"], ["", ""]]


def test_text_with_line_ends_stays_in_its_cell(tmp_path: Path) -> None:
    frame = pd.DataFrame({"reason": ["a\rb", "a\nb", "\r=1+1"], "value": [1, 2, 3]})
    write_csv(frame, tmp_path / "a.csv")
    assert pd.read_csv(tmp_path / "a.csv")["reason"].tolist() == ["a b", "a\nb", " =1+1"]


@pytest.mark.parametrize("name", ["NA", "nan", "null", "1", "1e5", "True", "None", "0x10"])
def test_a_dataset_may_have_a_name_that_looks_like_a_value(name: str, tmp_path: Path) -> None:
    numbers = dict.fromkeys(("latent_dim", "seed", "importance_samples", "kl_warmup_epochs"), 1)
    row = dict.fromkeys(arm_columns([]), "x") | numbers | {"dataset": name}
    write_csv(pd.DataFrame([row, row]), tmp_path / "metrics.csv")
    assert read_metrics(tmp_path / "metrics.csv")["dataset"].tolist() == [name, name]
