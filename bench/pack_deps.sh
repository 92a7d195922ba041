#!/usr/bin/env bash
# usage: bench/pack_deps.sh
# Packs what the build needs besides CUDA's toolkit, CMake, ninja and g++ into .deps/deps.tar.xz, from this machine's
# packages (Debian 12), for machines that reach no package registry. bench/gpu_kit.sh unpacks it where it has
# to build from source. Fails above 40 MiB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
  "") ;;
  *)
    sed -n 2,5p "${BASH_SOURCE[0]}" | sed 's/^# //'
    exit 2
    ;;
esac
cmake/install_packages.sh test

most_bytes=$((40 << 20))
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

keep() { # paths that a package installed, with what links lead to
  local path
  while IFS= read -r path; do
    [ -f "$path" ] || continue
    install -D -m "$(stat -L -c %a "$path")" "$path" "$root$path"
  done
}

# Whole packages of headers and of what CMake reads; documentation and programs stay.
for package in libfmt-dev libcli11-dev nlohmann-json3-dev librandom123-dev libtomlplusplus-dev libzip-dev zlib1g-dev \
  libxxhash-dev libgtest-dev libopenblas-pthread-dev libboost-context1.74-dev; do
  dpkg -L "$package" | grep -E "^/usr/(include|lib|share/(cmake|pkgconfig))/" | grep -v '\.a$' | keep
done
# The static parts that are linked.
printf '%s\n' "/usr/lib/$multiarch"/lib{gtest,gtest_main,gmock,gmock_main}.a | keep
# Boost is large: the headers that the emulator's one include leads to.
printf '#include <boost/context/detail/fcontext.hpp>\n' | g++ -x c++ -M - | tr ' \\' '\n\n' | grep '^/usr/include/boost' | keep
# OpenBLAS chooses among alternatives by links; here there is one.
printf '%s\n' "/usr/include/$multiarch/openblas-pthread"/*.h | keep
cp -rL "$root/usr/include/$multiarch/openblas-pthread/." "$root/usr/include/"

# Shared libraries, and those that they need, but for what every system has.
printf 'int main() { return 0; }\n' >"$root/probe.cpp"
g++ "$root/probe.cpp" -o "$root/probe" -Wl,--no-as-needed -lfmt -ltomlplusplus -lopenblas -lzip -lz -lboost_context
ldd "$root/probe" | awk '$3 ~ /^\// {print $1, $3}' |
  grep -vE '^(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|librt|ld-linux.*)\.so' |
  while read -r name path; do
    # Under its own name, which CMake's files of targets ask for, and under those that loaders and linkers use.
    real=$(basename "$(readlink -f "$path")")
    install -D -m 644 "$(readlink -f "$path")" "$root/usr/lib/$multiarch/$real"
    [ "$real" = "$name" ] || ln -sf "$real" "$root/usr/lib/$multiarch/$name"
    ln -sf "$real" "$root/usr/lib/$multiarch/${name%%.so*}.so"
  done
rm "$root/probe" "$root/probe.cpp"

mkdir -p .deps
tar -C "$root" -cf - . | xz -T0 -6 >.deps/deps.tar.xz
bytes=$(stat -c %s .deps/deps.tar.xz)
if [ "$bytes" -gt "$most_bytes" ]; then
  rm .deps/deps.tar.xz
  echo "pack_deps.sh: $bytes bytes, more than the $most_bytes that travel; nothing packed" >&2
  exit 1
fi
echo ".deps/deps.tar.xz: $(($bytes >> 10)) KiB, $(tar -tf .deps/deps.tar.xz | wc -l) files and folders"
