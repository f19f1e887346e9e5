#!/usr/bin/env bash
# Makes one host ready: a virtual environment with the pinned requirements, and the bucket mounted at /mnt/bucket.
#
#   launch/setup.sh [--dry-run]
#
# Environment: VENV (.venv), JAX_EXTRA (tpu, cuda12 …; empty: CPU), BUCKET (name without gs://; empty: no mount).
# Run again it changes nothing that is right already. TPU images carry Python 3.10: there uv brings 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh
VENV=${VENV:-.venv}

if [ ! -x "$VENV/bin/python" ]; then
  if python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
    run python3 -m venv "$VENV"
  else
    run python3 -m pip install --quiet --user uv
    run python3 -m uv venv --quiet --seed --python 3.11 "$VENV"
  fi
fi
run "$VENV/bin/python" -m pip install --quiet -c constraints.txt -r requirements.txt ${JAX_EXTRA:+"jax[$JAX_EXTRA]"}

if [ -n "${BUCKET:-}" ] && ! mountpoint -q /mnt/bucket; then
  key=/usr/share/keyrings/cloud.google.asc
  repository="deb [signed-by=$key] https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -cs) main"
  run sudo curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg -o "$key"
  run sudo sh -c "echo '$repository' > /etc/apt/sources.list.d/gcsfuse.list"
  run sudo apt-get update -qq
  run sudo apt-get install -qq -y gcsfuse
  run sudo install -d -o "$(id -un)" /mnt/bucket
  # Hosts see each other's files at once: no cached metadata, which some machine types would keep for ever.
  run gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0 "$BUCKET" /mnt/bucket
fi
