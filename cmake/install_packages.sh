#!/usr/bin/env bash
# usage: cmake/install_packages.sh build|test
# Installs the Debian packages that are missing for building, or for the tests too. Silent where nothing is missing.
set -euo pipefail

packages=(cmake g++ ninja-build python3 curl ca-certificates
  libfmt-dev libcli11-dev nlohmann-json3-dev librandom123-dev libtomlplusplus-dev libopenblas-dev libzip-dev zlib1g-dev
  libxxhash-dev)
case "${1:-}" in
  build) ;;
  test) packages+=(libgtest-dev libboost-context-dev clang-format-14 clang libclang-rt-dev git pkg-config) ;;
  *)
    echo "usage: cmake/install_packages.sh build|test" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
  echo "No dpkg here: not Debian or Ubuntu. Install the like of these yourself, then start again: ${packages[*]}" >&2
  exit 1
fi
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "All there." >&2
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Missing packages, and neither root nor sudo to install them: ask for: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install_them() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" \
    >"$log" 2>&1
}
# The package lists may be absent (a fresh container) or stale.
if ! install_them; then
  "${as_root[@]}" apt-get update >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
  install_them || { cat "$log" >&2; exit 1; }
fi
