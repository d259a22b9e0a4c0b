#!/usr/bin/env bash
# Run a study and make its report, complete or not: run.sh BIN CONFIG CORES [SNAKEMAKE ARGUMENTS...]
set -u
bin=$1 config=$2 cores=$3
shift 3
name=$("$bin/vae-ablation" study-name "$config") || exit 1
report=results/$name/report.html
run() {
    "$bin/snakemake" --configfile "$config" --workflow-profile workflow/profiles/local --cores "$cores" "$@"
}
run "$@"
status=$?
case " $* " in *" -n "* | *" --dry-run "* | *" --unlock "*) exit $status ;; esac
if [ $status -eq 0 ] && [ ! -f "results/$name/tables/summary.csv" ]; then
    run "$@" # the data were prepared again first; see finished() in workflow/rules/common.smk
    status=$?
fi
[ -f "results/$name/tables/overview.json" ] || exit $status
if [ $status -ne 0 ] || [ ! -f "$report" ] || [ -n "$(find "results/$name" workflow docs -newer "$report" -type f \
    \( -path '*/tables/*' -o -path '*/figures/*' -o -path 'workflow/*' -o -path 'docs/*' \) -print -quit)" ]; then
    "$bin/snakemake" --configfile "$config" --workflow-profile workflow/profiles/local --report "$report" >"results/$name/report.log" 2>&1 ||
        { echo "Error: the report could not be made; see results/$name/report.log" >&2; exit 1; }
fi
[ $status -eq 0 ] || echo "The study is not complete: some jobs failed (see above); the report shows the rest." >&2
echo "Report: $PWD/$report"
exit $status
