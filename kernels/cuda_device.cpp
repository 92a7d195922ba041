#include "kernels/cuda_device.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "device/gpu_memory.h"
#include "device/measuring_device.h"
#include "kernels/context.h"
#include "kernels/copy_rows.h"
#include "kernels/cuda_error.h"
#include "kernels/dense_products.h"
#include "kernels/dense_stack.h"
#include "kernels/device_memory.h"
#include "kernels/error_scratch.h"
#include "kernels/mf_epoch_plan.h"
#include "kernels/scratch.h"
#include "kernels/stream_timer.h"

namespace curate::cuda {
namespace {

class Stream {
 public:
  Stream() { CURATE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }

  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Owns what cudaStreamEndCapture gives.
class RecordedGraph {
 public:
  explicit RecordedGraph(cudaGraph_t graph) : graph_(graph) {}
  RecordedGraph(const RecordedGraph&) = delete;
  RecordedGraph& operator=(const RecordedGraph&) = delete;
  ~RecordedGraph() {
    if (graph_ != nullptr) {
      cudaGraphDestroy(graph_);
    }
  }

  cudaGraph_t get() const { return graph_; }

 private:
  cudaGraph_t graph_;
};

class CudaGraph : public Graph {
 public:
  explicit CudaGraph(cudaGraph_t graph) { CURATE_CUDA_CHECK(cudaGraphInstantiate(&executable_, graph, 0)); }
  ~CudaGraph() override { cudaGraphExecDestroy(executable_); }

  cudaGraphExec_t get() const { return executable_; }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

std::size_t bytes_of(const MatrixView& view) {
  return static_cast<std::size_t>(view.rows) * static_cast<std::size_t>(view.cols) * size_of(view.dtype);
}

/// An operation that a device in debugging has recorded.
struct RecordedOperation {
  const char* name;
  std::function<void()> enqueue;
};

/// What capture() gives on a device in debugging: a CUDA graph would run as a whole.
class OperationList : public Graph {
 public:
  explicit OperationList(std::vector<RecordedOperation> operations) : operations_(std::move(operations)) {}

  const std::vector<RecordedOperation>& operations() const { return operations_; }

 private:
  std::vector<RecordedOperation> operations_;
};

/// Operations that take memory while they are enqueued, which a CUDA graph cannot record.
template <typename Operation>
constexpr bool kAllocates = std::is_same_v<Operation, ops::Permute> || std::is_same_v<Operation, ops::BuildSegments> ||
                            std::is_same_v<Operation, ops::MfSgdEpoch>;

/// Whether every row of a table in 16 bits is made of whole 16 bytes, at multiples of 16 bytes.
bool whole_packs(const MatrixView& table) {
  constexpr std::int64_t kElements = 8;
  return table.empty() || size_of(table.dtype) != 2 ||
         (table.cols % kElements == 0 && table.ld % kElements == 0 &&
          reinterpret_cast<std::uintptr_t>(table.data) % 16 == 0);
}

class CudaDevice : public Device {
 public:
  CudaDevice(std::string name, int gpu, bool debugging) : name_(std::move(name)), gpu_(gpu), debugging_(debugging) {
    CURATE_CUDA_CHECK(cudaSetDevice(gpu_));
    CURATE_CUDA_CHECK(cudaGetDeviceProperties(&properties_, gpu_));
    pool_.emplace(gpu_);
    stream_.emplace();
    scratch_.emplace(stream(), static_cast<std::int64_t>(gpu_memory::kScratchFloats));
    products_.emplace(stream(), gpu_shape(), scratch());
    error_scratch_.emplace(stream(), 1);
    CURATE_CUDA_CHECK(cudaMemsetAsync(error_scratch_->data(), 0, sizeof(ErrorScratch), stream()));
  }

  DeviceInfo info() const override {
    return {name_,
            fmt::format("{}, {} multiprocessors, {:.1f} GiB{}", properties_.name, properties_.multiProcessorCount,
                        static_cast<double>(properties_.totalGlobalMem) / static_cast<double>(1U << 30U),
                        debugging_ ? ", waits after every operation" : ""),
            properties_.totalGlobalMem, 0, "the CUDA engine"};
  }

  bool can_store(DType dtype) const override { return is_float(dtype); }
  bool has_own_memory() const override { return true; }
  ScatterKind fastest_scatter() const override { return ScatterKind::atomic; }
  bool has_kernel_options() const override { return true; }

  std::unique_ptr<MeasuringDevice> make_measuring() override { return make_measuring_gpu(this); }

 protected:
  void* do_allocate(std::size_t bytes) override {
    check_not_capturing("allocate");
    if (bytes == 0) {
      return nullptr;
    }
    make_current();
    void* data = nullptr;
    const cudaError_t error = allocate_memory(&data, bytes, stream());
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      std::size_t free = 0;
      std::size_t total = 0;
      CURATE_CUDA_CHECK(cudaMemGetInfo(&free, &total));
      throw DeviceError(fmt::format("out of GPU memory: {} MiB asked for, {} of {} MiB free", bytes >> 20U, free >> 20U,
                                    total >> 20U));
    }
    check_now(error, "allocate");
    return data;
  }

  void do_free(void* data) noexcept override {
    if (capturing_) {
      try {
        free_later_.push_back(data);
      } catch (...) {
        // No memory for the list: leaking the block is the only safe end.
      }
      return;
    }
    free_memory(data, stream());
  }

  void do_synchronize() override {
    check_not_capturing("synchronize");
    make_current();
    wait();
  }

  double do_seconds_of(const std::function<void()>& enqueue_operations) override {
    check_not_capturing("seconds_of");
    make_current();
    const StreamTimer timer(stream());
    timer.start();
    enqueue_operations();
    timer.stop();
    do_synchronize();
    return timer.seconds();
  }

  void do_upload(const MatrixView& destination, const void* source) override {
    check_not_capturing("upload");
    make_current();
    check_now(cudaMemcpyAsync(destination.data, source, bytes_of(destination), cudaMemcpyHostToDevice, stream()),
              "upload");
    wait();
  }

  void do_download(void* destination, const MatrixView& source) override {
    check_not_capturing("download");
    make_current();
    check_now(cudaMemcpyAsync(destination, source.data, bytes_of(source), cudaMemcpyDeviceToHost, stream()),
              "download");
    wait();
  }

  void do_copy(const MatrixView& destination, const MatrixView& source) override {
    if (source.empty()) {
      return;
    }
    const bool contiguous = source.ld == source.cols && destination.ld == destination.cols;
    if (destination.dtype == source.dtype && contiguous) {
      run("copy", [=, this] {
        CURATE_CUDA_CHECK(
            cudaMemcpyAsync(destination.data, source.data, bytes_of(source), cudaMemcpyDeviceToDevice, stream()));
      });
    } else {
      // Not cudaMemcpy2D: of a column it copies rows of four bytes one after the other.
      run("copy", [=, this] { copy_rows(stream(), destination, source); });
    }
  }

  void do_zero(const MatrixView& destination) override {
    if (!destination.empty()) {
      run("zero",
          [=, this] { CURATE_CUDA_CHECK(cudaMemsetAsync(destination.data, 0, bytes_of(destination), stream())); });
    }
  }

  std::unique_ptr<Graph> do_capture(const std::function<void()>& enqueue_operations) override {
    check_not_capturing("capture");
    make_current();
    if (!debugging_) {
      check_now(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), "capture");
    }
    capturing_ = true;
    try {
      enqueue_operations();
    } catch (...) {
      stop_recording();
      throw;
    }
    return end_capture();
  }

  void do_replay(const Graph& graph, std::int64_t times) override {
    check_not_capturing("replay");
    if (const auto* const list = dynamic_cast<const OperationList*>(&graph)) {
      for (std::int64_t i = 0; i < times; ++i) {
        for (const RecordedOperation& operation : list->operations()) {
          run(operation.name, operation.enqueue);
        }
      }
      return;
    }
    const cudaGraphExec_t executable = dynamic_cast<const CudaGraph&>(graph).get();
    run("replay", [=, this] {
      for (std::int64_t i = 0; i < times; ++i) {
        CURATE_CUDA_CHECK(cudaGraphLaunch(executable, stream()));
      }
    });
  }

#define CURATE_DEFINE(Operation)                                                            \
  void do_enqueue(const ops::Operation& operation) override {                               \
    if (kAllocates<ops::Operation>) {                                                       \
      check_not_capturing(ops::Operation::kName);                                           \
    }                                                                                       \
    run(ops::Operation::kName, [operation, this] { cuda::enqueue(operation, context()); }); \
  }
  CURATE_OPERATIONS(CURATE_DEFINE)
#undef CURATE_DEFINE

  /// The kernel loads and stores 16 bytes at once.
  bool do_supports(const ops::MfSgdEpoch& operation) const override {
    return whole_packs(operation.tables.user) && whole_packs(operation.tables.item);
  }
  bool do_supports(const ops::DenseStackForward& operation) const override {
    return takes(operation);
  }
  bool do_supports(const ops::DenseStackBackward& operation) const override {
    return takes(operation);
  }

  void do_run(const ops::PrepareDense& operation) override {
    check_not_capturing(ops::PrepareDense::kName);
    make_current();
    products_->prepare(operation.size, operation.precision);
  }
  std::optional<DenseStackLayout> do_run(const ops::LayOutDenseStack& operation) override {
    check_not_capturing(ops::LayOutDenseStack::kName);
    make_current();
    if (operation.stack.empty()) {
      return std::nullopt;
    }
    if (suits_dense_stack(operation.stack, products_->precision())) {
      return DenseStackLayout{};
    }
    return products_->lay_out_stack(operation.stack, operation.batch);
  }
  std::unique_ptr<MfEpochPlan> do_run(const ops::PlanMfEpoch& operation) override {
    check_not_capturing(ops::PlanMfEpoch::kName);
    make_current();
    last_ = ops::PlanMfEpoch::kName;
    auto plan = std::make_unique<CudaMfEpochPlan>(*this, stream(), operation.ratings, operation.users, operation.items,
                                                  operation.options);
    do_synchronize();
    return plan;
  }

 private:
  cudaStream_t stream() const {
    return stream_->get();
  }

  Context context() {
    return {stream(), gpu_shape(), scratch(), error_scratch_->data(), &*products_, capturing_};
  }
  GpuShape gpu_shape() const {
    return {properties_.major, properties_.multiProcessorCount};
  }
  ScratchFloats scratch() const {
    return {scratch_->data(), gpu_memory::kScratchFloats};
  }

  /// In f32 by kernels that have limits, in bf16 by a library, which lay_out_dense_stack asks.
  template <typename Operation>
  bool takes(const Operation& operation) const {
    return operation.in.dtype == DType::bf16 || fits_dense_stack(operation.stack, products_->precision());
  }

  void check_not_capturing(const char* name) const {
    if (capturing_) {
      throw std::logic_error(fmt::format("{} inside a capture", name));
    }
  }

  /// Called right after a copy to or from the host's memory: an error thrown in between would free that memory.
  void wait() const {
    check_now(cudaStreamSynchronize(stream()), "synchronize");
  }

  /// A program may have devices on several GPUs.
  void make_current() const {
    CURATE_CUDA_CHECK(cudaSetDevice(gpu_));
  }

  /// Enqueues an operation. `enqueue` holds copies of what it needs: in debugging a capture keeps it.
  template <typename Enqueue>
  void run(const char* name, const Enqueue& enqueue) {
    last_ = name;
    if (!debugging_) {
      make_current();
      enqueue();
    } else if (capturing_) {
      recorded_.push_back({name, enqueue});
    } else {
      run_and_wait(name, enqueue);
    }
  }

  void run_and_wait(const char* name, const std::function<void()>& enqueue) const {
    try {
      make_current();
      enqueue();
      CURATE_CUDA_CHECK(cudaStreamSynchronize(stream()));
    } catch (const AsyncDeviceError& error) {
      throw DeviceError(fmt::format("{}: {}", name, error.what()));  // nothing else was on its way
    }
  }

  void check_now(cudaError_t error, const char* call) const {
    if (error != cudaSuccess) {
      check(error, fmt::format("{} (the last operation was {})", call, last_).c_str(), __FILE__, __LINE__);
    }
  }

  struct Recording {
    std::unique_ptr<RecordedGraph> graph;
    cudaError_t error;
    std::vector<RecordedOperation> operations;
  };

  Recording stop_recording() {
    capturing_ = false;
    cudaGraph_t graph = nullptr;
    const cudaError_t error = debugging_ ? cudaSuccess : cudaStreamEndCapture(stream(), &graph);
    Recording recording{std::make_unique<RecordedGraph>(graph), error, std::exchange(recorded_, {})};
    for (void* const data : std::exchange(free_later_, {})) {
      do_free(data);
    }
    return recording;
  }

  std::unique_ptr<Graph> end_capture() {
    Recording recording = stop_recording();
    check_now(recording.error, "capture");
    if (debugging_) {
      return std::make_unique<OperationList>(std::move(recording.operations));
    }
    return std::make_unique<CudaGraph>(recording.graph->get());
  }

  std::string name_;
  int gpu_;
  bool debugging_;  ///< waits after every operation
  cudaDeviceProp properties_{};
  std::optional<KeptPool> pool_;  ///< before what allocates
  std::optional<Stream> stream_;
  std::optional<Scratch<float>> scratch_;
  std::optional<DenseProducts> products_;
  std::optional<Scratch<ErrorScratch>> error_scratch_;
  bool capturing_ = false;
  std::vector<void*> free_later_;
  std::vector<RecordedOperation> recorded_;  ///< by a capture in debugging
  const char* last_ = "none";
};

}  // namespace

std::unique_ptr<Device> make_device(const std::string& name, int gpu, bool debugging) {
  return std::make_unique<CudaDevice>(name, gpu, debugging);
}

}  // namespace curate::cuda
