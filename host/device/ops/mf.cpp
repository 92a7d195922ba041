#include "device/ops/mf.h"

#include "device/checks.h"

namespace curate {
namespace {

void check_rows(const Checker& check, const MfRows& rows, std::int64_t batch, std::int64_t dim) {
  check.matrix("user rows", rows.user, DType::f32, batch, dim);
  check.matrix("item rows", rows.item, DType::f32, batch, dim);
  check.optional_column("user_bias rows", rows.user_bias, batch);
  check.optional_column("item_bias rows", rows.item_bias, batch);
}

}  // namespace

void MfTables::check(const Checker& check) const {
  check.table("user", user);
  const DType dtype = user.empty() ? item.dtype : user.dtype;
  check.table("item", item);
  check.matrix("item", item, dtype, item.rows, user.cols);
  check.optional_column("user_bias", user_bias, user.rows);
  check.optional_column("item_bias", item_bias, item.rows);
  check.vector("mean", mean, DType::f32, 1);
}

namespace ops {

void DotRows::check(const Device& device) const {
  const Checker check(device, kName);
  check.vector("prediction", prediction, DType::f32, prediction.rows);
  check_rows(check, rows, prediction.rows, rows.user.cols);
  check.vector("mean", rows.mean, DType::f32, 1);
  check.state(state);
}

void DotRowsBackward::check(const Device& device) const {
  const Checker check(device, kName);
  check.vector("grad_prediction", grad_prediction, DType::f32, grad_prediction.rows);
  check_rows(check, rows, grad_prediction.rows, rows.user.cols);
  check_rows(check, grad, grad_prediction.rows, rows.user.cols);
  check.require(grad.user_bias.empty() == rows.user_bias.empty() && grad.item_bias.empty() == rows.item_bias.empty(),
                "biases", "are present in grad or in rows only");
  check.state(state);
}

void PlanMfEpoch::check(const Device& device) const {
  const Checker check(device, kName);
  check.ratings("ratings", ratings, ratings.users.rows);
  if (users < 0 || items < 0 || options.blocks < 0 || options.turns < 0) {
    throw std::invalid_argument(fmt::format("plan_mf_epoch: {} users, {} items, {} blocks, {} turns", users, items,
                                            options.blocks, options.turns));
  }
}

void MfSgdEpoch::check(const Device& device) const {
  const Checker check(device, kName);
  tables.check(check);
  check.sums(sums);
  check.state(state);
  if (plan == nullptr || plan->device() != &device) {
    throw std::invalid_argument("mf_sgd_epoch: the plan is of another device");
  }
  if (plan->users() != tables.user.rows || plan->items() != tables.item.rows) {
    throw std::invalid_argument(fmt::format("mf_sgd_epoch: a plan for {} users and {} items, tables of {} and {}",
                                            plan->users(), plan->items(), tables.user.rows, tables.item.rows));
  }
  if (!(params.rate_decay >= 0.0F)) {
    throw std::invalid_argument(fmt::format("mf_sgd_epoch: rate decay {}", params.rate_decay));
  }
}

}  // namespace ops
}  // namespace curate
