rule collect:
    input:
        STATE.evaluations,
        controls=STATE.controls + STATE.external,
    output:
        STUDY / "tables" / "metrics.csv",
    log:
        STUDY / "logs" / "collect.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("collect"),
        wanted=FILES.wanted_hash,
        source=STATE.code("collect"),
    shell:
        "{params.script} {output:q} {log:q} {input.controls:q}"


rule summarize:
    input:
        STUDY / "tables" / "metrics.csv",
    output:
        STUDY / "tables" / "summary.csv",
    log:
        STUDY / "logs" / "summarize.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("summarize"),
        source=STATE.code("summarize"),
        margin=STATE.study.config["statistics"]["converged_drift"],
    shell:
        "{params.script} {input:q} {output:q} {log:q}"


rule contrasts:
    input:
        STUDY / "tables" / "metrics.csv",
    output:
        FILES.tables[2:],
        FILES.paper,
    log:
        STUDY / "logs" / "contrasts.log",
    priority: 5
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("contrasts"),
        statistics=STATE.study.config["statistics"],
        source=STATE.code("contrasts"),
    shell:
        "{params.script} {log:q}"


# What follows the present runs is planned once and has its file; the next call makes its runs.
rule rounds:
    input:
        FILES.tables,
    output:
        STUDY / "rounds" / "{hash}.json",
    log:
        STUDY / "logs" / "rounds-{hash}.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("rounds"),
        source=STATE.code("rounds"),
    shell:
        "{params.script} {output:q} {log:q}"


rule findings:
    input:
        FILES.tables,
        FILES.applications,
    output:
        report(
            FILES.findings[0],
            caption="../report/findings.rst",
            category="1. Findings",
            labels={"page": "Findings, with their evidence"},
        ),
        FILES.findings[1:],
    log:
        STUDY / "logs" / "findings.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("findings"),
        source=STATE.code("findings"),
    shell:
        "{params.script} {log:q}"


rule explorer:
    input:
        STUDY / "tables" / "metrics.csv",
        ancient(FILES.prepared),
    output:
        page=report(
            STUDY / "explorer" / "report" / "{dataset}.html",
            caption="../report/explorer.rst",
            category="3. Latent explorer",
            labels={"page": "Latent explorer", "dataset": "{dataset}"},
        ),
        full=STUDY / "explorer" / "{dataset}.html",
    log:
        STUDY / "logs" / "explorer" / "{dataset}.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("explorer"),
        source=STATE.code("explorer"),
    shell:
        "{params.script} {wildcards.dataset} {output.page:q} {log:q}"


rule pages:
    input:
        FILES.tables,
    output:
        report(
            STUDY / "tables" / "arms.html",
            caption="../report/arms.rst",
            category="2. Tables",
            labels={"table": "Arms: mean and interval over seeds"},
        ),
        report(
            STUDY / "tables" / "runs.html",
            caption="../report/runs.rst",
            category="2. Tables",
            labels={"table": "Runs and controls: every metric"},
        ),
        report(
            STUDY / "tables" / "contrasts.html",
            caption="../report/contrasts.rst",
            category="2. Tables",
            labels={"table": "Contrasts between arms, paired by seed"},
        ),
        report(
            STUDY / "tables" / "importance.html",
            caption="../report/importance.rst",
            category="2. Tables",
            labels={"table": "Importance of the axes"},
        ),
        report(
            STUDY / "tables" / "pareto.html",
            caption="../report/pareto.rst",
            category="2. Tables",
            labels={"table": "Undominated arms"},
        ),
        report(
            STUDY / "tables" / "columns.html",
            caption="../report/columns.rst",
            category="2. Tables",
            labels={"table": "What every column means"},
        ),
    log:
        STUDY / "logs" / "pages.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("pages"),
        guide=FILES.guide_hash,
        source=STATE.code("pages"),
    shell:
        "{params.script} {log:q}"
