# shellcheck shell=bash disable=SC2154
# Sourced by tpu_pod.sh: whether its pod is alive, for which it asks the request and then each of its nodes.

# The state that a command prints, ABSENT, or UNKNOWN: only an answer makes a pod lost, a network that fails does not.
state_of() {
  local error
  error=$(mktemp)
  "$@" 2> "$error" || if grep -q NOT_FOUND "$error"; then echo ABSENT; else echo "UNKNOWN $(tail -n 1 "$error")"; fi
  rm -f "$error"
}

preempt_check() {
  local node state
  if [ "$DRY_RUN" = 1 ]; then
    queued describe '--format=value(state.state)'
    for node in $(nodes); do node_state "$node"; done
    return
  fi
  state=$(state_of queued describe '--format=value(state.state)')
  for node in $(nodes); do
    if [ "$state" = ACTIVE ] || [ "$state" = READY ]; then state=$(state_of node_state "$node"); fi
  done
  case "$state" in
    READY) echo healthy ;;
    SUSPENDED | FAILED | PREEMPTED | TERMINATED | STOPPED | ABSENT) echo "lost: $state"; return 1 ;;
    UNKNOWN*) echo "unknown: $state"; return 3 ;;
    *) echo "waiting: $state"; return 2 ;;
  esac
}
