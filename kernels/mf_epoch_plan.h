#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <vector>

#include "device/device.h"
#include "device/gpu_memory.h"
#include "device/rating_grid.h"
#include "kernels/scratch.h"
#include "support/host_device.h"
#include "support/philox.h"

namespace curate::cuda {

// A rating on a grid in four bytes: its item, whether that is one of the hot ones, its place on the grid.
constexpr std::uint32_t kPackedPlaces = 0xFF;
constexpr std::uint32_t kPackedHot = 0x100;
constexpr int kPackedItemShift = 9;
static_assert(static_cast<float>(kPackedPlaces) == RatingGrid::kPlaces - 1.0F);
static_assert(gpu_memory::kMostPackedItems == std::int64_t{1} << (32 - kPackedItemShift));

struct WideRating {
  std::int32_t item;
  float rating;
};
static_assert(sizeof(WideRating) == gpu_memory::kWideBytes);

/// A plan's ratings as kernels take them.
struct PlannedRatings {
  const std::uint32_t* packed;  ///< [ratings], or null
  const WideRating* wide;       ///< [ratings], if packed is null
  RatingGrid grid;
};

/// The group of items that the users of group 0 have in a round of a deterministic plan with so many groups; those of
/// group w have the w-th after it.
CURATE_HOST_DEVICE inline std::int32_t first_item_group(std::uint64_t seed, std::int64_t epoch, std::int32_t round,
                                                        std::int32_t groups) {
  const std::uint64_t random = philox(seed, 0, static_cast<std::uint32_t>(epoch), RandomPurpose::mf_order).low64();
  return static_cast<std::int32_t>((random + static_cast<std::uint64_t>(round)) % static_cast<std::uint64_t>(groups));
}

/// Ratings of one user, which a worker goes through in their order.
struct UserPiece {
  std::int32_t user;
  std::int32_t begin;
  std::int32_t end;
  std::int32_t shared;  ///< not 0: other pieces of the user are learnt meanwhile
};
static_assert(sizeof(UserPiece) == gpu_memory::kPieceBytes);

/// The memory of one of the plan's buffers; null if it has none.
template <typename T>
T* memory_of(const Buffer& buffer) {
  return buffer.bytes() == 0 ? nullptr : static_cast<T*>(buffer.view(DType::i32, 1).data);
}

/// Ratings grouped for mf_sgd_epoch. gpu_memory::plan_bytes() says what it takes: 4 bytes a rating, 8 if they are not
/// on a grid; 4 a user and 4 an item; while it is made 24 bytes a rating more, and what the sort takes.
///
/// Plain plans: by user, in an order within the user that the seed draws once, cut into pieces of at most `split`
/// ratings; 16 bytes a piece, of which there is room for the most that there may be.
///
/// Deterministic ones: users and items are dealt into `blocks` groups each, items by popularity, users in random order,
/// all groups with about equally many ratings. A block is a pair of groups; in each of as many rounds as there are
/// groups every group of users has another group of items, so that the workers of a round share no row (as in DSGD,
/// Gemulla et al. 2011). 4 bytes a rating more.
class CudaMfEpochPlan : public MfEpochPlan {
 public:
  CudaMfEpochPlan(Device& device, cudaStream_t stream, const RatingsView& ratings, std::int64_t users,
                  std::int64_t items, const MfPlanOptions& options);

  /// Of a plain plan for one worker: several run side by side, in no order.
  std::vector<std::int32_t> order(std::int64_t epoch, std::int64_t dim, bool non_negative) const override;

  const MfKernelOptions& kernel() const { return kernel_; }
  std::uint64_t seed() const { return seed_; }
  PlannedRatings planned() const;
  const std::int32_t* user_counts() const { return memory_of<std::int32_t>(user_counts_); }  ///< [users]
  const std::int32_t* item_counts() const { return memory_of<std::int32_t>(item_counts_); }  ///< [items]

  // Of plain plans.
  std::int64_t pieces() const { return num_pieces_; }
  const UserPiece* piece_data() const { return memory_of<UserPiece>(pieces_); }
  bool has_shared_pieces() const { return has_shared_pieces_; }
  /// Pieces that are learnt at once; 0: as many as the GPU has room for.
  std::int64_t workers() const { return workers_; }
  std::int64_t hot_items() const { return num_hot_; }
  const std::int32_t* hot_slots() const { return memory_of<std::int32_t>(hot_slots_); }  ///< [items] slot of hot ones
  const std::int32_t* hot_list() const { return memory_of<std::int32_t>(hot_list_); }  ///< [hot_items()] item of a slot

  // Of deterministic plans.
  bool deterministic() const { return blocks_ > 0; }
  std::int32_t blocks() const { return blocks_; }
  const std::int32_t* block_starts() const { return memory_of<std::int32_t>(block_starts_); }  ///< [blocks^2 + 1]
  const std::int32_t* rating_users() const { return memory_of<std::int32_t>(rating_users_); }  ///< [ratings]

 private:
  struct Columns;
  void choose_packing(cudaStream_t stream, const Columns& columns, float step);
  std::uint32_t* packed() const { return is_packed_ ? memory_of<std::uint32_t>(ratings_memory_) : nullptr; }
  WideRating* wide() const { return is_packed_ ? nullptr : memory_of<WideRating>(ratings_memory_); }
  void make_pieces(cudaStream_t stream, const Columns& columns, bool keep_order);
  void make_blocks(cudaStream_t stream, const Columns& columns, bool keep_order);
  void choose_hot_items(cudaStream_t stream);

  std::uint64_t seed_;
  std::int64_t workers_ = 0;
  std::int32_t blocks_ = 0;
  MfKernelOptions kernel_;
  bool is_packed_ = false;
  RatingGrid grid_;
  Buffer ratings_memory_;
  Buffer user_counts_;
  Buffer item_counts_;
  Buffer pieces_;
  std::int64_t num_pieces_ = 0;
  bool has_shared_pieces_ = false;
  std::int64_t num_hot_ = 0;
  Buffer hot_slots_;
  Buffer hot_list_;
  Buffer block_starts_;
  Buffer rating_users_;
  // For order():
  std::vector<std::int32_t> positions_;  ///< of the ratings as they were given, in the plan's order
  std::vector<std::int32_t> starts_;     ///< of users, or of blocks, in it
};

}  // namespace curate::cuda
