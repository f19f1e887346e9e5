#!/usr/bin/env bash
# Keeps a run on a TPU pod alive: a lost pod is deleted, created, pushed to and given the same command again, which
# resumes from the newest checkpoint; a run that ended early is started again; a run that is done ends this.
#
#   launch/babysit.sh [--dry-run] ARGS…      (the ARGS of launch/tpu_pod.sh run; --workdir must outlive the pod)
#
# A pod that is there is adopted. A run whose log has `error: …` needs its user: this gives up at once. A run that ended
# with `lost: …` (exit 70: other processes are gone) is started again.
# Environment: that of launch/tpu_pod.sh; ATTEMPTS (30: creations and starts together), POLL (60 s between looks),
# MAX_DELAY (1800 s; the wait after a failure doubles from POLL up to it), STOP_WHEN_DONE (0; 1: deletes the pod).
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh
[ $# -gt 0 ] || usage 2 >&2
ATTEMPTS=${ATTEMPTS:-30} POLL=${POLL:-60} MAX_DELAY=${MAX_DELAY:-1800}
attempts=0 delay=$POLL failed=0

say() { echo "babysit: $*"; }
pod() { if [ "$DRY_RUN" = 1 ]; then launch/tpu_pod.sh --dry-run "$@"; else launch/tpu_pod.sh "$@"; fi; }

if [ "$DRY_RUN" = 1 ]; then  # one round in which the pod was lost, then one in which all is well
  for verb in preempt-check stop create preempt-check push; do pod "$verb"; done
  pod run "$@"
  pod preempt-check
  pod status
  exit
fi

attempt() {
  [ "$attempts" -lt "$ATTEMPTS" ] || fail "gave up after $attempts attempts"
  attempts=$((attempts + 1))
}

back_off() {
  say "waiting $delay s"
  sleep "$delay"
  delay=$((delay * 2 < MAX_DELAY ? delay * 2 : MAX_DELAY))
}

recreate() {
  if [ "$1" != "lost: ABSENT" ]; then pod stop || return 0; fi  # tried again in the next round
  attempt
  if [ "$attempts" -gt 1 ]; then back_off; fi
  pod create || say "create failed"
  failed=0
}

look() {
  local status
  status=$(pod status 2> /dev/null) || true
  if grep -q '^run is done' <<< "$status"; then
    say "the run is done after $attempts attempts"
    if [ "${STOP_WHEN_DONE:-0}" = 1 ]; then pod stop; else say "the pod still costs: launch/tpu_pod.sh stop"; fi
    exit
  elif grep -q '^error: ' <<< "$status"; then
    fail "the run needs you: $(grep -m 1 '^error: ' <<< "$status")"
  elif grep -q '^process: running' <<< "$status"; then
    delay=$POLL
    sleep "$POLL"
  elif grep -q '^process: ended' <<< "$status" && [ "$failed" = 0 ]; then
    attempt
    say "start $attempts"
    { pod push && pod run "$@"; } || say "start failed"
    failed=1
  else  # it failed, or did not answer: wait, look whether the pod is still there, then start
    back_off
    failed=0
  fi
}

while true; do
  health=$(pod preempt-check) || true
  say "$health"
  case "$health" in
    healthy) look "$@" ;;
    lost*) recreate "$health" ;;
    *) sleep "$POLL" ;;
  esac
done
