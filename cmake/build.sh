#!/usr/bin/env bash
# usage: cmake/build.sh PRESET [TARGET...]
# Configures (once) and builds a preset of CMakePresets.json; prints the whole output only when something fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:?usage: cmake/build.sh PRESET [TARGET...]}
shift
targets=()
[ $# -eq 0 ] || targets=(--target "$@")

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ ! -e "build/$preset/build.ninja" ]; then
  cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
if [ -t 2 ]; then
  # ninja rewrites its one line of progress on a terminal.
  cmake --build "build/$preset" "${targets[@]}" >&2
else
  cmake --build "build/$preset" "${targets[@]}" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
  tail -n 1 "$log" >&2
fi
