#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/reference/matrix.h"

namespace curate::reference {

/// [count, d]: the rows of `table` that index[begin], index[begin + 1], ... name.
inline Matrix gather_rows(const Matrix& table, const std::vector<std::int32_t>& index, std::int64_t begin,
                          std::int64_t count) {
  Matrix out(count, table.cols);
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int32_t row = index.at(static_cast<std::size_t>(begin + b));
    for (std::int64_t k = 0; k < table.cols; ++k) {
      out(b, k) = table(row, k);
    }
  }
  return out;
}

}  // namespace curate::reference
