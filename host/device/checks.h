#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string_view>

#include "device/device.h"

namespace curate {

/// Checks the arguments of one operation. Throws std::invalid_argument that names the operation and the argument.
class Checker {
 public:
  Checker(const Device& device, const char* operation) : device_(&device), operation_(operation) {}

  void is(const char* name, const MatrixView& view, DType dtype) const {
    // A view without rows is "absent" and carries nothing else.
    if (view.empty()) {
      return;
    }
    if (view.dtype != dtype) {
      fail(name, fmt::format("holds {}, not {}", name_of(view.dtype), name_of(dtype)));
    }
    if (view.rows < 0 || view.cols < 0 || view.ld < view.cols) {
      fail(name, "has impossible extents");
    }
    if (view.data == nullptr || view.device != device_) {
      fail(name, "is not on this device");
    }
  }

  void matrix(const char* name, const MatrixView& view, DType dtype, std::int64_t rows, std::int64_t cols) const {
    is(name, view, dtype);
    if (view.rows != rows || (view.cols != cols && rows != 0)) {
      fail(name, fmt::format("is [{}, {}], not [{}, {}]", view.rows, view.cols, rows, cols));
    }
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

  /// Values of a batch that go into products: f32, or bf16 on a device that has it.
  void values(const char* name, const MatrixView& view) const {
    const bool half = view.dtype == DType::bf16 && device_->can_store(DType::bf16);
    is(name, view, half ? DType::bf16 : DType::f32);
  }

  void segments(const SegmentsView& segments, std::int64_t num_ratings) const {
    vector("segments.rows", segments.rows, DType::i32, num_ratings);
    vector("segments.starts", segments.starts, DType::i32, num_ratings);
    vector("segments.positions", segments.positions, DType::i32, num_ratings);
    vector("segments.counts", segments.counts, DType::i32, segments.counts.rows);
  }

  void require(bool condition, const char* name, std::string_view problem) const {
    if (!condition) {
      fail(name, problem);
    }
  }

 private:
  [[noreturn]] void fail(const char* name, std::string_view problem) const {
    throw std::invalid_argument(fmt::format("{}: {} {}", operation_, name, problem));
  }

  const Device* device_;
  const char* operation_;
};

}  // namespace curate
