# shellcheck shell=bash
# Sourced by the scripts here: --help prints a script's header comment, --dry-run makes run() print instead of run.
DRY_RUN=0

usage() { awk 'NR > 1 && !/^#/ { exit } NR > 1 && !/^#SBATCH/ { sub(/^# ?/, ""); print }' "$0"; exit "${1:-0}"; }

fail() { echo "${0##*/}: $*" >&2; exit 1; }

# One line that a shell would read back as these words.
show() {
  local word line=""
  for word in "$@"; do
    case "$word" in
      "" | *[!A-Za-z0-9_./:=,@%+~-]*) line="$line '$(printf '%s' "$word" | sed "s/'/'\\\\''/g")'" ;;
      *) line="$line $word" ;;
    esac
  done
  echo "${line# }"
}

run() { if [ "$DRY_RUN" = 1 ]; then show "$@"; else "$@"; fi; }

case "${1:-}" in
  -h | --help) usage ;;
  --dry-run) DRY_RUN=1; shift ;;
esac
