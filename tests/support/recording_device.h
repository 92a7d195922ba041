#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/forwarding_device.h"

namespace curate::test {

/// What a training asked of its device.
struct Recording {
  struct Epoch {
    StepState start;                  ///< the state at its first step
    std::vector<std::int32_t> order;  ///< of the ratings; empty for per-rating SGD
    std::vector<StepState> steps;     ///< the state before every step that was replayed
    ErrorSums sums;                   ///< the first ones that the host read after it began
  };

  std::vector<Epoch> epochs;
  std::vector<MfPlanOptions> plans;  ///< of per-rating SGD
};

/// Of the device "recording" since the latest clear.
inline Recording& recording() {
  static Recording instance;
  return instance;
}

/// Writes down what the driver asks for. Steps are replayed one by one.
class RecordingDevice : public ForwardingDevice {
 public:
  using ForwardingDevice::ForwardingDevice;

 protected:
  void do_enqueue(const ops::Permute& operation) override {
    ForwardingDevice::do_enqueue(operation);
    begin_epoch_of(operation.state);
    std::vector<std::int32_t>& kept = recording().epochs.back().order;
    kept.resize(static_cast<std::size_t>(operation.order.rows));
    download(std::span<std::int32_t>(kept), operation.order);
  }
  void do_replay(const Graph& graph, std::int64_t times) override {
    for (std::int64_t t = 0; t < times; ++t) {
      recording().epochs.back().steps.push_back(read<StepState>(state_));
      ForwardingDevice::do_replay(graph, 1);
    }
  }
  void do_download(void* destination, const MatrixView& source) override {
    ForwardingDevice::do_download(destination, source);
    if (source.dtype == DType::error_sums && !recording().epochs.empty() && recording().epochs.back().sums.count == 0) {
      recording().epochs.back().sums = *static_cast<const ErrorSums*>(destination);
    }
  }
  std::unique_ptr<MfEpochPlan> do_run(const ops::PlanMfEpoch& operation) override {
    recording().plans.push_back(operation.options);
    return ForwardingDevice::do_run(operation);
  }
  void do_enqueue(const ops::MfSgdEpoch& operation) override {
    begin_epoch_of(operation.state);
    ForwardingDevice::do_enqueue(operation);
  }

 private:
  void begin_epoch_of(const MatrixView& state) {
    state_ = state;
    recording().epochs.push_back({read<StepState>(state), {}, {}, {}});
  }

  MatrixView state_;  ///< of the latest training epoch
};

/// Makes make_device() know "recording", the CPU engine, and "recording:DEVICE", any other, and clears recording().
inline void start_recording() {
  static const bool added = [] {
    add_engine("recording", [](const std::string& name) -> std::unique_ptr<Device> {
      const std::size_t colon = name.find(':');
      return std::make_unique<RecordingDevice>(
          make_device(colon == std::string::npos ? "cpu" : name.substr(colon + 1), 1));
    });
    return true;
  }();
  static_cast<void>(added);
  recording() = {};
}

}  // namespace curate::test
