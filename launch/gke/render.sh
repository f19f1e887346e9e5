#!/usr/bin/env bash
# Prints the JobSet manifest of a run on GKE, from launch/gke/jobset.yaml.in.
#
#   launch/gke/render.sh [--dry-run] --config=… --workdir=/mnt/bucket/… [--config.key=value …]
#
# Environment: NAME, IMAGE (made from launch/gke/Dockerfile), BUCKET (name without gs://, mounted at /mnt/bucket),
# ACCELERATOR (tpu-v5-lite-podslice, tpu-v5p-slice, tpu-v6e-slice, tpu-v4-podslice, tpu7x) and TOPOLOGY (4x4, 2x2x2 …)
# are needed; CHIPS per host (4), SLICES (1), SPOT (1; 0: on demand), RESTARTS (20), SERVICE_ACCOUNT (default).
set -euo pipefail
cd "$(dirname "$0")/../.."
. launch/common.sh
[ $# -gt 0 ] || usage 2 >&2
for name in NAME IMAGE BUCKET ACCELERATOR TOPOLOGY; do
  [ -n "${!name:-}" ] || fail "$name is not set; see --help"
done
[[ $TOPOLOGY =~ ^[0-9]+(x[0-9]+)+$ ]] || fail "TOPOLOGY=$TOPOLOGY is not like 4x4 or 2x2x2"
CHIPS=${CHIPS:-4}
total=$((${TOPOLOGY//x/*}))
[ $((total % CHIPS)) = 0 ] || fail "TOPOLOGY=$TOPOLOGY has $total chips, no multiple of CHIPS=$CHIPS per host"

ARGS=""  # as JSON strings, which YAML reads
for argument in "$@"; do
  ARGS="$ARGS${ARGS:+, }\"$(printf '%s' "$argument" | sed 's/[\\"]/\\&/g')\""
done
# shellcheck disable=SC2034  # read below, by name
HOSTS=$((total / CHIPS)) SLICES=${SLICES:-1} RESTARTS=${RESTARTS:-20} SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-default}

edits=()
for name in NAME IMAGE BUCKET ACCELERATOR TOPOLOGY CHIPS HOSTS SLICES RESTARTS SERVICE_ACCOUNT ARGS; do
  edits+=(-e "s|@$name@|$(printf '%s' "${!name}" | sed 's/[\\&|]/\\&/g')|")
done
if [ "${SPOT:-1}" != 1 ]; then edits+=(-e /gke-spot/d); fi
run sed "${edits[@]}" launch/gke/jobset.yaml.in
