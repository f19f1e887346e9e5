#!/usr/bin/env bash
# A pod on one machine: PROCESSES trainers on 127.0.0.1, each with DEVICES fake CPU devices.
#
#   launch/local_multiprocess.sh [--dry-run] PROCESSES DEVICES --workdir=… --config=… [--config.key=value …]
#
# Logs are WORKDIR/logs/process-I.log. When one dies the others are ended, and this exits with its status.
# Environment: PORT (a free one), LIMIT (3600 s for all of it), GRACE (30 s between SIGTERM and SIGKILL),
# COMMAND (.venv/bin/python -m grpo_jax.main), split at spaces.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh
[ $# -ge 3 ] || usage 2 >&2
processes=$1 devices=$2
shift 2
workdir=""
for argument in "$@"; do case "$argument" in --workdir=?*) workdir=${argument#*=} ;; esac; done
[ -n "$workdir" ] || fail "--workdir=… is needed: the logs go there"
COMMAND=${COMMAND:-${VENV:-.venv}/bin/python -m grpo_jax.main}
free='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
PORT=${PORT:-$(python3 -c "$free")}
read -r -a command <<< "$COMMAND"
pids=()

end_all() {  # SIGTERM, then after GRACE seconds SIGKILL, to every group
  local pid tenths=$((${GRACE:-30} * 10))
  for pid in ${pids[@]+"${pids[@]}"}; do kill -TERM -- "-$pid" 2> /dev/null || true; done
  for pid in ${pids[@]+"${pids[@]}"}; do
    while kill -0 -- "-$pid" 2> /dev/null && ((tenths-- > 0)); do sleep 0.1; done
    kill -KILL -- "-$pid" 2> /dev/null || true
    wait "$pid" 2> /dev/null || true
  done
}
trap 'end_all; exit 143' INT TERM

run mkdir -p "$workdir/logs"
for ((i = 0; i < processes; i++)); do
  log=$workdir/logs/process-$i.log
  line=(env JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count="$devices"
    JAX_COORDINATOR_ADDRESS=127.0.0.1:"$PORT" JAX_COORDINATOR_BIND_ADDRESS=127.0.0.1:"$PORT"
    JAX_NUM_PROCESSES="$processes" JAX_PROCESS_ID="$i" "${command[@]}" "$@")
  if [ "$DRY_RUN" = 1 ]; then
    echo "$(show "${line[@]}") > $(show "$log") 2>&1 < /dev/null &"
  else
    set -m  # a process group each, so that a trainer's own children end with it
    "${line[@]}" > "$log" 2>&1 < /dev/null &
    set +m
    pids+=($!)
  fi
done
if [ "$DRY_RUN" = 1 ]; then exit; fi

left=$processes
ended=()
while ((left > 0)); do
  ((SECONDS < ${LIMIT:-3600})) || { end_all; fail "ended all after LIMIT=${LIMIT:-3600} s"; }
  sleep 0.1
  for ((i = 0; i < processes; i++)); do
    if [ -n "${ended[i]:-}" ] || kill -0 "${pids[i]}" 2> /dev/null; then continue; fi
    code=0
    wait "${pids[i]}" || code=$?
    if ((code)); then
      echo "process $i died with status $code; $workdir/logs/process-$i.log ends:" >&2
      tail -n 5 "$workdir/logs/process-$i.log" >&2
      end_all
      exit "$code"
    fi
    ended[i]=1 left=$((left - 1))
  done
done
