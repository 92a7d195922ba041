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
#include "device/measuring_device.h"

namespace curate::test {

namespace detail {

/// Names of what engines do, for calls on another engine.
struct EngineOperations : Device {
  using Device::do_allocate;
  using Device::do_capture;
  using Device::do_copy;
  using Device::do_download;
  using Device::do_enqueue;
  using Device::do_free;
  using Device::do_replay;
  using Device::do_run;
  using Device::do_seconds_of;
  using Device::do_supports;
  using Device::do_synchronize;
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
  std::unique_ptr<MeasuringDevice> make_measuring() override { return engine_->make_measuring(); }

 protected:
  void do_replay(const Graph& graph, std::int64_t times) override { ask(&Do::do_replay, graph, times); }
  void do_download(void* destination, const MatrixView& source) override { ask(&Do::do_download, destination, source); }
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

#define CURATE_FORWARD(Operation)                                    \
  void do_enqueue(const ops::Operation& operation) override {        \
    forward(operation);                                              \
  }                                                                  \
  bool do_supports(const ops::Operation& operation) const override { \
    return ((*engine_).*supports_of<ops::Operation>())(operation);   \
  }
  CURATE_OPERATIONS(CURATE_FORWARD)
#undef CURATE_FORWARD

  std::unique_ptr<MfEpochPlan> do_run(const ops::PlanMfEpoch& operation) override {
    return std::make_unique<Plan>(*this, operation.ratings.users.rows, operation.users, operation.items,
                                  ask<std::unique_ptr<MfEpochPlan>, const ops::PlanMfEpoch&>(&Do::do_run, operation));
  }
  void do_run(const ops::PrepareDense& operation) override {
    ask<void, const ops::PrepareDense&>(&Do::do_run, operation);
  }
  std::optional<DenseStackLayout> do_run(const ops::LayOutDenseStack& operation) override {
    return ask<std::optional<DenseStackLayout>, const ops::LayOutDenseStack&>(&Do::do_run, operation);
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

  template <typename Operation>
  void forward(const Operation& operation) {
    ask<void, const Operation&>(&Do::do_enqueue, operation);
  }
  /// The engine knows its own plan.
  void forward(const ops::MfSgdEpoch& operation) {
    ops::MfSgdEpoch inner = operation;
    inner.plan = static_cast<const Plan*>(operation.plan)->inner.get();
    ask<void, const ops::MfSgdEpoch&>(&Do::do_enqueue, inner);
  }
  template <typename Operation>
  static bool (Device::*supports_of())(const Operation&) const {
    return &Do::do_supports;
  }

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
