# Whether a run is trained is decided by its train hash (src/vae_ablation/study/plan.py) and by nothing else:
# a pack that holds its runs is a file like any other, which no rule can make again, whatever Snakemake
# thinks of its inputs, of this rule or of a job that was killed as it ended.
rule train:
    input:
        ancient(FILES.prepared),  # a checksum and not a date says whether they changed
    output:
        directory(STUDY / "packs" / "{pack}" / "train"),
    log:
        STUDY / "logs" / "train" / "{pack}.log",
    wildcard_constraints:
        pack=FILES.trainable,
    priority: 5  # before evaluation, which is shorter: the last jobs then end at about the same time
    conda:
        "../envs/environment.yaml"
    threads: THREADS
    resources:
        mem_mb=FILES.pack_memory,
        runtime=FILES.pack_minutes,
    params:
        script=CALL.script("train"),
    shell:
        "{params.script} {wildcards.pack} {log:q}"
