# Everything but the rule `all`, which Snakemake wants in the file that it is given.
from snakemake.utils import min_version

min_version("9.20")

if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


report: "../report/workflow.rst"


include: "common.smk"
include: "data.smk"
include: "train.smk"
include: "evaluate.smk"
include: "apply.smk"
include: "tables.smk"
include: "figures.smk"


localrules:
    all,
    prepare,
    collect,
    summarize,
    contrasts,
    rounds,
    findings,
    applications,
    costs,


onstart:
    CALL.begin()


onerror:
    CALL.fail()


onsuccess:
    CALL.succeed()
