#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "device/step_state.h"

namespace curate {

class Device;
enum class RandomPurpose : std::uint32_t;

/// f16: IEEE binary16; bf16: the upper half of an f32.
enum class DType : std::uint8_t { f32, f16, bf16, i32, step_state, error_sums };

std::size_t size_of(DType dtype);
const char* name_of(DType dtype);
/// Whether elements of that type are numbers with a fraction.
bool is_float(DType dtype);

template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) {
    return DType::f32;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return DType::i32;
  } else if constexpr (std::is_same_v<T, StepState>) {
    return DType::step_state;
  } else {
    static_assert(std::is_same_v<T, ErrorSums>, "no such element type on a device");
    return DType::error_sums;
  }
}

/// A row-major matrix in device memory that somebody else owns. `data` is an address of the device: the host must not
/// dereference it. A vector of n elements is [n, 1] with ld 1; a column of a wider matrix is [n, 1] with that matrix's
/// ld. A view without rows stands for "absent" if an operation says that an argument is optional.
struct MatrixView {
  Device* device = nullptr;
  void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t ld = 0;  ///< elements from one row to the next, >= cols
  DType dtype = DType::f32;

  bool empty() const { return rows == 0; }

  /// Columns [first, first + count).
  MatrixView columns(std::int64_t first, std::int64_t count) const;
};

/// Parallel arrays of n ratings: users [n] i32, items [n] i32, ratings [n] f32.
struct RatingsView {
  MatrixView users;
  MatrixView items;
  MatrixView ratings;
};

/// The ratings of every batch of an epoch grouped by a row index (user or item). All arrays have one slot per rating; a
/// batch that begins at rating B owns the slots [B, B + count). Segment s of that batch (s < counts[batch]):
///   row       rows[B + s], ascending in s
///   positions positions[B + starts[B + s] .. B + end), ascending, each a position within the batch;
///             end = starts[B + s + 1], or the batch's count for its last segment.
struct SegmentsView {
  MatrixView rows;       ///< [n] i32
  MatrixView starts;     ///< [n] i32
  MatrixView positions;  ///< [n] i32
  MatrixView counts;     ///< [batches] i32
};

}  // namespace curate
