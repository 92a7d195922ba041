#include "device/ops/order.h"

#include <limits>

#include "device/checks.h"

namespace curate::ops {

void BeginEpoch::check(const Device& device) const {
  const Checker check(device, kName);
  check.state(state);
  check.require(start.batch_size >= 1, "batch_size", "is below 1");
  check.require(start.num_ratings >= 0 && start.num_ratings <= std::numeric_limits<std::int32_t>::max(), "num_ratings",
                "is not in 0..2^31-1");
  check.require(start.schedule.total_steps >= 1, "schedule.total_steps", "is below 1");
}

void AdvanceStep::check(const Device& device) const {
  Checker(device, kName).state(state);
}

void Permute::check(const Device& device) const {
  const Checker check(device, kName);
  const std::int64_t count = in.users.rows;
  check.ratings("in", in, count);
  check.ratings("out", out, count);
  check.vector("order", order, DType::i32, count);
  check.state(state);
}

void BuildSegments::check(const Device& device) const {
  const Checker check(device, kName);
  check.vector("index", index, DType::i32, index.rows);
  check.segments(out, index.rows);
  check.require(num_rows >= 0, "num_rows", "is negative");
  check.state(state);
}

}  // namespace curate::ops
