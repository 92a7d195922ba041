#!/usr/bin/env bash
# usage: tests/fuzz/run.sh [SECONDS [TARGET...]]
# Builds the fuzz targets and runs each (default: all) on its seeds and then for SECONDS (default: 5) on what it makes
# of them; one line per target. What a run finds worth keeping stays in build/fuzz/corpus and is where the next one
# starts. Exit code 1 where there is a finding: its input is in build/fuzz/findings, and
#   build/fuzz/targets/TARGET FILE
# runs it again. CURATE_FUZZ_JOBS: how many targets at once (default: all cores). Other options of libFuzzer go into
# CURATE_FUZZ_OPTIONS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${1:-5}
if ! [[ $seconds =~ ^[0-9]+$ ]]; then
  sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(cd tests/fuzz/corpus && printf '%s\n' *)
fi

cmake/build.sh fuzz
mkdir -p build/fuzz/findings build/fuzz/logs
# Targets write files for every input: in memory, where that is possible.
scratch=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/curate_fuzz_run_XXXXXX")
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

run_target() { # TARGET SECONDS
  local target=$1 seconds=$2 log=build/fuzz/logs/$1.log options=()
  [ ! -e "tests/fuzz/dictionaries/$target.dict" ] || options+=("-dict=tests/fuzz/dictionaries/$target.dict")
  # The ratings are cut into pieces of some 100 bytes: longer texts have nothing new.
  [ "$target" != ratings ] || options+=(-max_len=2048)
  mkdir -p "build/fuzz/corpus/$target"
  # shellcheck disable=SC2086
  if "build/fuzz/targets/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 \
    -print_final_stats=1 -artifact_prefix="build/fuzz/findings/$target-" "${options[@]}" \
    ${CURATE_FUZZ_OPTIONS:-} "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
    awk -v target="$target" -v seconds="$seconds" '
      /stat::number_of_executed_units/ { runs = $2 }
      / cov: / { for (k = 1; k < NF; ++k) if ($k == "cov:") covered = $(k + 1) }
      END { printf "ok       %-12s %10d inputs in %d s, %d edges\n", target, runs, seconds, covered }' "$log"
  else
    printf 'FINDING  %-12s %s\n' "$target" "$(sed -n 's/^.*Test unit written to //p' "$log" | tail -n 1)"
    grep -E '^finding: |SUMMARY|runtime error|what\(\)' "$log" | head -n 5 | sed 's/^/           /'
    echo "           all that it said: $log"
    return 1
  fi
}
export -f run_target

printf '%s\n' "${targets[@]}" | xargs -P "${CURATE_FUZZ_JOBS:-$(nproc)}" -I{} bash -c 'run_target {} '"$seconds"
