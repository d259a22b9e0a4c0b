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
