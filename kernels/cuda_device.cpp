#include "kernels/cuda_device.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "kernels/add_l2_rows.h"
#include "kernels/bag_rows.h"
#include "kernels/build_segments.h"
#include "kernels/convert_rows.h"
#include "kernels/cuda_error.h"
#include "kernels/dense_products.h"
#include "kernels/dense_stack.h"
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

class CudaDevice : public Device {
 public:
  explicit CudaDevice(std::string name) : name_(std::move(name)) {
    CURATE_CUDA_CHECK(cudaSetDevice(kGpu));
    CURATE_CUDA_CHECK(cudaGetDeviceProperties(&properties_, kGpu));
    stream_.emplace();
    // Memory stays in the pool: without this every wait for the stream would give it back to the driver.
    cudaMemPool_t pool = nullptr;
    CURATE_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, kGpu));
    std::uint64_t keep = ~std::uint64_t{0};
    CURATE_CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
    products_.emplace(stream(), properties_.major);
    error_scratch_.emplace(stream(), 1);
    CURATE_CUDA_CHECK(cudaMemsetAsync(error_scratch_->data(), 0, sizeof(ErrorScratch), stream()));
  }

  DeviceInfo info() const override {
    return {name_,
            fmt::format("{}, {} multiprocessors, {:.1f} GiB", properties_.name, properties_.multiProcessorCount,
                        static_cast<double>(properties_.totalGlobalMem) / static_cast<double>(1U << 30U)),
            properties_.totalGlobalMem, 0};
  }

  bool can_store(DType dtype) const override { return is_float(dtype); }

 protected:
  void* do_allocate(std::size_t bytes) override {
    check_not_capturing("allocate");
    if (bytes == 0) {
      return nullptr;
    }
    void* data = nullptr;
    const cudaError_t error = cudaMallocAsync(&data, bytes, stream());
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
    cudaFreeAsync(data, stream());
  }

  void do_synchronize() override {
    check_not_capturing("synchronize");
    check_now(cudaStreamSynchronize(stream()), "synchronize");
  }

  double do_seconds_of(const std::function<void()>& enqueue_operations) override {
    check_not_capturing("seconds_of");
    const StreamTimer timer(stream());
    timer.start();
    enqueue_operations();
    timer.stop();
    do_synchronize();
    return timer.seconds();
  }

  void do_upload(const MatrixView& destination, const void* source) override {
    check_not_capturing("upload");
    check_now(cudaMemcpyAsync(destination.data, source, bytes_of(destination), cudaMemcpyHostToDevice, stream()),
              "upload");
    do_synchronize();
  }

  void do_download(void* destination, const MatrixView& source) override {
    check_not_capturing("download");
    check_now(cudaMemcpyAsync(destination, source.data, bytes_of(source), cudaMemcpyDeviceToHost, stream()),
              "download");
    do_synchronize();
  }

  void do_copy(const MatrixView& destination, const MatrixView& source) override {
    if (source.empty()) {
      return;
    }
    if (destination.dtype != source.dtype) {
      operation("copy");
      convert_rows(stream(), destination, source);
      return;
    }
    const std::size_t size = size_of(source.dtype);
    const auto pitch = [size](const MatrixView& view) { return static_cast<std::size_t>(view.ld) * size; };
    enqueue("copy", cudaMemcpy2DAsync(destination.data, pitch(destination), source.data, pitch(source),
                                      static_cast<std::size_t>(source.cols) * size,
                                      static_cast<std::size_t>(source.rows), cudaMemcpyDeviceToDevice, stream()));
  }

  void do_zero(const MatrixView& destination) override {
    if (!destination.empty()) {
      enqueue("zero", cudaMemsetAsync(destination.data, 0, bytes_of(destination), stream()));
    }
  }

  std::unique_ptr<Graph> do_capture(const std::function<void()>& enqueue_operations) override {
    check_not_capturing("capture");
    check_now(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), "capture");
    capturing_ = true;
    try {
      enqueue_operations();
    } catch (...) {
      end_capture();
      throw;
    }
    const std::unique_ptr<RecordedGraph> graph = end_capture();
    return std::make_unique<CudaGraph>(graph->get());
  }

  void do_replay(const Graph& graph, std::int64_t times) override {
    check_not_capturing("replay");
    const cudaGraphExec_t executable = dynamic_cast<const CudaGraph&>(graph).get();
    for (std::int64_t i = 0; i < times; ++i) {
      enqueue("replay", cudaGraphLaunch(executable, stream()));
    }
  }

  void do_begin_epoch(const MatrixView& state, const EpochStart& start) override {
    operation("begin_epoch");
    cuda::begin_epoch(stream(), state, start);
  }
  void do_advance_step(const MatrixView& state) override {
    operation("advance_step");
    cuda::advance_step(stream(), state);
  }
  void do_permute(const RatingsView& out, const MatrixView& order, const RatingsView& in,
                  const MatrixView& state) override {
    check_not_capturing("permute");
    operation("permute");
    cuda::permute(stream(), out, order, in, state);
  }
  void do_build_segments(const SegmentsView& out, const MatrixView& index, std::int64_t num_rows,
                         const MatrixView& state) override {
    check_not_capturing("build_segments");
    operation("build_segments");
    cuda::build_segments(stream(), out, index, num_rows, state);
  }
  void do_gather_rows(const MatrixView& out, const MatrixView& table, const MatrixView& index,
                      const MatrixView& state) override {
    operation("gather_rows");
    cuda::gather_rows(stream(), out, table, index, state);
  }
  void do_bag_rows(const MatrixView& out, const MatrixView& table, const BagsView& bags, const MatrixView& index,
                   BagKind kind, const MatrixView& state, bool add) override {
    operation("bag_rows");
    cuda::bag_rows(stream(), out, table, bags, index, kind, state, add);
  }
  void do_bag_rows_backward(const MatrixView& grad_table, const MatrixView& grad_rows, const BagsView& bags,
                            const MatrixView& index, BagKind kind, ScatterKind scatter,
                            const MatrixView& state) override {
    operation("bag_rows_backward");
    if (scatter == ScatterKind::segments) {
      cuda::bag_rows_backward_in_order(stream(), grad_table, grad_rows, bags, index, kind, state, products_->scratch());
    } else {
      cuda::bag_rows_backward(stream(), grad_table, grad_rows, bags, index, kind, state);
    }
  }
  void do_dot_rows(const MatrixView& prediction, const MfRows& rows, const MatrixView& state) override {
    operation("dot_rows");
    cuda::dot_rows(stream(), prediction, rows, state);
  }
  void do_dot_rows_backward(const MfRows& grad, const MatrixView& grad_prediction, const MfRows& rows, float l2,
                            const MatrixView& state) override {
    operation("dot_rows_backward");
    cuda::dot_rows_backward(stream(), grad, grad_prediction, rows, l2, state);
  }
  void do_rating_loss(const MatrixView& grad, const MatrixView& sums, const MatrixView& prediction,
                      const MatrixView& ratings, LossKind kind, const MatrixView& state) override {
    operation("rating_loss");
    cuda::rating_loss(stream(), grad, sums, prediction, ratings, kind, state, error_scratch_->data());
  }
  void do_scatter_add_rows(const MatrixView& grad_table, const MatrixView& grad_rows, const MatrixView& index,
                           const SegmentsView& segments, ScatterKind kind, const MatrixView& state) override {
    operation("scatter_add_rows");
    if (kind == ScatterKind::segments) {
      cuda::scatter_add_segments(stream(), grad_table, grad_rows, segments, state);
    } else {
      cuda::scatter_add_rows(stream(), grad_table, grad_rows, index, state);
    }
  }
  void do_update_rows(const TrainedTable& table, const SegmentsView& segments, const OptimizerParams& params,
                      const MatrixView& state) override {
    operation("update_rows");
    cuda::update_rows(stream(), table, segments, params, state);
  }
  void do_add_l2_rows(const MatrixView& grad_rows, const MatrixView& table, const MatrixView& index, float l2,
                      const MatrixView& state) override {
    operation("add_l2_rows");
    cuda::add_l2_rows(stream(), grad_rows, table, index, l2, state);
  }
  void do_update_dense(const TrainedTable& table, const OptimizerParams& params, const MatrixView& state) override {
    operation("update_dense");
    cuda::update_dense(stream(), table, params, state);
  }
  void do_prepare_dense(const DenseSize& size, ProductPrecision precision) override {
    check_not_capturing("prepare_dense");
    products_->prepare(size, precision);
  }
  void do_dense_forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                        const MatrixView& state) override {
    operation("dense_forward");
    products_->forward(batch, params, activation, state, capturing_);
  }
  void do_dense_backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                         const DenseParams& params, const Activation& activation, const MatrixView& state) override {
    operation("dense_backward");
    products_->backward(grad, grad_params, batch, params, activation, state, capturing_);
  }
  std::optional<DenseStackPlan> do_plan_dense_stack(const DenseStack& stack, std::int64_t batch) override {
    check_not_capturing("plan_dense_stack");
    if (suits_dense_stack(stack, products_->precision())) {
      return DenseStackPlan{};
    }
    return products_->plan_stack(stack, batch);
  }
  void do_dense_stack_forward(const MatrixView& out, const MatrixView& in, const DenseStack& stack,
                              const MatrixView& workspace, const MatrixView& state) override {
    operation("dense_stack_forward");
    if (in.dtype == DType::bf16) {
      products_->stack_forward(out, in, stack, workspace, state);
    } else {
      cuda::dense_stack_forward(stream(), out, in, stack, products_->precision(), state);
    }
  }
  void do_dense_stack_backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params,
                               const MatrixView& in, const DenseStack& stack, const MatrixView& workspace,
                               const MatrixView& state) override {
    operation("dense_stack_backward");
    if (in.dtype == DType::bf16) {
      products_->stack_backward(grad, grad_params, in, stack, workspace, state);
    } else {
      cuda::dense_stack_backward(stream(), grad, grad_params, in, stack, products_->precision(), state,
                                 products_->scratch());
    }
  }
  void do_dropout(const MatrixView& rows, const DropoutParams& params, const MatrixView& state) override {
    operation("dropout");
    cuda::dropout(stream(), rows, params, state);
  }
  void do_rating_errors(const MatrixView& sums, const MatrixView& prediction, const MatrixView& ratings, ClipRange clip,
                        const MatrixView& state) override {
    operation("rating_errors");
    cuda::rating_errors(stream(), sums, prediction, ratings, clip, state, error_scratch_->data());
  }
  std::unique_ptr<MfEpochPlan> do_plan_mf_epoch(const RatingsView& ratings, std::int64_t users, std::int64_t items,
                                                const MfPlanOptions& options) override {
    check_not_capturing("plan_mf_epoch");
    operation("plan_mf_epoch");
    auto plan = std::make_unique<CudaMfEpochPlan>(*this, stream(), ratings, users, items, options);
    do_synchronize();
    return plan;
  }
  void do_mf_sgd_epoch(const MfTables& tables, const MatrixView& sums, const MfEpochPlan& plan,
                       const MfSgdParams& params, const MatrixView& state) override {
    check_not_capturing("mf_sgd_epoch");
    operation("mf_sgd_epoch");
    constexpr std::int64_t kBlocksPerMultiprocessor = 8;
    cuda::mf_sgd_epoch(stream(), tables, sums, static_cast<const CudaMfEpochPlan&>(plan), params, state,
                       error_scratch_->data(), kBlocksPerMultiprocessor * properties_.multiProcessorCount);
  }
  void do_sum_squared_error(const MatrixView& sums, const MfTables& tables, const RatingsView& ratings,
                            ClipRange clip) override {
    operation("sum_squared_error");
    cuda::sum_squared_error(stream(), sums, tables, ratings, clip, error_scratch_->data());
  }

 private:
  static constexpr int kGpu = 0;

  cudaStream_t stream() const { return stream_->get(); }

  void check_not_capturing(const char* name) const {
    if (capturing_) {
      throw std::logic_error(fmt::format("{} inside a capture", name));
    }
  }

  /// Named by the error of a later call, where CUDA tells of what went wrong in between.
  void operation(const char* name) { last_ = name; }

  void enqueue(const char* name, cudaError_t error) {
    operation(name);
    CURATE_CUDA_CHECK(error);
  }

  void check_now(cudaError_t error, const char* call) const {
    if (error != cudaSuccess) {
      check(error, fmt::format("{} (the last operation was {})", call, last_).c_str(), __FILE__, __LINE__);
    }
  }

  std::unique_ptr<RecordedGraph> end_capture() {
    capturing_ = false;
    cudaGraph_t graph = nullptr;
    const cudaError_t error = cudaStreamEndCapture(stream(), &graph);
    auto recorded = std::make_unique<RecordedGraph>(graph);
    for (void* const data : std::exchange(free_later_, {})) {
      do_free(data);
    }
    check_now(error, "capture");
    return recorded;
  }

  std::string name_;
  cudaDeviceProp properties_{};
  std::optional<Stream> stream_;
  std::optional<DenseProducts> products_;
  std::optional<Scratch<ErrorScratch>> error_scratch_;
  bool capturing_ = false;
  std::vector<void*> free_later_;
  const char* last_ = "none";
};

}  // namespace

std::unique_ptr<Device> make_device(const std::string& name) {
  return std::make_unique<CudaDevice>(name);
}

CudaStatus status() {
  CudaStatus status;
  // Version 0 of the driver: there is none.
  cudaDriverGetVersion(&status.driver_version);
  cudaRuntimeGetVersion(&status.toolkit_version);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  const auto version = [](int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); };
  if (status.driver_version == 0) {
    status.problem = "no NVIDIA driver is installed";
  } else if (error == cudaErrorInsufficientDriver) {
    status.problem = fmt::format("the NVIDIA driver serves CUDA {}, this program needs {}",
                                 version(status.driver_version), version(status.toolkit_version));
  } else if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    status.problem = "the NVIDIA driver finds no GPU";
  } else if (error != cudaSuccess) {
    status.problem = fmt::format("{}: {}", cudaGetErrorName(error), cudaGetErrorString(error));
  }
  if (!status.problem.empty()) {
    return status;
  }
  cudaDeviceProp properties{};
  CURATE_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  status.gpu = properties.name;
  status.compute_capability = 10 * properties.major + properties.minor;
  status.multiprocessors = properties.multiProcessorCount;
  status.memory_bytes = properties.totalGlobalMem;
  if (status.compute_capability < 80) {
    status.problem = fmt::format("{} has compute capability {}.{}, this program needs 8.0 or more", status.gpu,
                                 properties.major, properties.minor);
  } else if (properties.memoryPoolsSupported == 0) {
    status.problem = fmt::format("{} has no stream-ordered memory", status.gpu);
  } else if (cudaSetDevice(0) == cudaSuccess) {
    std::size_t total = 0;
    cudaMemGetInfo(&status.free_bytes, &total);
  }
  return status;
}

}  // namespace curate::cuda
