#include <algorithm>
#include <cstddef>
#include <vector>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

/// BagsView on the host.
struct Bags {
  const std::int32_t* starts = nullptr;
  const std::int32_t* rows = nullptr;
};

Bags resolve_bags(const BagsView& bags) {
  return {ints(bags.starts), ints(bags.rows)};
}

/// sum = the sum or mean of the `count` rows of a bag.
CURATE_SIMD_CLONES
void sum_bag(float* sum, Matrix<const float> table, const std::int32_t* rows, std::int64_t count, bool mean) {
  std::fill_n(sum, table.cols, 0.0F);
  for (std::int64_t j = 0; j < count; ++j) {
    const float* row = table.row(rows[j]);
#pragma omp simd
    for (std::int64_t k = 0; k < table.cols; ++k) {
      sum[k] += row[k];
    }
  }
  if (mean && count > 1) {
    const auto number = static_cast<float>(count);
#pragma omp simd
    for (std::int64_t k = 0; k < table.cols; ++k) {
      sum[k] /= number;
    }
  }
}

CURATE_SIMD_CLONES
void add_row(float* to, const float* from, std::int64_t cols) {
#pragma omp simd
  for (std::int64_t k = 0; k < cols; ++k) {
    to[k] += from[k];
  }
}

/// The gradients of the table's rows in [first, last), from all bags of the batch in their order.
CURATE_SIMD_CLONES
void add_gradients(Matrix<float> grad_table, Matrix<const float> grad_rows, const Bags& bags, const std::int32_t* index,
                   std::int64_t batch_count, bool mean, std::int64_t first, std::int64_t last) {
  for (std::int64_t b = 0; b < batch_count; ++b) {
    const std::int32_t begin = bags.starts[index[b]];
    const std::int32_t end = bags.starts[index[b] + 1];
    const auto number = mean ? static_cast<float>(end - begin) : 1.0F;
    const float* from = grad_rows.row(b);
    for (std::int32_t j = begin; j < end; ++j) {
      const std::int32_t row = bags.rows[j];
      if (row < first || row >= last) {
        continue;
      }
      float* to = grad_table.row(row);
#pragma omp simd
      for (std::int64_t k = 0; k < grad_rows.cols; ++k) {
        to[k] += from[k] / number;
      }
    }
  }
}

}  // namespace

void run(const ops::BagRows& operation, Context& context) {
  const StepState& state = step_state(operation.state);
  const auto out = resolve<float>(operation.out);
  const auto table = resolve<const float>(operation.table);
  const Bags bags = resolve_bags(operation.bags);
  const bool mean = operation.kind == BagKind::mean;
  const bool add = operation.add;
  const std::int32_t* batch_index = ints(operation.index) + state.batch_begin;
  context.pool.parallel_for(state.batch_count, row_grain(out.cols), [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> sum(static_cast<std::size_t>(add ? out.cols : 0));
    for (std::int64_t b = begin; b < end; ++b) {
      const std::int32_t first = bags.starts[batch_index[b]];
      const std::int32_t last = bags.starts[batch_index[b] + 1];
      sum_bag(add ? sum.data() : out.row(b), table, bags.rows + first, last - first, mean);
      if (add) {
        add_row(out.row(b), sum.data(), out.cols);
      }
    }
  });
}

void mean_row(float* out, Matrix<const float> table, const std::int32_t* rows, std::int64_t count) {
  sum_bag(out, table, rows, count, true);
}

void run(const ops::BagRowsBackward& operation, Context& context) {
  const StepState& state = step_state(operation.state);
  const auto grad_table = resolve<float>(operation.grad_table);
  const auto grad_rows = resolve<const float>(operation.grad_rows);
  const Bags bags = resolve_bags(operation.bags);
  const std::int32_t* batch_index = ints(operation.index) + state.batch_begin;
  const bool mean = operation.kind == BagKind::mean;
  // Each thread goes through the whole batch for rows of its own. A batch has few rows of such a table: sums by piece
  // of the batch would take as much memory as they save.
  const std::int64_t threads = context.pool.threads();
  const std::int64_t share = (grad_table.rows + threads - 1) / threads;
  context.pool.run(threads, [&](std::int64_t thread) {
    add_gradients(grad_table, grad_rows, bags, batch_index, state.batch_count, mean, thread * share,
                  std::min(grad_table.rows, (thread + 1) * share));
  });
}

}  // namespace curate::cpu
