#include <algorithm>
#include <bit>
#include <utility>

#include "device/cpu/cpu_ops.h"
#include "support/philox.h"

namespace curate::cpu {
namespace {

struct KeyedRating {
  std::uint64_t key;
  std::int32_t element;

  // Ties by element: that is what makes the sort stable.
  bool operator<(const KeyedRating& other) const {
    return key != other.key ? key < other.key : element < other.element;
  }
};

constexpr std::int64_t kChunk = 1 << 18;
constexpr std::int64_t kBucketSize = 4096;

std::int64_t chunks_of(std::int64_t count) {
  return (count + kChunk - 1) / kChunk;
}

/// The keys are uniform, so their top bits spread the ratings evenly over buckets that fit the cache; each bucket is
/// then sorted on its own.
int bucket_bits(std::int64_t count) {
  return std::min(16, static_cast<int>(std::bit_width(static_cast<std::uint64_t>(count / kBucketSize))));
}

}  // namespace

std::size_t working_bytes(const ops::Permute& operation) {
  const std::int64_t count = operation.in.users.rows;
  const std::size_t buckets = std::size_t{1} << static_cast<unsigned>(bucket_bits(count));
  return static_cast<std::size_t>(count) * (sizeof(std::uint64_t) + sizeof(KeyedRating)) +
         buckets * static_cast<std::size_t>(chunks_of(count) + 1) * sizeof(std::int64_t);
}

void run(const ops::Permute& operation, Context& context) {
  const RatingsView& in = operation.in;
  const RatingsView& out = operation.out;
  const StepState& state = step_state(operation.state);
  std::int32_t* order = ints(operation.order);
  const std::int64_t count = in.users.rows;
  if (count == 0) {
    return;
  }
  const int bits = bucket_bits(count);
  const std::size_t buckets = std::size_t{1} << static_cast<unsigned>(bits);
  const auto bucket_of = [bits](std::uint64_t key) {
    return bits == 0 ? std::size_t{0} : static_cast<std::size_t>(key >> static_cast<unsigned>(64 - bits));
  };
  const std::int64_t chunks = chunks_of(count);
  std::vector<std::uint64_t> keys(static_cast<std::size_t>(count));
  std::vector<std::vector<std::int64_t>> begins(static_cast<std::size_t>(chunks));
  context.pool.parallel_for(count, kChunk, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t>& histogram = begins[static_cast<std::size_t>(begin / kChunk)];
    histogram.assign(buckets, 0);
    for (std::int64_t e = begin; e < end; ++e) {
      const std::uint64_t key = philox(state.seed, static_cast<std::uint64_t>(e),
                                       static_cast<std::uint32_t>(state.epoch), RandomPurpose::shuffle)
                                    .low64();
      keys[static_cast<std::size_t>(e)] = key;
      ++histogram[bucket_of(key)];
    }
  });
  std::vector<std::int64_t> bucket_begin(buckets + 1, count);
  std::int64_t total = 0;
  for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
    bucket_begin[bucket] = total;
    for (std::vector<std::int64_t>& chunk : begins) {
      total += std::exchange(chunk[bucket], total);
    }
  }
  std::vector<KeyedRating> sorted(static_cast<std::size_t>(count));
  context.pool.parallel_for(count, kChunk, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t>& next = begins[static_cast<std::size_t>(begin / kChunk)];
    for (std::int64_t e = begin; e < end; ++e) {
      const std::uint64_t key = keys[static_cast<std::size_t>(e)];
      sorted[static_cast<std::size_t>(next[bucket_of(key)]++)] = {key, static_cast<std::int32_t>(e)};
    }
  });
  const auto* in_users = resolve<const std::int32_t>(in.users).data;
  const auto* in_items = resolve<const std::int32_t>(in.items).data;
  const auto* in_ratings = resolve<const float>(in.ratings).data;
  auto* out_users = resolve<std::int32_t>(out.users).data;
  auto* out_items = resolve<std::int32_t>(out.items).data;
  auto* out_ratings = resolve<float>(out.ratings).data;
  context.pool.run(static_cast<std::int64_t>(buckets), [&](std::int64_t bucket) {
    const std::int64_t begin = bucket_begin[static_cast<std::size_t>(bucket)];
    const std::int64_t end = bucket_begin[static_cast<std::size_t>(bucket) + 1];
    std::sort(sorted.begin() + begin, sorted.begin() + end);
    for (std::int64_t j = begin; j < end; ++j) {
      const std::int32_t e = sorted[static_cast<std::size_t>(j)].element;
      order[j] = e;
      out_users[j] = in_users[e];
      out_items[j] = in_items[e];
      out_ratings[j] = in_ratings[e];
    }
  });
}

}  // namespace curate::cpu
