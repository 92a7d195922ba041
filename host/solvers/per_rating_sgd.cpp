#include "solvers/per_rating_sgd.h"

#include <stdexcept>

namespace curate {
namespace {

class PerRatingSgd : public Solver {
 public:
  PerRatingSgd(Device& device, const MfTables& tables, const SolverData& data, const PerRatingOptions& options)
      : device_(&device),
        state_(data.state),
        sums_(data.sums),
        tables_(tables),
        params_(options.sgd),
        row_reg_(options.row_reg),
        bias_ridges_(data.bias_ridges),
        plan_(device.run(ops::PlanMfEpoch{data.ratings, data.num_users, data.num_items, options.plan})) {}

  std::int64_t batch() const override { return plan_->ratings(); }

  void enqueue_epoch(const Progress& /*progress*/) override {
    decay(tables_.user, row_reg_);
    decay(tables_.item, row_reg_);
    decay(tables_.user_bias, bias_ridges_.user);
    decay(tables_.item_bias, bias_ridges_.item);
    device_->enqueue(ops::MfSgdEpoch{tables_, sums_, plan_.get(), params_, state_});
    device_->enqueue(ops::AdvanceStep{state_});
  }

 private:
  void decay(const MatrixView& table, float rate) {
    if (rate > 0.0F && !table.empty()) {
      device_->enqueue(ops::DecayRows{table, rate, state_});
    }
  }

  Device* device_;
  MatrixView state_;
  MatrixView sums_;
  MfTables tables_;
  MfSgdParams params_;
  float row_reg_;
  BiasRidges bias_ridges_;
  std::unique_ptr<MfEpochPlan> plan_;
};

}  // namespace

PerRatingOptions per_rating_options(const TrainOptions& resolved, const RatingScale& scale) {
  constexpr float kMostSteps = 255.0F;  // MfPlanOptions::grid_step
  PerRatingOptions options;
  options.sgd = {static_cast<float>(resolved.reg.value()), resolved.non_negative,
                 static_cast<float>(resolved.rate_decay)};
  options.row_reg = static_cast<float>(resolved.row_reg.value_or(0.0));
  options.plan.seed = resolved.seed;
  options.plan.deterministic = resolved.deterministic;
  options.plan.grid_step =
      scale.step > 0.0F && scale.max - scale.min < (kMostSteps + 0.5F) * scale.step ? scale.step : 0.0F;
  options.plan.kernel = resolved.sgd_kernel.value_or(MfKernelOptions());
  return options;
}

std::unique_ptr<Solver> make_per_rating_sgd(Device& device, Factorization& model, const SolverData& data,
                                            const PerRatingOptions& options) {
  const std::optional<MfTables> tables = model.tables();
  if (!tables) {
    throw std::invalid_argument("per-rating SGD: features are trained in mini-batches");
  }
  return std::make_unique<PerRatingSgd>(device, *tables, data, options);
}

}  // namespace curate
