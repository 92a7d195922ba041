#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "curate/column.h"
#include "device/cpu/cpu_ops.h"
#include "device/cpu/mf_sgd_block.h"
#include "device/rating_grid.h"

namespace curate::cpu {

/// Groups of items, and how many groups of users there are to each of them.
struct MfPlanGroups {
  std::int32_t blocks = 1;
  std::int32_t turns = 1;
};

/// As the options say, else as many as the threads and the ratings ask for.
MfPlanGroups choose_groups(std::int64_t ratings, const MfPlanOptions& options, int threads);

/// Bytes that a plan takes, by counts and options alone: which ratings fall into which group is not known before it is
/// made.
struct MfPlanBytes {
  std::size_t ratings = 0;  ///< of the buffer for the ratings
  std::size_t runs = 0;     ///< of the buffer for the runs
  // Of the host's memory besides, about:
  std::size_t making = 0;  ///< while it is made
  std::size_t kept = 0;    ///< as long as it lives
};
MfPlanBytes plan_bytes(std::int64_t ratings, std::int64_t users, std::int64_t items, const MfPlanOptions& options,
                       std::int32_t blocks);

/// Of the host's memory, about, from the first epoch on: the rows that an epoch works on.
std::size_t epoch_bytes(std::int64_t ratings, std::int64_t users, std::int64_t items, std::int32_t blocks,
                        std::int64_t dim);

/// Items are dealt into `blocks` groups, users into `turns` times as many; a block is a group of users and a group of
/// items. The blocks of a round share no row, so that threads work on them side by side, as in DSGD (Gemulla et al.
/// 2011, "Large-scale matrix factorization with distributed stochastic gradient descent"): in turn n, users of the
/// groups n * blocks and on go through all items in `blocks` rounds, as in a Latin square. The result is that of going
/// through the blocks one after the other, whatever the number of threads. With one turn the diagonal blocks of the
/// first round would learn factors of their own, each in another basis, and lose an epoch on agreeing.
///
/// Groups of items have about equally many ratings in every range of popularity, groups of users are cut from a random
/// order of all. Items that have ratings have slots, group by group and by popularity within: an epoch works on a copy
/// of their rows in that order, each on cache lines of its own and no group on a page of another's. If rows of two
/// groups lie side by side the hardware's prefetchers fetch one thread's rows for the other: twice as slow. Within a
/// block a user's ratings are together (a run), shuffled. Every epoch takes the runs of a block in another order, and
/// every other one takes the ratings of each from its end: what comes last weighs the most.
class MfEpochPlan : public curate::MfEpochPlan {
 public:
  /// `blocks` >= 1, `turns` >= 1.
  MfEpochPlan(Device& device, const RatingsView& ratings, std::int64_t users, std::int64_t items,
              const MfPlanOptions& options, std::int32_t blocks, std::int32_t turns, ThreadPool& pool);

  std::vector<std::int32_t> order(std::int64_t epoch, std::int64_t dim, bool non_negative) const override;
  /// The same for one of this machine's kernels.
  std::vector<std::int32_t> order(std::int64_t epoch, std::int64_t dim, bool non_negative,
                                  const MfSgdKernel& kernel) const;

  std::int32_t blocks() const { return blocks_; }
  std::int32_t rounds() const { return turns_ * blocks_; }
  struct GroupPair {
    std::int32_t users = 0;
    std::int32_t items = 0;
  };
  /// The block of a worker, 0 .. blocks() - 1, in a round.
  GroupPair groups_of(std::int32_t round, std::int32_t worker) const {
    return {round / blocks_ * blocks_ + worker, (worker + round) % blocks_};
  }
  /// The item of each slot; -1 for slots that keep groups apart.
  const std::vector<std::int32_t>& item_of_slot() const { return item_of_slot_; }
  /// Numbers of ratings by user and by item.
  const std::vector<std::int64_t>& user_counts() const { return user_counts_; }
  const std::vector<std::int64_t>& item_counts() const { return item_counts_; }
  /// Memory for the rows (slots times `stride`) and biases (one per slot) of an epoch, all 0.0F at first.
  struct ItemRows {
    float* rows = nullptr;
    float* biases = nullptr;
  };
  ItemRows item_rows(std::size_t stride) const;
  /// Fills in the ratings of a block in an epoch. `runs` is memory for its runs, in their order.
  void set_ratings(MfSgdBlock& block, std::int32_t user_group, std::int32_t item_group, std::int64_t epoch,
                   std::vector<MfSgdRun>& runs) const;
  std::int64_t block_ratings(std::int32_t user_group, std::int32_t item_group) const;

 private:
  struct Groups;
  std::size_t index(std::int32_t user_group, std::int32_t item_group) const {
    return static_cast<std::size_t>(user_group) * static_cast<std::size_t>(blocks_) +
           static_cast<std::size_t>(item_group);
  }
  std::int32_t user_groups() const { return rounds(); }
  void choose_packing(const float* ratings, float step, ThreadPool& pool);
  Groups make_groups(const std::int32_t* users, const std::int32_t* items, const MfPlanOptions& options,
                     ThreadPool& pool);
  std::vector<std::int32_t> assign_slots(const Groups& groups);

  std::int32_t blocks_;
  std::int32_t turns_;
  std::uint64_t seed_;
  bool packed_ = false;
  RatingGrid grid_;
  // By block, and where the last one ends.
  std::vector<std::int64_t> first_rating_;
  std::vector<std::int64_t> first_run_;
  Buffer ratings_;  ///< PackedRating or WideRating; longer than they are if both could have been
  Buffer runs_;     ///< MfSgdRun, as many as there may be
  std::vector<std::int64_t> user_counts_;
  std::vector<std::int64_t> item_counts_;
  std::vector<std::int32_t> item_of_slot_;
  mutable Column<float> item_rows_;
  mutable Column<float> item_biases_;
  std::vector<std::int32_t> positions_;  ///< of the ratings as they were given, if order() was asked for
};

/// ops::PlanMfEpoch, with as many groups as the threads and the ratings ask for.
std::unique_ptr<curate::MfEpochPlan> plan_mf_epoch(const ops::PlanMfEpoch& operation, Device& device, Context& context);

/// Those that this machine can run, the best last.
std::vector<MfSgdKernel> mf_sgd_kernels();

void mf_sgd_epoch(ThreadPool& pool, const MfTables& tables, ErrorSums& sums, const MfEpochPlan& plan,
                  const MfSgdParams& params, const StepState& state, const MfSgdKernel& kernel);

}  // namespace curate::cpu
