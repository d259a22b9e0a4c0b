TABLES = [STUDY / "tables" / "metrics.csv", STUDY / "tables" / "summary.csv"]
PAGES = [
    STUDY / "tables" / "arms.html",
    STUDY / "tables" / "runs.html",
    STUDY / "tables" / "columns.html",
]


rule collect:
    input:
        evaluations(),
        controls=controls(),
    output:
        STUDY / "tables" / "metrics.csv",
    log:
        STUDY / "logs" / "collect.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=script("collect"),
        wanted=STATE.wanted_hash,
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
        source=STATE.tables_hash,
    shell:
        "{params.script} {input:q} {output:q} {log:q}"


rule pages:
    input:
        STUDY / "tables" / "metrics.csv",
        STUDY / "tables" / "summary.csv",
        guide=BASE / "docs" / "metrics.md",
    output:
        report(
            STUDY / "tables" / "arms.html",
            caption="../report/arms.rst",
            category="1. Tables",
            labels={"table": "Arms: mean and interval over seeds"},
        ),
        report(
            STUDY / "tables" / "runs.html",
            caption="../report/runs.rst",
            category="1. Tables",
            labels={"table": "Runs and controls: every metric"},
        ),
        report(
            STUDY / "tables" / "columns.html",
            caption="../report/columns.rst",
            category="1. Tables",
            labels={"table": "What every column means"},
        ),
    log:
        STUDY / "logs" / "pages.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=script("pages"),
        source=STATE.tables_hash,
    shell:
        "{params.script} {input.guide:q} {log:q}"
