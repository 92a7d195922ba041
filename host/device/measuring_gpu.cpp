#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "device/gpu_memory.h"
#include "device/measuring_device.h"

namespace curate {
namespace {

EngineTraits gpu_traits() {
  EngineTraits traits;
  traits.info = {"cuda", "a GPU, measuring", 0, 0, "the CUDA engine"};
  traits.stores_16_bits = true;
  traits.has_own_memory = true;
  traits.fastest_scatter = ScatterKind::atomic;
  traits.has_kernel_options = true;
  return traits;
}

class MeasuringGpu : public MeasuringDevice {
 public:
  explicit MeasuringGpu(Device* engine)
      : MeasuringDevice(engine == nullptr ? gpu_traits() : traits_of(*engine)),
        engine_(engine),
        from_the_start_(*this, Place::engine,
                        gpu_memory::kScratchFloats * sizeof(float) + gpu_memory::kErrorScratchBytes) {}

  std::unique_ptr<MeasuringDevice> make_measuring() override { return make_measuring_gpu(engine_); }

 protected:
#define CURATE_ASK(Operation)                                        \
  bool do_supports(const ops::Operation& operation) const override { \
    return engine_ == nullptr || engine_->supports(operation);       \
  }
  CURATE_OPERATIONS(CURATE_ASK)
#undef CURATE_ASK

  std::size_t working_bytes(const ops::Permute& operation) const override {
    return gpu_memory::permute_bytes(operation.in.users.rows);
  }
  std::size_t working_bytes(const ops::BuildSegments& operation) const override {
    return gpu_memory::segments_bytes(operation.index.rows);
  }
  std::size_t working_bytes(const ops::MfSgdEpoch& operation) const override {
    const std::int64_t pieces = static_cast<const Plan*>(operation.plan)->pieces();
    return pieces == 0 ? 0 : gpu_memory::piece_order_bytes(pieces);
  }

  std::unique_ptr<MfEpochPlan> do_run(const ops::PlanMfEpoch& operation) override {
    return std::make_unique<Plan>(*this, operation);
  }

  void do_run(const ops::PrepareDense& operation) override {
    if (engine_ != nullptr) {
      engine_->run(ops::PrepareDense{{}, operation.precision});
    }
    precision_ = operation.precision;
    if (precision_ != ProductPrecision::f32) {
      library_.grow_to(gpu_memory::kWorkspaceBytes);
    }
    count_products(operation.size);
  }

  /// Outside of a capture: a library tries a product when it first meets it.
  void do_enqueue(const ops::DenseForward& operation) override {
    count_products({operation.batch.out.rows, operation.batch.in.cols, operation.batch.out.cols});
  }

  std::optional<DenseStackLayout> do_run(const ops::LayOutDenseStack& operation) override {
    return engine_ == nullptr ? std::nullopt : engine_->run(operation);
  }

 private:
  /// What a plan of the engine holds.
  class Plan : public MfEpochPlan {
   public:
    Plan(MeasuringDevice& device, const ops::PlanMfEpoch& operation)
        : MfEpochPlan(device, operation.ratings.users.rows, operation.users, operation.items) {
      const gpu_memory::PlanBytes bytes = gpu_memory::plan_bytes(ratings(), users(), items(), operation.options);
      for (const std::size_t kept : {bytes.ratings, bytes.user_counts, bytes.item_counts, bytes.pieces, bytes.hot_slots,
                                     bytes.hot_list, bytes.block_starts, bytes.rating_users}) {
        buffers_.push_back(device.allocate(kept));
      }
      pieces_ = static_cast<std::int64_t>(bytes.pieces) / gpu_memory::kPieceBytes;
      const Held making(device, Place::engine, bytes.making);
    }

    std::vector<std::int32_t> order(std::int64_t, std::int64_t, bool) const override { return {}; }

    std::int64_t pieces() const { return pieces_; }

   private:
    std::vector<Buffer> buffers_;
    std::int64_t pieces_ = 0;
  };

  /// What a library takes for a layer of that size.
  void count_products(const DenseSize& size) {
    if (!gpu_memory::suits_library(size)) {
      return;
    }
    library_.grow_to(gpu_memory::kWorkspaceBytes);
    const std::int64_t elements = gpu_memory::rounded_elements(size);
    if (precision_ == ProductPrecision::bf16 && elements > rounded_elements_) {
      constexpr std::size_t kBf16 = 2;
      rounded_.emplace_back(*this, Place::engine, static_cast<std::size_t>(elements) * kBf16);
      rounded_elements_ = elements;
    }
    const Held trial(*this, Place::engine, gpu_memory::trial_bytes(size));
  }

  Device* engine_;
  ProductPrecision precision_ = ProductPrecision::f32;
  Held from_the_start_;
  Held library_{*this, Place::engine, 0};
  /// Captured operations may name the shorter ones, too.
  std::vector<Held> rounded_;
  std::int64_t rounded_elements_ = 0;
};

}  // namespace

std::unique_ptr<MeasuringDevice> make_measuring_gpu(Device* engine) {
  return std::make_unique<MeasuringGpu>(engine);
}

}  // namespace curate
