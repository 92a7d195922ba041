#!/usr/bin/env bash
# Installs what is missing for the tests, builds, and runs every test that this machine can run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case "${1:-}" in
  "") ;;
  -h | --help)
    cat <<END
usage: ./test.sh   installs what is missing (Debian 12, Ubuntu 24.04), builds, runs all tests that this machine can
  CURATE_TEST_DATA=DIR   folder with ml-100k/, ml-1m/, ml-latest-small-2016/ for the tests on real ratings
                         (default: ../shared/data where it exists)
END
    exit 0
    ;;
  *)
    echo "test.sh: takes no arguments; see ./test.sh --help" >&2
    exit 2
    ;;
esac

phase=
phases=()  # of each: seconds, title
say() {
  [ -z "$phase" ] || phases+=("$((SECONDS - began))" "$phase")
  phase=$*
  began=$SECONDS
  printf '\n== %s (begins at %d s)\n' "$phase" "$began"
}
skipped=()
# What a machine of one's own may lack and CI (CI=true) may not.
missing() {
  if [ "${CI:-}" = true ]; then
    echo "test.sh: $*; with CI=true it has to be here" >&2
    exit 1
  fi
  skipped+=("$*")
}

say "Packages"
cmake/install_packages.sh test

say "Formatting (clang-format 14)"
if command -v clang-format-14 >/dev/null; then
  # Without git (an unpacked archive) the folders say which files are ours.
  mapfile -t sources < <(git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' 2>/dev/null ||
    find include host kernels tests bench -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')
  clang-format-14 --dry-run --Werror "${sources[@]}"
  echo "${#sources[@]} files as they should be"
else
  missing "formatting: no clang-format-14 here"
fi

# The test of bench/predicted_gpu.py reads machine code; not every toolkit has the disassembler.
toolkit=$PATH:/usr/local/cuda/bin
if PATH=$toolkit command -v nvcc >/dev/null && ! PATH=$toolkit command -v nvdisasm >/dev/null; then
  for tools in build/python/nvidia/*/bin; do
    [ -x "$tools/nvdisasm" ] || python3 -m pip install --quiet --target build/python nvidia-cuda-nvdisasm || true
  done
  for tools in build/python/nvidia/*/bin; do
    PATH=$PATH:$PWD/$tools
  done
fi

if [ -z "${CURATE_TEST_DATA:-}" ] && [ -d ../shared/data ]; then
  CURATE_TEST_DATA=$(cd ../shared/data && pwd)
fi
if [ -n "${CURATE_TEST_DATA:-}" ]; then
  export CURATE_TEST_DATA
  echo "real ratings: $CURATE_TEST_DATA"
else
  missing "tests on real ratings: no folder with data sets; set CURATE_TEST_DATA"
fi

# Said before an hour is spent on the rest.
if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
  missing "compiling the kernels for GPUs: no nvcc here"
fi

# Tests write many small files and wait until the disk has them: in memory, where there is room, and where programs that
# tests install may run.
if [ -w /dev/shm ] && [ "$(df --output=avail --block-size=1 /dev/shm | tail -n 1)" -gt $((4 << 30)) ]; then
  scratch=$(mktemp -d /dev/shm/curate_test_XXXXXX)
  chmod 1777 "$scratch"  # like /tmp: some tests are another user for a while
  trap 'rm -rf "$scratch"' EXIT
  if cp /bin/true "$scratch" && "$scratch/true" 2>/dev/null; then
    export TMPDIR=$scratch
  fi
fi

run_tests() { # PRESET NAME [ctest arguments]
  local preset=$1 name=$2 line listed
  shift 2
  say "Build: $name"
  cmake/build.sh "$preset"
  say "Tests: $name"
  # One more than there are cores: some tests wait.
  ctest --test-dir "build/$preset" --output-on-failure -j "$(($(nproc) + 1))" "$@"
  listed=$(tests/skips.py "build/$preset/Testing/Temporary/LastTest.log")
  while IFS= read -r line; do
    [ -z "$line" ] || skipped+=("$line ($name)")
  done <<<"$listed"
}

# Functions inside `if` run without -e; each suite must stop the script by itself.
export CURATE_EMULATOR_LOG=$PWD/build/emulator.log
rm -f "$CURATE_EMULATOR_LOG"
run_tests ci "optimised"
say "Kernels that ran on the emulated GPU, and how often in each schedule"
tests/emulator/coverage.py "$CURATE_EMULATOR_LOG"
# Whole trainings are too long for sanitizers, and runs that are compared with each other go where single ones have been.
# Of the command line there is what it does with bad input. Left out, too: clocks, what a training learns, the tests of
# the CPU's per-rating SGD alone, which is compiled without sanitizers, and tests that run the same code again and again:
# for every byte of a cache (the fuzz target rating_cache damages caches with sanitizers, too), for every algorithm of
# cublasLt, for every way in which cublasLt is of no use.
run_tests cpu-asan "AddressSanitizer and UndefinedBehaviorSanitizer" \
  -E "ml_100k_u1|train_as_well|atomics_change|deterministic_(gives|plans_give)|do_not_depend_on|\
^(CudaErrors|LibraryChoice.(times_tell|few_tiles|an_algorithm))|ProductsFailures|WideStackFailures|\
RatingCache.DamageIsSeen|algorithms_are_timed|without_an_algorithm_cublas_serves|cublas_serves_where|\
IsWhatTrainingTakes|Resume.*emulated|rounded_products_match|WideLayersInBf16|\
^cli_((bench|compare|data|features|run|train)_)?test|^mf_peers_test|^cuda_cli_test|\
ContractTest.seconds_of_counts|^widths/MfSgdBlock|^Trainer.DefaultsOfLargeBatches|^MovielensLike.BestRmse"
if [ ! -e /proc/driver/nvidia/version ]; then
  skipped+=("tests on a GPU: no NVIDIA driver here (their kernels ran on the emulated one)")
fi

say "Kernels for every GPU"
status=0
# Without 8.9, whose machine code of every kernel is that of 8.6, byte for byte (CUDA 13.0).
bench/kernel_matrix.py --built build/ci --architectures 80,86,90,100,120 || status=$?
if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then  # 77: no nvcc here
  exit 1
fi

say "Fuzz targets of the readers (tests/fuzz), for a few seconds each"
if clang++ -fsanitize=fuzzer -x c++ -o /dev/null - 2>/dev/null \
  <<<'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'; then
  CURATE_FUZZ_OPTIONS=-seed=1 tests/fuzz/run.sh 5
else
  missing "fuzz targets: no clang++ with libFuzzer here"
fi

say "Skipped"
printf '%s\n' "${skipped[@]}"
say "Seconds"
printf '%6d  %s\n' "${phases[@]}"
say "All tests that this machine can run have passed"
