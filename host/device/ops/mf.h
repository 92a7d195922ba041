#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "curate/kinds.h"
#include "device/views.h"

namespace curate {

class Checker;

/// Ratings in the order and the packing in which an engine goes through them in mf_sgd_epoch.
class MfEpochPlan {
 public:
  MfEpochPlan(Device& device, std::int64_t ratings, std::int64_t users, std::int64_t items)
      : device_(&device), ratings_(ratings), users_(users), items_(items) {}
  MfEpochPlan(const MfEpochPlan&) = delete;
  MfEpochPlan& operator=(const MfEpochPlan&) = delete;
  virtual ~MfEpochPlan() = default;

  Device* device() const { return device_; }
  std::int64_t ratings() const { return ratings_; }
  std::int64_t users() const { return users_; }
  std::int64_t items() const { return items_; }

  /// Positions of the ratings in an order with this property: learning one rating after the other gives what the engine
  /// gives in that epoch with tables of `dim`, but for rounding. Empty if the plan was not asked to keep it, or if the
  /// engine cannot promise one.
  virtual std::vector<std::int32_t> order(std::int64_t epoch, std::int64_t dim, bool non_negative) const = 0;

 private:
  Device* device_;
  std::int64_t ratings_;
  std::int64_t users_;
  std::int64_t items_;
};

struct MfPlanOptions {
  std::uint64_t seed = 1;      ///< of the order
  bool deterministic = false;  ///< the same plan, and so the same bits, for any number of threads
  /// CPU: groups of users and of items; GPU: of deterministic plans the same, else users learnt at once; 0: its choice
  std::int32_t blocks = 0;
  std::int32_t turns = 0;   ///< CPU: groups of users to a group of items; 0: its choice
  bool keep_order = false;  ///< see MfEpochPlan::order()
  /// Ratings are the lowest one and up to 255 steps of so much, but for rounding: a plan then takes half the memory for
  /// them. If one is not, the plan takes more than was planned for it. 0: nothing is known, and steps of 0.5 are looked
  /// for.
  float grid_step = 0.0F;
  MfKernelOptions kernel;  ///< CPU: of no effect
};

/// Parameters of a matrix factorization: prediction = mean + user_bias[u] + item_bias[i] + <user[u,:], item[i,:]>.
struct MfTables {
  MatrixView user;       ///< [users, dim] f32, f16 or bf16
  MatrixView item;       ///< [items, dim] of the same type
  MatrixView user_bias;  ///< [users, 1] f32, or absent
  MatrixView item_bias;  ///< [items, 1] f32, or absent
  MatrixView mean;       ///< [1] f32

  void check(const Checker& check) const;
};

/// One batch of gathered rows, or of their gradients (then `mean` is unused).
struct MfRows {
  MatrixView user;       ///< [batch, dim] f32
  MatrixView item;       ///< [batch, dim] f32
  MatrixView user_bias;  ///< [batch, 1] f32, or absent
  MatrixView item_bias;  ///< [batch, 1] f32, or absent
  MatrixView mean;       ///< [1] f32
};

struct MfSgdParams {
  float reg = 0.0F;  ///< lambda per rating, for factors and biases
  bool non_negative = false;
  float rate_decay = 0.0F;  ///< see MfSgdEpoch; 0: one learning rate for all
};

namespace ops {

/// prediction[b] = mean + user_bias[b] + item_bias[b] + sum_k user[b, k] * item[b, k]. prediction [batch] f32.
/// Deterministic. 8d + 12 bytes.
struct DotRows {
  static constexpr const char* kName = "dot_rows";

  MatrixView prediction;
  MfRows rows;
  MatrixView state;

  void check(const Device& device) const;
};

/// With g = grad_prediction[b], c = 2 * l2 / state.batch_count:
///   grad.user[b, :] = g * rows.item[b, :] + c * rows.user[b, :], grad.item likewise with the roles exchanged,
///   grad.user_bias[b] = g + c * rows.user_bias[b], grad.item_bias likewise.
/// This is the gradient of mean(loss) + mean(l2 * (|user|^2 + |item|^2 + user_bias^2 + item_bias^2)): lambda per
/// rating. Deterministic. 16d + 20 bytes.
struct DotRowsBackward {
  static constexpr const char* kName = "dot_rows_backward";

  MfRows grad;
  MatrixView grad_prediction;
  MfRows rows;
  float l2 = 0.0F;
  MatrixView state;

  void check(const Device& device) const;
};

/// Copies the ratings into a plan for MfSgdEpoch; users lie in [0, users), items in [0, items). Blocks. What the plan
/// keeps lies in buffers of the device, whose bytes depend on the counts and the options alone.
struct PlanMfEpoch {
  using Result = std::unique_ptr<MfEpochPlan>;
  static constexpr const char* kName = "plan_mf_epoch";

  RatingsView ratings;
  std::int64_t users = 0;
  std::int64_t items = 0;
  MfPlanOptions options = {};

  void check(const Device& device) const;
};

/// One epoch (state.epoch) of per-rating SGD over the ratings of a plan, each once, in the plan's order (Funk 2006;
/// Koren, Bell, Volinsky 2009, eq. 5), lr = state.learning_rate, e = r - prediction(u, i):
///   bu += lr (e - reg bu); bi += lr (e - reg bi); p += lr (e q - reg p); q += lr (e p_old - reg q)
/// then p, q = max(., 0) if non_negative. For a user or item with n ratings in the plan lr is
/// state.learning_rate / sqrt(1 + rate_decay n (state.epoch + 1/2)): what has been seen often moves less, as with
/// Adagrad (Duchi, Hazan, Singer 2011; by row: Chin et al. 2015, "A learning-rate schedule for stochastic gradient
/// methods to matrix factorization"), whose sums of squared gradients grow with that number. Adds the squared errors
/// before each update, and their count, to sums. Bytes: 8d + 12 (the item's), and 8d + 8 for each user of a block.
/// Tables in 16 bits have rows of whole 16 bytes at multiples of 16 bytes. An item's change is rounded so that what
/// was read and the change add up to a number of 16 bits, drawn stochastically, and then added.
/// Deterministic for a plan (GPU: for a deterministic plan). The plan has to outlive the operation.
struct MfSgdEpoch {
  static constexpr const char* kName = "mf_sgd_epoch";

  MfTables tables;
  MatrixView sums;
  const MfEpochPlan* plan = nullptr;
  MfSgdParams params;
  MatrixView state;

  void check(const Device& device) const;
};

}  // namespace ops
}  // namespace curate

#define CURATE_MF_OPERATIONS(X) X(DotRows) X(DotRowsBackward) X(MfSgdEpoch)
