#include "device/cpu/cpu_device.h"

#include <fmt/format.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "curate/column.h"
#include "curate/error.h"
#include "device/cpu/cpu_ops.h"
#include "device/cpu/gemm.h"
#include "device/cpu/mf_epoch_plan.h"
#include "device/measuring_device.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

constexpr bool is_large(std::size_t buffer_bytes) {
  return buffer_bytes >= std::size_t{4} << 20U;
}

struct Operation {
  const char* name;
  std::function<void()> run;
};

struct CpuGraph : Graph {
  std::vector<Operation> operations;
};

class CpuDevice : public Device {
 public:
  CpuDevice(int threads, CpuStream stream) : context_(threads), stream_(stream) { cpu::use_one_blas_thread(); }
  // Memory freed while its operations waited is still in the queue.
  ~CpuDevice() override {
    while (!queue_.empty()) {
      if (queue_.front().name == kFree) {
        queue_.front().run();
      }
      queue_.pop_front();
    }
  }

  DeviceInfo info() const override {
    struct sysinfo system {};
    ::sysinfo(&system);
    return {stream_ == CpuStream::eager ? "cpu" : "cpu-deferred",
            fmt::format("CPU, {} thread{}", context_.pool.threads(), context_.pool.threads() == 1 ? "" : "s"),
            static_cast<std::size_t>(system.totalram) * system.mem_unit, context_.pool.threads(), "the CPU engine"};
  }

  std::unique_ptr<MeasuringDevice> make_measuring() override { return make_measuring_cpu(context_.pool.threads()); }

 protected:
  void* do_allocate(std::size_t bytes) override {
    check_not_capturing("allocate");
    if (bytes == 0) {
      return nullptr;
    }
    void* data = nullptr;
    if (is_large(bytes)) {
      try {
        data = allocate_column(bytes);  // in large pages
      } catch (const std::bad_alloc&) {
        data = nullptr;
      }
    } else {
      data = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
    }
    if (data == nullptr) {
      throw DeviceError(fmt::format("out of memory: {} MiB asked for", bytes >> 20U));
    }
#if !defined(NDEBUG)
    // NaN in every float: a read of what nobody wrote shows.
    std::memset(data, 0xFF, bytes);
#endif
    return data;
  }

  void do_free(void* data) noexcept override {
    if (stream_ == CpuStream::deferred && !queue_.empty()) {
      try {
        queue_.push_back({kFree, [data] { std::free(data); }});
        return;
      } catch (...) {
        // No memory for a queue entry: leaking the block is the only safe end.
        return;
      }
    }
    std::free(data);
  }

  void do_synchronize() override {
    check_not_capturing("synchronize");
    while (!queue_.empty()) {
      const Operation operation = std::move(queue_.front());
      queue_.pop_front();
      run(operation);
    }
  }

  double do_seconds_of(const std::function<void()>& enqueue_operations) override {
    check_not_capturing("seconds_of");
    do_synchronize();
    const auto start = std::chrono::steady_clock::now();
    enqueue_operations();
    do_synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  void do_upload(const MatrixView& destination, const void* source) override {
    do_synchronize();
    std::memcpy(destination.data, source, contiguous_bytes(destination));
  }

  void do_download(void* destination, const MatrixView& source) override {
    do_synchronize();
    std::memcpy(destination, source.data, contiguous_bytes(source));
  }

  void do_copy(const MatrixView& destination, const MatrixView& source) override {
    enqueue_call("copy", [=] {
      const std::size_t size = size_of(source.dtype);
      const auto row_bytes = static_cast<std::size_t>(source.cols) * size;
      for (std::int64_t r = 0; r < source.rows; ++r) {
        std::memcpy(static_cast<std::byte*>(destination.data) + static_cast<std::size_t>(r * destination.ld) * size,
                    static_cast<const std::byte*>(source.data) + static_cast<std::size_t>(r * source.ld) * size,
                    row_bytes);
      }
    });
  }

  void do_zero(const MatrixView& destination) override {
    enqueue_call("zero", [=] { std::memset(destination.data, 0, contiguous_bytes(destination)); });
  }

  std::unique_ptr<Graph> do_capture(const std::function<void()>& enqueue_operations) override {
    check_not_capturing("capture");
    auto graph = std::make_unique<CpuGraph>();
    capturing_ = graph.get();
    try {
      enqueue_operations();
    } catch (...) {
      capturing_ = nullptr;
      throw;
    }
    capturing_ = nullptr;
    return graph;
  }

  void do_replay(const Graph& graph, std::int64_t times) override {
    check_not_capturing("replay");
    const auto& operations = dynamic_cast<const CpuGraph&>(graph).operations;
    for (std::int64_t i = 0; i < times; ++i) {
      for (const Operation& operation : operations) {
        if (stream_ == CpuStream::eager) {
          run(operation);
        } else {
          queue_.push_back(operation);
        }
      }
    }
  }

#define CURATE_DEFINE(Operation)                                                               \
  void do_enqueue(const ops::Operation& operation) override {                                  \
    enqueue_call(ops::Operation::kName, [this, operation] { cpu::run(operation, context_); }); \
  }
  CURATE_OPERATIONS(CURATE_DEFINE)
#undef CURATE_DEFINE

  bool do_supports(const ops::DenseStackForward& operation) const override {
    return operation.in.dtype == DType::f32;
  }
  bool do_supports(const ops::DenseStackBackward& operation) const override {
    return operation.in.dtype == DType::f32;
  }

  std::unique_ptr<MfEpochPlan> do_run(const ops::PlanMfEpoch& operation) override {
    do_synchronize();
    return cpu::plan_mf_epoch(operation, *this, context_);
  }

 private:
  static constexpr std::size_t kAlignment = 64;
  static constexpr const char* kFree = "free";

  static std::size_t contiguous_bytes(const MatrixView& view) {
    return static_cast<std::size_t>(view.rows) * static_cast<std::size_t>(view.cols) * size_of(view.dtype);
  }

  void check_not_capturing(const char* operation) const {
    if (capturing_ != nullptr) {
      throw std::logic_error(fmt::format("{} inside a capture", operation));
    }
  }

  void enqueue_call(const char* name, std::function<void()> run_operation) {
    Operation operation{name, std::move(run_operation)};
    if (capturing_ != nullptr) {
      capturing_->operations.push_back(std::move(operation));
    } else if (stream_ == CpuStream::eager) {
      run(operation);
    } else {
      queue_.push_back(std::move(operation));
    }
  }

  static void run(const Operation& operation) {
    try {
      operation.run();
    } catch (const std::exception& error) {
      throw DeviceError(fmt::format("{}: {}", operation.name, error.what()));
    }
  }

  cpu::Context context_;
  CpuStream stream_;
  std::deque<Operation> queue_;
  CpuGraph* capturing_ = nullptr;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(int threads, CpuStream stream) {
  return std::make_unique<CpuDevice>(threads > 0 ? threads : hardware_threads(), stream);
}

std::size_t cpu_buffer_bytes(std::size_t bytes) {
  return is_large(bytes) ? column_bytes(bytes) : bytes;
}

}  // namespace curate
