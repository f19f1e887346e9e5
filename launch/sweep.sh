#!/usr/bin/env bash
# Sends the shards of a sweep to N TPU pods or to a Slurm job array of N tasks. Each shard does its share of the runs.
#
#   launch/sweep.sh [--dry-run] tpu N --sweep=configs/sweeps/kl.py --workdir=/mnt/bucket/sweeps/kl
#   launch/sweep.sh [--dry-run] slurm N --sweep=… --workdir=…
#
# tpu: pods NAME-1 … NAME-N, each kept alive by a launch/babysit.sh of its own until its shard is done, with the log
# LOGS/NAME-i.log; this waits for all of them and fails where one did. slurm: sbatch with an array of launch/slurm.sbatch.
# The same command again does what is missing. One --workdir for all, which all hosts see; the first shard does the
# stage that runs start from, on Slurm the one that comes first. Other ARGS are those of python -m grpo_jax.sweeps.run.
# Environment: tpu: that of launch/babysit.sh; LOGS (the folder you are in). slurm: that of launch/slurm.sbatch; SBATCH (options of sbatch, such as
# "--nodes=1 --gpus-per-node=8").
set -euo pipefail
LOGS=${LOGS:-$PWD}
cd "$(dirname "$0")/.."
. launch/common.sh
where=${1:-} count=${2:-}
[ $# -ge 3 ] || usage 2 >&2
shift 2
case "$count" in "" | *[!0-9]* | 0) fail "N=$count must be a number of shards from 1 on" ;; esac
case " $* " in *" --sweep="*) ;; *) fail "no --sweep=FILE in $*; give the sweep" ;; esac
case " $* " in *" --workdir="*) ;; *) fail "no --workdir=FOLDER in $*; give one that all hosts see" ;; esac

tpu() {
  local i log code=0 pids=() later
  : "${NAME:?is not set; see --help}"
  for i in $(seq 1 "$count"); do
    later=() log=$LOGS/$NAME-$i.log
    if [ "$i" != 1 ]; then later=(--wait-for-stage); fi
    set -- "${arguments[@]}" --shard="$i/$count" "${later[@]}"
    if [ "$DRY_RUN" = 1 ]; then
      echo "$(show env NAME="$NAME-$i" launch/babysit.sh "$@") > $(show "$log") 2>&1 &"
    else
      NAME="$NAME-$i" launch/babysit.sh "$@" > "$log" 2>&1 &
      pids+=($!)
      echo "sweep.sh: shard $i of $count on $NAME-$i, log $log"
    fi
  done
  if [ "$DRY_RUN" = 1 ]; then return; fi
  trap 'kill "${pids[@]}" 2> /dev/null || true' EXIT  # the pods' keepers end with this
  for i in $(seq 1 "$count"); do
    wait "${pids[$((i - 1))]}" || { echo "sweep.sh: shard $i: $(tail -n 1 "$LOGS/$NAME-$i.log")" >&2; code=1; }
  done
  return "$code"
}

arguments=("$@")
case "$where" in
  tpu) tpu ;;
  slurm)
    read -r -a options <<< "${SBATCH:-}"
    run sbatch "${options[@]}" --array="1-$count" launch/slurm.sbatch "$@" --shard=array
    ;;
  *) usage 2 >&2 ;;
esac
