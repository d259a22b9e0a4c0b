#!/usr/bin/env bash
# Stop what start_slurm.sh started, by its process ids, and take its files away.
# usage: stop_slurm.sh FOLDER
set -u
home=$1
export SLURM_CONF=$home/slurm.conf
timeout 10 scancel --user root 2>/dev/null
for _ in $(seq 100); do
    [ -z "$(timeout 10 squeue -h 2>/dev/null)" ] && break
    sleep 0.1
done
for file in run/slurmd.pid run/slurmctld.pid munge/munged.pid; do
    pid=$(cat "$home/$file" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null
done
[ "$(readlink /etc/slurm/slurm.conf)" = "$SLURM_CONF" ] && rm -f /etc/slurm/slurm.conf
rm -rf "$home"
