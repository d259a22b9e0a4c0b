rule prepare:
    output:
        "results/.data/{hash}/arrays.npz",
        "results/.data/{hash}/dataset.json",
    params:
        dataset=lambda wildcards: STATE.dataset_of(wildcards.hash),
    log:
        "results/.data/{hash}/prepare.log",
    conda:
        "../envs/environment.yaml"
    shell:
        "{PYTHON:q} {SCRIPTS:q}/prepare.py {STUDY:q} {params.dataset} {log:q}"
