#!/usr/bin/env bash
# The eight classic ablations and the popular claims, measured again: every sweep of configs/sweeps with its page, then
# their tables and curves, and the table of claims. Killed? The same command does what is missing.
#
#   launch/ablations.sh [--dry-run] [FOLDER]
#
# FOLDER (runs/ablations) gets a folder for each sweep, tables/ and claims.md. Environment: JOBS (2) sweeps at a time,
# PYTHON (.venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh
folder=${1:-runs/ablations}
PYTHON=${PYTHON:-${VENV:-.venv}/bin/python}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/xla} JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
sweeps=(ppo_vs_grpo presets kl update_epochs epsilon_high group_size group_size:completions reduction advantage temperature
  length_bias difficulty_bias)

sweep() {  # a file's name with its argument, and the folder in FOLDER
  local file=${1%%:*} argument=""
  if [[ $1 = *:* ]]; then argument=:${1#*:}; fi
  run "$PYTHON" -m grpo_jax.sweeps.run --sweep="configs/sweeps/$file.py$argument" --workdir="$folder/$2" --vmapped
}

one() {  # the tuned comparison needs its tuning first
  case "$1" in
    ppo_vs_grpo) sweep ppo_vs_grpo ppo_vs_grpo_tuning && sweep "ppo_vs_grpo:$folder/ppo_vs_grpo_tuning" ppo_vs_grpo ;;
    *) sweep "$1" "${1/:/_}" ;;
  esac
}

if [ "$DRY_RUN" = 1 ]; then
  for name in "${sweeps[@]}"; do one "$name"; done
else
  mkdir -p "$folder"
  pids=()
  trap 'kill "${pids[@]}" 2> /dev/null || true' EXIT
  for name in "${sweeps[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do sleep 1; done
    one "$name" > "$folder/${name/:/_}.log" 2>&1 &
    pids+=($!)
    echo "ablations.sh: $name, log $folder/${name/:/_}.log"
  done
  for i in "${!sweeps[@]}"; do
    wait "${pids[i]}" || fail "${sweeps[i]} failed: $(tail -n 1 "$folder/${sweeps[i]/:/_}.log")"
  done
  trap - EXIT
fi
run "$PYTHON" benchmarks/findings.py "$folder" --out "$folder/tables"
run "$PYTHON" benchmarks/claims.py "$folder/ppo_vs_grpo" --out "$folder/tables/claims.md"
