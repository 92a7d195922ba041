// Bytes that an epoch of per-rating SGD moves on a GPU, counted by the emulator from the kernel's own accesses, as
// JSON: bench/predicted_gpu.py reads it. Needs no GPU: cmake --build build/emulated --target mf_traffic.

#include <fmt/format.h>

#include "tests/support/mf_traffic.h"

int main() {
  using curate::DType;
  fmt::print("[");
  const char* separator = "";
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::int64_t dim : {32, 64, 128}) {
      const curate::test::MfTraffic bytes = curate::test::count_mf_traffic(dim, dtype, true);
      fmt::print(
          "{}\n  {{\"precision\": \"{}\", \"dim\": {}, \"ratings\": {}, \"users\": {}, \"plan\": {}, \"read\": {}, "
          "\"written\": {}, \"reduced\": {}}}",
          separator, curate::name_of(dtype), dim, bytes.ratings, bytes.users, bytes.plan, bytes.read, bytes.written,
          bytes.reduced);
      separator = ",";
    }
  }
  fmt::print("\n]\n");
}
