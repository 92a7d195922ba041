#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "device/cpu/cpu_device.h"
#include "device/cpu/cpu_ops.h"
#include "device/cpu/mf_epoch_plan.h"
#include "device/measuring_device.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

class MeasuringCpu : public MeasuringDevice {
 public:
  explicit MeasuringCpu(int threads)
      : MeasuringDevice({{"cpu", fmt::format("CPU, {} threads, measuring", threads), 0, threads, "the CPU engine"}}),
        threads_(threads) {}

  std::unique_ptr<MeasuringDevice> make_measuring() override { return make_measuring_cpu(threads_); }

 protected:
  std::unique_ptr<MfEpochPlan> do_run(const ops::PlanMfEpoch& operation) override {
    return std::make_unique<Plan>(*this, operation, threads_);
  }

  void do_enqueue(const ops::MfSgdEpoch& operation) override {
    static_cast<const Plan*>(operation.plan)->hold_rows(operation.tables.user.cols);
  }
  /// The engine keeps the memory for the next layer.
  void do_enqueue(const ops::DenseBackward& operation) override { slices_.grow_to(cpu::working_bytes(operation)); }

  std::size_t buffer_bytes(std::size_t bytes) const override { return cpu_buffer_bytes(bytes); }
  std::size_t working_bytes(const ops::Permute& operation) const override { return cpu::working_bytes(operation); }

 private:
  /// What a plan of the engine holds.
  class Plan : public MfEpochPlan {
   public:
    Plan(MeasuringDevice& device, const ops::PlanMfEpoch& operation, int threads)
        : MfEpochPlan(device, operation.ratings.users.rows, operation.users, operation.items),
          blocks_(cpu::choose_groups(ratings(), operation.options, threads).blocks),
          rows_(device, Place::engine, 0) {
      const cpu::MfPlanBytes bytes = cpu::plan_bytes(ratings(), users(), items(), operation.options, blocks_);
      const Held making(device, Place::engine, bytes.making);
      kept_ = Held(device, Place::engine, bytes.kept);
      rating_memory_ = device.allocate(bytes.ratings);
      run_memory_ = device.allocate(bytes.runs);
    }

    std::vector<std::int32_t> order(std::int64_t, std::int64_t, bool) const override { return {}; }

    void hold_rows(std::int64_t dim) const {
      rows_.grow_to(cpu::epoch_bytes(ratings(), users(), items(), blocks_, dim));
    }

   private:
    std::int32_t blocks_;
    Held kept_;
    mutable Held rows_;
    Buffer rating_memory_;
    Buffer run_memory_;
  };

  int threads_;
  Held slices_{*this, Place::engine, 0};
};

}  // namespace

std::unique_ptr<MeasuringDevice> make_measuring_cpu(int threads) {
  return std::make_unique<MeasuringCpu>(threads > 0 ? threads : hardware_threads());
}

}  // namespace curate
