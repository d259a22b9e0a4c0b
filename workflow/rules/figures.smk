FIGURES = [
    STUDY / "figures" / dataset / likelihood
    for dataset in STATE.study.datasets
    for likelihood in [*STATE.likelihoods(dataset), "all"]
]


def figure_labels(wildcards):
    """A row per dataset, likelihood and latent dimension of the report's overview."""
    return {
        "figure": wildcards.figure.replace("_", " "),
        "dataset": wildcards.dataset,
        "likelihood": wildcards.likelihood.replace("_", " "),
        "latent dimension": wildcards.latent.removeprefix("z"),
    }


def figure_category(wildcards):
    """Heading of a figure; the drawing code is imported only when a report is made."""
    from vae_ablation.plots.registry import heading

    return heading(wildcards.figure)


def embedded(wildcards):
    """Only figures of one likelihood show UMAP coordinates."""
    return [] if wildcards.likelihood == "all" else [STUDY / "umap" / "index.json"]


rule embed:
    input:
        STUDY / "tables" / "metrics.csv",
    output:
        STUDY / "umap" / "index.json",
    log:
        STUDY / "logs" / "embed.log",
    priority: 10
    conda:
        "../envs/environment.yaml"
    params:
        source=STATE.embed_hash,
    shell:
        "{PYTHON:q} {SCRIPTS:q}/embed.py {STUDY:q} {output:q} {log:q}"


rule figures:
    input:
        STUDY / "tables" / "metrics.csv",
        STUDY / "tables" / "summary.csv",
        embedded,
    output:
        report(
            directory(STUDY / "figures" / "{dataset}" / "{likelihood}"),
            patterns=["{latent}/{figure}.png"],
            caption="../report/figure.rst",
            category=figure_category,
            labels=figure_labels,
        ),
    log:
        STUDY / "logs" / "figures" / "{dataset}-{likelihood}.log",
    conda:
        "../envs/environment.yaml"
    params:
        source=STATE.study.figure_hash,
    shell:
        "{PYTHON:q} {SCRIPTS:q}/figures.py {STUDY:q} {wildcards.dataset} {wildcards.likelihood} {output:q} {log:q}"
