#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "device/cuda_engine.h"
#include "device/device.h"

namespace curate::test {

namespace detail {

/// Names of what engines do, for calls on another engine.
struct EngineOperations : Device {
  using Device::do_add_l2_rows;
  using Device::do_advance_step;
  using Device::do_allocate;
  using Device::do_bag_rows;
  using Device::do_bag_rows_backward;
  using Device::do_begin_epoch;
  using Device::do_build_segments;
  using Device::do_capture;
  using Device::do_copy;
  using Device::do_dense_backward;
  using Device::do_dense_forward;
  using Device::do_dense_stack_backward;
  using Device::do_dense_stack_forward;
  using Device::do_dot_rows;
  using Device::do_dot_rows_backward;
  using Device::do_download;
  using Device::do_dropout;
  using Device::do_free;
  using Device::do_gather_rows;
  using Device::do_mf_sgd_epoch;
  using Device::do_permute;
  using Device::do_plan_dense_stack;
  using Device::do_plan_mf_epoch;
  using Device::do_prepare_dense;
  using Device::do_rating_errors;
  using Device::do_rating_loss;
  using Device::do_replay;
  using Device::do_scatter_add_rows;
  using Device::do_seconds_of;
  using Device::do_sum_squared_error;
  using Device::do_synchronize;
  using Device::do_update_dense;
  using Device::do_update_rows;
  using Device::do_upload;
  using Device::do_zero;
};

}  // namespace detail

/// Passes everything on to another engine.
class ForwardingDevice : public Device {
 protected:
  using Do = detail::EngineOperations;

 public:
  explicit ForwardingDevice(std::unique_ptr<Device> engine) : engine_(std::move(engine)) {}

  DeviceInfo info() const override { return engine_->info(); }
  bool can_store(DType dtype) const override { return engine_->can_store(dtype); }
  bool has_own_memory() const override { return engine_->has_own_memory(); }
  ScatterKind fastest_scatter() const override { return engine_->fastest_scatter(); }
  bool has_kernel_options() const override { return engine_->has_kernel_options(); }

 protected:
  void do_permute(const RatingsView& out, const MatrixView& order, const RatingsView& in,
                  const MatrixView& state) override {
    ask(&Do::do_permute, out, order, in, state);
  }
  void do_replay(const Graph& graph, std::int64_t times) override { ask(&Do::do_replay, graph, times); }
  void do_download(void* destination, const MatrixView& source) override { ask(&Do::do_download, destination, source); }
  std::unique_ptr<MfEpochPlan> do_plan_mf_epoch(const RatingsView& ratings, std::int64_t users, std::int64_t items,
                                                const MfPlanOptions& options) override {
    return std::make_unique<Plan>(*this, ratings.users.rows, users, items,
                                  ask(&Do::do_plan_mf_epoch, ratings, users, items, options));
  }
  void do_mf_sgd_epoch(const MfTables& tables, const MatrixView& sums, const MfEpochPlan& plan,
                       const MfSgdParams& params, const MatrixView& state) override {
    ask(&Do::do_mf_sgd_epoch, tables, sums, *static_cast<const Plan&>(plan).inner, params, state);
  }
  void* do_allocate(std::size_t bytes) override { return ask(&Do::do_allocate, bytes); }
  void do_free(void* data) noexcept override { ask(&Do::do_free, data); }
  void do_synchronize() override { ask(&Do::do_synchronize); }
  double do_seconds_of(const std::function<void()>& enqueue) override { return ask(&Do::do_seconds_of, enqueue); }
  void do_upload(const MatrixView& destination, const void* source) override {
    ask(&Do::do_upload, destination, source);
  }
  void do_copy(const MatrixView& destination, const MatrixView& source) override {
    ask(&Do::do_copy, destination, source);
  }
  void do_zero(const MatrixView& destination) override { ask(&Do::do_zero, destination); }
  std::unique_ptr<Graph> do_capture(const std::function<void()>& enqueue) override {
    return ask(&Do::do_capture, enqueue);
  }
  void do_begin_epoch(const MatrixView& state, const EpochStart& start) override {
    ask(&Do::do_begin_epoch, state, start);
  }
  void do_advance_step(const MatrixView& state) override { ask(&Do::do_advance_step, state); }
  void do_build_segments(const SegmentsView& out, const MatrixView& index, std::int64_t num_rows,
                         const MatrixView& state) override {
    ask(&Do::do_build_segments, out, index, num_rows, state);
  }
  void do_gather_rows(const MatrixView& out, const MatrixView& table, const MatrixView& index,
                      const MatrixView& state) override {
    ask(&Do::do_gather_rows, out, table, index, state);
  }
  void do_bag_rows(const MatrixView& out, const MatrixView& table, const BagsView& bags, const MatrixView& index,
                   BagKind kind, const MatrixView& state, bool add) override {
    ask(&Do::do_bag_rows, out, table, bags, index, kind, state, add);
  }
  void do_bag_rows_backward(const MatrixView& grad_table, const MatrixView& grad_rows, const BagsView& bags,
                            const MatrixView& index, BagKind kind, ScatterKind scatter,
                            const MatrixView& state) override {
    ask(&Do::do_bag_rows_backward, grad_table, grad_rows, bags, index, kind, scatter, state);
  }
  void do_dot_rows(const MatrixView& prediction, const MfRows& rows, const MatrixView& state) override {
    ask(&Do::do_dot_rows, prediction, rows, state);
  }
  void do_dot_rows_backward(const MfRows& grad, const MatrixView& grad_prediction, const MfRows& rows, float l2,
                            const MatrixView& state) override {
    ask(&Do::do_dot_rows_backward, grad, grad_prediction, rows, l2, state);
  }
  void do_rating_loss(const MatrixView& grad, const MatrixView& sums, const MatrixView& prediction,
                      const MatrixView& ratings, LossKind kind, const MatrixView& state) override {
    ask(&Do::do_rating_loss, grad, sums, prediction, ratings, kind, state);
  }
  void do_scatter_add_rows(const MatrixView& grad_table, const MatrixView& grad_rows, const MatrixView& index,
                           const SegmentsView& segments, ScatterKind kind, const MatrixView& state) override {
    ask(&Do::do_scatter_add_rows, grad_table, grad_rows, index, segments, kind, state);
  }
  void do_update_rows(const TrainedTable& table, const SegmentsView& segments, const OptimizerParams& params,
                      const MatrixView& state) override {
    ask(&Do::do_update_rows, table, segments, params, state);
  }
  void do_add_l2_rows(const MatrixView& grad_rows, const MatrixView& table, const MatrixView& index, float l2,
                      const MatrixView& state) override {
    ask(&Do::do_add_l2_rows, grad_rows, table, index, l2, state);
  }
  void do_update_dense(const TrainedTable& table, const OptimizerParams& params, const MatrixView& state) override {
    ask(&Do::do_update_dense, table, params, state);
  }
  void do_prepare_dense(const DenseSize& size, ProductPrecision precision) override {
    ask(&Do::do_prepare_dense, size, precision);
  }
  void do_dense_forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                        const MatrixView& state) override {
    ask(&Do::do_dense_forward, batch, params, activation, state);
  }
  void do_dense_backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                         const DenseParams& params, const Activation& activation, const MatrixView& state) override {
    ask(&Do::do_dense_backward, grad, grad_params, batch, params, activation, state);
  }
  std::optional<DenseStackPlan> do_plan_dense_stack(const DenseStack& stack, std::int64_t batch) override {
    return ask(&Do::do_plan_dense_stack, stack, batch);
  }
  void do_dense_stack_forward(const MatrixView& out, const MatrixView& in, const DenseStack& stack,
                              const MatrixView& workspace, const MatrixView& state) override {
    ask(&Do::do_dense_stack_forward, out, in, stack, workspace, state);
  }
  void do_dense_stack_backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params,
                               const MatrixView& in, const DenseStack& stack, const MatrixView& workspace,
                               const MatrixView& state) override {
    ask(&Do::do_dense_stack_backward, grad, grad_params, in, stack, workspace, state);
  }
  void do_dropout(const MatrixView& rows, const DropoutParams& params, const MatrixView& state) override {
    ask(&Do::do_dropout, rows, params, state);
  }
  void do_rating_errors(const MatrixView& sums, const MatrixView& prediction, const MatrixView& ratings, ClipRange clip,
                        const MatrixView& state) override {
    ask(&Do::do_rating_errors, sums, prediction, ratings, clip, state);
  }
  void do_sum_squared_error(const MatrixView& sums, const MfTables& tables, const RatingsView& ratings,
                            ClipRange clip) override {
    ask(&Do::do_sum_squared_error, sums, tables, ratings, clip);
  }

 private:
  /// The engine's plan, as one of this device.
  struct Plan : MfEpochPlan {
    Plan(Device& device, std::int64_t ratings, std::int64_t users, std::int64_t items,
         std::unique_ptr<MfEpochPlan> engines)
        : MfEpochPlan(device, ratings, users, items), inner(std::move(engines)) {}

    std::vector<std::int32_t> order(std::int64_t epoch, std::int64_t dim, bool non_negative) const override {
      return inner->order(epoch, dim, non_negative);
    }

    std::unique_ptr<MfEpochPlan> inner;
  };

  template <typename Result, typename... Parameters>
  Result ask(Result (Device::*operation)(Parameters...), std::type_identity_t<Parameters>... arguments) {
    return ((*engine_).*operation)(std::forward<Parameters>(arguments)...);
  }
  template <typename... Parameters>
  void ask(void (Device::*operation)(Parameters...) noexcept, std::type_identity_t<Parameters>... arguments) noexcept {
    ((*engine_).*operation)(std::forward<Parameters>(arguments)...);
  }

  std::unique_ptr<Device> engine_;
};

}  // namespace curate::test
