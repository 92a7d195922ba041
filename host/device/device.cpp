#include "device/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <utility>

#include "curate/error.h"

namespace curate {

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return sizeof(float);
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::i32:
      return sizeof(std::int32_t);
    case DType::step_state:
      return sizeof(StepState);
    case DType::error_sums:
      return sizeof(ErrorSums);
  }
  throw std::invalid_argument("unknown element type");
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::step_state:
      return "step_state";
    case DType::error_sums:
      return "error_sums";
  }
  return "unknown";
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

MatrixView MatrixView::columns(std::int64_t first, std::int64_t count) const {
  if (first < 0 || count < 0 || count > cols || first > cols - count) {
    throw std::out_of_range(fmt::format("{} columns from {} of a view with {}", count, first, cols));
  }
  MatrixView part = *this;
  part.data = static_cast<std::byte*>(data) + static_cast<std::size_t>(first) * size_of(dtype);
  part.cols = count;
  return part;
}

Buffer::Buffer(Buffer&& other) noexcept
    : device_(std::exchange(other.device_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  // What this buffer held is freed now, not when the other object dies: its device may be gone by then.
  Buffer taken(std::move(other));
  std::swap(device_, taken.device_);
  std::swap(data_, taken.data_);
  std::swap(bytes_, taken.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) {
    device_->allocated_ -= bytes_;
    device_->do_free(data_);
  }
}

MatrixView Buffer::view(DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t ld, std::int64_t offset) const {
  const std::int64_t stride = ld == 0 ? cols : ld;
  const auto elements = static_cast<std::int64_t>(bytes_ / size_of(dtype));
  // The last row needs no padding behind it. By divisions, so that no product can overflow.
  const bool bad = rows < 0 || cols < 1 || stride < cols || offset < 0 || offset > elements ||
                   (rows > 0 && (elements - offset < cols || (elements - offset - cols) / stride < rows - 1));
  if (bad) {
    throw std::out_of_range(fmt::format("a [{}, {}] {} view with ld {} at offset {} does not fit a buffer of {} bytes",
                                        rows, cols, name_of(dtype), stride, offset, bytes_));
  }
  return {device_, static_cast<std::byte*>(data_) + static_cast<std::size_t>(offset) * size_of(dtype),
          rows,    cols,
          stride,  dtype};
}

namespace {

/// Checks the views of one operation; every failure names the operation and the argument.
class Checker {
 public:
  Checker(const Device* device, const char* operation) : device_(device), operation_(operation) {}

  void is(const char* name, const MatrixView& view, DType dtype) const {
    // A view without rows is "absent" and carries nothing else.
    if (view.empty()) {
      return;
    }
    require(view.dtype == dtype, name, fmt::format("holds {}, not {}", name_of(view.dtype), name_of(dtype)));
    require(view.rows >= 0 && view.cols >= 0 && view.ld >= view.cols, name, "has impossible extents");
    require(view.data != nullptr && view.device == device_, name, "is not on this device");
  }

  void matrix(const char* name, const MatrixView& view, DType dtype, std::int64_t rows, std::int64_t cols) const {
    is(name, view, dtype);
    require(view.rows == rows && (view.cols == cols || rows == 0), name,
            fmt::format("is [{}, {}], not [{}, {}]", view.rows, view.cols, rows, cols));
  }

  /// Embeddings, in a type that the device has for them.
  void table(const char* name, const MatrixView& view) const {
    is(name, view, view.empty() || !device_->can_store(view.dtype) ? DType::f32 : view.dtype);
  }

  void column(const char* name, const MatrixView& view, DType dtype, std::int64_t rows) const {
    matrix(name, view, dtype, rows, 1);
  }

  /// A vector whose elements lie side by side.
  void vector(const char* name, const MatrixView& view, DType dtype, std::int64_t rows) const {
    column(name, view, dtype, rows);
    require(rows <= 1 || view.ld == 1, name, "is not contiguous");
  }

  void optional_column(const char* name, const MatrixView& view, std::int64_t rows) const {
    if (!view.empty()) {
      column(name, view, DType::f32, rows);
    }
  }

  void state(const MatrixView& view) const { vector("state", view, DType::step_state, 1); }
  void sums(const MatrixView& view) const { vector("sums", view, DType::error_sums, 1); }

  void ratings(const char* name, const RatingsView& view, std::int64_t count) const {
    vector(name, view.users, DType::i32, count);
    vector(name, view.items, DType::i32, count);
    vector(name, view.ratings, DType::f32, count);
  }

  void tables(const MfTables& tables) const {
    table("user", tables.user);
    const DType dtype = tables.user.empty() ? tables.item.dtype : tables.user.dtype;
    table("item", tables.item);
    matrix("item", tables.item, dtype, tables.item.rows, tables.user.cols);
    optional_column("user_bias", tables.user_bias, tables.user.rows);
    optional_column("item_bias", tables.item_bias, tables.item.rows);
    vector("mean", tables.mean, DType::f32, 1);
  }

  void rows(const MfRows& rows, std::int64_t batch, std::int64_t dim) const {
    matrix("user rows", rows.user, DType::f32, batch, dim);
    matrix("item rows", rows.item, DType::f32, batch, dim);
    optional_column("user_bias rows", rows.user_bias, batch);
    optional_column("item_bias rows", rows.item_bias, batch);
  }

  void trained(const TrainedTable& table, const OptimizerParams& params) const {
    const std::int64_t rows = table.weights.rows;
    const std::int64_t cols = table.weights.cols;
    this->table("weights", table.weights);
    matrix("gradient", table.gradient, DType::f32, rows, cols);
    if (params.kind != OptimizerKind::sgd) {
      matrix("second_moment", table.second_moment, DType::f32, rows, cols);
    }
    if (params.kind == OptimizerKind::adam) {
      matrix("first_moment", table.first_moment, DType::f32, rows, cols);
    }
  }

  void dense_params(const char* weight_name, const char* bias_name, const DenseParams& params, std::int64_t outputs,
                    std::int64_t inputs) const {
    matrix(weight_name, params.weight, DType::f32, outputs, inputs);
    require(params.weight.ld == inputs || outputs <= 1, weight_name, "is not contiguous");
    vector(bias_name, params.bias, DType::f32, outputs);
  }

  void dropout(const DropoutParams& params) const {
    require(params.rate >= 0.0F && params.rate < 1.0F, "rate", "is not in [0, 1)");
  }

  /// Values of a batch that go into products: f32, or bf16 on a device that has it.
  void values(const char* name, const MatrixView& view) const {
    const bool half = view.dtype == DType::bf16 && device_->can_store(DType::bf16);
    is(name, view, half ? DType::bf16 : DType::f32);
  }

  void stack(const DenseStack& stack, const MatrixView& out, const MatrixView& in, const MatrixView& workspace) const {
    values("in", in);
    const bool small = in.dtype == DType::f32;
    require(!stack.empty() && (!small || stack.size() <= static_cast<std::size_t>(kMostStackLayers)), "stack",
            fmt::format("has {} layers", stack.size()));
    std::int64_t width = in.cols;
    for (const DenseStackLayer& layer : stack) {
      const std::int64_t outputs = layer.params.weight.rows;
      dense_params("weight", "bias", layer.params, outputs, width);
      const std::int64_t most = small ? kWidestStackLayer : std::numeric_limits<std::int64_t>::max();
      require(width >= 1 && width <= most && outputs >= 1 && outputs <= most, "stack",
              fmt::format("has a layer of {} inputs and {} outputs", width, outputs));
      dropout(layer.dropout);
      width = outputs;
    }
    require(stack.back().dropout.rate == 0.0F, "stack", "drops outputs of its last layer");
    matrix("out", out, DType::f32, in.rows, width);
    vector("workspace", workspace, DType::f32, workspace.rows);
  }

  void segments(const SegmentsView& segments, std::int64_t num_ratings) const {
    vector("segments.rows", segments.rows, DType::i32, num_ratings);
    vector("segments.starts", segments.starts, DType::i32, num_ratings);
    vector("segments.positions", segments.positions, DType::i32, num_ratings);
    vector("segments.counts", segments.counts, DType::i32, segments.counts.rows);
  }

  /// A table, a batch's rows of as many columns, and the bags that lead from one to the other.
  void bags(const char* table_name, const MatrixView& table, const char* rows_name, const MatrixView& rows,
            const BagsView& bags, const MatrixView& index) const {
    is(table_name, table, DType::f32);
    matrix(rows_name, rows, rows.dtype, rows.rows, table.cols);
    vector("index", index, DType::i32, index.rows);
    vector("bags.starts", bags.starts, DType::i32, bags.starts.rows);
    vector("bags.rows", bags.rows, DType::i32, bags.rows.rows);
  }

  void require(bool condition, const char* name, const std::string& problem) const {
    if (!condition) {
      throw std::invalid_argument(fmt::format("{}: {} {}", operation_, name, problem));
    }
  }

 private:
  const Device* device_;
  const char* operation_;
};

}  // namespace

Buffer Device::allocate(std::size_t bytes) {
  void* data = do_allocate(bytes);
  if (data == nullptr) {
    return {this, nullptr, 0};
  }
  allocated_ += bytes;
  peak_ = std::max(peak_, allocated_);
  return {this, data, bytes};
}

void Device::check_transfer(const char* operation, const MatrixView& view, DType dtype, std::size_t count) const {
  const Checker check(this, operation);
  check.is("view", view, dtype);
  check.require(view.ld == view.cols || view.rows <= 1, "view", "is not contiguous");
  check.require(static_cast<std::size_t>(view.rows * view.cols) == count, "view",
                fmt::format("has {} elements, the host array {}", view.rows * view.cols, count));
}

void Device::copy(const MatrixView& destination, const MatrixView& source) {
  const Checker check(this, "copy");
  check.is("source", source, source.dtype);
  const bool converts = is_float(source.dtype) && can_store(source.dtype) && can_store(destination.dtype);
  check.matrix("destination", destination, converts ? destination.dtype : source.dtype, source.rows, source.cols);
  do_copy(destination, source);
}

void Device::zero(const MatrixView& destination) {
  const Checker check(this, "zero");
  check.is("destination", destination, destination.dtype);
  check.require(destination.ld == destination.cols || destination.rows <= 1, "destination", "is not contiguous");
  do_zero(destination);
}

std::unique_ptr<Graph> Device::capture(const std::function<void()>& enqueue) {
  return do_capture(enqueue);
}

void Device::replay(const Graph& graph, std::int64_t times) {
  do_replay(graph, times);
}

void Device::begin_epoch(const MatrixView& state, const EpochStart& start) {
  const Checker check(this, "begin_epoch");
  check.state(state);
  check.require(start.batch_size >= 1, "batch_size", "is below 1");
  check.require(start.num_ratings >= 0 && start.num_ratings <= std::numeric_limits<std::int32_t>::max(), "num_ratings",
                "is not in 0..2^31-1");
  check.require(start.schedule.total_steps >= 1, "schedule.total_steps", "is below 1");
  do_begin_epoch(state, start);
}

void Device::advance_step(const MatrixView& state) {
  Checker(this, "advance_step").state(state);
  do_advance_step(state);
}

void Device::permute(const RatingsView& out, const MatrixView& order, const RatingsView& in, const MatrixView& state) {
  const Checker check(this, "permute");
  const std::int64_t count = in.users.rows;
  check.ratings("in", in, count);
  check.ratings("out", out, count);
  check.vector("order", order, DType::i32, count);
  check.state(state);
  do_permute(out, order, in, state);
}

void Device::build_segments(const SegmentsView& out, const MatrixView& index, std::int64_t num_rows,
                            const MatrixView& state) {
  const Checker check(this, "build_segments");
  check.vector("index", index, DType::i32, index.rows);
  check.segments(out, index.rows);
  check.require(num_rows >= 0, "num_rows", "is negative");
  check.state(state);
  do_build_segments(out, index, num_rows, state);
}

void Device::gather_rows(const MatrixView& out, const MatrixView& table, const MatrixView& index,
                         const MatrixView& state) {
  const Checker check(this, "gather_rows");
  check.table("table", table);
  check.values("out", out);
  check.matrix("out", out, out.dtype, out.rows, table.cols);
  check.vector("index", index, DType::i32, index.rows);
  check.state(state);
  do_gather_rows(out, table, index, state);
}

void Device::bag_rows(const MatrixView& out, const MatrixView& table, const BagsView& bags, const MatrixView& index,
                      BagKind kind, const MatrixView& state, bool add) {
  const Checker check(this, "bag_rows");
  check.values("out", out);
  check.bags("table", table, "out", out, bags, index);
  check.state(state);
  do_bag_rows(out, table, bags, index, kind, state, add);
}

void Device::bag_rows_backward(const MatrixView& grad_table, const MatrixView& grad_rows, const BagsView& bags,
                               const MatrixView& index, BagKind kind, ScatterKind scatter, const MatrixView& state) {
  const Checker check(this, "bag_rows_backward");
  check.is("grad_rows", grad_rows, DType::f32);
  check.bags("grad_table", grad_table, "grad_rows", grad_rows, bags, index);
  check.state(state);
  do_bag_rows_backward(grad_table, grad_rows, bags, index, kind, scatter, state);
}

void Device::dot_rows(const MatrixView& prediction, const MfRows& rows, const MatrixView& state) {
  const Checker check(this, "dot_rows");
  check.vector("prediction", prediction, DType::f32, prediction.rows);
  check.rows(rows, prediction.rows, rows.user.cols);
  check.vector("mean", rows.mean, DType::f32, 1);
  check.state(state);
  do_dot_rows(prediction, rows, state);
}

void Device::dot_rows_backward(const MfRows& grad, const MatrixView& grad_prediction, const MfRows& rows, float l2,
                               const MatrixView& state) {
  const Checker check(this, "dot_rows_backward");
  check.vector("grad_prediction", grad_prediction, DType::f32, grad_prediction.rows);
  check.rows(rows, grad_prediction.rows, rows.user.cols);
  check.rows(grad, grad_prediction.rows, rows.user.cols);
  check.require(grad.user_bias.empty() == rows.user_bias.empty() && grad.item_bias.empty() == rows.item_bias.empty(),
                "biases", "are present in grad or in rows only");
  check.state(state);
  do_dot_rows_backward(grad, grad_prediction, rows, l2, state);
}

void Device::rating_loss(const MatrixView& grad, const MatrixView& sums, const MatrixView& prediction,
                         const MatrixView& ratings, LossKind kind, const MatrixView& state) {
  const Checker check(this, "rating_loss");
  check.vector("prediction", prediction, DType::f32, prediction.rows);
  check.vector("grad", grad, DType::f32, prediction.rows);
  check.vector("ratings", ratings, DType::f32, ratings.rows);
  check.sums(sums);
  check.state(state);
  do_rating_loss(grad, sums, prediction, ratings, kind, state);
}

void Device::scatter_add_rows(const MatrixView& grad_table, const MatrixView& grad_rows, const MatrixView& index,
                              const SegmentsView& segments, ScatterKind kind, const MatrixView& state) {
  const Checker check(this, "scatter_add_rows");
  check.is("grad_table", grad_table, DType::f32);
  check.matrix("grad_rows", grad_rows, DType::f32, grad_rows.rows, grad_table.cols);
  check.vector("index", index, DType::i32, index.rows);
  if (kind == ScatterKind::segments) {
    check.segments(segments, index.rows);
  }
  check.state(state);
  do_scatter_add_rows(grad_table, grad_rows, index, segments, kind, state);
}

void Device::update_rows(const TrainedTable& table, const SegmentsView& segments, const OptimizerParams& params,
                         const MatrixView& state) {
  const Checker check(this, "update_rows");
  check.trained(table, params);
  check.segments(segments, segments.rows.rows);
  check.state(state);
  do_update_rows(table, segments, params, state);
}

void Device::update_dense(const TrainedTable& table, const OptimizerParams& params, const MatrixView& state) {
  const Checker check(this, "update_dense");
  check.trained(table, params);
  check.state(state);
  do_update_dense(table, params, state);
}

void Device::add_l2_rows(const MatrixView& grad_rows, const MatrixView& table, const MatrixView& index, float l2,
                         const MatrixView& state) {
  const Checker check(this, "add_l2_rows");
  check.table("table", table);
  check.matrix("grad_rows", grad_rows, DType::f32, grad_rows.rows, table.cols);
  check.vector("index", index, DType::i32, index.rows);
  check.state(state);
  do_add_l2_rows(grad_rows, table, index, l2, state);
}

void Device::prepare_dense(const DenseSize& size, ProductPrecision precision) {
  if (size.batch < 0 || size.inputs < 0 || size.outputs < 0) {
    throw std::invalid_argument(fmt::format("prepare_dense: a layer of {} rows, {} inputs and {} outputs", size.batch,
                                            size.inputs, size.outputs));
  }
  do_prepare_dense(size, precision);
}

void Device::do_prepare_dense(const DenseSize& /*size*/, ProductPrecision precision) {
  if (precision != ProductPrecision::f32) {
    throw InputError("products", std::string(name_of(precision)),
                     fmt::format("{} multiplies in f32 only; give `products` f32, or `device` cuda", info().engine));
  }
}

void Device::dense_forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                           const MatrixView& state) {
  const Checker check(this, "dense_forward");
  check.is("out", batch.out, DType::f32);
  check.matrix("in", batch.in, DType::f32, batch.out.rows, batch.in.cols);
  check.dense_params("weight", "bias", params, batch.out.cols, batch.in.cols);
  check.state(state);
  do_dense_forward(batch, params, activation, state);
}

void Device::dense_backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                            const DenseParams& params, const Activation& activation, const MatrixView& state) {
  const Checker check(this, "dense_backward");
  check.is("out", batch.out, DType::f32);
  check.matrix("in", batch.in, DType::f32, batch.out.rows, batch.in.cols);
  check.matrix("grad.out", grad.out, DType::f32, batch.out.rows, batch.out.cols);
  if (!grad.in.empty()) {
    check.matrix("grad.in", grad.in, DType::f32, batch.in.rows, batch.in.cols);
  }
  check.dense_params("weight", "bias", params, batch.out.cols, batch.in.cols);
  check.dense_params("grad_params.weight", "grad_params.bias", grad_params, batch.out.cols, batch.in.cols);
  check.state(state);
  do_dense_backward(grad, grad_params, batch, params, activation, state);
}

std::optional<DenseStackPlan> Device::plan_dense_stack(const DenseStack& stack, std::int64_t batch) {
  return stack.empty() ? std::nullopt : do_plan_dense_stack(stack, batch);
}

std::optional<DenseStackPlan> Device::do_plan_dense_stack(const DenseStack& /*stack*/, std::int64_t /*batch*/) {
  return std::nullopt;
}

void Device::dense_stack_forward(const MatrixView& out, const MatrixView& in, const DenseStack& stack,
                                 const MatrixView& workspace, const MatrixView& state) {
  const Checker check(this, "dense_stack_forward");
  check.stack(stack, out, in, workspace);
  check.state(state);
  do_dense_stack_forward(out, in, stack, workspace, state);
}

void Device::dense_stack_backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params,
                                  const MatrixView& in, const DenseStack& stack, const MatrixView& workspace,
                                  const MatrixView& state) {
  const Checker check(this, "dense_stack_backward");
  check.stack(stack, grad.out, in, workspace);
  if (!grad.in.empty()) {
    check.matrix("grad.in", grad.in, DType::f32, in.rows, in.cols);
  }
  check.require(grad_params.size() == stack.size(), "grad_params", fmt::format("are of {} layers", grad_params.size()));
  for (std::size_t l = 0; l < stack.size(); ++l) {
    const MatrixView& weight = stack[l].params.weight;
    check.dense_params("grad_params.weight", "grad_params.bias", grad_params[l], weight.rows, weight.cols);
  }
  check.state(state);
  do_dense_stack_backward(grad, grad_params, in, stack, workspace, state);
}

void Device::dropout(const MatrixView& rows, const DropoutParams& params, const MatrixView& state) {
  const Checker check(this, "dropout");
  check.values("rows", rows);
  check.dropout(params);
  check.state(state);
  do_dropout(rows, params, state);
}

void Device::rating_errors(const MatrixView& sums, const MatrixView& prediction, const MatrixView& ratings,
                           ClipRange clip, const MatrixView& state) {
  const Checker check(this, "rating_errors");
  check.sums(sums);
  check.vector("prediction", prediction, DType::f32, prediction.rows);
  check.vector("ratings", ratings, DType::f32, ratings.rows);
  check.state(state);
  do_rating_errors(sums, prediction, ratings, clip, state);
}

std::unique_ptr<MfEpochPlan> Device::plan_mf_epoch(const RatingsView& ratings, std::int64_t users, std::int64_t items,
                                                   const MfPlanOptions& options) {
  const Checker check(this, "plan_mf_epoch");
  check.ratings("ratings", ratings, ratings.users.rows);
  if (users < 0 || items < 0 || options.blocks < 0 || options.turns < 0) {
    throw std::invalid_argument(fmt::format("plan_mf_epoch: {} users, {} items, {} blocks, {} turns", users, items,
                                            options.blocks, options.turns));
  }
  return do_plan_mf_epoch(ratings, users, items, options);
}

void Device::mf_sgd_epoch(const MfTables& tables, const MatrixView& sums, const MfEpochPlan& plan,
                          const MfSgdParams& params, const MatrixView& state) {
  const Checker check(this, "mf_sgd_epoch");
  check.tables(tables);
  check.sums(sums);
  check.state(state);
  if (plan.device() != this) {
    throw std::invalid_argument("mf_sgd_epoch: the plan is of another device");
  }
  if (plan.users() != tables.user.rows || plan.items() != tables.item.rows) {
    throw std::invalid_argument(fmt::format("mf_sgd_epoch: a plan for {} users and {} items, tables of {} and {}",
                                            plan.users(), plan.items(), tables.user.rows, tables.item.rows));
  }
  if (!(params.rate_decay >= 0.0F)) {
    throw std::invalid_argument(fmt::format("mf_sgd_epoch: rate decay {}", params.rate_decay));
  }
  for (const MatrixView& table : {tables.user, tables.item}) {
    constexpr std::int64_t kElements = 8;
    check.require(table.empty() || size_of(table.dtype) != 2 ||
                      (table.cols % kElements == 0 && table.ld % kElements == 0 &&
                       reinterpret_cast<std::uintptr_t>(table.data) % 16 == 0),
                  "a table in 16 bits", "has rows that are not whole 16 bytes");
  }
  do_mf_sgd_epoch(tables, sums, plan, params, state);
}

void Device::sum_squared_error(const MatrixView& sums, const MfTables& tables, const RatingsView& ratings,
                               ClipRange clip) {
  const Checker check(this, "sum_squared_error");
  check.tables(tables);
  check.sums(sums);
  check.ratings("ratings", ratings, ratings.users.rows);
  do_sum_squared_error(sums, tables, ratings, clip);
}

}  // namespace curate
