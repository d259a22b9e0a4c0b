"""Writer of this package's tables into a study's folder."""

from __future__ import annotations

from pathlib import Path

from vae_ablation.study.missing import missing_results
from vae_ablation.study.workflow import read_frozen
from vae_ablation.tables.collect import read_metrics, write_csv
from vae_ablation.tables.contrasts import comparable_arms, contrasts
from vae_ablation.tables.examples import parts_of_test
from vae_ablation.tables.failures import failures
from vae_ablation.tables.importance import importance
from vae_ablation.tables.matched import matched
from vae_ablation.tables.paper import ablation, write_paper
from vae_ablation.tables.pareto import pareto
from vae_ablation.tables.splits import replicate


def write_statistics(folder: Path) -> None:
    """Write the tables behind metrics.csv and summary.csv, and the paper's table in its forms.

    Args:
        folder: results/<study>, with its frozen config and tables/metrics.csv.
    """
    tables = folder / "tables"
    study, plan = read_frozen(folder)
    metrics = read_metrics(tables / "metrics.csv")
    statistics = study.config["statistics"]
    found = contrasts(
        metrics,
        statistics["primary_metrics"],
        folder,
        study.references,
        statistics["margins"],
        statistics["looks"],
    )
    write_csv(found, tables / "contrasts.csv")
    arms, primary = comparable_arms(metrics), statistics["primary_metrics"]
    paper = ablation(found, arms, primary, study.references)
    write_paper(paper, tables, unit=replicate(metrics))
    write_csv(parts_of_test(metrics, study.config, folder), tables / "examples.csv")
    write_csv(matched(metrics, study.references), tables / "matched.csv")
    write_csv(importance(metrics), tables / "importance.csv")
    write_csv(pareto(metrics), tables / "pareto.csv")
    missing = missing_results(study, plan) if study.config["allow_missing"] else ()
    write_csv(failures(metrics, missing), tables / "failures.csv")
