#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "support/philox.h"

namespace curate::reference {

/// Where the mask is: a position of an epoch's order, in a matrix of `cols` columns.
struct DropoutPlace {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t position = 0;
  std::int64_t cols = 1;
};

/// Whether the mask drops column c. Four columns share one counter; the last four of a row may be less.
inline bool dropped(const DropoutPlace& place, std::int64_t c, const DropoutParams& params) {
  const std::int64_t counters_per_row = place.cols / 4 + (place.cols % 4 == 0 ? 0 : 1);
  const auto element = static_cast<std::uint64_t>(place.position) * static_cast<std::uint64_t>(counters_per_row) +
                       static_cast<std::uint64_t>(c / 4);
  const PhiloxWords words = philox(place.seed, element, static_cast<std::uint32_t>(place.epoch), params.purpose);
  return static_cast<double>(words.word[c % 4]) < std::floor(std::ldexp(static_cast<double>(params.rate), 32));
}

/// The first `count` rows of `values` [batch, cols] after dropout, from position `begin` on. In f32: its results are
/// bit-exact.
inline std::vector<float> dropout(std::vector<float> values, DropoutPlace place, std::int64_t count,
                                  const DropoutParams& params) {
  const std::int64_t begin = place.position;
  for (std::int64_t b = 0; b < count; ++b) {
    place.position = begin + b;
    for (std::int64_t c = 0; c < place.cols; ++c) {
      float& value = values.at(static_cast<std::size_t>(b * place.cols + c));
      value = dropped(place, c, params) ? 0.0F : value * (1.0F / (1.0F - params.rate));
    }
  }
  return values;
}

}  // namespace curate::reference
