rule prepare:
    output:
        "results/.data/{hash}/arrays.npz",
        "results/.data/{hash}/dataset.json",
    log:
        "results/.data/{hash}/prepare.log",
    conda:
        "../envs/environment.yaml"
    params:
        script=script("prepare"),
        dataset=lambda wildcards: STATE.dataset_of(wildcards.hash),
    shell:
        "{params.script} {params.dataset} {log:q}"
