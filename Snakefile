# The rules are in workflow/, a part of the package too; workflow/Snakefile is this file in a wheel.
include: "workflow/rules/study.smk"


rule all:
    default_target: True
    input:
        FILES.everything,
