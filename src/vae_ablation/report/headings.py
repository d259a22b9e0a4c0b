"""Headings and labels under which the report shows figures. No torch.

Both get Snakemake's wildcards of one picture: dataset, likelihood, latent and figure.
"""

from __future__ import annotations

from typing import Any


def figure_labels(wildcards: Any) -> dict[str, str]:
    """A row per dataset, likelihood and latent dimension of the report's overview."""
    return {
        "figure": wildcards.figure.replace("_", " ").replace("kl ", "KL "),
        "dataset": wildcards.dataset,
        "likelihood": wildcards.likelihood.replace("_", " "),
        # padded, since the report sorts labels as text (and fails on numbers)
        "latent dimension": f"{wildcards.latent.removeprefix('z'):\u2007>3}",
    }


def figure_category(wildcards: Any) -> str:
    """Heading of a figure; the drawing code is imported only when a report is made."""
    from vae_ablation.report.figures import heading

    return heading(wildcards.figure)
