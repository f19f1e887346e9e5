#!/usr/bin/env bash
# Trains on this host (every host of a pod runs the same line): sets it up, then becomes the trainer.
#
#   launch/run.sh [--dry-run] [--background] --config=configs/arithmetic.py [--workdir=…] [--config.key=value …]
#   launch/run.sh [--dry-run] [--background] --sweep=configs/sweeps/kl.py [--workdir=…] [--shard=i/n]
#
# The trainer takes this process's place (exec): a SIGTERM reaches it directly, and its exit status is this one's.
# --background ends a run that this host still has, starts a detached one and returns; the log is LOG.
# Environment: that of launch/setup.sh; SETUP=0 skips it; LOG (~/grpo_jax.log); GRPO_MULTIHOST=1 on a pod.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh
VENV=${VENV:-.venv}
LOG=${LOG:-$HOME/grpo_jax.log}
background=0
if [ "${1:-}" = --background ]; then background=1; shift; fi
[ $# -gt 0 ] || usage 2 >&2

# A checkpoint is written by a trainer that gets SIGTERM; one that does not leave is killed with all its children.
end_former() {
  local pid
  if pid=$(cat "$LOG.pid" 2> /dev/null) && kill -0 "$pid" 2> /dev/null; then
    echo "run.sh: ending the run with process $pid"
    kill -TERM "$pid"
    timeout "${GRACE:-90}" tail -s 0.2 --pid="$pid" -f /dev/null || kill -KILL -- "-$pid"
  fi
}

if [ "$background" = 1 ] && [ "$DRY_RUN" = 0 ]; then end_former; fi
if [ "${SETUP:-1}" = 1 ]; then
  if [ "$DRY_RUN" = 1 ]; then launch/setup.sh --dry-run; else launch/setup.sh; fi
fi

cache=.cache/xla
if [ -n "${BUCKET:-}" ]; then cache=/mnt/bucket/xla-cache; fi  # a recreated pod finds its compiled programs
module=grpo_jax.main
case " $* " in *" --sweep="*) module=grpo_jax.sweeps.run ;; esac
set -- env JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$cache}" PYTHONUNBUFFERED=1 \
  "$VENV/bin/python" -m "$module" "$@"
if [ "$background" = 0 ]; then
  if [ "$DRY_RUN" = 1 ]; then show "$@"; else exec "$@"; fi
elif [ "$DRY_RUN" = 1 ]; then
  echo "setsid nohup $(show "$@") > $(show "$LOG") 2>&1 < /dev/null &"
else
  setsid nohup "$@" > "$LOG" 2>&1 < /dev/null &
  echo $! > "$LOG.pid"
  echo "run.sh: process $!, log $LOG"
fi
