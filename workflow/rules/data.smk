rule prepare:
    output:
        "results/.data/{hash}/arrays.npz",
        "results/.data/{hash}/dataset.json",
    log:
        "results/.data/{hash}/prepare.log",
    conda:
        "../envs/environment.yaml"
    params:
        dataset=lambda wildcards: STATE.dataset_of(wildcards.hash),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/prepare.py {STUDY:q} {params.dataset} {log:q}"
