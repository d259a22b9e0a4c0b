rule features:
    input:
        lambda wildcards: prepared(wildcards.dataset),
    output:
        STUDY / "features" / "{dataset}" / "{hash}.npz",
    log:
        STUDY / "logs" / "features" / "{dataset}-{hash}.log",
    conda:
        "../envs/environment.yaml"
    threads: STATE.study.config["packs"]["threads"]
    params:
        script=script("features"),
    shell:
        "{params.script} {wildcards.dataset} {log:q}"


rule evaluate:
    input:
        pack_dataset,
        features=pack_features,
        trained=STUDY / "packs" / "{pack}" / "train",
    output:
        directory(STUDY / "packs" / "{pack}" / "evaluation" / "{hash}"),
    log:
        STUDY / "logs" / "evaluate" / "{pack}-{hash}.log",
    conda:
        "../envs/environment.yaml"
    threads: STATE.study.config["packs"]["threads"]
    resources:
        mem_mb=pack_memory,
        runtime=pack_minutes,
    params:
        script=script("evaluate"),
    shell:
        "{params.script} {wildcards.pack} {output:q} {log:q}"


rule controls:
    input:
        lambda wildcards: prepared(wildcards.dataset),
    output:
        STUDY / "controls" / "{dataset}" / "{hash}.json",
    log:
        STUDY / "logs" / "controls" / "{dataset}-{hash}.log",
    conda:
        "../envs/environment.yaml"
    threads: STATE.study.config["packs"]["threads"]
    params:
        script=script("controls"),
    shell:
        "{params.script} {wildcards.dataset} {output:q} {log:q}"
