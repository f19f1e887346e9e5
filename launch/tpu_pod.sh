#!/usr/bin/env bash
# A TPU pod as a queued resource, from any machine with gcloud, one verb at a time.
#
#   launch/tpu_pod.sh [--dry-run] VERB
#
# create         asks for the pod; it may wait in the queue for hours, see status
# push           sends the committed tree (git archive HEAD) to every host
# run ARGS…      launch/run.sh ARGS… in the background on every host, in place of a run that is still there
# logs           follows the log of host 0
# status         the state of the pod; when ACTIVE also the end of the log of host 0
# preempt-check  healthy (exit 0), lost (1), waiting (2) or unknown (3), and why
# stop           deletes the pod and the request
#
# Environment: NAME, ZONE, ACCELERATOR (v5litepod-16, v5p-32, v6e-16, v4-32 …), and optionally SLICES (1),
# SPOT (1; 0: on demand), RUNTIME (by ACCELERATOR), BUCKET (name without gs://, mounted at /mnt/bucket).
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh
. launch/tpu_health.sh
verb=${1:-}
[ -n "$verb" ] || usage 2 >&2
shift
: "${NAME:?is not set; see --help}" "${ZONE:?is not set; see --help}"
SLICES=${SLICES:-1}
log=grpo_jax.log  # in the home of every host, where launch/run.sh writes it

queued() { local v=$1; shift; run gcloud compute tpus queued-resources "$v" "$NAME" --zone="$ZONE" "$@"; }
ssh_to() { queued ssh --quiet --node="$1" --worker="$1" --command="$2"; }
node_state() { run gcloud compute tpus tpu-vm describe "$1" --zone="$ZONE" '--format=value(state)'; }
nodes() { if [ "$SLICES" = 1 ]; then echo "$NAME"; else seq -f "$NAME-%.0f" 0 $((SLICES - 1)); fi; }

create() {
  local runtime node=(--node-id="$NAME")
  case "${ACCELERATOR:?is not set; see --help}" in
    v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
    v5p-*) runtime=v2-alpha-tpuv5 ;;
    v6e-*) runtime=v2-alpha-tpuv6e ;;
    v2-* | v3-* | v4-*) runtime=tpu-ubuntu2204-base ;;
    *) runtime=${RUNTIME:?is needed: no runtime version is known for this ACCELERATOR} ;;
  esac
  if [ "$SLICES" != 1 ]; then node=(--node-count="$SLICES" --node-prefix="$NAME"); fi
  if [ "${SPOT:-1}" = 1 ]; then node+=(--spot); fi
  queued create --accelerator-type="$ACCELERATOR" --runtime-version="${RUNTIME:-$runtime}" "${node[@]}"
}

push() {
  [ "$DRY_RUN" = 1 ] || git diff --quiet HEAD || echo "tpu_pod.sh: uncommitted changes are not pushed" >&2
  local archive=${TMPDIR:-/tmp}/grpo_jax-$NAME.tar.gz
  run git archive --format=tar.gz --prefix=grpo_jax/ --output="$archive" HEAD
  run gcloud compute tpus queued-resources scp "$archive" "$NAME:grpo_jax.tar.gz" --zone="$ZONE" --quiet \
    --node=all --worker=all
  # What a run left in the tree stays: its folder, and the programs it compiled.
  local old='find grpo_jax -mindepth 1 -maxdepth 1 ! -name runs ! -name .cache -exec rm -rf {} +'
  ssh_to all "mkdir -p grpo_jax && $old && tar -xzf grpo_jax.tar.gz"
}

status() {
  local state
  state=$(queued describe '--format=value(state.state)')
  echo "$state"
  if [ "$DRY_RUN" = 0 ] && [ "$state" != ACTIVE ]; then return; fi
  local process="if kill -0 \"\$(cat $log.pid)\"; then echo process: running; else echo process: ended; fi"
  ssh_to 0 "tail -n 5 $log; grep '^run is done\|^error: ' $log; $process"
}

case "$verb" in
  create) create ;;
  push) push ;;
  run)
    [ $# -gt 0 ] || usage 2 >&2
    case "${BUCKET:-} $* " in [!\ ]*" --workdir="* | " "*) ;; *) fail "BUCKET=$BUCKET needs --workdir=/mnt/bucket/…" ;; esac
    settings="GRPO_MULTIHOST=1 JAX_EXTRA=tpu VENV=\$HOME/venv${BUCKET:+ BUCKET=$BUCKET}"
    ssh_to all "cd grpo_jax && $settings launch/run.sh --background $(show "$@")"
    ;;
  logs) ssh_to 0 "tail -n 100 -F $log" ;;
  status) status ;;
  preempt-check) preempt_check ;;
  stop) queued delete --force --quiet ;;
  *) usage 2 >&2 ;;
esac
