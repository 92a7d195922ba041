#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/matrix.h"
#include "tests/reference/update_rows.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {

constexpr OptimizerKind kOptimizers[] = {OptimizerKind::sgd, OptimizerKind::adagrad, OptimizerKind::adam};

inline std::string label_of(const OptimizerParams& params) {
  const char* const names[] = {"sgd", "adagrad", "adam"};
  return std::string(names[static_cast<int>(params.kind)]) + (params.non_negative ? ", non-negative" : "") + ", l2 " +
         std::to_string(params.l2) + ", weight decay " + std::to_string(params.weight_decay) + ", epsilon " +
         std::to_string(params.epsilon);
}

/// Every combination of the switches of a step.
inline std::vector<OptimizerParams> all_optimizer_params() {
  std::vector<OptimizerParams> all;
  for (const OptimizerKind kind : kOptimizers) {
    for (const bool non_negative : {false, true}) {
      for (const float l2 : {0.0F, 0.3F}) {
        for (const float weight_decay : {0.0F, 0.4F}) {
          for (const float epsilon : {1e-8F, 0.25F}) {
            OptimizerParams params;
            params.kind = kind;
            params.non_negative = non_negative;
            params.l2 = l2;
            params.weight_decay = weight_decay;
            params.epsilon = epsilon;
            all.push_back(params);
          }
        }
      }
    }
  }
  return all;
}

/// A table with everything an optimizer may need, on the host.
struct HostTable {
  std::int64_t rows;
  std::int64_t dim;
  std::vector<float> weights;
  std::vector<float> gradient;
  std::vector<float> first_moment;
  std::vector<float> second_moment;
};

inline HostTable random_table(RandomInputs& inputs, std::int64_t rows, std::int64_t dim, OptimizerKind kind) {
  HostTable table{rows, dim, inputs.matrix(rows, dim), inputs.matrix(rows, dim), {}, {}};
  const std::vector<float> first = inputs.matrix(rows, dim, -0.5F, 0.5F);
  const std::vector<float> second = inputs.matrix(rows, dim, 0.0F, 0.5F);
  if (kind == OptimizerKind::adam) {
    table.first_moment = first;
  }
  if (kind != OptimizerKind::sgd) {
    table.second_moment = second;
  }
  return table;
}

struct DeviceTable {
  DeviceTable(Device& device, const HostTable& host, std::int64_t padding)
      : weights(device, host.weights, host.rows, host.dim, host.dim + padding),
        gradient(device, host.gradient, host.rows, host.dim, host.dim + padding),
        first_moment(device, host.first_moment, host.first_moment.empty() ? 0 : host.rows, host.dim,
                     host.dim + padding),
        second_moment(device, host.second_moment, host.second_moment.empty() ? 0 : host.rows, host.dim,
                      host.dim + padding) {}

  TrainedTable view() const { return {weights.view(), gradient.view(), first_moment.view(), second_moment.view()}; }

  DeviceMatrix<float> weights;
  DeviceMatrix<float> gradient;
  DeviceMatrix<float> first_moment;
  DeviceMatrix<float> second_moment;
};

inline reference::Table to_reference(const HostTable& host) {
  return {reference::Matrix(host.rows, host.dim, host.weights), reference::Matrix(host.rows, host.dim, host.gradient),
          reference::Matrix(host.first_moment.empty() ? 0 : host.rows, host.dim, host.first_moment),
          reference::Matrix(host.second_moment.empty() ? 0 : host.rows, host.dim, host.second_moment)};
}

/// Rows that were updated are close to the reference, all others have the bits they had.
inline testing::AssertionResult rows_match(const DeviceMatrix<float>& got, const std::vector<float>& before,
                                           const reference::Matrix& expected, const std::vector<bool>& updated,
                                           Tolerance tolerance, const std::string& label) {
  const std::vector<float> values = got.values();
  for (std::size_t row = 0; row < updated.size(); ++row) {
    const auto first = static_cast<std::ptrdiff_t>(row) * expected.cols;
    const auto last = first + expected.cols;
    const std::vector<float> got_row(values.begin() + first, values.begin() + last);
    const std::string at = label + ", row " + std::to_string(row) + (updated[row] ? " (updated)" : " (not updated)");
    const testing::AssertionResult result =
        updated[row]
            ? all_close(got_row, std::vector<double>(expected.values.begin() + first, expected.values.begin() + last),
                        tolerance, at)
            : bits_equal(got_row, std::vector<float>(before.begin() + first, before.begin() + last), at);
    if (!result) {
      return result;
    }
  }
  return got.padding_intact();
}

/// Every element is close to the reference.
inline testing::AssertionResult all_rows_match(const DeviceMatrix<float>& got, const std::vector<float>& /*before*/,
                                               const reference::Matrix& expected, Tolerance tolerance,
                                               const std::string& label) {
  const testing::AssertionResult result = all_close(got.values(), expected.values, tolerance, label);
  return result ? got.padding_intact() : result;
}

/// A whole table after one step, matrix by matrix: compare(got, before, expected, tolerance, label). Gradients of
/// updated rows must be exactly zero: what is left would be added to the next batch's gradient.
template <typename Compare>
testing::AssertionResult tables_match(const DeviceTable& got, const HostTable& before, const reference::Table& expected,
                                      const std::string& label, const Compare& compare) {
  const Tolerance tolerance{1e-6, 5e-6};
  testing::AssertionResult result =
      compare(got.weights, before.weights, expected.weights, tolerance, label + ", weights");
  if (result) {
    result = compare(got.gradient, before.gradient, expected.gradient, Tolerance{}, label + ", gradient");
  }
  if (result && !before.first_moment.empty()) {
    result = compare(got.first_moment, before.first_moment, expected.first_moment, tolerance, label + ", first moment");
  }
  if (result && !before.second_moment.empty()) {
    result =
        compare(got.second_moment, before.second_moment, expected.second_moment, tolerance, label + ", second moment");
  }
  return result;
}

/// All rows were updated.
inline testing::AssertionResult tables_match(const DeviceTable& got, const HostTable& before,
                                             const reference::Table& expected, const std::string& label) {
  return tables_match(got, before, expected, label, all_rows_match);
}

/// Some rows were updated.
inline testing::AssertionResult tables_match(const DeviceTable& got, const HostTable& before,
                                             const reference::Table& expected, const std::vector<bool>& updated,
                                             const std::string& label) {
  return tables_match(
      got, before, expected, label,
      [&updated](const DeviceMatrix<float>& matrix, const std::vector<float>& matrix_before,
                 const reference::Matrix& matrix_expected, Tolerance tolerance, const std::string& matrix_label) {
        return rows_match(matrix, matrix_before, matrix_expected, updated, tolerance, matrix_label);
      });
}

/// Whether every element of the table has the bits it had.
inline testing::AssertionResult table_unchanged(const DeviceTable& got, const HostTable& before,
                                                const std::string& label) {
  testing::AssertionResult result = bits_equal(got.weights.values(), before.weights, label + ", weights");
  if (result) {
    result = bits_equal(got.gradient.values(), before.gradient, label + ", gradient");
  }
  if (result && !before.first_moment.empty()) {
    result = bits_equal(got.first_moment.values(), before.first_moment, label + ", first moment");
  }
  if (result && !before.second_moment.empty()) {
    result = bits_equal(got.second_moment.values(), before.second_moment, label + ", second moment");
  }
  return result;
}

}  // namespace curate::test
