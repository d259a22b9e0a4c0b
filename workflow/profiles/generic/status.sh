#!/usr/bin/env bash
# What became of a PBS job: running, success or failed. usage: status.sh JOB
job=$(qstat -x -f "$1" 2>&1)
state=$(sed -n 's/^ *job_state = //p' <<<"$job")
status=$(sed -n 's/^ *Exit_status = //p' <<<"$job")
case $state$status$job in
F0*) echo success ;;
F*) echo failed ;;
*"Unknown Job"*) echo success ;; # PBS has forgotten it; Snakemake looks whether its files are there
*) echo running ;;               # and so where PBS does not answer
esac
