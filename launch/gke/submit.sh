#!/usr/bin/env bash
# Starts a run on GKE: renders the JobSet manifest and applies it to the cluster that kubectl points at.
#
#   launch/gke/submit.sh [--dry-run] --config=… --workdir=/mnt/bucket/… [--config.key=value …]
#
# Environment: that of launch/gke/render.sh. Afterwards:
#   kubectl get jobset,pods                                               how it stands
#   kubectl logs -f -l jobset.sigs.k8s.io/jobset-name=NAME,batch.kubernetes.io/job-completion-index=0
#   kubectl delete jobset NAME                                            stops it
set -euo pipefail
cd "$(dirname "$0")/../.."
. launch/common.sh
[ $# -gt 0 ] || usage 2 >&2

manifest=${TMPDIR:-/tmp}/jobset-${NAME:?is not set; see launch/gke/render.sh --help}.yaml
if [ "$DRY_RUN" = 1 ]; then
  echo "$(show launch/gke/render.sh "$@") > $(show "$manifest")"
else
  launch/gke/render.sh "$@" > "$manifest"
fi
run kubectl apply -f "$manifest"
