#include "device/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "curate/error.h"
#include "device/checks.h"

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
  const Checker check(*this, operation);
  check.is("view", view, dtype);
  check.require(view.ld == view.cols || view.rows <= 1, "view", "is not contiguous");
  check.require(static_cast<std::size_t>(view.rows * view.cols) == count, "view",
                fmt::format("has {} elements, the host array {}", view.rows * view.cols, count));
}

void Device::copy(const MatrixView& destination, const MatrixView& source) {
  const Checker check(*this, "copy");
  check.is("source", source, source.dtype);
  const bool converts = is_float(source.dtype) && can_store(source.dtype) && can_store(destination.dtype);
  check.matrix("destination", destination, converts ? destination.dtype : source.dtype, source.rows, source.cols);
  do_copy(destination, source);
}

void Device::zero(const MatrixView& destination) {
  const Checker check(*this, "zero");
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

void Device::refuse(const char* operation) const {
  throw std::invalid_argument(fmt::format("{}: {} does not take these arguments", operation, info().engine));
}

void Device::do_run(const ops::PrepareDense& operation) {
  if (operation.precision != ProductPrecision::f32) {
    throw InputError("products", std::string(name_of(operation.precision)),
                     fmt::format("{} multiplies in f32 only; give `products` f32, or `device` cuda", info().engine));
  }
}

std::optional<DenseStackLayout> Device::do_run(const ops::LayOutDenseStack& /*operation*/) {
  return std::nullopt;
}

}  // namespace curate
