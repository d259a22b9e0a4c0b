"""Headings and labels under which the report shows figures. No torch.

Both get Snakemake's wildcards of one picture: dataset, likelihood, latent and figure.
"""

from __future__ import annotations

from typing import Any


def figure_labels(wildcards: Any) -> dict[str, str]:
    """One label: figure, dataset, likelihood and latent dimension.

    Of several labels Snakemake makes one a switch where its two values stand at half of the
    pictures each, and fails where a picture has no counterpart.
    """
    # the dimension is padded, since the report sorts labels as text
    dimension = f"{wildcards.latent.removeprefix('z'):\u2007>3}"
    figure = wildcards.figure.replace("_", " ").replace("kl ", "KL ")
    parts = [figure, wildcards.dataset, wildcards.likelihood.replace("_", " "), dimension]
    return {"figure": " · ".join(parts)}


def figure_category(wildcards: Any) -> str:
    """Heading of a figure; the drawing code is imported only when a report is made."""
    from vae_ablation.report.figures import heading

    return heading(wildcards.figure)
