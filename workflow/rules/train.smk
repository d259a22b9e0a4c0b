# No recorded params and no script: directive: neither a moved checkout nor an edited script may
# train anew.
# Whether a run is trained is decided by its train hash (src/vae_ablation/study.py).
rule train:
    input:
        pack_dataset,
    output:
        directory(STUDY / "packs" / "{pack}" / "train"),
    log:
        STUDY / "logs" / "train" / "{pack}.log",
    conda:
        "../envs/environment.yaml"
    threads: STATE.study.config["packs"]["threads"]
    resources:
        mem_mb=STATE.memory_mb,
    params:
        script=script("train"),
    shell:
        "{params.script} {wildcards.pack} {log:q}"
