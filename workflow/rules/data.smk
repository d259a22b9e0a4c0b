# Params that depend on the output are not recorded: studies that share data may call them otherwise,
# and a job that is made again for its params would hide the needs of those that take it as ancient.
rule prepare:
    output:
        "results/.data/{hash}/arrays.npz",
        "results/.data/{hash}/dataset.json",
    log:
        "results/.data/{hash}/prepare.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=CALL.script("prepare", forked=False),
        dataset=lambda wildcards, output: STATE.dataset_of(wildcards.hash),
    shell:
        "{params.script} {params.dataset} {log:q}"
