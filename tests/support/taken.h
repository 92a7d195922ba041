#pragma once

#include <cstdint>

#include "tests/emulator/emulator.h"

namespace curate::test {

/// Products that the stand-ins of NVIDIA's libraries took.
struct Taken {
  std::int64_t by_cublaslt = 0;
  std::int64_t by_cublas = 0;

  bool operator==(const Taken&) const = default;
  Taken operator-(const Taken& before) const {
    return {by_cublaslt - before.by_cublaslt, by_cublas - before.by_cublas};
  }
};

/// All so far.
inline Taken products_taken() {
  return {emulator::cublaslt_products(), emulator::cublas_products()};
}

}  // namespace curate::test
