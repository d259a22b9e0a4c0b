TABLES = [
    STUDY / "tables" / f"{name}.csv"
    for name in ("metrics", "summary", "contrasts", "importance", "pareto", "failures")
]
FINDINGS = [
    STUDY / "tables" / name for name in ("findings.html", "findings.json", "front_page.json")
]
PAGES = [
    STUDY / "tables" / f"{name}.html"
    for name in ("arms", "runs", "contrasts", "importance", "pareto", "columns")
]
EXPLORERS = [
    STUDY / "explorer" / page
    for dataset in STATE.shown
    for page in (f"report/{dataset}.html", f"{dataset}.html")
]


rule collect:
    input:
        STATE.evaluations,
        controls=STATE.controls,
    output:
        STUDY / "tables" / "metrics.csv",
    log:
        STUDY / "logs" / "collect.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=script("collect"),
        wanted=wanted_hash(),
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
        script=script("summarize"),
        source=STATE.code("summarize"),
    shell:
        "{params.script} {input:q} {output:q} {log:q}"


rule contrasts:
    input:
        STUDY / "tables" / "metrics.csv",
    output:
        TABLES[2:],
    log:
        STUDY / "logs" / "contrasts.log",
    priority: 5
    conda:
        "../envs/environment.yaml"
    params:
        script=script("contrasts"),
        primary=STATE.study.config["statistics"]["primary_metrics"],
        source=STATE.code("contrasts"),
    shell:
        "{params.script} {log:q}"


rule findings:
    input:
        TABLES,
        APPLICATIONS,
    output:
        report(
            FINDINGS[0],
            caption="../report/findings.rst",
            category="1. Findings",
            labels={"page": "Findings, with their evidence"},
        ),
        FINDINGS[1:],
    log:
        STUDY / "logs" / "findings.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=script("findings"),
        source=STATE.code("findings"),
    shell:
        "{params.script} {log:q}"


rule explorer:
    input:
        STUDY / "tables" / "metrics.csv",
        lambda wildcards: prepared(wildcards.dataset),
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
        script=script("explorer"),
        source=STATE.code("explorer"),
    shell:
        "{params.script} {wildcards.dataset} {output.page:q} {log:q}"


rule pages:
    input:
        TABLES,
        guide=BASE / "docs" / "metrics.md",
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
        script=script("pages"),
        source=STATE.code("pages"),
    shell:
        "{params.script} {input.guide:q} {log:q}"
