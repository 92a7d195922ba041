#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace curate::reference {

/// A row-major matrix of doubles. Without rows it is absent.
struct Matrix {
  Matrix() = default;
  Matrix(std::int64_t num_rows, std::int64_t num_cols)
      : rows(num_rows), cols(num_cols), values(static_cast<std::size_t>(num_rows * num_cols), 0.0) {}
  template <typename T>
  Matrix(std::int64_t num_rows, std::int64_t num_cols, const std::vector<T>& contents)
      : rows(num_rows), cols(num_cols), values(contents.begin(), contents.end()) {}

  double& operator()(std::int64_t row, std::int64_t col) {
    return values.at(static_cast<std::size_t>(row * cols + col));
  }
  double operator()(std::int64_t row, std::int64_t col) const {
    return values.at(static_cast<std::size_t>(row * cols + col));
  }

  bool absent() const { return rows == 0; }

  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<double> values;
};

}  // namespace curate::reference
