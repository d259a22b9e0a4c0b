"""Files that the rules of the workflow make and read, and resources of their jobs. No torch.

Functions that get `wildcards` and `attempt` are handed to the rules as they are.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from vae_ablation.common.files import stable_hash
from vae_ablation.common.workflow_files import PAGE_PARTS, REPORT
from vae_ablation.study.missing import missing_results
from vae_ablation.study.plan import Planned, pack_limit
from vae_ablation.study.workflow import Workflow

TABLES = (
    *("metrics", "summary", "contrasts", "importance", "matched", "ablation", "pareto"),
    *("failures", "examples"),
)
PAPER = ("ablation.md", "ablation.tex", "ablation.bib")
FINDINGS = ("findings.html", "findings.json", "front_page.json")
FULL_PACK_MINUTES = 60
BASE_MB = 1500
"""Memory of a job without its runs, for Python, torch and Snakemake."""


class Targets:
    """Files and resources of a planned study, as its rules ask for them.

    Args:
        state: the study and its plan.
        drawn: whether this call draws a report, which shows every rule.
    """

    def __init__(self, state: Workflow, drawn: bool = False) -> None:
        self.state = state
        self.study = state.study
        self._folder = state.study.folder
        self._drawn = drawn

    @property
    def tables(self) -> list[Path]:
        """Tables of the study, metrics.csv first."""
        return [self._folder / "tables" / f"{name}.csv" for name in TABLES]

    @property
    def paper(self) -> list[Path]:
        """The paper's table as Markdown, LaTeX and with its BibTeX entries."""
        return [self._folder / "tables" / name for name in PAPER]

    @property
    def findings(self) -> list[Path]:
        """The page of findings first, then what the report's front page reads."""
        return [self._folder / "tables" / name for name in FINDINGS]

    @property
    def applications(self) -> list[Path]:
        """Scores of what trained models are used for, where the config asks for applications."""
        return [self._folder / "tables" / "applications.csv"] if self.state.applied_packs else []

    @cached_property
    def figures(self) -> list[Path]:
        """Folders of figures of each dataset, by likelihood, and of all likelihoods together."""
        return [
            self._folder / "figures" / dataset / likelihood
            for dataset in self.state.shown
            for likelihood in [*self.state.likelihoods(dataset), "all"]
        ]

    @property
    def costs(self) -> list[Path]:
        """Costs of the study's jobs, and a sentence on what one more seed would take."""
        return [self._folder / "tables" / name for name in ("costs.csv", "costs.txt")]

    @property
    def round(self) -> list[Path]:
        """Next round of seeds, where they come in rounds; not while results are missing."""
        path = self.study.next_round
        return [path] if path is not None and not self.missing else []

    @property
    def report(self) -> Path:
        """The report, the last file of all."""
        return self._folder / "report.html"

    @property
    def everything(self) -> list[Path]:
        """All that a call without targets makes."""
        tables = [
            *self.tables,
            *self.paper,
            *self.applications,
            *self.findings,
            *self.costs,
            *self.round,
        ]
        return [*tables, *self.figures, self.report]

    def prepared(self, wildcards: Any) -> list[Path]:
        """Prepared data of a dataset, or of the dataset of a pack's runs."""
        folder = self.study.prepared[self._dataset(wildcards)]
        return [folder / "arrays.npz", folder / "dataset.json"]

    def features(self, wildcards: Any) -> Path:
        """Features in which samples are compared with a dataset, or with that of a pack's runs."""
        return self.study.features_path(self._dataset(wildcards))

    def embedding(self, wildcards: Any) -> list[Path]:
        """UMAP coordinates, which only figures of one likelihood show."""
        return [] if wildcards.likelihood == "all" else [self._folder / "umap" / "index.json"]

    def pack_memory(self, wildcards: Any, attempt: int) -> int:
        """Memory of a job on a pack, MB."""
        runs_mb = 1024 * self.study.config["packs"]["memory_gb"] * self._fill(wildcards.pack)
        return attempt * int(BASE_MB + runs_mb)

    def pack_minutes(self, wildcards: Any, attempt: int) -> int:
        """Time that a scheduler gives a job on a pack; profiles may say otherwise."""
        return attempt * int(FULL_PACK_MINUTES * self._fill(wildcards.pack))

    def heaviest_first(self, wildcards: Any) -> float:
        """Priority of a job on a pack among those of its rule, 0 to 1: no long one ends alone."""
        return self._weights.get(wildcards.pack, 0) / max(self._weights.values())

    @cached_property
    def _weights(self) -> dict[str, int]:
        """Numbers in the Jacobians of each pack's decoders, with which the work on it grows."""
        dims = {data: observed.dims for data, observed in self.study.observed.items()}
        return {
            pack: sum(item.run.latent_dim * dims.get(item.run.data, 1) for item in items)
            for pack, items in self.state.plan.packs.items()
        }

    @property
    def trainable(self) -> str:
        """Pattern of the packs that training may write; every pack where a report is drawn."""
        planned = self.state.plan.planned
        packs = {item.pack for item in planned if item.reason or self._drawn}
        return "|".join(sorted(packs)) or "(?!)"

    @property
    def wanted_hash(self) -> str:
        """Changes with the runs that the tables are about, and with what is missing, and why."""
        wanted = self.state.wanted_hash
        missing = self.missing
        return stable_hash([wanted, *missing]) if missing else wanted

    @property
    def missing(self) -> list[str]:
        """Sentences on missing results, where some may be missing (allow_missing)."""
        if not self.study.config["allow_missing"]:
            return []
        return [str(one) for one in missing_results(self.study, self.state.plan)]

    @property
    def page_hash(self) -> str:
        """Changes with the templates, styles and scripts of the report."""
        parts = sorted(path for path in REPORT.rglob("*") if path.suffix in PAGE_PARTS)
        return stable_hash([path.read_text(encoding="utf-8") for path in parts])

    def _dataset(self, wildcards: Any) -> str:
        if hasattr(wildcards, "pack"):
            return self._items(wildcards.pack)[0].run.data
        return str(wildcards.dataset)

    def _items(self, pack: str) -> list[Planned]:
        return self.state.plan.packs[pack]

    def _fill(self, pack: str) -> float:
        """Share of a full pack that a pack is; at least half, since small ones cost more a run."""
        runs = [item.run for item in self._items(pack)]
        if runs[0].data in self.study.unreadable:
            return 1
        full = pack_limit(runs[0], self.study.observed[runs[0].data], self.study.config)
        return min(1, max(0.5, len(runs) / full))
