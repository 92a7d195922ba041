#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "curate/kinds.h"
#include "device/step_state.h"

namespace curate {

class Device;
enum class RandomPurpose : std::uint32_t;

/// f16: IEEE binary16; bf16: the upper half of an f32.
enum class DType : std::uint8_t { f32, f16, bf16, i32, step_state, error_sums };

std::size_t size_of(DType dtype);
const char* name_of(DType dtype);
/// Whether elements of that type are numbers with a fraction.
bool is_float(DType dtype);

template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) {
    return DType::f32;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return DType::i32;
  } else if constexpr (std::is_same_v<T, StepState>) {
    return DType::step_state;
  } else {
    static_assert(std::is_same_v<T, ErrorSums>, "no such element type on a device");
    return DType::error_sums;
  }
}

/// A row-major matrix in device memory that somebody else owns. `data` is an address of the device: the host must not
/// dereference it. A vector of n elements is [n, 1] with ld 1; a column of a wider matrix is [n, 1] with that matrix's
/// ld. A view without rows stands for "absent" if an operation says that an argument is optional.
struct MatrixView {
  Device* device = nullptr;
  void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t ld = 0;  ///< elements from one row to the next, >= cols
  DType dtype = DType::f32;

  bool empty() const { return rows == 0; }

  /// Columns [first, first + count).
  MatrixView columns(std::int64_t first, std::int64_t count) const;
};

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

/// Parallel arrays of n ratings: users [n] i32, items [n] i32, ratings [n] f32.
struct RatingsView {
  MatrixView users;
  MatrixView items;
  MatrixView ratings;
};

/// The ratings of every batch of an epoch grouped by a row index (user or item). All arrays have one slot per rating; a
/// batch that begins at rating B owns the slots [B, B + count). Segment s of that batch (s < counts[batch]):
///   row       rows[B + s], ascending in s
///   positions positions[B + starts[B + s] .. B + end), ascending, each a position within the batch;
///             end = starts[B + s + 1], or the batch's count for its last segment.
struct SegmentsView {
  MatrixView rows;       ///< [n] i32
  MatrixView starts;     ///< [n] i32
  MatrixView positions;  ///< [n] i32
  MatrixView counts;     ///< [batches] i32
};

class Device;

/// Ratings in the order and the packing in which an engine goes through them in mf_sgd_epoch.
class MfEpochPlan {
 public:
  MfEpochPlan(Device& device, std::int64_t ratings, std::int64_t users, std::int64_t items)
      : device_(&device), ratings_(ratings), users_(users), items_(items) {}
  MfEpochPlan(const MfEpochPlan&) = delete;
  MfEpochPlan& operator=(const MfEpochPlan&) = delete;
  virtual ~MfEpochPlan() = default;

  Device* device() const { return device_; }
  std::int64_t ratings() const { return ratings_; }
  std::int64_t users() const { return users_; }
  std::int64_t items() const { return items_; }

  /// Positions of the ratings in an order with this property: learning one rating after the other gives what the engine
  /// gives in that epoch with tables of `dim`, but for rounding. Empty if the plan was not asked to keep it, or if the
  /// engine cannot promise one.
  virtual std::vector<std::int32_t> order(std::int64_t epoch, std::int64_t dim, bool non_negative) const = 0;

 private:
  Device* device_;
  std::int64_t ratings_;
  std::int64_t users_;
  std::int64_t items_;
};

struct MfPlanOptions {
  std::uint64_t seed = 1;      ///< of the order
  bool deterministic = false;  ///< the same plan, and so the same bits, for any number of threads
  /// CPU: groups of users and of items; GPU: of deterministic plans the same, else users learnt at once; 0: its choice
  std::int32_t blocks = 0;
  std::int32_t turns = 0;   ///< CPU: groups of users to a group of items; 0: its choice
  bool keep_order = false;  ///< see MfEpochPlan::order()
  MfKernelOptions kernel;   ///< CPU: of no effect
};

/// Parameters of a matrix factorization: prediction = mean + user_bias[u] + item_bias[i] + <user[u,:], item[i,:]>.
struct MfTables {
  MatrixView user;       ///< [users, dim] f32, f16 or bf16
  MatrixView item;       ///< [items, dim] of the same type
  MatrixView user_bias;  ///< [users, 1] f32, or absent
  MatrixView item_bias;  ///< [items, 1] f32, or absent
  MatrixView mean;       ///< [1] f32
};

/// One batch of gathered rows, or of their gradients (then `mean` is unused).
struct MfRows {
  MatrixView user;       ///< [batch, dim] f32
  MatrixView item;       ///< [batch, dim] f32
  MatrixView user_bias;  ///< [batch, 1] f32, or absent
  MatrixView item_bias;  ///< [batch, 1] f32, or absent
  MatrixView mean;       ///< [1] f32
};

enum class OptimizerKind : std::uint8_t { sgd, adagrad, adam };

enum class ScatterKind : std::uint8_t {
  atomic,    ///< order of additions is the device's choice
  segments,  ///< sums each segment in order: deterministic
};

struct OptimizerParams {
  OptimizerKind kind = OptimizerKind::sgd;
  bool non_negative = false;
  float l2 = 0.0F;            ///< the gradient of l2 * |w|^2 is added to that of the loss
  float weight_decay = 0.0F;  ///< decoupled from the gradient: w -= lr * weight_decay * w (Loshchilov, Hutter 2019)
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-8F;
  float rate = 1.0F;  ///< times the state's learning rate
};

/// Rows of a table that belong together, as the genres of a film: those of bag i are rows[starts[i]] ..
/// rows[starts[i + 1] - 1].
struct BagsView {
  MatrixView starts;  ///< [bags + 1] i32, ascending from 0
  MatrixView rows;    ///< [n] i32; absent if all bags are empty
};

enum class BagKind : std::uint8_t { sum, mean };

/// Weights with their gradient and the optimizer's slots, all [rows, dim] f32: an embedding table, or a dense layer's
/// matrix or bias. Weights may be f16 or bf16.
struct TrainedTable {
  MatrixView weights;
  MatrixView gradient;
  MatrixView first_moment;   ///< Adam; else absent
  MatrixView second_moment;  ///< Adam, Adagrad; else absent
  RandomPurpose rounding{};  ///< of weights in 16 bits: tells the tables of one step apart
};

/// y = activation(z), elementwise: z; max(z, 0); tanh(z); low + (high - low) / (1 + exp(-z)).
struct Activation {
  ActivationKind kind = ActivationKind::linear;
  float low = 0.0F;   ///< sigmoid only
  float high = 1.0F;  ///< sigmoid only
};

/// A fully connected layer's parameters, or their gradients.
struct DenseParams {
  MatrixView weight;  ///< [outputs, inputs] f32, contiguous
  MatrixView bias;    ///< [outputs] f32, contiguous
};

/// One layer's values for a batch, or their gradients.
struct DenseBatch {
  MatrixView out;  ///< [batch, outputs] f32, any ld
  MatrixView in;   ///< [batch, inputs] f32, any ld
};

/// The extents of a dense layer's batch.
struct DenseSize {
  std::int64_t batch = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
};

struct DropoutParams {
  float rate = 0.0F;        ///< in [0, 1): the share of elements set to zero
  RandomPurpose purpose{};  ///< tells the masks of several dropouts of one step apart
};

/// One layer of a stack that is worked on as a whole.
struct DenseStackLayer {
  DenseParams params;
  Activation activation;
  DropoutParams dropout;  ///< of what comes out, rate 0: none; the last layer has none
};

/// Dense layers one after the other, the first of them first.
using DenseStack = std::vector<DenseStackLayer>;

/// What dense_stack_forward and dense_stack_backward take at most, with inputs in f32.
inline constexpr std::int64_t kMostStackLayers = 4;
inline constexpr std::int64_t kWidestStackLayer = 128;

/// How a device takes a stack as a whole.
struct DenseStackPlan {
  DType in = DType::f32;       ///< of what goes into the first layer
  std::int64_t workspace = 0;  ///< floats of memory that belong to the two operations, between them too
};

struct MfSgdParams {
  float reg = 0.0F;  ///< lambda per rating, for factors and biases
  bool non_negative = false;
  float rate_decay = 0.0F;  ///< see mf_sgd_epoch; 0: one learning rate for all
};

/// Predictions are clamped to [min, max] before their error is summed; infinities switch that off.
struct ClipRange {
  float min = 0.0F;
  float max = 0.0F;
};

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
/// Shapes: the public functions check every view (element type, extents, device) and throw std::invalid_argument; the
/// engines behind the do_ functions never check. `batch` below is the capacity of a batch's buffers; operations with a
/// state work on its first state.batch_count rows and leave the others as they are, unless they say so. Row indices
/// must lie in [0, rows) of the table they index: that is for the caller to ensure, no operation looks.
///
/// Precision: arithmetic is f32. Tables of embeddings may be stored in 16 bits if can_store() says so: gather_rows,
/// add_l2_rows, update_rows, update_dense, mf_sgd_epoch and sum_squared_error take such tables. What is written to them
/// is rounded stochastically (Gupta et al. 2015, "Deep learning with limited numerical precision"): to one of the two
/// neighbours in 16 bits, to the nearer one more often, so that the mean is the value itself and steps far below the
/// last place are not lost. The random bits are Philox's of the state's seed and step, the row, the column and a
/// purpose; in mf_sgd_epoch those of generators that Philox starts, by the plan's seed and the epoch, for every user.
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

  /// state = first batch of an epoch. state [1] step_state.
  void begin_epoch(const MatrixView& state, const EpochStart& start);
  /// state = next batch.
  void advance_step(const MatrixView& state);

  /// The epoch's order: a stable sort of ratings by key(e) = philox(state.seed, e, state.epoch, shuffle).low64().
  /// out[j] = in[order[j]]; order [n] i32 is an output too. Deterministic. 36 bytes plus the sort.
  void permute(const RatingsView& out, const MatrixView& order, const RatingsView& in, const MatrixView& state);

  /// Groups every batch of the epoch by `index` [n] i32 (the permuted users or items), with state.batch_size.
  /// Deterministic.
  void build_segments(const SegmentsView& out, const MatrixView& index, std::int64_t num_rows, const MatrixView& state);

  /// out[b, :] = table[index[state.batch_begin + b], :]. out [batch, d] f32 (any ld, so that several gathers build one
  /// concatenated matrix), table [rows, d] f32, index [n] i32. Bit-exact. 8d + 4 bytes. out may be bf16 if tables
  /// may: then it is rounded to the nearest.
  void gather_rows(const MatrixView& out, const MatrixView& table, const MatrixView& index, const MatrixView& state);

  /// out[b, :] = the sum of table[row, :] over the rows of bag index[state.batch_begin + b], added in their order;
  /// mean: that divided by their number. An empty bag gives zeros. With `add` it is added to what out[b, :] is. out
  /// [batch, d] f32 or bf16 as in gather_rows (any ld), table [rows, d] f32, index [n] i32 in [0, bags). Bit-exact.
  /// With m rows to a bag (4d + 4) m + 4d + 12 bytes, 4d more with `add`.
  void bag_rows(const MatrixView& out, const MatrixView& table, const BagsView& bags, const MatrixView& index,
                BagKind kind, const MatrixView& state, bool add = false);

  /// Its gradient: grad_table[row, :] += grad_rows[b, :], mean: divided by the number of rows in the bag, for every b
  /// of the batch and every row of bag index[state.batch_begin + b], as often as the bag has it. segments:
  /// deterministic; on a GPU each row of the table goes through all bags of the batch, so it is for tables of some
  /// hundred rows. atomic: (12d + 4) m + 12 bytes.
  void bag_rows_backward(const MatrixView& grad_table, const MatrixView& grad_rows, const BagsView& bags,
                         const MatrixView& index, BagKind kind, ScatterKind scatter, const MatrixView& state);

  /// prediction[b] = mean + user_bias[b] + item_bias[b] + sum_k user[b, k] * item[b, k]. prediction [batch] f32.
  /// Deterministic. 8d + 12 bytes.
  void dot_rows(const MatrixView& prediction, const MfRows& rows, const MatrixView& state);

  /// With g = grad_prediction[b], c = 2 * l2 / state.batch_count:
  ///   grad.user[b, :] = g * rows.item[b, :] + c * rows.user[b, :], grad.item likewise with the roles exchanged,
  ///   grad.user_bias[b] = g + c * rows.user_bias[b], grad.item_bias likewise.
  /// This is the gradient of mean(loss) + mean(l2 * (|user|^2 + |item|^2 + user_bias^2 + item_bias^2)): lambda per
  /// rating. Deterministic. 16d + 20 bytes.
  void dot_rows_backward(const MfRows& grad, const MatrixView& grad_prediction, const MfRows& rows, float l2,
                         const MatrixView& state);

  /// With e = prediction[b] - ratings[state.batch_begin + b], n = state.batch_count:
  ///   mse: grad[b] = 2 e / n      mae: grad[b] = sign(e) / n, 0 at e = 0
  /// and e is added to sums [1] error_sums. The sums are deterministic on the CPU. 12 bytes.
  void rating_loss(const MatrixView& grad, const MatrixView& sums, const MatrixView& prediction,
                   const MatrixView& ratings, LossKind kind, const MatrixView& state);

  /// grad_table[index[state.batch_begin + b], :] += grad_rows[b, :] for every b of the batch. `segments` belong to the
  /// same index; the atomic variant ignores them. segments: bit-exact whatever the schedule. 12d + 4 bytes.
  void scatter_add_rows(const MatrixView& grad_table, const MatrixView& grad_rows, const MatrixView& index,
                        const SegmentsView& segments, ScatterKind kind, const MatrixView& state);

  /// grad_rows[b, :] += 2 * l2 / state.batch_count * table[index[state.batch_begin + b], :]: the gradient of
  /// mean(l2 * |row|^2) over the batch, lambda per rating, for gathered rows that were changed since. grad_rows
  /// [batch, d] f32, table [rows, d] f32, index [n] i32. Deterministic. 12d + 4 bytes.
  void add_l2_rows(const MatrixView& grad_rows, const MatrixView& table, const MatrixView& index, float l2,
                   const MatrixView& state);

  /// One optimizer step with lr = state.learning_rate * rate, t = state.step + 1 on the rows of the batch's segments
  /// (lazy). With g = the row's gradient + 2 l2 w, elementwise, after w -= lr weight_decay w:
  ///   sgd      w -= lr g
  ///   adagrad  v += g^2; w -= lr g / (sqrt(v) + epsilon)                     (Duchi et al. 2011)
  ///   adam     m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
  ///            w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)   (Kingma and Ba 2015, algorithm 1)
  /// then w = max(w, 0) if non_negative; the gradient of every row updated is set to zero.
  /// A batch of 0 ratings changes nothing. Deterministic. Lazy: 12d to 28d bytes per touched row.
  void update_rows(const TrainedTable& table, const SegmentsView& segments, const OptimizerParams& params,
                   const MatrixView& state);

  /// The same step on all rows, as Keras takes it on embeddings too. Deterministic. 12 to 28 bytes per element.
  void update_dense(const TrainedTable& table, const OptimizerParams& params, const MatrixView& state);

  /// Readies dense_forward and dense_backward for captures, for a wide layer of that size with rows as close as 16
  /// bytes allow. From here on operands of wide layers are rounded as `precision` says (f32 until the first call);
  /// those are the layers that a GPU multiplies by a library (kernels/dense_products.cpp has the rule), narrow ones
  /// stay f32. Throws InputError if nothing multiplies in that precision (the CPU engine, a GPU without cuBLASLt). Not
  /// inside a capture.
  void prepare_dense(const DenseSize& size, ProductPrecision precision = ProductPrecision::f32);

  /// batch.out[b, j] = activation(bias[j] + sum_k batch.in[b, k] * weight[j, k]). What batch.out holds past the batch's
  /// count is undefined afterwards, and finite if the same rows of batch.in are (a GPU works on all of a wide
  /// layer's rows). Deterministic: on a GPU for one version of cuBLASLt and one kind of GPU.
  /// 4 (inputs + outputs) bytes and 2 inputs outputs flops per row.
  void dense_forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                     const MatrixView& state);

  /// With h[b, j] = grad.out[b, j] * activation'(z), where the derivative is taken from batch.out[b, j]
  /// (relu: 0 at 0):
  ///   grad_params.weight[j, k] = sum_b h[b, j] * batch.in[b, k], grad_params.bias[j] = sum_b h[b, j],
  ///   grad.in[b, k] = sum_j h[b, j] * weight[j, k] (not computed if grad.in is absent).
  /// grad_params are overwritten (with zeros for a batch of 0 ratings), and so is grad.out, with h. Rows of batch.in
  /// past the batch's count have to be finite: a GPU multiplies them by zeros if a layer is wide. What grad.out and
  /// grad.in hold past the count is undefined afterwards. Deterministic, as dense_forward is: the sums over b do not
  /// depend on the number of threads. 8 (inputs + outputs) + 8 outputs bytes and 4 inputs outputs flops per row.
  void dense_backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                      const DenseParams& params, const Activation& activation, const MatrixView& state);

  /// How a model should hand a stack of layers, for batches of up to that size, to the two operations below. Nothing if
  /// its layers should go one by one to the two above. Comes after prepare_dense, which says how operands are rounded;
  /// not inside a capture. The CPU engine: never; a GPU: kernels/README.md has the rule.
  std::optional<DenseStackPlan> plan_dense_stack(const DenseStack& stack, std::int64_t batch);

  /// out = the last layer's output. `in` is the first layer's input; every other layer's input is the output of the
  /// layer before, after its dropout: dense_forward and dropout of all layers. out [batch, outputs of the last layer],
  /// in [batch, inputs of the first], any ld. Rounds as prepare_dense was asked to, narrow layers too: inputs, weights,
  /// and hidden outputs once when they are made and once after their dropout. Deterministic.
  /// `in` of f32: keeps nothing in between, and needs no workspace. Up to kMostStackLayers layers with
  /// kWidestStackLayer inputs and outputs at most. 4 (inputs + outputs) bytes of the stack and 2 inputs outputs flops
  /// of every layer per row.
  ///
  /// `in` of bf16, with a workspace [n] f32, if plan_dense_stack asks for that: the hidden layers' outputs stay in the
  /// workspace in bf16. Rows begin at multiples of 16 bytes; those of `in` past the batch's count have to be finite.
  /// The biases of hidden layers are rounded too; the last layer's product is one of f32. If a weight or a bias of a
  /// hidden layer is not finite, no output is. Of a hidden layer 2 (inputs + outputs) bytes per row.
  void dense_stack_forward(const MatrixView& out, const MatrixView& in, const DenseStack& stack,
                           const MatrixView& workspace, const MatrixView& state);

  /// Its gradients, from grad.out and what dense_stack_forward has seen: grad_params of every layer and grad.in (f32;
  /// not computed if absent), by the formulas of dense_backward and dropout. Slopes come from the hidden outputs as
  /// they were rounded, and gradients are rounded as they are made. grad_params are overwritten (with zeros for a batch
  /// of 0 ratings); grad.out stays. Deterministic, as dense_forward is.
  ///
  /// `in` of f32: outputs of layers are computed anew. Rows past the batch's count are not read, and what grad.in holds
  /// there stays, too. The same for every GPU. 4 (2 inputs + outputs) bytes of the stack and 6 inputs outputs flops of
  /// every layer per row.
  ///
  /// `in` of bf16: comes after dense_stack_forward of the same batch with the same workspace. What grad.in holds past
  /// the count is undefined afterwards. Of a hidden layer 4 (inputs + outputs) bytes per row, 2 inputs more of the
  /// first.
  void dense_stack_backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params, const MatrixView& in,
                            const DenseStack& stack, const MatrixView& workspace, const MatrixView& state);

  /// In place: rows[b, c] = 0 if the mask drops the element, else rows[b, c] * (1 / (1 - rate)) in f32. The mask is
  /// drawn anew by each call (dropout_mask.h) and depends on the state's seed and epoch, the position state.batch_begin
  /// + b, c and purpose alone, so that the same call in the backward pass masks the gradient (Srivastava et al. 2014,
  /// inverted). rows [batch, cols] f32 or bf16 as in gather_rows, any ld. Bit-exact on every device. 8 bytes per
  /// element.
  void dropout(const MatrixView& rows, const DropoutParams& params, const MatrixView& state);

  /// Adds the errors of prediction[b] clamped to `clip` against ratings[state.batch_begin + b] to sums [1] error_sums.
  /// prediction [batch] f32, ratings [n] f32. Deterministic on the CPU. 8 bytes.
  void rating_errors(const MatrixView& sums, const MatrixView& prediction, const MatrixView& ratings, ClipRange clip,
                     const MatrixView& state);

  /// Copies the ratings into a plan for mf_sgd_epoch; users lie in [0, users), items in [0, items). Blocks.
  std::unique_ptr<MfEpochPlan> plan_mf_epoch(const RatingsView& ratings, std::int64_t users, std::int64_t items,
                                             const MfPlanOptions& options = {});

  /// One epoch (state.epoch) of per-rating SGD over the ratings of a plan, each once, in the plan's order (Funk 2006;
  /// Koren, Bell, Volinsky 2009, eq. 5), lr = state.learning_rate, e = r - prediction(u, i):
  ///   bu += lr (e - reg bu); bi += lr (e - reg bi); p += lr (e q - reg p); q += lr (e p_old - reg q)
  /// then p, q = max(., 0) if non_negative. For a user or item with n ratings in the plan lr is
  /// state.learning_rate / sqrt(1 + rate_decay n (state.epoch + 1/2)): what has been seen often moves less, as with
  /// Adagrad (Duchi, Hazan, Singer 2011; by row: Chin et al. 2015, "A learning-rate schedule for stochastic gradient
  /// methods to matrix factorization"), whose sums of squared gradients grow with that number. Adds the squared errors
  /// before each update, and their count, to sums. Bytes: 8d + 12 (the item's), and 8d + 8 for each user of a block.
  /// Tables in 16 bits have rows of whole 16 bytes at multiples of 16 bytes. An item's change is rounded so that what
  /// was read and the change add up to a number of 16 bits, drawn stochastically, and then added.
  /// Deterministic for a plan (GPU: for a deterministic plan). The plan has to outlive the operation.
  void mf_sgd_epoch(const MfTables& tables, const MatrixView& sums, const MfEpochPlan& plan, const MfSgdParams& params,
                    const MatrixView& state);

  /// Adds the errors of all ratings to sums [1] error_sums, predictions clamped to `clip`. Deterministic on the CPU.
  /// 8d + 20 bytes.
  void sum_squared_error(const MatrixView& sums, const MfTables& tables, const RatingsView& ratings, ClipRange clip);

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
  virtual void do_begin_epoch(const MatrixView& state, const EpochStart& start) = 0;
  virtual void do_advance_step(const MatrixView& state) = 0;
  virtual void do_permute(const RatingsView& out, const MatrixView& order, const RatingsView& in,
                          const MatrixView& state) = 0;
  virtual void do_build_segments(const SegmentsView& out, const MatrixView& index, std::int64_t num_rows,
                                 const MatrixView& state) = 0;
  virtual void do_gather_rows(const MatrixView& out, const MatrixView& table, const MatrixView& index,
                              const MatrixView& state) = 0;
  virtual void do_bag_rows(const MatrixView& out, const MatrixView& table, const BagsView& bags,
                           const MatrixView& index, BagKind kind, const MatrixView& state, bool add) = 0;
  virtual void do_bag_rows_backward(const MatrixView& grad_table, const MatrixView& grad_rows, const BagsView& bags,
                                    const MatrixView& index, BagKind kind, ScatterKind scatter,
                                    const MatrixView& state) = 0;
  virtual void do_dot_rows(const MatrixView& prediction, const MfRows& rows, const MatrixView& state) = 0;
  virtual void do_dot_rows_backward(const MfRows& grad, const MatrixView& grad_prediction, const MfRows& rows, float l2,
                                    const MatrixView& state) = 0;
  virtual void do_rating_loss(const MatrixView& grad, const MatrixView& sums, const MatrixView& prediction,
                              const MatrixView& ratings, LossKind kind, const MatrixView& state) = 0;
  virtual void do_scatter_add_rows(const MatrixView& grad_table, const MatrixView& grad_rows, const MatrixView& index,
                                   const SegmentsView& segments, ScatterKind kind, const MatrixView& state) = 0;
  virtual void do_update_rows(const TrainedTable& table, const SegmentsView& segments, const OptimizerParams& params,
                              const MatrixView& state) = 0;
  virtual void do_add_l2_rows(const MatrixView& grad_rows, const MatrixView& table, const MatrixView& index, float l2,
                              const MatrixView& state) = 0;
  virtual void do_update_dense(const TrainedTable& table, const OptimizerParams& params, const MatrixView& state) = 0;
  virtual void do_prepare_dense(const DenseSize& size, ProductPrecision precision);
  virtual void do_dense_forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                                const MatrixView& state) = 0;
  virtual void do_dense_backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                                 const DenseParams& params, const Activation& activation, const MatrixView& state) = 0;
  virtual std::optional<DenseStackPlan> do_plan_dense_stack(const DenseStack& stack, std::int64_t batch);
  virtual void do_dense_stack_forward(const MatrixView& out, const MatrixView& in, const DenseStack& stack,
                                      const MatrixView& workspace, const MatrixView& state) = 0;
  virtual void do_dense_stack_backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params,
                                       const MatrixView& in, const DenseStack& stack, const MatrixView& workspace,
                                       const MatrixView& state) = 0;
  virtual void do_dropout(const MatrixView& rows, const DropoutParams& params, const MatrixView& state) = 0;
  virtual void do_rating_errors(const MatrixView& sums, const MatrixView& prediction, const MatrixView& ratings,
                                ClipRange clip, const MatrixView& state) = 0;
  virtual std::unique_ptr<MfEpochPlan> do_plan_mf_epoch(const RatingsView& ratings, std::int64_t users,
                                                        std::int64_t items, const MfPlanOptions& options) = 0;
  virtual void do_mf_sgd_epoch(const MfTables& tables, const MatrixView& sums, const MfEpochPlan& plan,
                               const MfSgdParams& params, const MatrixView& state) = 0;
  virtual void do_sum_squared_error(const MatrixView& sums, const MfTables& tables, const RatingsView& ratings,
                                    ClipRange clip) = 0;

 private:
  friend class Buffer;
  void check_transfer(const char* operation, const MatrixView& view, DType dtype, std::size_t count) const;

  std::size_t allocated_ = 0;
  std::size_t peak_ = 0;
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
