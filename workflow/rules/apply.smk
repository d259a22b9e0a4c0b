# What trained models are used for: only where the config's applications section asks for it.
rule apply:
    input:
        ancient(FILES.prepared),
        trained=STUDY / "packs" / "{pack}" / "train",
    output:
        directory(STUDY / "packs" / "{pack}" / "applications" / "{hash}"),
    log:
        STUDY / "logs" / "apply" / "{pack}-{hash}.log",
    priority: FILES.heaviest_first
    conda:
        "../envs/environment.yaml"
    threads: THREADS
    resources:
        mem_mb=FILES.pack_memory,
        runtime=FILES.pack_minutes,
    params:
        script=CALL.script("apply"),
    shell:
        "{params.script} {wildcards.pack} {output:q} {log:q}"


rule applications:
    input:
        STATE.applications,
    output:
        STUDY / "tables" / "applications.csv",
    log:
        STUDY / "logs" / "applications.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("applications"),
        wanted=STATE.wanted_hash,
        source=STATE.code("applications"),
    shell:
        "{params.script} {log:q}"
