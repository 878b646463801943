#!/usr/bin/env bash
# A Slurm cluster of two virtual nodes on this machine, for trying and testing sweeps:
#
#   scripts/slurm_local.sh start        # seconds; then: eval "$(scripts/slurm_local.sh env)"
#   scripts/slurm_local.sh stop         # ends its jobs and daemons, and removes its folder
#
# Debian, Ubuntu: apt-get install slurm-wlm munge.  Everything listens on the loopback address and
# lies below SLURM_LOCAL (default: a folder in TMPDIR); nothing in /etc is read or written.  There is
# no accounting, as on the simplest real clusters, so `sacct` knows nothing here.
set -euo pipefail

folder=${SLURM_LOCAL:-${TMPDIR:-/tmp}/slurm-$(id -un)}   # short: paths of sockets have 107 bytes
port=${SLURM_LOCAL_PORT:-27817}                          # and the next two, one for each node
nodes=(left right)
export SLURM_CONF=$folder/slurm.conf

die() { echo "slurm_local.sh: $*" >&2; exit 1; }

need_programs() {
    local missing=() program
    PATH=$PATH:/usr/sbin
    for program in munged slurmctld slurmd sbatch squeue; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} = 0 ] || die "${missing[*]}: not on PATH; Debian, Ubuntu: apt-get install slurm-wlm munge"
}

configure() {
    mkdir -p "$folder"/{log,pid,spool,state}
    chmod 755 "$folder"
    head -c 512 /dev/urandom >"$folder/key"
    chmod 400 "$folder/key"
    local me host index=0 node
    me=$(id -un) host=$(hostname -s)
    cat >"$SLURM_CONF" <<END
ClusterName=virtual
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$me
SlurmdUser=$me
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
# Credentials that expire soon let a job that is put into the queue again start at once.
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/pid/slurmctld
SlurmdPidFile=$folder/pid/slurmd-%n
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
# The nodes have what is stated here, whatever the machine has.
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
JobRequeue=1
KillWait=10
MinJobAge=3600
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    for node in "${nodes[@]}"; do
        index=$((index + 1))
        echo "NodeName=$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + index))" \
            "CPUs=4 RealMemory=32000 State=UNKNOWN" >>"$SLURM_CONF"
    done
}

idle_nodes() { timeout 5 sinfo --noheader --Node --states=idle --format=%N 2>/dev/null | sort -u | wc -l; }

start() {
    need_programs
    [ ! -e "$folder/pid" ] || die "$folder: is there already; stop it first"
    configure
    munged --force --key-file="$folder/key" --socket="$folder/munge.socket" \
        --pid-file="$folder/pid/munged" --seed-file="$folder/seed" --log-file="$folder/log/munged"
    slurmctld -i
    local node wait
    for node in "${nodes[@]}"; do slurmd -N "$node"; done
    for wait in $(seq 150); do
        [ "$(idle_nodes)" != ${#nodes[@]} ] || { sinfo; return; }
        sleep 0.4
    done
    tail -n 5 "$folder"/log/* >&2
    die "the nodes are not idle after a minute"
}

# Jobs first, then nodes, controller, munge; those that do not end in ten seconds are killed.
stop() {
    [ -e "$folder/pid" ] || die "$folder: no cluster was started there"
    timeout 10 scancel --me 2>/dev/null || true
    sleep 1
    local name pid wait
    for name in "$folder"/pid/slurmd-* "$folder/pid/slurmctld" "$folder/pid/munged"; do
        pid=$(cat "$name" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        for wait in $(seq 50); do kill -0 "$pid" 2>/dev/null || continue 2; sleep 0.2; done
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$folder"
}

case "${1:-}" in
start | stop) "$1" ;;
env) echo "export SLURM_CONF='$SLURM_CONF'" ;;
*) echo "usage: scripts/slurm_local.sh start|stop|env" >&2; exit 2 ;;
esac
