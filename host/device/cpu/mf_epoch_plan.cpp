#include "device/cpu/mf_epoch_plan.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>

#include "device/cpu/cpu_ops.h"
#include "support/philox.h"

namespace curate::cpu {
namespace {

constexpr std::size_t kSlack = kMfSgdAhead;
constexpr std::int64_t kMostPackedSlots = std::int64_t{1} << 24U;
/// Slots from one group of items to the next: so many rows are whole pages.
constexpr std::size_t kApart = 64;

/// Random numbers for the shuffle of one run. It takes many, and other runs must not depend on how many.
class Shuffler {
 public:
  explicit Shuffler(std::uint64_t seed) : state_(seed) {}

  /// Uniform in [0, below), nearly: the bias is below 2^-32 * below.
  std::size_t draw(std::size_t below) {
    // SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
    z ^= z >> 31U;
    return static_cast<std::size_t>(((z >> 32U) * static_cast<std::uint64_t>(below)) >> 32U);
  }

 private:
  std::uint64_t state_;
};

void* memory_of(const Buffer& buffer) {
  return buffer.view(DType::i32, 1).data;
}

std::vector<std::int64_t> counts_of(const std::int32_t* ids, std::int64_t count, std::int64_t rows) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(rows), 0);
  for (std::int64_t k = 0; k < count; ++k) {
    ++counts[static_cast<std::size_t>(ids[k])];
  }
  return counts;
}

/// The most slots that items may have: those with ratings, and what keeps groups apart.
std::int64_t most_slots(std::int64_t ratings, std::int64_t items, std::int32_t blocks) {
  return std::min(ratings, items) + (blocks - 1) * static_cast<std::int64_t>(kApart - 1);
}

/// Bytes of the ratings in a plan, with what is fetched ahead on either side.
std::size_t bytes_of_ratings(std::int64_t ratings, bool packed) {
  return (static_cast<std::size_t>(ratings) + 2 * kSlack) * (packed ? sizeof(PackedRating) : sizeof(WideRating));
}

}  // namespace

MfPlanGroups choose_groups(std::int64_t ratings, const MfPlanOptions& options, int threads) {
  // A group or block of fewer ratings is not worth the wait for the other threads.
  constexpr std::int64_t kFewestGroupRatings = 32768;
  constexpr std::int64_t kFewestBlockRatings = 4096;
  constexpr std::int64_t kDeterministicBlocks = 8;
  // 18 million ratings in 2 x 2 groups, 4 epochs: test RMSE 0.8433 with 1 turn, 0.8259 with 4, 0.8242 with 8, 0.8235
  // with 16, 0.8214 in one block; 32 turns take a sixth longer.
  constexpr std::int64_t kMostTurns = 8;
  const std::int64_t most = options.deterministic ? kDeterministicBlocks : threads;
  const std::int64_t blocks =
      options.blocks > 0 ? options.blocks : std::clamp<std::int64_t>(ratings / kFewestGroupRatings, 1, most);
  const std::int64_t turns =
      options.turns > 0 ? options.turns
      : blocks == 1     ? 1
                        : std::clamp<std::int64_t>(ratings / (blocks * blocks * kFewestBlockRatings), 1, kMostTurns);
  return {static_cast<std::int32_t>(blocks), static_cast<std::int32_t>(turns)};
}

MfPlanBytes plan_bytes(std::int64_t ratings, std::int64_t users, std::int64_t items, const MfPlanOptions& options,
                       std::int32_t blocks) {
  MfPlanBytes bytes;
  if (ratings == 0) {
    return bytes;
  }
  const bool packed = options.grid_step > 0.0F && most_slots(ratings, items, blocks) <= kMostPackedSlots;
  bytes.ratings = bytes_of_ratings(ratings, packed);
  // A user has a run at most in every group of items.
  bytes.runs = static_cast<std::size_t>(std::min(ratings, users * blocks)) * sizeof(MfSgdRun);
  // Counts, and the items of the slots; positions if the order is kept.
  const auto of = [](std::int64_t count, std::size_t size) { return static_cast<std::size_t>(count) * size; };
  bytes.kept = of(users + items, sizeof(std::int64_t)) + of(most_slots(ratings, items, blocks), sizeof(std::int32_t)) +
               (options.keep_order ? of(ratings, sizeof(std::int32_t)) : 0);
  // Groups, keys and places by user; where the next rating of a user in a group of items goes; groups, ranks and slots
  // by item.
  bytes.making = of(users, sizeof(std::uint64_t) + 3 * sizeof(std::int32_t)) +
                 of(std::min(ratings, users) * blocks, sizeof(std::int64_t)) + of(items, 3 * sizeof(std::int32_t));
  return bytes;
}

std::size_t epoch_bytes(std::int64_t ratings, std::int64_t users, std::int64_t items, std::int32_t blocks,
                        std::int64_t dim) {
  const auto slots = static_cast<std::size_t>(most_slots(ratings, items, blocks));
  const std::size_t rows = slots * mf_row_stride(static_cast<std::size_t>(dim)) * sizeof(float);
  const std::size_t biases = slots * sizeof(float);
  const std::size_t item_rates = biases;
  // And a block's runs in another order, and the users' learning rates.
  return column_bytes(rows) + column_bytes(biases) + item_rates +
         static_cast<std::size_t>(std::min(ratings, users)) * (sizeof(MfSgdRun) + sizeof(float));
}

/// Which group users and items are in, and the order of the users.
struct MfEpochPlan::Groups {
  std::vector<std::int32_t> user_order;  ///< users that have ratings, group by group
  std::vector<std::size_t> first_user;   ///< of each group in user_order, and where the last one ends
  std::vector<std::int32_t> place;       ///< of each user in user_order, -1 without ratings
  std::vector<std::int32_t> group_of_user;
  std::vector<std::int32_t> group_of_item;
  std::vector<std::int32_t> items_by_count;  ///< the most rated first
  std::size_t rated_items = 0;               ///< the first so many of them
};

void MfEpochPlan::choose_packing(const float* values, float step, ThreadPool& pool) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 18U;
  const std::int64_t pieces = (ratings() + kPiece - 1) / kPiece;
  std::vector<float> least(static_cast<std::size_t>(pieces));
  pool.run(pieces, [&](std::int64_t piece) {
    least[static_cast<std::size_t>(piece)] =
        *std::min_element(values + piece * kPiece, values + std::min(ratings(), (piece + 1) * kPiece));
  });
  grid_ = RatingGrid::of_step(*std::min_element(least.begin(), least.end()), step);
  std::atomic<bool> fits = static_cast<std::int64_t>(item_of_slot_.size()) <= kMostPackedSlots;
  pool.run(pieces, [&](std::int64_t piece) {
    bool here = fits;
    for (std::int64_t k = piece * kPiece; k < std::min(ratings(), (piece + 1) * kPiece); ++k) {
      here = here && grid_.has(values[k]);
    }
    if (!here) {
      fits = false;
    }
  });
  packed_ = fits;
}

MfEpochPlan::Groups MfEpochPlan::make_groups(const std::int32_t* users_of, const std::int32_t* items_of,
                                             const MfPlanOptions& options, ThreadPool& pool) {
  pool.run(2, [&](std::int64_t side) {
    (side == 0 ? user_counts_ : item_counts_) =
        side == 0 ? counts_of(users_of, ratings(), users()) : counts_of(items_of, ratings(), items());
  });

  Groups groups;
  // Items by popularity, dealt like cards, back and forth.
  std::vector<std::int32_t>& by_count = groups.items_by_count;
  by_count.resize(item_counts_.size());
  std::iota(by_count.begin(), by_count.end(), 0);
  std::stable_sort(by_count.begin(), by_count.end(), [&](std::int32_t a, std::int32_t b) {
    return item_counts_[static_cast<std::size_t>(a)] > item_counts_[static_cast<std::size_t>(b)];
  });
  groups.rated_items = static_cast<std::size_t>(
      std::count_if(item_counts_.begin(), item_counts_.end(), [](std::int64_t count) { return count > 0; }));
  groups.group_of_item.resize(item_counts_.size());
  for (std::size_t rank = 0; rank < by_count.size(); ++rank) {
    const auto card = static_cast<std::int32_t>(rank % static_cast<std::size_t>(blocks_));
    const bool back = rank / static_cast<std::size_t>(blocks_) % 2 == 1;
    groups.group_of_item[static_cast<std::size_t>(by_count[rank])] = back ? blocks_ - 1 - card : card;
  }

  // Users in random order, cut where each group has its share of the ratings.
  std::vector<std::uint64_t> keys(user_counts_.size());
  for (std::size_t user = 0; user < keys.size(); ++user) {
    keys[user] = philox(options.seed, user, 0, RandomPurpose::mf_plan).low64();
    if (user_counts_[user] > 0) {
      groups.user_order.push_back(static_cast<std::int32_t>(user));
    }
  }
  std::stable_sort(groups.user_order.begin(), groups.user_order.end(), [&](std::int32_t a, std::int32_t b) {
    return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
  });
  groups.place.assign(user_counts_.size(), -1);
  groups.group_of_user.assign(user_counts_.size(), -1);
  std::int64_t before = 0;
  for (std::size_t place = 0; place < groups.user_order.size(); ++place) {
    const auto user = static_cast<std::size_t>(groups.user_order[place]);
    const auto group = static_cast<std::int32_t>(before * user_groups() / ratings());
    while (groups.first_user.size() <= static_cast<std::size_t>(group)) {
      groups.first_user.push_back(place);
    }
    groups.place[user] = static_cast<std::int32_t>(place);
    groups.group_of_user[user] = group;
    before += user_counts_[user];
  }
  groups.first_user.resize(static_cast<std::size_t>(user_groups()) + 1, groups.user_order.size());
  return groups;
}

/// The slot of every item that has ratings, else -1.
std::vector<std::int32_t> MfEpochPlan::assign_slots(const Groups& groups) {
  std::vector<std::int32_t> slots(groups.group_of_item.size(), -1);
  for (std::int32_t group = 0; group < blocks_; ++group) {
    item_of_slot_.resize((item_of_slot_.size() + kApart - 1) / kApart * kApart, -1);
    for (std::size_t rank = 0; rank < groups.rated_items; ++rank) {
      const auto item = static_cast<std::size_t>(groups.items_by_count[rank]);
      if (groups.group_of_item[item] == group) {
        slots[item] = static_cast<std::int32_t>(item_of_slot_.size());
        item_of_slot_.push_back(static_cast<std::int32_t>(item));
      }
    }
  }
  return slots;
}

MfEpochPlan::ItemRows MfEpochPlan::item_rows(std::size_t stride) const {
  const std::size_t slots = item_of_slot_.size();
  if (item_rows_.size() != slots * stride) {
    item_rows_.assign(slots * stride, 0.0F);
    item_biases_.assign(slots, 0.0F);
  }
  return {item_rows_.data(), item_biases_.data()};
}

MfEpochPlan::MfEpochPlan(Device& device, const RatingsView& view, std::int64_t num_users, std::int64_t num_items,
                         const MfPlanOptions& options, std::int32_t blocks, std::int32_t turns, ThreadPool& pool)
    : curate::MfEpochPlan(device, view.users.rows, num_users, num_items),
      blocks_(blocks),
      turns_(turns),
      seed_(options.seed),
      first_rating_(static_cast<std::size_t>(rounds()) * static_cast<std::size_t>(blocks) + 1, 0),
      first_run_(first_rating_.size(), 0) {
  if (ratings() == 0) {
    return;
  }
  const std::int32_t* const users_of = resolve<const std::int32_t>(view.users).data;
  const std::int32_t* const items_of = resolve<const std::int32_t>(view.items).data;
  const float* const values = resolve<const float>(view.ratings).data;
  const Groups groups = make_groups(users_of, items_of, options, pool);
  const std::vector<std::int32_t> slots_of_items = assign_slots(groups);
  choose_packing(values, options.grid_step, pool);

  // How many ratings each user has in each group of items; then where its next one goes.
  const auto num_blocks = static_cast<std::size_t>(blocks_);
  std::vector<std::int64_t> nexts(groups.user_order.size() * num_blocks, 0);
  const auto next_of = [&](std::int64_t k) -> std::int64_t& {
    return nexts[static_cast<std::size_t>(groups.place[static_cast<std::size_t>(users_of[k])]) * num_blocks +
                 static_cast<std::size_t>(groups.group_of_item[static_cast<std::size_t>(items_of[k])])];
  };
  // Each thread looks at all ratings and takes those of its groups of users.
  const auto for_own = [&](const auto& body) {
    pool.run(blocks_, [&](std::int64_t group) {
      for (std::int64_t k = 0; k < ratings(); ++k) {
        if (groups.group_of_user[static_cast<std::size_t>(users_of[k])] % blocks_ == group) {
          body(k);
        }
      }
    });
  };
  for_own([&](std::int64_t k) { ++next_of(k); });

  const auto for_users_of = [&](std::int32_t user_group, const auto& body) {
    for (std::size_t place = groups.first_user[static_cast<std::size_t>(user_group)];
         place < groups.first_user[static_cast<std::size_t>(user_group) + 1]; ++place) {
      body(place);
    }
  };
  for (std::int32_t u = 0; u < user_groups(); ++u) {
    for (std::int32_t i = 0; i < blocks_; ++i) {
      std::int64_t block_ratings = 0;
      std::int64_t block_runs = 0;
      for_users_of(u, [&](std::size_t place) {
        const std::int64_t count = nexts[place * num_blocks + static_cast<std::size_t>(i)];
        block_ratings += count;
        block_runs += count > 0 ? 1 : 0;
      });
      first_rating_[index(u, i) + 1] = first_rating_[index(u, i)] + block_ratings;
      first_run_[index(u, i) + 1] = first_run_[index(u, i)] + block_runs;
    }
  }
  const std::size_t rating_bytes = packed_ ? sizeof(PackedRating) : sizeof(WideRating);
  const MfPlanBytes planned = plan_bytes(ratings(), users(), items(), options, blocks_);
  // Ratings that are off the grid against the options' word take more than was planned.
  ratings_ = device.allocate(std::max(planned.ratings, bytes_of_ratings(ratings(), packed_)));
  runs_ = device.allocate(planned.runs);
  // Zeros on either side: what is fetched ahead from there is the row of the first slot.
  auto* const bytes = static_cast<char*>(memory_of(ratings_));
  std::memset(bytes, 0, kSlack * rating_bytes);
  std::memset(bytes + (static_cast<std::size_t>(ratings()) + kSlack) * rating_bytes, 0, kSlack * rating_bytes);
  auto* const packed = reinterpret_cast<PackedRating*>(bytes) + kSlack;
  auto* const wide = reinterpret_cast<WideRating*>(bytes) + kSlack;
  auto* const runs = static_cast<MfSgdRun*>(memory_of(runs_));
  positions_.resize(options.keep_order ? static_cast<std::size_t>(ratings()) : 0);

  pool.run(user_groups(), [&](std::int64_t group) {
    const auto u = static_cast<std::int32_t>(group);
    for (std::int32_t i = 0; i < blocks_; ++i) {
      std::int64_t next = first_rating_[index(u, i)];
      std::int64_t run = first_run_[index(u, i)];
      for_users_of(u, [&](std::size_t place) {
        std::int64_t& own = nexts[place * num_blocks + static_cast<std::size_t>(i)];
        if (own == 0) {
          return;
        }
        const std::int64_t begin = next;
        next += own;
        own = begin;
        const std::int64_t first = first_rating_[index(u, i)];
        runs[run] = {groups.user_order[place], static_cast<std::uint32_t>(begin - first),
                     static_cast<std::uint32_t>(next - first)};
        ++run;
      });
    }
  });
  for_own([&](std::int64_t k) {
    const std::int64_t to = next_of(k)++;
    const std::int32_t item_slot = slots_of_items[static_cast<std::size_t>(items_of[k])];
    if (packed_) {
      const auto place = static_cast<std::uint32_t>(grid_.place_of(values[k]));
      packed[to] = {static_cast<std::uint32_t>(item_slot) << 8U | place};
    } else {
      wide[to] = {item_slot, values[k]};
    }
    if (!positions_.empty()) {
      positions_[static_cast<std::size_t>(to)] = static_cast<std::int32_t>(k);
    }
  });
  pool.run(user_groups() * blocks_, [&](std::int64_t b) {
    const auto block_index = static_cast<std::size_t>(b);
    std::int64_t begin = first_rating_[block_index];
    for (std::int64_t run = first_run_[block_index]; run < first_run_[block_index + 1]; ++run) {
      const std::int64_t end = first_rating_[block_index] + runs[run].end;
      Shuffler shuffler(philox(options.seed, static_cast<std::uint64_t>(runs[run].user),
                               static_cast<std::uint32_t>(block_index % num_blocks) + 1, RandomPurpose::mf_plan)
                            .low64());
      for (std::int64_t left = end - begin; left > 1; --left) {
        const auto other = begin + static_cast<std::int64_t>(shuffler.draw(static_cast<std::size_t>(left)));
        const std::int64_t last = begin + left - 1;
        if (packed_) {
          std::swap(packed[last], packed[other]);
        } else {
          std::swap(wide[last], wide[other]);
        }
        if (!positions_.empty()) {
          std::swap(positions_[static_cast<std::size_t>(last)], positions_[static_cast<std::size_t>(other)]);
        }
      }
      begin = end;
    }
  });
}

void MfEpochPlan::set_ratings(MfSgdBlock& block, std::int32_t user_group, std::int32_t item_group, std::int64_t epoch,
                              std::vector<MfSgdRun>& runs) const {
  const std::size_t b = index(user_group, item_group);
  block.packed = packed_;
  const std::size_t rating_bytes = packed_ ? sizeof(PackedRating) : sizeof(WideRating);
  block.ratings = static_cast<const char*>(memory_of(ratings_)) +
                  (static_cast<std::size_t>(first_rating_[b]) + kSlack) * rating_bytes;
  block.backward = epoch % 2 == 1;
  block.grid_start = grid_.start;
  block.grid_step = grid_.step;
  const auto* const all = static_cast<const MfSgdRun*>(memory_of(runs_));
  runs.assign(all + first_run_[b], all + first_run_[b + 1]);
  Shuffler shuffler(philox(seed_, b, static_cast<std::uint32_t>(epoch), RandomPurpose::mf_order).low64());
  for (std::size_t left = runs.size(); left > 1; --left) {
    std::swap(runs[left - 1], runs[shuffler.draw(left)]);
  }
  block.runs = runs.data();
  block.num_runs = static_cast<std::uint32_t>(runs.size());
}

std::int64_t MfEpochPlan::block_ratings(std::int32_t user_group, std::int32_t item_group) const {
  const std::size_t b = index(user_group, item_group);
  return first_rating_[b + 1] - first_rating_[b];
}

/// Follows the lanes of mf_sgd_kernel.h.
std::vector<std::int32_t> MfEpochPlan::order(std::int64_t epoch, std::int64_t dim, bool non_negative,
                                             const MfSgdKernel& kernel) const {
  const std::size_t num_lanes = kernel.lanes(static_cast<std::size_t>(dim), packed_ && !non_negative);
  std::vector<std::int32_t> order;
  order.reserve(positions_.size());
  std::vector<MfSgdRun> runs;
  for (std::int32_t round = 0; round < rounds() && !positions_.empty(); ++round) {
    for (std::int32_t worker = 0; worker < blocks_; ++worker) {
      const auto [u, i] = groups_of(round, worker);
      MfSgdBlock ratings;
      set_ratings(ratings, u, i, epoch, runs);
      const std::int64_t first = first_rating_[index(u, i)];
      // Positions of the next run; the rating to be taken first is at the back.
      std::uint32_t next = 0;
      const auto next_run = [&] {
        const MfSgdRun& run = runs[next++];
        std::vector<std::int32_t> positions(positions_.begin() + first + run.begin,
                                            positions_.begin() + first + run.end);
        if (!ratings.backward) {
          std::reverse(positions.begin(), positions.end());
        }
        return positions;
      };
      const auto take = [&](std::vector<std::int32_t>& lane) {
        order.push_back(lane.back());
        lane.pop_back();
      };
      std::vector<std::vector<std::int32_t>> lanes(num_lanes);
      bool running = ratings.num_runs >= lanes.size();
      if (running) {
        std::generate(lanes.begin(), lanes.end(), next_run);
      }
      while (running) {
        for (std::vector<std::int32_t>& lane : lanes) {
          running = running && (!lane.empty() || next < ratings.num_runs);
          if (running && lane.empty()) {
            lane = next_run();
          }
        }
        for (std::vector<std::int32_t>& lane : lanes) {
          while (!lane.empty()) {
            take(lane);
            if (running) {
              break;
            }
          }
        }
      }
      while (next < ratings.num_runs) {
        std::vector<std::int32_t> lane = next_run();
        while (!lane.empty()) {
          take(lane);
        }
      }
    }
  }
  return order;
}

std::vector<std::int32_t> MfEpochPlan::order(std::int64_t epoch, std::int64_t dim, bool non_negative) const {
  return order(epoch, dim, non_negative, mf_sgd_kernels().back());
}

std::unique_ptr<curate::MfEpochPlan> plan_mf_epoch(const ops::PlanMfEpoch& operation, Device& device,
                                                   Context& context) {
  const MfPlanGroups groups = choose_groups(operation.ratings.users.rows, operation.options, context.pool.threads());
  return std::make_unique<MfEpochPlan>(device, operation.ratings, operation.users, operation.items, operation.options,
                                       groups.blocks, groups.turns, context.pool);
}

}  // namespace curate::cpu
