#!/usr/bin/env bash
# Makes one virtual environment per peer: DIR/trl and DIR/tunix (DIR is $1, default .bench).
#
#   bash benchmarks/peers/setup.sh [DIR]
#
# PYTHON picks the interpreter (default python3). Where pip would take a CUDA build of torch, run it with
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu: the local version 2.13.0+cpu then wins.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
target="${1:-.bench}"

make_environment() {
  local peer="$1"
  "${PYTHON:-python3}" -m venv "$target/$peer"
  "$target/$peer/bin/python" -m pip install --quiet --requirement "$here/requirements-$peer.txt"
  "$target/$peer/bin/python" -m pip freeze >"$target/$peer/installed.txt"
}

mkdir -p "$target"
make_environment trl
make_environment tunix
echo "$target/trl/bin/python and $target/tunix/bin/python are ready"
