#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace curate::reference {

/// The arrays of a SegmentsView. Slots that belong to no segment hold what `filler` said.
struct Segments {
  std::vector<std::int32_t> rows;
  std::vector<std::int32_t> starts;
  std::vector<std::int32_t> positions;
  std::vector<std::int32_t> counts;
};

inline Segments build_segments(const std::vector<std::int32_t>& index, std::int64_t batch_size, std::int32_t filler) {
  const auto n = static_cast<std::int64_t>(index.size());
  Segments segments;
  segments.rows.assign(index.size(), filler);
  segments.starts.assign(index.size(), filler);
  segments.positions.assign(index.size(), filler);
  for (std::int64_t begin = 0; begin < n; begin += batch_size) {
    const std::int64_t count = std::min(batch_size, n - begin);
    std::map<std::int32_t, std::vector<std::int32_t>> positions_of_row;
    for (std::int64_t position = 0; position < count; ++position) {
      const std::int32_t row = index.at(static_cast<std::size_t>(begin + position));
      positions_of_row[row].push_back(static_cast<std::int32_t>(position));
    }
    auto segment = static_cast<std::size_t>(begin);
    std::int32_t start = 0;
    for (const auto& [row, positions] : positions_of_row) {
      segments.rows.at(segment) = row;
      segments.starts.at(segment) = start;
      for (const std::int32_t position : positions) {
        segments.positions.at(static_cast<std::size_t>(begin + start)) = position;
        ++start;
      }
      ++segment;
    }
    segments.counts.push_back(static_cast<std::int32_t>(positions_of_row.size()));
  }
  return segments;
}

}  // namespace curate::reference
