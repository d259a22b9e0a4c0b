"""The report's first page: varied axes, status of runs, findings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_ablation.common.files import read_json, write_json
from vae_ablation.study.axes import axis_columns, axis_of, level_order
from vae_ablation.study.metrics import CONVERGED_DRIFT, converged
from vae_ablation.study.progress import duration

if TYPE_CHECKING:
    import pandas as pd

    from vae_ablation.study.missing import Missing


def write_overview(
    folder: Path,
    metrics: pd.DataFrame,
    missing: Iterable[Missing] = (),
    margin: float = CONVERGED_DRIFT,
) -> None:
    """Write tables/overview.json: axes and values, counts by status and code, runs that are not ok.

    Args:
        folder: results/<study>.
        metrics: metrics.csv.
        missing: results that are missing.
        margin: nats that the validation objective of a converged run may change.
    """
    runs = metrics[metrics["model"] == "vae"]
    axes = {
        axis: sorted(map(_plain, runs[axis].unique()), key=level_order)
        for axis in axis_columns(runs.columns)
    }
    fine = runs["status"] == "ok"
    bad, incomplete = runs[~fine], runs[fine & runs["reason"].fillna("").ne("")]
    drifts = [drift for drift in runs.get("drift", ()) if drift == drift]
    overview = {
        "study": folder.name,
        "axes": axes,
        "varied": _varied(runs, axes),
        "runs": len(runs),
        "status": {name: int((runs["status"] == name).sum()) for name in _STATUSES},
        "converged": sum(converged(drift, margin) for drift in drifts),
        "drifts": len(drifts),
        "margin": margin,
        "train_time": duration(float(runs["train_seconds"].sum())),
        "code": _versions(runs),
        "device": sorted(map(str, runs["device"].dropna().unique())),
        "improper": sorted(runs.loc[~runs["proper"].astype(bool), "likelihood"].unique()),
        "missing": [rst_text(str(one)) for one in missing],
        "not_ok": _reasons(bad),
        "incomplete": _reasons(incomplete),
    }
    write_json(folder / "tables" / "overview.json", overview)


def _reasons(runs: pd.DataFrame) -> list[dict[str, str]]:
    """Path, status and reason of runs, escaped."""
    rows = runs[["run", "status", "reason"]].fillna("")
    return [_escaped(row) for row in rows.to_dict("records")]


def _versions(runs: pd.DataFrame) -> dict[str, int]:
    """Number of runs by version of the training code, most first."""
    if "code_version" not in runs:
        return {}
    counts = runs["code_version"].value_counts()
    return {str(version): int(count) for version, count in counts.items()}


_STATUSES = ("ok", "diverged", "failed")


def _varied(runs: pd.DataFrame, axes: dict[str, list[Any]]) -> list[str]:
    """One line per axis with more than one value, and one for arms without a KL term."""
    values = {axis: found for axis, found in axes.items() if axis not in {"kl", "posterior"}}
    values["beta"] = [beta for beta in axes["beta"] if beta]
    lines = [
        f"{axis_of(axis).label}: {', '.join(str(value).replace('_', ' ') for value in found)}"
        for axis, found in values.items()
        if len(found) > 1
    ]
    off = sorted({_ARMS_WITHOUT_KL[p] for p in runs.loc[~runs["kl"].astype(bool), "posterior"]})
    return lines + ([f"the KL term: on, {', '.join(off)}"] if off else [])


_ARMS_WITHOUT_KL = {
    "gaussian": "off",
    "fixed": "off with a fixed posterior scale",
    "point": "off without posterior variance (deterministic)",
}


def _escaped(row: dict[Any, Any]) -> dict[str, str]:
    """Every value as `rst_text`."""
    return {str(name): rst_text(str(text)) for name, text in row.items()}


def rst_text(text: str) -> str:
    """Text escaped for reStructuredText and HTML."""
    return re.sub(r"([^\w\s])", r"\\\1", " ".join(text.split()))


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    plain = value.item() if hasattr(value, "item") else value
    return int(plain) if isinstance(plain, float) and plain == int(plain) else plain


def read_overview(folder: Path) -> dict[str, Any]:
    """Contents of the report's first page, with the leading findings; empty before tables."""
    path, front = folder / "tables" / "overview.json", folder / "tables" / "front_page.json"
    if not path.is_file():
        return {}
    overview = read_json(path)
    return {**overview, "findings": read_json(front) if front.is_file() else []}


def read_captions(folder: Path) -> dict[str, str]:
    """Captions of the figures by figure name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.rst"))}
