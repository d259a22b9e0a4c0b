# What trained models are used for: only where the config's applications section asks for it.
APPLICATIONS = (
    [STUDY / "tables" / "applications.csv", STUDY / "tables" / "applications.html"]
    if STATE.applied_packs
    else []
)


rule apply:
    input:
        pack_dataset,
        trained=STUDY / "packs" / "{pack}" / "train",
    output:
        directory(STUDY / "packs" / "{pack}" / "applications" / "{hash}"),
    log:
        STUDY / "logs" / "apply" / "{pack}-{hash}.log",
    conda:
        "../envs/environment.yaml"
    threads: STATE.study.config["packs"]["threads"]
    resources:
        mem_mb=pack_memory,
        runtime=pack_minutes,
    params:
        script=script("apply"),
    shell:
        "{params.script} {wildcards.pack} {output:q} {log:q}"


rule applications:
    input:
        STATE.applications,
    output:
        STUDY / "tables" / "applications.csv",
        report(
            STUDY / "tables" / "applications.html",
            caption="../report/applications.rst",
            category="2. Tables",
            labels={"table": "What trained models are for: scores against baselines"},
        ),
    log:
        STUDY / "logs" / "applications.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=script("applications"),
        wanted=STATE.wanted_hash,
        source=STATE.code("applications"),
    shell:
        "{params.script} {log:q}"
