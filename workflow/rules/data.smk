# Params that depend on the output are not recorded: studies that share data may call them otherwise,
# and a job that is made again for its params would hide the needs of those that take it as ancient.
rule prepare:
    output:
        DATA / "{hash}" / "arrays.npz",
        DATA / "{hash}" / "dataset.json",
    log:
        DATA / "{hash}" / "prepare.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("prepare", forked=False),
        dataset=lambda wildcards, output: STATE.dataset_of(wildcards.hash),
    shell:
        "{params.script} {params.dataset} {log:q}"
