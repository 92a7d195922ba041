#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "curate/dataset.h"

namespace curate {

/// A way to split ratings, as written on a command line.
struct SplitRequest {
  enum class Kind : std::uint8_t { random, time, folds };

  Kind kind = Kind::random;
  double fraction = 0.0;   ///< of random and time: in (0, 1)
  std::int32_t folds = 0;  ///< of folds: any number
};

/// "random:0.1", "time:0.1" or "folds:5"; nothing for any other text.
std::optional<SplitRequest> parse_split(const std::string& text);

/// The parts of a random or time request.
Split split_as_asked(const RatingTable& ratings, const SplitRequest& request, std::uint64_t seed,
                     std::int32_t threads = 0);

}  // namespace curate
