"""Command line: a first study, its run, its state, more seeds, two runs side by side, a zip."""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_ablation import __version__
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, write_atomic
from vae_ablation.jobs.first_steps import run, start
from vae_ablation.jobs.scripting import machine_fault
from vae_ablation.report.methods import methods_paragraph
from vae_ablation.store.joining import join
from vae_ablation.store.prune import prune
from vae_ablation.study.config import STUDY_NAME, read_config
from vae_ablation.study.metrics import METRICS, Metric, described
from vae_ablation.study.missing import missing_results, noted_failures
from vae_ablation.study.plan import Planned, Study
from vae_ablation.study.progress import state_line
from vae_ablation.study.workflow import RESULTS, read_frozen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; a user's error is one sentence and status 1."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        plain = f"{error.filename or 'a file'}: {error.strerror or error}."
        print(f"Error: {machine_fault(error, RESULTS) or plain}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vae-ablation", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="a folder with a commented config for your own data")
    init.add_argument("folder", help="folder to make; its name becomes the study's")
    data = init.add_mutually_exclusive_group(required=True)
    data.add_argument("--npz", metavar="FILE", help="arrays x and, if there are labels, y")
    data.add_argument("--h5ad", metavar="FILE", help="counts of cells")
    data.add_argument("--images", metavar="FOLDER", help="pictures, one subfolder for each class")
    data.add_argument("--table", metavar="FILE", help="real numbers: .csv, .npz, .parquet, .h5ad")
    data.add_argument("--digits", action="store_true", help="scikit-learn's handwritten digits")
    init.set_defaults(command=_init)
    run = commands.add_parser("run", help="run a study to its report")
    run.add_argument("config", help="a config file; in a folder of vae-ablation init, run there")
    run.add_argument("--cores", default="all", help="cores to use on this machine (default: all)")
    run.add_argument("--profile", default="local", help="local, slurm or generic")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="further arguments of Snakemake")
    run.set_defaults(command=_run)
    split = commands.add_parser(
        "split", help="a dataset by split in one .npz, for codes that are made elsewhere"
    )
    split.add_argument("config", type=Path, help="a config file")
    split.add_argument("dataset", nargs="?", help="name of a dataset (default: the only one)")
    split.add_argument("--split-seed", type=int, help="in place of the dataset's own")
    split.add_argument("--output", type=Path, help="the .npz to write (default: split.npz)")
    split.set_defaults(command=_split)
    status = commands.add_parser("status", help="runs done, missing, failed, and why")
    status.add_argument("study", nargs="?", default="default", help="name or folder of a study")
    status.set_defaults(command=_status)
    compare = commands.add_parser("compare", help="two runs side by side")
    compare.add_argument("run", nargs=2, help="folder of a run, below results/<study>/runs/")
    compare.set_defaults(command=_compare)
    export = commands.add_parser(
        "export", help="tables, figures, config, environment and a methods paragraph in one zip"
    )
    export.add_argument("study", nargs="?", default="default", help="name or folder of a study")
    export.add_argument("--output", help="the zip to write (default: <study>.zip)")
    export.set_defaults(command=_export)
    pruned = commands.add_parser(
        "prune",
        help="delete packs, evaluations and data that no config wants any more (asks first)",
    )
    pruned.add_argument("study", nargs="?", default="default", help="name or folder of a study")
    pruned.add_argument("--yes", action="store_true", help="delete without asking")
    pruned.set_defaults(command=_prune)
    joined = commands.add_parser(
        "join", help="take over runs from another folder of results, e.g. another cluster's"
    )
    joined.add_argument("folder", help="results/<study> on the other machine")
    joined.add_argument("study", nargs="?", help="name of the study here (default: as there)")
    joined.set_defaults(command=_join)
    missing = commands.add_parser(
        "missing", help="missing results, and why; status 1 if there are any"
    )
    missing.add_argument("study", nargs="?", default="default", help="name or folder of a study")
    missing.set_defaults(command=_missing)
    check = commands.add_parser(
        "check", help="try the parts that a file of your own registers; status 1 if one is wrong"
    )
    check.add_argument("file", help="a Python file with parts, as a config's plugins names it")
    check.set_defaults(command=_check)
    seeds = commands.add_parser(
        "seeds", help="the next round of seeds: what is undecided, which runs, and their price"
    )
    seeds.add_argument("study", nargs="?", default="default", help="name or folder of a study")
    seeds.set_defaults(command=_seeds)
    analysed = commands.add_parser(
        "analyse", help="verdicts, findings and a report of any table of runs, nothing trained"
    )
    analysed.add_argument("runs", type=Path, help="table (.csv, .tsv, .xlsx), one row per run")
    analysed.add_argument("--axes", required=True, help="columns that vary: lr,model")
    analysed.add_argument("--seed", default="seed", help="column of the seed")
    analysed.add_argument(
        "--metrics", required=True, help="NAME[:higher|lower][:log|arcsine][:MARGIN], by commas"
    )
    analysed.add_argument("--reference", default="", help="reference levels: lr=0.001,model=mlp")
    analysed.add_argument(
        "--primary", default="", help="metrics that decide, by commas; others are exploratory"
    )
    analysed.add_argument("--out", type=Path, help="folder; default: the file's name + -analysis")
    analysed.set_defaults(command=_analyse)
    name = commands.add_parser("study-name", help="name of the study that a config describes")
    name.add_argument("config", help="a config file")
    name.set_defaults(command=_study_name)
    return parser


def _init(options: argparse.Namespace) -> None:
    files = {name: getattr(options, name) for name in ("npz", "h5ad", "images", "table")}
    source, path = next(((s, p) for s, p in files.items() if p), ("sklearn-digits", None))
    start(Path(options.folder), source, None if path is None else Path(path))


def _run(options: argparse.Namespace) -> None:
    run(Path(options.config), options.cores, options.profile, options.arguments)


def _split(options: argparse.Namespace) -> None:
    # Imported here: it brings torch.
    from vae_ablation.jobs.split_export import export_split

    out = options.output or Path("split.npz")
    chosen = options.dataset, options.split_seed
    for line in export_split(options.config, *chosen, RESULTS / ".data", out):
        print(line)


def study_folder(study: str) -> Path:
    """results/<study> of a name, or the folder itself.

    Raises:
        UserError: there is no such study.
    """
    for folder in (RESULTS / study, Path(os.path.abspath(study))):
        if (folder / "plan.json").is_file():
            return folder
    known = sorted(path.parent.name for path in RESULTS.glob("*/plan.json"))
    there = ", ".join(known) or "none; run snakemake first"
    raise UserError(f"study {study!r}: not found in {RESULTS}/; there: {there}.")


def _study_name(options: argparse.Namespace) -> None:
    print(read_config(Path(options.config))["study"])


def _analyse(options: argparse.Namespace) -> None:
    # Imported here: they bring SciPy, which the other commands do without.
    from vae_ablation.report.analysis import write_analysis
    from vae_ablation.tables.analysis import (
        Analysis,
        read_metric,
        read_primary,
        read_references,
    )
    from vae_ablation.tables.foreign import read_runs

    out = options.out or options.runs.with_name(f"{options.runs.stem}-analysis")
    metrics = [read_metric(text) for text in _columns("--metrics", options.metrics)]
    table = read_runs(options.runs, _columns("--axes", options.axes), options.seed, metrics)
    references = read_references(_listed(options.reference), table)
    primary = read_primary(_listed(options.primary), table)
    with table.known():
        for line in write_analysis(Analysis(table, references, primary), out):
            print(line)


def _listed(text: str) -> list[str]:
    """Parts of a list with commas; one that holds a comma is quoted, as in a CSV file."""
    return [
        part.strip()
        for row in csv.reader([text], skipinitialspace=True)
        for part in row
        if part.strip()
    ]


def _columns(option: str, text: str) -> list[str]:
    if not (found := _listed(text)):
        raise UserError(f"{option} is {text!r}; allowed: names of one column or more, by commas.")
    return found


def _prune(options: argparse.Namespace) -> None:
    prune(study_folder(options.study), options.yes)


def _join(options: argparse.Namespace) -> None:
    study = options.study or Path(os.path.abspath(options.folder)).name
    plain = STUDY_NAME.fullmatch(study)
    join(Path(options.folder), RESULTS / study if plain else study_folder(study))


# --- status ------------------------------------------------------------------------------------


def run_state(study: Study, planned: Planned) -> tuple[str, str]:
    """State of a run and why: ok, diverged, failed, trained (not evaluated yet) or missing."""
    folder = study.run_folder(planned.run)
    try:
        record = read_json(folder / "run.json")
    except (OSError, ValueError):
        return "missing", ""
    if record["pack"] != planned.pack:
        return "missing", "settings or data changed since it was trained"
    if record["status"] != "ok":
        return str(record["status"]), str(record["reason"])
    return ("ok", "") if (folder / "metrics.json").exists() else ("trained", "not evaluated yet")


def _status(options: argparse.Namespace) -> None:
    folder = study_folder(options.study)
    study, plan = read_frozen(folder)
    states = [(item.run.path, *run_state(study, item)) for item in plan.planned]
    print(f"Study {folder.name}: {len(states)} runs in {len(plan.packs)} packs")
    for state in ("ok", "trained", "missing", "diverged", "failed"):
        count = sum(one == state for _, one, _ in states)
        if count:
            print(f"  {state:9} {count}")
    training = folder / ".progress" / "start.json"
    if training.is_file() and any(state == "missing" for _, state, _ in states):
        print(f"  {state_line(folder / '.progress')}")
    for one in noted_failures(study, plan):
        print(f"failed: {one}")
    for path, state, reason in states:
        if state in {"diverged", "failed"} or reason:
            print(f"{state}: {path}: {reason}")
    report = folder / "report.html"
    print(f"Report: {report}" if report.is_file() else f"No report yet: make study makes {report}")


def _missing(options: argparse.Namespace) -> int:
    """Every missing result on a line, and whether there are any."""
    missing = missing_results(*read_frozen(study_folder(options.study)))
    for one in missing:
        print(f"Missing: {one}")
    return bool(missing)


# --- seeds -------------------------------------------------------------------------------------


def _seeds(options: argparse.Namespace) -> None:
    """Print the next round of seeds: what is undecided, its price, and the grids to add."""
    # Imported here: pandas is what the other commands do without.
    from vae_ablation.study.costs import further_price
    from vae_ablation.tables.rounds import grid_lines, study_round

    folder = study_folder(options.study)
    study, plan = read_frozen(folder)
    if not study.config["statistics"]["looks"]:
        raise UserError(
            f"{folder / 'config.yaml'}: seeds is null and statistics.looks is empty; allowed: "
            "seeds in rounds, e.g. {first: 3, most: 10}, stated before anything runs."
        )
    found = study_round(study, plan)
    for one in found.exhausted:
        print(f"Undecided at the last look: {one}")
    for one in found.undecided:
        print(f"Undecided: {one}")
    if not found.runs:
        print("No comparison of a primary metric needs more seeds.")
    elif study.config.get("seeds"):
        print(
            f"The next round: {further_price(study, plan, found.runs)}. The same command makes it."
        )
    else:
        price = further_price(study, plan, found.runs)
        print(f"The next round: {price}. Add to grids, and run again:")
        print("\n".join(grid_lines(found.runs)))


def _check(options: argparse.Namespace) -> int:
    """Print the checks of a file's parts; status 1 if a part is wrong."""
    from vae_ablation.jobs.part_checks import check_file

    outcomes = check_file(Path(options.file))
    for outcome in outcomes:
        print(outcome)
    wrong = len({one.part for one in outcomes if one.verdict == "wrong"})
    print(f"{wrong} of {len({one.part for one in outcomes})} parts are wrong.")
    return bool(wrong)


# --- compare -----------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> None:
    folders = [_run_folder(path) for path in options.run]
    sides = [_metadata(folder) for folder in folders]
    rows = [("", *(str(side["path"]) for side in sides), "difference")]
    rows += list(_compared(sides[0], sides[1]))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    for note in _incomparable(*sides):
        print(note)


def _incomparable(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[str]:
    """Metrics of two runs that are not comparable, and why: a sentence each."""
    measures = [str(side.get("measure")) for side in (left, right)]
    if measures[0] != measures[1]:
        yield (
            f"Scores in nats are not comparable: {' and '.join(measures)} "
            "are different observed variables or base measures."
        )
    if left.get("dataset") != right.get("dataset"):
        both = [name for name in METRICS if name in left and name in right]
        within = [name for name in both if METRICS[name].comparable != "everywhere"]
        yield f"The data sets differ, so these are not comparable: {', '.join(within)}."


def _run_folder(path: str) -> Path:
    candidates = [Path(path), *(parent / "runs" / path for parent in sorted(RESULTS.glob("*")))]
    for folder in candidates:
        if (folder / "run.json").is_file():
            return folder
    raise UserError(f"{path}: holds no run.json; give the folder of a run below results/*/runs/.")


def _metadata(folder: Path) -> dict[str, Any]:
    """Axes, status, settings and metrics of a run, flat."""
    record = read_json(folder / "run.json")
    metrics = folder / "metrics.json"
    measured = read_json(metrics) if metrics.is_file() else {}
    kept = ("path", "status", "reason", "train_seconds", "device", "data_checksum", "code_version")
    return {
        **{key: record[key] for key in kept},
        **record["run"],
        **record["model"],
        **record["training"],
        **{key: value for key, value in measured.items() if not isinstance(value, list)},
    }


def _compared(
    left: Mapping[str, Any], right: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, str]]:
    """Rows of axes, settings and provenance that differ, and of every metric."""
    for key in [*left, *(key for key in right if key not in left)]:
        a, b = left.get(key), right.get(key)
        numbers = all(isinstance(v, float) and math.isfinite(v) for v in (a, b))
        metric = described(key)
        measured = key in METRICS and metric.role != "cost"
        if key == "path" or (a == b and not measured):
            continue
        difference = _difference(metric, a, b) if numbers else ""  # type: ignore[arg-type]
        yield key, _caveat(metric, left) + _cell(a), _caveat(metric, right) + _cell(b), difference


def _caveat(metric: Metric, side: Mapping[str, Any]) -> str:
    """The sign before a value that is only a bound."""
    return metric.bound.sign if metric.bound and side.get(metric.bound.flag) is True else ""


def _difference(metric: Metric, a: float, b: float) -> str:
    """Right minus left; the ratio beside it, or points of a share, where that is its scale."""
    if metric.scale == "arcsine":
        return f"{100 * (b - a):+.4g} points"
    ratio = f" (×{b / a:.3g})" if metric.scale == "log" and a > 0 and b > 0 else ""
    return f"{b - a:+.4g}{ratio}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:40]


# --- export ------------------------------------------------------------------------------------


def _export(options: argparse.Namespace) -> None:
    folder = study_folder(options.study)
    target = Path(options.output or f"{folder.name}.zip")
    if not (folder / "tables" / "metrics.csv").is_file():
        raise UserError(f"{folder}: has no tables yet; run snakemake first.")
    members = sorted(
        path
        for pattern in (
            "tables/*",
            "report.html",
            "figures/**/*.*",
            "config.yaml",
        )
        for path in folder.glob(pattern)
        if path.is_file()
    )
    text = methods_paragraph(folder)

    def write(stream: Any) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in members:
                archive.write(path, f"{folder.name}/{path.relative_to(folder)}")
            archive.writestr(f"{folder.name}/methods.md", text)
            archive.writestr(f"{folder.name}/environment.txt", _environment())

    write_atomic(target, write)
    print(f"{target}: {len(members) + 2} files")


def _environment() -> str:
    from importlib.metadata import distributions

    lines = {f"{d.metadata['Name']}=={d.version}" for d in distributions()}
    return f"Python {sys.version.split()[0]}\n" + "\n".join(sorted(lines, key=str.lower)) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
