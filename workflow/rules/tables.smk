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
        wanted=STATE.wanted_hash,
    shell:
        "{PYTHON:q} {SCRIPTS:q}/collect.py {STUDY:q} {output:q} {log:q} {input.controls:q}"


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
        source=STATE.tables_hash,
    shell:
        "{PYTHON:q} {SCRIPTS:q}/summarize.py {STUDY:q} {input:q} {output:q} {log:q}"


rule pages:
    input:
        STUDY / "tables" / "metrics.csv",
        STUDY / "tables" / "summary.csv",
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
        source=STATE.tables_hash,
    shell:
        "{PYTHON:q} {SCRIPTS:q}/pages.py {STUDY:q} {BASE:q}/docs/metrics.md {log:q}"
