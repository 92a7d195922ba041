#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "device/device.h"

namespace curate {

/// What callers ask an engine before they run anything on it.
struct EngineTraits {
  DeviceInfo info;
  bool stores_16_bits = false;
  bool has_own_memory = false;
  ScatterKind fastest_scatter = ScatterKind::segments;
  bool has_kernel_options = false;
};
EngineTraits traits_of(const Device& engine);

/// Counts the memory that calls would take on an engine, and runs nothing: memory is planned by the code that takes it.
/// Buffers have addresses and no memory behind them; operations check their arguments and do no more; what is
/// downloaded is 0. An engine's own allocations, which no buffer holds, are counted by functions beside the code that
/// makes them: every engine has its class, see make_measuring_cpu() and make_measuring_gpu().
///
/// Sizes depend on the extents of what is enqueued alone, never on data.
class MeasuringDevice : public Device {
 public:
  /// Bytes of buffers that were allocated under one MemoryLabel.
  struct Part {
    std::string label;
    std::int64_t bytes = 0;
  };

  /// Whose memory it is. They are one if the engine has no memory of its own.
  enum class Place : std::uint8_t { engine, host };

  /// Memory that no buffer holds, for as long as this lives.
  class Held {
   public:
    Held() = default;
    Held(MeasuringDevice& device, Place place, std::size_t bytes) : device_(&device), place_(place) { grow_to(bytes); }
    Held(Held&& other) noexcept;
    Held& operator=(Held&& other) noexcept;
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held();

    void grow_to(std::size_t bytes);

   private:
    MeasuringDevice* device_ = nullptr;
    Place place_ = Place::engine;
    std::size_t bytes_ = 0;
  };

  explicit MeasuringDevice(EngineTraits traits);

  DeviceInfo info() const override { return traits_.info; }
  bool can_store(DType dtype) const override {
    return dtype == DType::f32 || (traits_.stores_16_bits && is_float(dtype));
  }
  bool has_own_memory() const override { return traits_.has_own_memory; }
  ScatterKind fastest_scatter() const override { return traits_.fastest_scatter; }
  bool has_kernel_options() const override { return traits_.has_kernel_options; }

  /// What buffers held when they held the most, peak_bytes() in all, in the order in which labels first came.
  const std::vector<Part>& parts() const { return parts_at_peak_; }
  /// The most that buffers and what else the engine takes held at once.
  std::size_t most_on_engine() const { return most_on_engine_; }
  /// The most at once of the host's memory; with the engine's, if it has none of its own.
  std::size_t most_on_host() const { return most_on_host_; }

 protected:
  void* do_allocate(std::size_t bytes) override;
  void do_free(void* data) noexcept override;
  void do_synchronize() override { check_not_capturing("synchronize"); }
  double do_seconds_of(const std::function<void()>& enqueue) override;
  void do_upload(const MatrixView& destination, const void* source) override;
  void do_download(void* destination, const MatrixView& source) override;
  void do_copy(const MatrixView& destination, const MatrixView& source) override;
  void do_zero(const MatrixView& destination) override;
  std::unique_ptr<Graph> do_capture(const std::function<void()>& enqueue) override;
  void do_replay(const Graph& graph, std::int64_t times) override;

  /// Bytes that the engine takes for a buffer of so many; not fewer.
  virtual std::size_t buffer_bytes(std::size_t bytes) const { return bytes; }

  /// Bytes that the engine takes for an operation while it runs, besides the buffers of its arguments.
#define CURATE_MEASURE(Operation)                                                \
  void do_enqueue(const ops::Operation& operation) override {                    \
    const Held taken(*this, Place::engine, working_bytes(operation));            \
  }                                                                              \
  virtual std::size_t working_bytes(const ops::Operation& /*operation*/) const { \
    return 0;                                                                    \
  }
  CURATE_OPERATIONS(CURATE_MEASURE)
#undef CURATE_MEASURE

 private:
  struct Block {
    std::size_t bytes;
    std::size_t part;
  };

  void check_not_capturing(const char* operation) const;
  Part& part_of(const char* label);
  void note_totals();

  EngineTraits traits_;
  std::unordered_map<void*, Block> blocks_;
  std::uintptr_t next_address_;
  std::vector<Part> parts_;
  std::vector<Part> parts_at_peak_;
  std::size_t in_buffers_ = 0;
  std::size_t most_in_buffers_ = 0;
  std::size_t held_by_engine_ = 0;
  std::size_t held_by_host_ = 0;
  std::size_t most_on_engine_ = 0;
  std::size_t most_on_host_ = 0;
  bool capturing_ = false;
};

/// Of the CPU engine with so many threads; 0: all cores.
std::unique_ptr<MeasuringDevice> make_measuring_cpu(int threads = 0);

/// Of the CUDA engine. `engine` is asked which layers it takes as a whole, and may have to try products of its
/// libraries for that, as a training does next; without it layers go one by one, which takes the most.
std::unique_ptr<MeasuringDevice> make_measuring_gpu(Device* engine = nullptr);

}  // namespace curate
