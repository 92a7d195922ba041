#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/reference/matrix.h"

namespace curate::reference {

/// grad_rows[b, :] += 2 l2 / count * table[index[begin + b], :] for every b < count.
inline void add_l2_rows(Matrix& grad_rows, const Matrix& table, const std::vector<std::int32_t>& index, double l2,
                        std::int64_t begin, std::int64_t count) {
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int32_t row = index.at(static_cast<std::size_t>(begin + b));
    for (std::int64_t k = 0; k < table.cols; ++k) {
      grad_rows(b, k) += 2.0 * l2 / static_cast<double>(count) * table(row, k);
    }
  }
}

}  // namespace curate::reference
