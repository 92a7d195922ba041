#include "data/rating_scale.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace curate {

RatingScale detect_scale(const Column<float>& ratings, ThreadPool& pool) {
  RatingScale scale{ratings.front(), ratings.front(), 0.0F};
  std::size_t odd = 0;
  std::size_t odd_halves = 0;
  std::mutex mutex;
  constexpr std::int64_t kGrain = std::int64_t{1} << 20U;
  pool.parallel_for(static_cast<std::int64_t>(ratings.size()), kGrain, [&](std::int64_t begin, std::int64_t end) {
    RatingScale here = {ratings[static_cast<std::size_t>(begin)], ratings[static_cast<std::size_t>(begin)], 0.0F};
    std::size_t here_odd = 0;
    std::size_t here_odd_halves = 0;
    // Counted without branches: vectors of ratings at once.
    for (std::int64_t k = begin; k < end; ++k) {
      const float rating = ratings[static_cast<std::size_t>(k)];
      here.min = rating < here.min ? rating : here.min;
      here.max = rating > here.max ? rating : here.max;
      here_odd += is_whole_star(rating) ? 0U : 1U;
      here_odd_halves += is_half_star(rating) ? 0U : 1U;
    }
    const std::lock_guard lock(mutex);
    scale.min = std::min(scale.min, here.min);
    scale.max = std::max(scale.max, here.max);
    odd += here_odd;
    odd_halves += here_odd_halves;
  });
  scale.step = odd == 0 ? 1.0F : odd_halves == 0 ? 0.5F : 0.0F;
  return scale;
}

}  // namespace curate
