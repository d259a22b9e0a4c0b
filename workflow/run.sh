#!/usr/bin/env bash
# Run a study and make its report, complete or not: run.sh BIN CONFIG CORES PROFILE [SNAKEMAKE ARGUMENTS...]
set -u
workflow=$(dirname "$0")
bin=$1 config=$2 cores=$3 profile=$workflow/profiles/$4
shift 4
child=
exec 3>&2
# Snakemake runs in the background, since only `wait` ends as soon as there is a signal.
watch() {
    "$@" 3>&- &
    child=$!
    wait "$child"
    local ended=$?
    child=
    return $ended
}
# Snakemake ends its jobs and says how to go on (status 130, see interruption.py); where the signal
# came before it could, that is said here.
stop() {
    trap '' INT TERM HUP
    local ended=0
    if [ -n "$child" ]; then
        kill -TERM "$child" 2>/dev/null
        wait "$child" 2>/dev/null
        ended=$?
    fi
    [ $ended -eq 130 ] || echo "Interrupted: finished results are kept; run the same command again to resume." >&3
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP
if [ ! -f "$profile/config.yaml" ]; then
    echo "Error: PROFILE is '${profile##*/}'; allowed: $(ls "$workflow/profiles" | xargs)." >&2
    exit 1
fi
name=$(trap '' INT && "$bin/vae-ablation" study-name "$config") || exit 1
results=results/$name report=results/$name/report.html
# Snakemake keeps a cache in HOME, which the nodes of a cluster, if not this one, may not write to
if [ ! -w "${HOME:-/nonexistent}" ] || [ "${profile##*/}" != local ]; then
    export XDG_CACHE_HOME="${XDG_CACHE_HOME:-$PWD/.snakemake/cache}"
fi
rm -f "$results/.failed" "$results/.next-round" # the workflow makes the first when jobs have failed
# on a cluster the number of cores here says nothing about the nodes
[ "${profile##*/}" = local ] && limit=(--cores "$cores") || limit=()
export VAE_ABLATION_KEEP_GOING=yes # past a dataset that cannot be read; see Call.goes_on in jobs/call.py
# where no Snakefile lies, the package's own is run
[ -f Snakefile ] || [ -f workflow/Snakefile ] && rules=() || rules=(--snakefile "$workflow/Snakefile")
run() {
    watch "$bin/snakemake" ${rules[@]+"${rules[@]}"} --configfile "$config" --workflow-profile "$profile" ${limit[@]+"${limit[@]}"} "$@"
}
run "$@"
status=$?
case " $* " in *" -n "* | *" --dry-run "* | *" --unlock "*) exit $status ;; esac
[ $status -ne 130 ] || exit 130 # Snakemake alone was interrupted
if [ $status -eq 0 ] && [ ! -f "$report" ]; then
    run "$@" # the data were prepared again first; see Call.succeed in jobs/call.py
    status=$?
fi
while [ $status -eq 0 ] && [ -f "$results/.next-round" ]; do # seeds in rounds; see Call._tell_round
    rm -f "$results/.next-round"
    run "$@"
    status=$?
done
[ $status -ne 130 ] || exit 130
[ $status -eq 0 ] || [ -f "$results/.failed" ] || exit $status # Snakemake said why nothing was run
if [ $status -ne 0 ]; then
    echo "Some jobs failed for good; tables and report are made over the rest." >&2
    words=() own=
    for word; do
        words+=("$word")
        case $word in --config | -C) words+=(allow_missing=true) own=yes ;; esac # the last one counts
    done
    [ -n "$own" ] || words+=(--config allow_missing=true)
    run "${words[@]}"
fi
[ -f "$report" ] || exit $status
# of everything, and not of some targets, something may be missing though no job of this call has failed
if [ $status -ne 0 ] || [ $# -eq 0 ]; then
    "$bin/vae-ablation" missing "$name" >&2 || [ $status -ne 0 ] || status=1
fi
[ $status -eq 0 ] || echo "The study is not complete: some jobs failed (see above); the report shows the rest." >&2
echo "Report: $PWD/$report"
exit $status
