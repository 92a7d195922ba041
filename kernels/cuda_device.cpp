#include "kernels/cuda_device.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "kernels/add_l2_rows.h"
#include "kernels/bag_rows.h"
#include "kernels/build_segments.h"
#include "kernels/copy_rows.h"
#include "kernels/cuda_error.h"
#include "kernels/dense_products.h"
#include "kernels/dense_stack.h"
#include "kernels/device_memory.h"
#include "kernels/dot_rows.h"
#include "kernels/dropout.h"
#include "kernels/error_scratch.h"
#include "kernels/gather_rows.h"
#include "kernels/mf_epoch_plan.h"
#include "kernels/mf_sgd_epoch.h"
#include "kernels/permute.h"
#include "kernels/rating_loss.h"
#include "kernels/scatter_add_rows.h"
#include "kernels/scratch.h"
#include "kernels/step_state.h"
#include "kernels/stream_timer.h"
#include "kernels/sum_squared_error.h"
#include "kernels/update_rows.h"

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

class CudaDevice : public Device {
 public:
  CudaDevice(std::string name, int gpu, bool debugging) : name_(std::move(name)), gpu_(gpu), debugging_(debugging) {
    CURATE_CUDA_CHECK(cudaSetDevice(gpu_));
    CURATE_CUDA_CHECK(cudaGetDeviceProperties(&properties_, gpu_));
    pool_.emplace(gpu_);
    stream_.emplace();
    products_.emplace(stream(), GpuShape{properties_.major, properties_.multiProcessorCount});
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

  void do_begin_epoch(const MatrixView& state, const EpochStart& start) override {
    run("begin_epoch", [=, this] { cuda::begin_epoch(stream(), state, start); });
  }
  void do_advance_step(const MatrixView& state) override {
    run("advance_step", [=, this] { cuda::advance_step(stream(), state); });
  }
  void do_permute(const RatingsView& out, const MatrixView& order, const RatingsView& in,
                  const MatrixView& state) override {
    check_not_capturing("permute");
    run("permute", [=, this] { cuda::permute(stream(), out, order, in, state); });
  }
  void do_build_segments(const SegmentsView& out, const MatrixView& index, std::int64_t num_rows,
                         const MatrixView& state) override {
    check_not_capturing("build_segments");
    run("build_segments", [=, this] { cuda::build_segments(stream(), out, index, num_rows, state); });
  }
  void do_gather_rows(const MatrixView& out, const MatrixView& table, const MatrixView& index,
                      const MatrixView& state) override {
    run("gather_rows", [=, this] { cuda::gather_rows(stream(), out, table, index, state); });
  }
  void do_bag_rows(const MatrixView& out, const MatrixView& table, const BagsView& bags, const MatrixView& index,
                   BagKind kind, const MatrixView& state, bool add) override {
    run("bag_rows", [=, this] { cuda::bag_rows(stream(), out, table, bags, index, kind, state, add); });
  }
  void do_bag_rows_backward(const MatrixView& grad_table, const MatrixView& grad_rows, const BagsView& bags,
                            const MatrixView& index, BagKind kind, ScatterKind scatter,
                            const MatrixView& state) override {
    run("bag_rows_backward", [=, this] {
      if (scatter == ScatterKind::segments) {
        cuda::bag_rows_backward_in_order(stream(), grad_table, grad_rows, bags, index, kind, state,
                                         products_->scratch());
      } else {
        cuda::bag_rows_backward(stream(), grad_table, grad_rows, bags, index, kind, state);
      }
    });
  }
  void do_dot_rows(const MatrixView& prediction, const MfRows& rows, const MatrixView& state) override {
    run("dot_rows", [=, this] { cuda::dot_rows(stream(), prediction, rows, state); });
  }
  void do_dot_rows_backward(const MfRows& grad, const MatrixView& grad_prediction, const MfRows& rows, float l2,
                            const MatrixView& state) override {
    run("dot_rows_backward", [=, this] { cuda::dot_rows_backward(stream(), grad, grad_prediction, rows, l2, state); });
  }
  void do_rating_loss(const MatrixView& grad, const MatrixView& sums, const MatrixView& prediction,
                      const MatrixView& ratings, LossKind kind, const MatrixView& state) override {
    run("rating_loss", [=, this] {
      cuda::rating_loss(stream(), grad, sums, prediction, ratings, kind, state, error_scratch_->data());
    });
  }
  void do_scatter_add_rows(const MatrixView& grad_table, const MatrixView& grad_rows, const MatrixView& index,
                           const SegmentsView& segments, ScatterKind kind, const MatrixView& state) override {
    run("scatter_add_rows", [=, this] {
      if (kind == ScatterKind::segments) {
        cuda::scatter_add_segments(stream(), grad_table, grad_rows, segments, state);
      } else {
        cuda::scatter_add_rows(stream(), grad_table, grad_rows, index, state);
      }
    });
  }
  void do_update_rows(const TrainedTable& table, const SegmentsView& segments, const OptimizerParams& params,
                      const MatrixView& state) override {
    run("update_rows", [=, this] { cuda::update_rows(stream(), table, segments, params, state); });
  }
  void do_add_l2_rows(const MatrixView& grad_rows, const MatrixView& table, const MatrixView& index, float l2,
                      const MatrixView& state) override {
    run("add_l2_rows", [=, this] { cuda::add_l2_rows(stream(), grad_rows, table, index, l2, state); });
  }
  void do_update_dense(const TrainedTable& table, const OptimizerParams& params, const MatrixView& state) override {
    run("update_dense", [=, this] { cuda::update_dense(stream(), table, params, state); });
  }
  void do_prepare_dense(const DenseSize& size, ProductPrecision precision) override {
    check_not_capturing("prepare_dense");
    make_current();
    products_->prepare(size, precision);
  }
  void do_dense_forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                        const MatrixView& state) override {
    run("dense_forward", [=, this] { products_->forward(batch, params, activation, state, capturing_); });
  }
  void do_dense_backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                         const DenseParams& params, const Activation& activation, const MatrixView& state) override {
    run("dense_backward",
        [=, this] { products_->backward(grad, grad_params, batch, params, activation, state, capturing_); });
  }
  std::optional<DenseStackPlan> do_plan_dense_stack(const DenseStack& stack, std::int64_t batch) override {
    check_not_capturing("plan_dense_stack");
    make_current();
    if (suits_dense_stack(stack, products_->precision())) {
      return DenseStackPlan{};
    }
    return products_->plan_stack(stack, batch);
  }
  void do_dense_stack_forward(const MatrixView& out, const MatrixView& in, const DenseStack& stack,
                              const MatrixView& workspace, const MatrixView& state) override {
    run("dense_stack_forward", [=, this] {
      if (in.dtype == DType::bf16) {
        products_->stack_forward(out, in, stack, workspace, state);
      } else {
        cuda::dense_stack_forward(stream(), out, in, stack, products_->precision(), state);
      }
    });
  }
  void do_dense_stack_backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params,
                               const MatrixView& in, const DenseStack& stack, const MatrixView& workspace,
                               const MatrixView& state) override {
    run("dense_stack_backward", [=, this] {
      if (in.dtype == DType::bf16) {
        products_->stack_backward(grad, grad_params, in, stack, workspace, state);
      } else {
        cuda::dense_stack_backward(stream(), grad, grad_params, in, stack, products_->precision(), state,
                                   products_->scratch());
      }
    });
  }
  void do_dropout(const MatrixView& rows, const DropoutParams& params, const MatrixView& state) override {
    run("dropout", [=, this] { cuda::dropout(stream(), rows, params, state); });
  }
  void do_rating_errors(const MatrixView& sums, const MatrixView& prediction, const MatrixView& ratings, ClipRange clip,
                        const MatrixView& state) override {
    run("rating_errors",
        [=, this] { cuda::rating_errors(stream(), sums, prediction, ratings, clip, state, error_scratch_->data()); });
  }
  std::unique_ptr<MfEpochPlan> do_plan_mf_epoch(const RatingsView& ratings, std::int64_t users, std::int64_t items,
                                                const MfPlanOptions& options) override {
    check_not_capturing("plan_mf_epoch");
    make_current();
    last_ = "plan_mf_epoch";
    auto plan = std::make_unique<CudaMfEpochPlan>(*this, stream(), ratings, users, items, options);
    do_synchronize();
    return plan;
  }
  void do_mf_sgd_epoch(const MfTables& tables, const MatrixView& sums, const MfEpochPlan& plan,
                       const MfSgdParams& params, const MatrixView& state) override {
    check_not_capturing("mf_sgd_epoch");
    run("mf_sgd_epoch", [=, this, &plan] {
      constexpr std::int64_t kBlocksPerMultiprocessor = 8;
      cuda::mf_sgd_epoch(stream(), tables, sums, static_cast<const CudaMfEpochPlan&>(plan), params, state,
                         error_scratch_->data(), kBlocksPerMultiprocessor * properties_.multiProcessorCount);
    });
  }
  void do_sum_squared_error(const MatrixView& sums, const MfTables& tables, const RatingsView& ratings,
                            ClipRange clip) override {
    run("sum_squared_error",
        [=, this] { cuda::sum_squared_error(stream(), sums, tables, ratings, clip, error_scratch_->data()); });
  }

 private:
  cudaStream_t stream() const { return stream_->get(); }

  void check_not_capturing(const char* name) const {
    if (capturing_) {
      throw std::logic_error(fmt::format("{} inside a capture", name));
    }
  }

  /// Called right after a copy to or from the host's memory: an error thrown in between would free that memory.
  void wait() const { check_now(cudaStreamSynchronize(stream()), "synchronize"); }

  /// A program may have devices on several GPUs.
  void make_current() const { CURATE_CUDA_CHECK(cudaSetDevice(gpu_)); }

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
