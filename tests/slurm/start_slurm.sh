#!/usr/bin/env bash
# Start a Slurm of one node for the tests: root, no systemd, no accounting database, four GPUs that are
# clones of /dev/null. Everything is below the folder FOLDER, but for the link /etc/slurm/slurm.conf:
# Snakemake's jobs take every SLURM_ variable out of their environment before they call srun, SLURM_CONF too.
# usage: start_slurm.sh FOLDER
set -euo pipefail
home=$1
export SLURM_CONF=$home/slurm.conf
host=$(hostname -s)
install -d -m 0755 "$home" "$home"/{state,spool,log,run,dev} /etc/slurm
getent hosts "$host" >/dev/null || echo "127.0.0.1 $host" >>/etc/hosts

# munged refuses a path to its files that others may write; its clients look for this socket.
if ! munge -n </dev/null >/dev/null 2>&1; then
    install -d -o munge -g munge -m 0755 /run/munge
    install -d -o munge -g munge -m 0700 "$home/munge"
    head -c 1024 /dev/urandom >"$home/munge/munge.key"
    chown munge:munge "$home/munge/munge.key"
    chmod 0400 "$home/munge/munge.key"
    rm -f /run/munge/munge.socket.2*
    setpriv --reuid=munge --regid=munge --clear-groups munged \
        --key-file="$home/munge/munge.key" --log-file="$home/munge/munged.log" \
        --pid-file="$home/munge/munged.pid" --seed-file="$home/munge/munged.seed" \
        --socket=/run/munge/munge.socket.2
fi

# A GPU without a device file is refused. A node with less memory than is told would be drained.
for number in 0 1 2 3; do
    [ -c "$home/dev/gpu$number" ] || mknod "$home/dev/gpu$number" c 1 3
    echo "NodeName=$host Name=gpu File=$home/dev/gpu$number"
done >"$home/gres.conf"
memory=$(awk '/MemTotal/ {printf "%d", $2 / 1024 * 0.95}' /proc/meminfo)
cat >"$SLURM_CONF" <<END
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=1
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$home/run/slurmctld.pid
SlurmdPidFile=$home/run/slurmd.pid
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/slurmd.log
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=900
KillWait=10
InactiveLimit=0
Waittime=0
JobRequeue=1
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=0,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# More jobs at once than there are cores: most of them only wait.
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=$memory Gres=gpu:4 Feature=a100 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=500
PartitionName=gpu Nodes=$host MaxTime=INFINITE State=UP DefMemPerCPU=500
END
ln -sfn "$SLURM_CONF" /etc/slurm/slurm.conf

slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 200); do
    [ "$(sinfo -h -p main -o %T 2>/dev/null)" = idle ] && exit 0
    sleep 0.1
done
echo "the node did not come up:" >&2
tail -n 5 "$home"/log/*.log >&2
exit 1
