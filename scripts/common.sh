# shellcheck shell=bash
# What the scripts share; sourced, with `set -euo pipefail` in force. Goes to the project's root.

# A relative MESHPLAN_TORCH_PYTHON is meant from where the user stands. Not resolved further: a virtual
# environment's python is a link, and is itself only under its own name.
if [[ -n ${MESHPLAN_TORCH_PYTHON:-} ]]; then
  if [[ $MESHPLAN_TORCH_PYTHON == */* && $MESHPLAN_TORCH_PYTHON != /* ]]; then
    MESHPLAN_TORCH_PYTHON=$PWD/$MESHPLAN_TORCH_PYTHON
  elif [[ $MESHPLAN_TORCH_PYTHON != */* ]]; then
    MESHPLAN_TORCH_PYTHON=$(command -v "$MESHPLAN_TORCH_PYTHON" || echo "$MESHPLAN_TORCH_PYTHON")
  fi
  export MESHPLAN_TORCH_PYTHON
fi

# Physically: through a link to scripts/, `..` is the project and not the folder that has the link.
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root" || exit
venv=$root/build/venv
# The Python whose torch is linked, and whose packages prepare data.
# shellcheck disable=SC2034 # used by those that source this
torch_python=${MESHPLAN_TORCH_PYTHON:-$venv/bin/python3}

log() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# fail CODE MESSAGE...
fail() {
  local code=$1
  shift
  log "$*"
  exit "$code"
}

# Prints the comment at the head of the running script.
print_help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$root/scripts/${0##*/}"; }

wrong_usage() { fail 2 "$1; see scripts/${0##*/} --help"; }

# How many GPUs this process may use.
gpu_count() {
  if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
    tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c '^[^-]' || true
  else
    { nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU ' || true
  fi
}
