#pragma once

#include <cstddef>
#include <cstdint>

namespace curate {

/// Elements from one row to the next in a matrix whose rows are padded, so that all of them begin at multiples of 16
/// bytes, the widest vector access of the engines' kernels.
constexpr std::int64_t padded_columns(std::int64_t columns, std::size_t element_bytes) {
  const auto unit = static_cast<std::int64_t>(16 / element_bytes);
  return (columns + unit - 1) / unit * unit;
}

}  // namespace curate
