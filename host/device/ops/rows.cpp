#include "device/ops/rows.h"

#include "device/checks.h"

namespace curate {
namespace {

void check_trained(const Checker& check, const TrainedTable& table, const OptimizerParams& params) {
  const std::int64_t rows = table.weights.rows;
  const std::int64_t cols = table.weights.cols;
  check.table("weights", table.weights);
  check.matrix("gradient", table.gradient, DType::f32, rows, cols);
  if (params.kind != OptimizerKind::sgd) {
    check.matrix("second_moment", table.second_moment, DType::f32, rows, cols);
  }
  if (params.kind == OptimizerKind::adam) {
    check.matrix("first_moment", table.first_moment, DType::f32, rows, cols);
  }
}

/// A table, a batch's rows of as many columns, and the bags that lead from one to the other.
void check_bags(const Checker& check, const char* table_name, const MatrixView& table, const char* rows_name,
                const MatrixView& rows, const BagsView& bags, const MatrixView& index) {
  check.is(table_name, table, DType::f32);
  check.matrix(rows_name, rows, rows.dtype, rows.rows, table.cols);
  check.vector("index", index, DType::i32, index.rows);
  check.vector("bags.starts", bags.starts, DType::i32, bags.starts.rows);
  check.vector("bags.rows", bags.rows, DType::i32, bags.rows.rows);
}

}  // namespace

namespace ops {

void GatherRows::check(const Device& device) const {
  const Checker check(device, kName);
  check.table("table", table);
  check.values("out", out);
  check.matrix("out", out, out.dtype, out.rows, table.cols);
  check.vector("index", index, DType::i32, index.rows);
  check.state(state);
}

void BagRows::check(const Device& device) const {
  const Checker check(device, kName);
  check.values("out", out);
  check_bags(check, "table", table, "out", out, bags, index);
  check.state(state);
}

void BagRowsBackward::check(const Device& device) const {
  const Checker check(device, kName);
  check.is("grad_rows", grad_rows, DType::f32);
  check_bags(check, "grad_table", grad_table, "grad_rows", grad_rows, bags, index);
  check.state(state);
}

void ScatterAddRows::check(const Device& device) const {
  const Checker check(device, kName);
  check.is("grad_table", grad_table, DType::f32);
  check.matrix("grad_rows", grad_rows, DType::f32, grad_rows.rows, grad_table.cols);
  check.vector("index", index, DType::i32, index.rows);
  if (kind == ScatterKind::segments) {
    check.segments(segments, index.rows);
  }
  check.state(state);
}

void AddL2Rows::check(const Device& device) const {
  const Checker check(device, kName);
  check.table("table", table);
  check.matrix("grad_rows", grad_rows, DType::f32, grad_rows.rows, table.cols);
  check.vector("index", index, DType::i32, index.rows);
  check.state(state);
}

void UpdateRows::check(const Device& device) const {
  const Checker check(device, kName);
  check_trained(check, table, params);
  check.segments(segments, segments.rows.rows);
  check.state(state);
}

void UpdateDense::check(const Device& device) const {
  const Checker check(device, kName);
  check_trained(check, table, params);
  check.state(state);
}

void DecayRows::check(const Device& device) const {
  const Checker check(device, kName);
  check.table("table", table);
  check.state(state);
}

}  // namespace ops
}  // namespace curate
