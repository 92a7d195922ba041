#pragma once

#include <cstddef>

#include "curate/dataset.h"

namespace curate {

/// So many rows in every column; in that of timestamps only if it is wanted.
inline void resize_rows(RatingTable& table, std::size_t rows, bool timestamps) {
  table.users.resize(rows);
  table.items.resize(rows);
  table.ratings.resize(rows);
  table.timestamps.resize(timestamps ? rows : 0);
}

}  // namespace curate
