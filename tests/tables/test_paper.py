"""The paper's table: which rows it has, how its numbers are rounded, and that LaTeX takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study_rows import product, row
from vae_ablation.study.metrics import Metric, described
from vae_ablation.tables.contrasts import comparable_arms, contrasts
from vae_ablation.tables.paper import (
    BIBTEX,
    ablation,
    cell,
    decimals,
    latex,
    markdown,
    methods_sentence,
    write_paper,
)

PRIMARY = ["nll", "mse", "probe_accuracy"]


def study(references: dict[str, Any] | None = None) -> pd.DataFrame:
    """Two likelihoods, two latent dimensions and architectures, three β and KL off."""
    rng = np.random.default_rng(0)
    arms: list[dict[str, Any]] = [{"beta": 0.5}, {"beta": 1.0}, {"beta": 4.0}, {"kl": False}]
    rows = [
        row(metrics={"nll": 80 + 5 * (arm.get("beta") == 4) + rng.normal(0, 0.3),
                     "mse": 0.03 * np.exp(0.02 * rng.normal()), "probe_accuracy": 0.9,
                     "rate": 9.0}, seed=seed, **cells, **arm)
        for arm in arms
        for cells in product(likelihood=["gaussian", "continuous_bernoulli"], latent_dim=[2, 8],
                             architecture=["mlp", "conv"])
        for seed in range(3)
    ]  # fmt: skip
    metrics = pd.DataFrame(rows)
    found = contrasts(metrics, PRIMARY, None, references)
    return ablation(found, comparable_arms(metrics), PRIMARY, references)


def test_rows_are_the_full_model_and_the_arms_one_change_away() -> None:
    table = study()
    of = table[(table["setting"] == "gaussian") & (table["metric"] == "nll")]
    changes = ["full model", "KL term removed", "β 1 → 0.5", "β 1 → 4", "latent dimension 8 → 2",
               "architecture mlp → conv"]  # fmt: skip
    assert list(of["change"]) == changes
    assert list(dict.fromkeys(table["setting"])) == [
        "all settings", "continuous_bernoulli", "gaussian",
    ]  # fmt: skip
    assert set(of["n"]) == {3}
    four = of.set_index("change").loc["β 1 → 4"]
    assert four["verdict"] == "worse"
    assert four["effect"] == pytest.approx(5, abs=1)


def test_the_config_names_the_full_model() -> None:
    table = study({"beta": 4.0, "latent_dim": 2, "architecture": "conv"})
    changes = set(table.loc[table["setting"] == "gaussian", "change"])
    assert changes == {
        "full model", "KL term removed", "β 4 → 0.5", "β 4 → 1", "latent dimension 2 → 8",
        "architecture conv → mlp",
    }  # fmt: skip


def test_nats_of_several_likelihoods_have_no_mean() -> None:
    table = study()
    pooled = table[table["setting"] == "all settings"].set_index("metric")
    assert pooled.loc["nll", "mean"].isna().all()
    assert pooled.loc["mse", "mean"].notna().all()


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0.0, 0.68, 2), (-2.0, 2.0, 1), (0.0, 100.0, 0), (0.1, 0.1044, 4), (np.nan, np.nan, 0)],
)
def test_decimals_show_two_digits_of_the_half_width(low: float, high: float, wanted: int) -> None:
    assert decimals(low, high, 123.4) == wanted


def test_cells_say_mean_difference_interval_and_verdict() -> None:
    common = {"change": "x", "mean": 0.0312, "scale": "log", "verdict": "equivalent"}
    ratio = common | {"effect": 1.014, "effect_low": 0.98, "effect_high": 1.05}
    assert cell(ratio) == "0.0312; ×1.014 (0.980 to 1.050) ≈"
    nats = common | {"scale": "identity", "effect": -3.21, "effect_low": -4.0, "effect_high": -2.4,
                     "mean": np.nan, "verdict": "better"}  # fmt: skip
    assert cell(nats) == "−3.21 (−4.00 to −2.40) +"
    single = nats | {"effect_low": np.nan, "effect_high": np.nan, "verdict": "undecided"}
    assert cell(single) == "−3.21 ?"
    assert cell(single | {"effect": 0.0, "n": 1}) == "0.00 ?"
    assert cell(single | {"effect": 0.0, "n": 3}) == "0.00 (equal) ?"


def test_markdown_has_a_table_for_each_setting_with_every_change() -> None:
    text = markdown(study())
    assert text.count("| change |") == 3
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {5}
    assert "nan" not in text
    assert "3 seeds each" in text


def test_cells_without_an_interval_are_explained() -> None:
    table = study()
    table = table[table["metric"] != "probe_accuracy"]  # 0.9 in every arm
    assert "(equal)" not in methods_sentence(table)
    equal = (table["change"] != "full model") & (table["metric"] == table["metric"].iloc[-1])
    scale = table.loc[equal, "scale"]
    table.loc[equal, "effect"] = scale.eq("log").astype(float)
    table.loc[equal, ["effect_low", "effect_high"]] = np.nan
    assert "(equal): the same values in every split" in methods_sentence(table, "split")


def test_citations_have_entries() -> None:
    table = study()
    entries = set(re.findall(r"@article\{(\w+),", BIBTEX))
    for unit in ("seed", "split"):
        cited = set(re.findall(r"\\cite\{(\w+)\}", latex(table, unit=unit)))
        assert cited == set(re.findall(r"\[(\w+)\]", methods_sentence(table, unit)))
        assert cited == (entries if unit == "split" else entries - {"nadeau2003inference"})


def test_names_with_signs_of_latex_are_escaped() -> None:
    table = study().assign(dataset="50%_of & {more}")
    assert r"50\%\_of \& \{more\}" in latex(table)
    assert latex(table).isascii()


HOSTILE = '[x] *5%_of & {more} #1 ~^\\end{tabular} $x$ |<>"\n\n\té ø Å μ Ω α² ≤ − 中 \x07'
"""A name with every sign that LaTeX reads otherwise, and letters that it does not have."""


def hostile() -> pd.DataFrame:
    table = study()
    return table.assign(
        dataset=HOSTILE, setting=HOSTILE,
        change=[HOSTILE + one if one != "full model" else one for one in table["change"]],
    )  # fmt: skip


def wild(name: str) -> Metric:
    return Metric(name, HOSTILE, unit=HOSTILE, better="lower")


@pytest.mark.parametrize("table", [study, hostile])
def test_latex_is_ascii_with_balanced_braces_and_as_many_cells_as_columns(
    table: Callable[[], pd.DataFrame],
) -> None:
    text = latex(table(), wild)
    assert text.isascii()
    bare = re.sub(r"\\[^a-zA-Z]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not set(re.sub(r"\$[^$]*\$", "", bare)) & set('#~^<>|"')
    for block in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        lines = [line for line in block.splitlines() if line != r"\midrule"]
        assert all(line.endswith(r" \\") for line in lines)
        cells = {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines}
        assert cells == {1 + len(PRIMARY)}
        assert not any(line.startswith(("[", "*")) for line in lines)
    assert len(re.findall(r"\\begin\{table\}", text)) == len(re.findall(r"\\end\{table\}", text))


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
@pytest.mark.parametrize("table", [study, hostile])
def test_latex_compiles(tmp_path: Path, table: Callable[[], pd.DataFrame]) -> None:
    write_paper(table(), tmp_path, wild if table is hostile else described)
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
        r"\input{ablation}\bibliographystyle{plain}\bibliography{ablation}\end{document}"
    )
    commands = [["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]] * 3
    if shutil.which("bibtex"):
        commands.insert(1, ["bibtex", "paper"])
    for command in commands:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "Missing character" not in log
    assert "Overfull" not in log
    assert not shutil.which("bibtex") or "undefined" not in log


def test_an_empty_study_has_an_empty_table(tmp_path: Path) -> None:
    metrics = pd.DataFrame([row("failed")])
    table = ablation(contrasts(metrics, PRIMARY, None), comparable_arms(metrics), PRIMARY)
    assert table.empty
    write_paper(table, tmp_path)
    assert (tmp_path / "ablation.md").read_text().startswith("# Ablation")
