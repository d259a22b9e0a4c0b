rule features:
    input:
        ancient(FILES.prepared),
    output:
        STUDY / "features" / "{dataset}" / "{hash}.npz",
    log:
        STUDY / "logs" / "features" / "{dataset}-{hash}.log",
    conda:
        "../envs/environment.yaml"
    threads: THREADS
    params:
        script=CALL.script("features"),
    shell:
        "{params.script} {wildcards.dataset} {log:q}"


rule evaluate:
    input:
        ancient(FILES.prepared),
        features=FILES.features,
        trained=STUDY / "packs" / "{pack}" / "train",
    output:
        directory(STUDY / "packs" / "{pack}" / "evaluation" / "{hash}"),
    log:
        STUDY / "logs" / "evaluate" / "{pack}-{hash}.log",
    priority: FILES.heaviest_first
    conda:
        "../envs/environment.yaml"
    threads: THREADS
    resources:
        mem_mb=FILES.pack_memory,
        runtime=FILES.pack_minutes,
    params:
        script=CALL.script("evaluate"),
    shell:
        "{params.script} {wildcards.pack} {output:q} {log:q}"


rule controls:
    input:
        ancient(FILES.prepared),
        features=FILES.features,
    output:
        STUDY / "controls" / "{dataset}" / "{hash}.json",
    log:
        STUDY / "logs" / "controls" / "{dataset}-{hash}.log",
    priority: 2  # before packs, since it may take longer than each
    conda:
        "../envs/environment.yaml"
    threads: THREADS
    params:
        script=CALL.script("controls"),
    shell:
        "{params.script} {wildcards.dataset} {output:q} {log:q}"


rule external:
    input:
        ancient(FILES.prepared),
        features=FILES.features,
    output:
        STUDY / "external" / "{dataset}" / "{arm}" / "{hash}.json",
    log:
        STUDY / "logs" / "external" / "{dataset}" / "{arm}-{hash}.log",
    priority: 2  # before packs, since it may take longer than each
    conda:
        "../envs/environment.yaml"
    threads: THREADS
    params:
        script=CALL.script("external"),
    shell:
        "{params.script} {wildcards.dataset} {wildcards.arm} {output:q} {log:q}"
