#pragma once

#include <cuda_runtime.h>

#include <vector>

#include "device/device.h"
#include "kernels/scratch.h"

namespace curate::cuda {

/// Ratings grouped by user, in an order within the user that the seed draws once; for mf_sgd_epoch. 8 bytes a rating, 4
/// a user and 4 an item; while it is made 32 bytes a rating more, and what the sort takes.
class CudaMfEpochPlan : public MfEpochPlan {
 public:
  CudaMfEpochPlan(Device& device, cudaStream_t stream, const RatingsView& ratings, std::int64_t users,
                  std::int64_t items, const MfPlanOptions& options);

  /// Of one worker; several run side by side, in no order.
  std::vector<std::int32_t> order(std::int64_t epoch, std::int64_t dim, bool non_negative) const override;

  /// How many users are learnt at once; 0: as many as the GPU has room for.
  std::int64_t workers() const { return workers_; }
  std::uint64_t seed() const { return seed_; }
  const std::int32_t* sorted_items() const { return items_sorted_.data(); }  ///< [ratings]
  const float* sorted_ratings() const { return ratings_sorted_.data(); }     ///< [ratings]
  const std::int32_t* user_starts() const { return user_starts_.data(); }    ///< [users + 1]
  const std::int32_t* item_counts() const { return item_counts_.data(); }    ///< [items]

 private:
  std::uint64_t seed_;
  std::int64_t workers_;
  std::vector<std::int32_t> positions_;    ///< for order(): of the ratings, by user
  std::vector<std::int32_t> host_starts_;  ///< for order(): user_starts()
  Scratch<std::int32_t> items_sorted_;
  Scratch<float> ratings_sorted_;
  Scratch<std::int32_t> user_starts_;
  Scratch<std::int32_t> item_counts_;
};

}  // namespace curate::cuda
