#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/reference/matrix.h"

namespace curate::reference {

/// grad_table[index[begin + b], :] += grad_rows[b, :] for every b < count.
inline void scatter_add_rows(Matrix& grad_table, const Matrix& grad_rows, const std::vector<std::int32_t>& index,
                             std::int64_t begin, std::int64_t count) {
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int32_t row = index.at(static_cast<std::size_t>(begin + b));
    for (std::int64_t k = 0; k < grad_table.cols; ++k) {
      grad_table(row, k) += grad_rows(b, k);
    }
  }
}

}  // namespace curate::reference
