#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "device/ops/dense.h"
#include "device/ops/mf.h"
#include "device/ops/order.h"
#include "device/ops/rows.h"
#include "device/ops/score.h"
#include "device/views.h"

namespace curate {

/// Owns device memory. Move-only; the memory returns to its device in stream order: operations enqueued before the
/// destruction may still use it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  std::size_t bytes() const { return bytes_; }
  Device* device() const { return device_; }

  /// A [rows, cols] matrix at `offset` elements from the start. Throws std::out_of_range if it does not fit.
  MatrixView view(DType dtype, std::int64_t rows, std::int64_t cols = 1, std::int64_t ld = 0,
                  std::int64_t offset = 0) const;

 private:
  friend class Device;
  Buffer(Device* device, void* data, std::size_t bytes) : device_(device), data_(data), bytes_(bytes) {}

  Device* device_ = nullptr;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A recorded sequence of operations with frozen arguments (a CUDA graph; on the CPU a list of closures).
class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  virtual ~Graph() = default;
};

/// Every operation that Device::enqueue takes, family by family.
#define CURATE_OPERATIONS(X) \
  CURATE_ORDER_OPERATIONS(X) \
  CURATE_ROW_OPERATIONS(X)   \
  CURATE_MF_OPERATIONS(X)    \
  CURATE_DENSE_OPERATIONS(X) \
  CURATE_SCORE_OPERATIONS(X)

class MeasuringDevice;

struct DeviceInfo {
  std::string name;  ///< as make_device takes it
  std::string description;
  std::size_t memory_bytes = 0;
  int threads = 0;     ///< worker threads (CPU engines)
  std::string engine;  ///< in a sentence: "the CPU engine"
};

/// The contract between models and compute engines.
///
/// Asynchrony: operations enqueue on the device's one stream and return. Only synchronize, seconds_of, upload, download
/// and read block. A host source may be reused as soon as upload returns. An error inside an enqueued operation
/// surfaces as DeviceError at the next blocking call and names the operation.
///
/// Operations: enqueue() takes the structs of ops/. Each knows its name and checks its arguments (element types,
/// extents, device); engines never check. `batch` there is the capacity of a batch's buffers; operations with a state
/// work on its first state.batch_count rows and leave the others as they are, unless they say so. Row indices must lie
/// in [0, rows) of the table they index: that is for the caller to ensure, no operation looks.
///
/// Precision: arithmetic is f32. Tables of embeddings may be stored in 16 bits if can_store() says so: GatherRows,
/// AddL2Rows, UpdateRows, UpdateDense, MfSgdEpoch and SumSquaredError take such tables. What is written to them
/// is rounded stochastically (Gupta et al. 2015, "Deep learning with limited numerical precision"): to one of the two
/// neighbours in 16 bits, to the nearer one more often, so that the mean is the value itself and steps far below the
/// last place are not lost. The random bits are Philox's of the state's seed and step, the row, the column and a
/// purpose; in MfSgdEpoch those of generators that Philox starts, by the plan's seed and the epoch, for every user.
///
/// No two arguments of an operation may overlap unless it says so. Bytes are per rating of dimension d, f32.
class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  virtual DeviceInfo info() const = 0;

  /// Whether tables of embeddings may be of that type: f32 everywhere, f16 and bf16 on a GPU.
  virtual bool can_store(DType dtype) const { return dtype == DType::f32; }

  /// Whether info().memory_bytes is the device's alone, so that what runs there has to fit: a GPU's. The CPU engine
  /// shares the machine's, and a view may be of memory that the host owns.
  virtual bool has_own_memory() const { return false; }

  /// The faster way to add gradients up, for runs that need not give the same bits again.
  virtual ScatterKind fastest_scatter() const { return ScatterKind::segments; }

  /// Whether MfPlanOptions::kernel changes anything.
  virtual bool has_kernel_options() const { return false; }

  /// Uninitialised memory. Throws DeviceError, with sizes, if there is not enough.
  Buffer allocate(std::size_t bytes);
  template <typename T>
  Buffer allocate_array(std::int64_t count) {
    return allocate(static_cast<std::size_t>(count) * sizeof(T));
  }

  /// Memory that buffers hold now, and the most that they held at once; without what operations need of their own.
  std::size_t allocated_bytes() const { return allocated_; }
  std::size_t peak_bytes() const { return peak_; }
  /// Counts the most from here on.
  void reset_peak_bytes() { peak_ = allocated_; }

  /// A device that runs nothing and counts the memory that the same calls would take of this one's. It may ask this
  /// one, which has to outlive it. In measuring_device.h.
  virtual std::unique_ptr<MeasuringDevice> make_measuring() = 0;

  /// What buffers are for that are allocated now: see MemoryLabel.
  const char* memory_label() const { return memory_label_; }

  /// Waits for everything enqueued so far.
  void synchronize() { do_synchronize(); }

  /// Seconds that the device takes for what `enqueue` enqueues, from the first operation to the end of the last one;
  /// what was enqueued before is not counted. Waits for the end. A GPU reads its own clock, at two events on the
  /// stream; the CPU engine reads the wall clock. A device that waits for `enqueue` counts the wait. Not inside a
  /// capture.
  double seconds_of(const std::function<void()>& enqueue) { return do_seconds_of(enqueue); }

  /// Contiguous host elements into a view with ld == cols.
  template <typename T>
  void upload(const MatrixView& destination, std::span<const T> source) {
    check_transfer("upload", destination, dtype_of<T>(), source.size());
    do_upload(destination, source.data());
  }
  template <typename T>
  void download(std::span<T> destination, const MatrixView& source) {
    check_transfer("download", source, dtype_of<T>(), destination.size());
    do_download(destination.data(), source);
  }
  /// One small value.
  template <typename T>
  T read(const MatrixView& source) {
    T value{};
    download(std::span<T>(&value, 1), source);
    return value;
  }

  /// A copy on the device: destination[r, c] = source[r, c]. Same extents, and same type or both of can_store(), then
  /// rounded to the nearest, halves to even.
  void copy(const MatrixView& destination, const MatrixView& source);
  /// Sets all bytes of a contiguous view to zero.
  void zero(const MatrixView& destination);

  /// Records the operations that `enqueue` calls, without running them. Views must stay valid while the graph is
  /// replayed. Blocking calls and allocation inside throw std::logic_error.
  std::unique_ptr<Graph> capture(const std::function<void()>& enqueue);
  /// Enqueues the recorded sequence `times` times.
  void replay(const Graph& graph, std::int64_t times);

  /// Checks the arguments of an operation of ops/ and enqueues it. Throws std::invalid_argument if they are wrong, or
  /// if supports() says no.
  template <typename Operation>
  void enqueue(const Operation& operation) {
    operation.check(*this);
    if (!do_supports(operation)) {
      refuse(Operation::kName);
    }
    do_enqueue(operation);
  }

  /// Whether the engine has the operation for arguments of these extents and types.
  template <typename Operation>
  bool supports(const Operation& operation) const {
    return do_supports(operation);
  }

  /// An operation of ops/ that gives a Result: checks its arguments, and waits for it. Not inside a capture.
  template <typename Operation>
  typename Operation::Result run(const Operation& operation) {
    operation.check(*this);
    return do_run(operation);
  }

 protected:
  /// nullptr for 0 bytes.
  virtual void* do_allocate(std::size_t bytes) = 0;
  virtual void do_free(void* data) noexcept = 0;
  virtual void do_synchronize() = 0;
  virtual double do_seconds_of(const std::function<void()>& enqueue) = 0;
  virtual void do_upload(const MatrixView& destination, const void* source) = 0;
  virtual void do_download(void* destination, const MatrixView& source) = 0;
  virtual void do_copy(const MatrixView& destination, const MatrixView& source) = 0;
  virtual void do_zero(const MatrixView& destination) = 0;
  virtual std::unique_ptr<Graph> do_capture(const std::function<void()>& enqueue) = 0;
  virtual void do_replay(const Graph& graph, std::int64_t times) = 0;

#define CURATE_DECLARE(Operation)                                       \
  virtual void do_enqueue(const ops::Operation& operation) = 0;         \
  virtual bool do_supports(const ops::Operation& /*operation*/) const { \
    return true;                                                        \
  }
  CURATE_OPERATIONS(CURATE_DECLARE)
#undef CURATE_DECLARE

  virtual std::unique_ptr<MfEpochPlan> do_run(const ops::PlanMfEpoch& operation) = 0;
  /// Products in f32 need nothing.
  virtual void do_run(const ops::PrepareDense& operation);
  virtual std::optional<DenseStackLayout> do_run(const ops::LayOutDenseStack& operation);

 private:
  friend class Buffer;
  friend class MemoryLabel;
  [[noreturn]] void refuse(const char* operation) const;
  void check_transfer(const char* operation, const MatrixView& view, DType dtype, std::size_t count) const;

  std::size_t allocated_ = 0;
  std::size_t peak_ = 0;
  const char* memory_label_ = "other";
};

/// Says what the buffers are for that a device allocates while this lives: memory that was measured is shown by it. Of
/// several the latest counts.
class MemoryLabel {
 public:
  /// `label` stays where it is: a literal.
  MemoryLabel(Device& device, const char* label)
      : device_(&device), before_(std::exchange(device.memory_label_, label)) {}
  MemoryLabel(const MemoryLabel&) = delete;
  MemoryLabel& operator=(const MemoryLabel&) = delete;
  ~MemoryLabel() { device_->memory_label_ = before_; }

 private:
  Device* device_;
  const char* before_;
};

/// A compute engine by name: "cpu"; "cuda" or "cuda:N", a GPU counted from 0 among those that CUDA_VISIBLE_DEVICES
/// leaves; "auto"; or "cpu-deferred" (the CPU engine with a stream that runs only at blocking calls: for tests of the
/// asynchrony contract). Throws InputError for a name that this build or machine cannot serve, and says why. `threads`
/// 0: all cores.
std::unique_ptr<Device> make_device(const std::string& name, int threads = 0);

/// GPUs that make_device() opens from here on wait after every operation, so that a DeviceError names the operation
/// that failed. Otherwise the error shows at the next wait, as an AsyncDeviceError, and any earlier operation may be to
/// blame. Slow.
void debug_devices(bool wanted);
bool devices_are_debugged();

/// What --device auto means here, and why.
struct AutoDevice {
  std::string name;
  std::string reason;
};
AutoDevice choose_device();

/// One line that says why `--device cuda` fails here, or empty if it works.
std::string why_no_cuda();

}  // namespace curate
