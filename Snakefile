from snakemake.utils import min_version

min_version("9.20")

if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/apply.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"


localrules:
    all,
    prepare,
    collect,
    summarize,
    contrasts,
    findings,
    pages,
    applications,
    costs,


rule all:
    default_target: True
    input:
        TABLES,
        APPLICATIONS,
        FINDINGS,
        PAGES,
        EXPLORERS,
        FIGURES,
        STUDY / "tables" / "costs.html",


onstart:
    begin()


onerror:
    INTERRUPTION.leave()
    note_failures(STATE.study, STATE.plan)
    tell_missing()
    logger.info(MISSING_HINT)


onsuccess:
    tell_missing()
    if finished():
        logger.info(REPORT_HINT)
    elif not part_wanted():
        logger.info(AGAIN_HINT)
