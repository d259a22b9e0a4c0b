from vae_ablation.report.headings import figure_category, figure_labels


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
        script=CALL.script("embed"),
        source=STATE.code("embed"),
    shell:
        "{params.script} {output:q} {log:q}"


rule figures:
    input:
        FILES.tables,
        FILES.applications,
        FILES.embedding,
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
        script=CALL.script("figures"),
        vector=STATE.study.config["figures"]["vector"],
        source=STATE.code("figures"),
    shell:
        "{params.script} {wildcards.dataset} {wildcards.likelihood} {output:q} {log:q}"


# After all the others but the report, so that it sees what they took.
rule costs:
    input:
        FILES.tables,
        FILES.findings,
        FILES.figures,
    output:
        FILES.costs,
    log:
        STUDY / "logs" / "costs.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("costs"),
        source=STATE.code("costs"),
    shell:
        "{params.script} {log:q}"


rule report:
    input:
        FILES.tables,
        FILES.applications,
        FILES.findings,
        FILES.costs,
        STUDY / "umap" / "index.json",
    output:
        FILES.report,
    log:
        STUDY / "logs" / "report.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("report"),
        page=FILES.page_hash,
        source=STATE.code("report"),
    shell:
        "{params.script} {output:q} {log:q}"
