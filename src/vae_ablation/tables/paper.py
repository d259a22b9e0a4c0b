"""The paper's table: the full model and every arm one change away from it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vae_ablation.common.files import write_text
from vae_ablation.study.axes import REPLICATES, Level, axis_of, level_text
from vae_ablation.study.metrics import Metric, described
from vae_ablation.tables.collect import mean_interval, write_csv
from vae_ablation.tables.splits import crossed_datasets, overlap

COLUMNS = [
    *("dataset", "setting", "change", "question", "level", "metric", "scale", "n", "mean"),
    *("reference_mean", "effect", "effect_low", "effect_high", "verdict", "look", "depends_on"),
]
POOLED = "all settings"
FULL = "full model"
MARKS = {
    "better": "+", "worse": "−", "higher": "↑", "lower": "↓", "equivalent": "≈", "depends": "±",
    "undecided": "?",
}  # fmt: skip
"""Signs of verdicts, which the note below a table explains."""
BIBTEX = r"""@article{holm1979simple,
  author = {Holm, Sture}, title = {A simple sequentially rejective multiple test procedure},
  journal = {Scandinavian Journal of Statistics}, volume = {6}, number = {2}, pages = {65--70},
  year = {1979}}
@article{schuirmann1987comparison,
  author = {Schuirmann, Donald J.}, title = {A comparison of the two one-sided tests procedure and
  the power approach for assessing the equivalence of average bioavailability},
  journal = {Journal of Pharmacokinetics and Biopharmaceutics}, volume = {15}, number = {6},
  pages = {657--680}, year = {1987}}
@article{smyth2004linear,
  author = {Smyth, Gordon K.}, title = {Linear models and empirical {Bayes} methods for assessing
  differential expression in microarray experiments},
  journal = {Statistical Applications in Genetics and Molecular Biology}, volume = {3},
  number = {1}, pages = {1--25}, year = {2004}}
@article{nadeau2003inference,
  author = {Nadeau, Claude and Bengio, Yoshua}, title = {Inference for the generalization error},
  journal = {Machine Learning}, volume = {52}, number = {3}, pages = {239--281}, year = {2003}}
"""


Lookup = Callable[[str], Metric]
"""The metric of a column."""


def full_model(arms: pd.DataFrame, references: Mapping[str, Level]) -> dict[str, Level]:
    """Reference level of each axis that arms have.

    Args:
        arms: the runs, with a column for each axis.
        references: as in `questions.questions_of`.
    """
    fixed = {"dataset", "likelihood", *REPLICATES, "arm"}
    found: dict[str, Level] = {}
    for axis in [str(name) for name in arms if name not in fixed]:
        with_kl = axis == "beta" and "kl" in arms and arms["kl"].any()
        levels = arms.loc[arms["kl"], axis] if with_kl else arms[axis]
        found[axis] = axis_of(axis).reference(levels.unique(), references.get(axis))
    return found


def ablation(
    contrasts: pd.DataFrame, arms: pd.DataFrame, primary: Sequence[str],
    references: Mapping[str, Level] | None = None, look: Lookup = described,
) -> pd.DataFrame:  # fmt: skip
    """ablation.csv: mean, difference and verdict of each arm one change from the full model.

    Args:
        contrasts: contrasts.csv.
        arms: comparable runs (`contrasts.comparable_arms`), whose axes are the table's.
        primary: metrics of the table.
        references: levels of the full model, by axis, where they are not the axis's own choice.
        look: gives the metric of a column.
    """
    axes = [name for name in arms if name in contrasts or name in ("beta", "kl")]
    axes = [name for name in axes if name not in {"dataset", "likelihood", *REPLICATES}]
    full = full_model(arms[axes], references or {})
    # the smallest β is asked about beside its own arm without the KL term, not the full model
    asked = contrasts["question"] != "least_beta"
    rows = contrasts[contrasts["metric"].isin(primary) & asked]
    found = [
        *_pooled_rows(rows, look),
        *_setting_rows(rows, full),
        *_full_rows(arms, full, primary),
    ]
    table = pd.DataFrame(found, columns=COLUMNS)
    rank = table.assign(a=table["setting"] != POOLED, b=table["change"] != FULL).sort_values(
        ["dataset", "a", "setting", "b"], kind="stable"
    )
    return table.loc[rank.index].reset_index(drop=True)


def _pooled_rows(rows: pd.DataFrame, look: Lookup) -> Iterator[dict[str, Any]]:
    """Rows of the answers over several settings; means of nats over likelihoods mean nothing."""
    for row in rows[(rows["scope"] == "pooled") & (rows["settings"] > 1)].to_dict("records"):
        alone = look(str(row["metric"])).is_score
        bare = {"mean": np.nan, "reference_mean": np.nan} if alone else {}
        yield _row(row, POOLED) | bare


def _setting_rows(rows: pd.DataFrame, full: Mapping[str, Level]) -> Iterator[dict[str, Any]]:
    """Rows of the settings whose other axes are at the full model's levels."""
    for row in rows[rows["scope"] == "setting"].to_dict("records"):
        other = (row[axis] for axis in full if axis in row and not pd.isna(row[axis]))
        wanted = (full[axis] for axis in full if axis in row and not pd.isna(row[axis]))
        question = str(row["question"])
        axis = "beta" if question in ("kl_off", "point") else question
        at_full = str(row["reference"]) == level_text(full[axis]) if axis in full else True
        if at_full and all(map(_same, other, wanted)):
            yield _row(row, str(row["likelihood"]))


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or str(one) == level_text(other)


def _row(row: Mapping[Any, Any], setting: str) -> dict[str, Any]:
    return {**{name: row.get(name) for name in COLUMNS}, "setting": setting, "change": _change(row)}


def _change(row: Mapping[Any, Any]) -> str:
    """The change to the full model: `KL term removed`, `latent dimension 16 → 2`."""
    question = str(row["question"])
    if question == "kl_off":
        return "KL term removed"
    if question == "point":
        return "KL term and posterior variance removed"
    if question == "model":
        return f"{row['level']} instead of the VAE"
    return f"{axis_of(question).label} {row['reference']} → {row['level']}"


def _full_rows(
    arms: pd.DataFrame, full: Mapping[str, Level], primary: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Means of the full model itself, one row for each setting and metric."""
    here = np.all([[_same(cell, full[axis]) for cell in arms[axis]] for axis in full], axis=0)
    for (dataset, likelihood), runs in arms[here].groupby(["dataset", "likelihood"]):
        for metric in (name for name in primary if name in runs):
            crossed = dataset in crossed_datasets(arms)
            values = runs.groupby("split_seed")[metric].mean() if crossed else runs[metric]
            n, mean, low, high = mean_interval(values, overlap=overlap(runs))
            if n:
                yield {"dataset": dataset, "setting": likelihood, "change": FULL, "metric": metric,
                       "scale": "identity", "n": n, "mean": mean, "effect_low": low,
                       "effect_high": high}  # fmt: skip


def decimals(low: float, high: float, value: float) -> int:
    """Decimals that show two digits of the half width of an interval; of a bare value three."""
    width = (high - low) / 2
    if np.isfinite(width) and width > 0:
        return int(np.clip(1 - np.floor(np.log10(width)), 0, 6))
    size = abs(value) or 1.0
    return int(np.clip(2 - np.floor(np.log10(size)), 0, 6)) if np.isfinite(size) else 0


def number(value: float, digits: int) -> str:
    """A number with a true minus sign; empty where undefined."""
    text = f"{value:.{digits}f}" if np.isfinite(value) else ""
    return text.replace("-", "−")


def cell(row: Mapping[Any, Any]) -> str:
    """A cell: mean, difference (or ratio) with its interval, and the sign of the verdict."""
    effect, low, high = (float(row[name]) for name in ("effect", "effect_low", "effect_high"))
    if row["change"] == FULL:
        return number(float(row["mean"]), decimals(low, high, float(row["mean"])))
    digits = decimals(low, high, effect)
    sign = "×" if row["scale"] == "log" else "+" if effect > 0 else ""
    text = f"{sign}{number(effect, digits)}"
    if np.isfinite(low):
        text += f" ({number(low, digits)} to {number(high, digits)})"
    elif _equal(row):
        text += " (equal)"
    middle = float(row["mean"])
    per_ratio = middle / effect if row["scale"] == "log" else 1.0
    mean = number(middle, decimals(low * per_ratio, high * per_ratio, middle))
    return f"{f'{mean}; ' if mean else ''}{text} {MARKS[str(row['verdict'])]}"


def _equal(row: Mapping[Any, Any]) -> bool:
    """Whether arm and full model have the same values in every replicate, which show no spread."""
    neutral = 1.0 if row["scale"] == "log" else 0.0
    return bool(row["effect"] == neutral and row["n"] > 1 and np.isnan(row["effect_low"]))


def blocks(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Dataset, setting and cells of changes by metrics."""
    # Rows of the full model are in the order of the primary metrics, and have most of them.
    ordered = pd.concat([table[table["change"] == FULL], table])["metric"]
    for (dataset, setting), rows in table.groupby(["dataset", "setting"], sort=False):
        cells = rows.assign(cell=[cell(row) for row in rows.to_dict("records")])
        metrics = [name for name in dict.fromkeys(ordered) if name in set(cells["metric"])]
        wide = cells.pivot_table(
            index="change", columns="metric", values="cell", aggfunc="first", sort=False
        ).reindex(columns=metrics)
        yield str(dataset), str(setting), wide.fillna("")


OVERLAPPING = ", corrected for the overlap of the splits [nadeau2003inference]"


def methods_sentence(table: pd.DataFrame, unit: str = "seed") -> str:
    """Methods sentence of the table, for a paper; its citations are those of `BIBTEX`.

    Args:
        table: the table.
        unit: what replicates an arm, as from `splits.replicate`.
    """
    many = _many(table, unit)
    trained = f"on {many} of the data" if unit == "split" else f"with {many}"
    return (
        f"Arms differ from the full model in one setting and were trained {trained} each. "
        "Cells show the mean, then the difference (× marks "
        f"a ratio) from the full model, paired by {unit}, with its 95% interval"
        f"{OVERLAPPING if unit == 'split' else ''}. Answers over all "
        "settings rest on p-values adjusted after Holm [holm1979simple], single settings on "
        "moderated variances [smyth2004linear]; equivalence was tested by two one-sided tests "
        f"[schuirmann1987comparison] against the resolution of the evaluation. {_looks(table)}"
        f"{_without_spread(table, unit)}"
        "Signs: + better, − worse, ↑ higher, ↓ lower, ≈ equivalent, ± depends on the setting, "
        "? undecided."
    )


def _many(table: pd.DataFrame, unit: str) -> str:
    """Replicates of the arms: `3 seeds`, `3 to 7 splits`."""
    low, high = (int(n) for n in (table["n"].min(), table["n"].max())) if len(table) else (0, 0)
    return f"{'' if low == high else f'{low} to '}{high} {unit}{'' if high == 1 else 's'}"


def _looks(table: pd.DataFrame) -> str:
    """A sentence on seeds that were added in rounds; empty where there is one look."""
    if table["look"].isna().all():
        return ""
    return (
        "Seeds were added in rounds to what was undecided; tests and intervals share their 5% "
        "between the looks, and a verdict stands with the numbers of the look that reached it. "
    )


def _without_spread(table: pd.DataFrame, unit: str) -> str:
    """A sentence on cells without an interval; empty without any."""
    if not any(map(_equal, table[table["change"] != FULL].to_dict("records"))):
        return ""
    return (
        f"(equal): the same values in every {unit}, which show no spread and have no interval; "
        "whole numbers are then judged as rounded ones. "
    )


def markdown(table: pd.DataFrame, look: Lookup = described, unit: str = "seed") -> str:
    """The table for a README or a supplement."""
    parts = ["# Ablation\n"]
    for dataset, setting, cells in blocks(table):
        heads = [_heading(look(str(metric))) for metric in cells]
        lines = [["change", *heads], ["---"] * (len(heads) + 1)]
        lines += [
            [str(name), *row] for name, row in zip(cells.index, cells.to_numpy(), strict=True)
        ]
        body = "\n".join(f"| {' | '.join(_plain(text) for text in line)} |" for line in lines)
        parts.append(f"## {dataset}, {setting}\n\n{body}\n")
    return "\n".join([*parts, methods_sentence(table, unit), ""])


def _lines(cells: pd.DataFrame) -> list[list[str]]:
    """Rows of a block as text, the change first."""
    return [[str(name), *row] for name, row in zip(cells.index, cells.to_numpy(), strict=True)]


def _plain(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _heading(metric: Metric) -> str:
    way = {"higher": " ↑", "lower": " ↓", None: ""}[metric.better]
    return f"{metric.label}{f' ({metric.unit})' if metric.suffix else ''}{way}"


def latex(table: pd.DataFrame, look: Lookup = described, unit: str = "seed") -> str:
    r"""The table for a paper, to be `\input`; it needs booktabs and graphicx.

    Citations are those of ablation.bib.
    """
    lines = [r"% \usepackage{booktabs,graphicx}; BibTeX entries: ablation.bib"]
    sentence = _tex(methods_sentence(table, unit))
    for key in re.findall(r"@article\{(\w+),", BIBTEX):
        sentence = sentence.replace(_tex(f"[{key}]"), rf"\cite{{{key}}}")
    for place, (dataset, setting, cells) in enumerate(blocks(table)):
        note = "Cells and signs are those of the first table." if place else sentence
        heads = [_tex(_heading(look(str(metric)))) for metric in cells]
        body = [" & ".join(map(_tex, line)) + r" \\" for line in _lines(cells)]
        lines += [
            r"\begin{table}", r"\centering",
            rf"\caption{{Ablation on {_tex(dataset)}, {_tex(setting)}. {note}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * len(heads)}}}", r"\toprule",
            " & ".join(["Change", *heads]) + r" \\", r"\midrule", *body, r"\bottomrule",
            r"\end{tabular}}", r"\end{table}", "",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "|": "$|$", '"': "''", "[": "{[}", "]": "{]}", "*": "{*}",
    "−": "$-$", "×": r"$\times$", "→": r"$\rightarrow$", "↑": r"$\uparrow$", "±": r"$\pm$",
    "↓": r"$\downarrow$", "≈": r"$\approx$", "≤": r"$\leq$", "≥": r"$\geq$", "²": "$^2$",
    "–": "--", "’": "'", "∣": "$|$", "·": r"$\cdot$", "∞": r"$\infty$", "√": r"$\surd$",
}  # fmt: skip
"""Letters that LaTeX reads as commands or has no glyph of; brackets and stars follow line ends."""
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau"
_GREEK_NAMES = {*_GREEK.split(), "upsilon", "phi", "chi", "psi", "omega"}
_ACCENTS = {
    "\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0308": r"\"",
    "\u030a": r"\r", "\u030c": r"\v", "\u0327": r"\c", "\u0304": r"\=", "\u030b": r"\H",
}  # fmt: skip


def _tex(text: str) -> str:
    """Text with what LaTeX would read as commands, and signs as mathematics; ASCII alone."""
    return "".join(map(_tex_letter, " ".join(str(text).split())))


def _tex_letter(letter: str) -> str:
    """One letter; what pdfLaTeX has no glyph of is named by its code point."""
    if letter in _TEX or (letter.isascii() and letter.isprintable()):
        return _TEX.get(letter, letter)
    words = unicodedata.name(letter, "").lower().split()
    if words[:1] == ["greek"] and words[-1] in _GREEK_NAMES:
        small = "small" in words
        return f"$\\{words[-1]}$" if small else _tex_capital(words[-1])
    parts = unicodedata.normalize("NFD", letter)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        return f"{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"U+{ord(letter):04X}"


def _tex_capital(name: str) -> str:
    """A Greek capital; those that look Latin have no command."""
    latin = {"alpha": "A", "beta": "B", "epsilon": "E", "zeta": "Z", "eta": "H", "iota": "I",
             "kappa": "K", "mu": "M", "nu": "N", "rho": "P", "tau": "T", "chi": "X"}  # fmt: skip
    return latin.get(name) or f"$\\{name.capitalize()}$"


def write_paper(
    table: pd.DataFrame, folder: Path, look: Lookup = described, unit: str = "seed"
) -> None:
    """Write ablation.csv, .md, .tex and .bib.

    Args:
        table: from `ablation`.
        folder: results/<study>/tables.
        look: gives the metric of a column.
        unit: what replicates an arm, as from `splits.replicate`.
    """
    write_csv(table, folder / "ablation.csv")
    write_text(folder / "ablation.md", markdown(table, look, unit))
    write_text(folder / "ablation.tex", latex(table, look, unit))
    write_text(folder / "ablation.bib", BIBTEX)
