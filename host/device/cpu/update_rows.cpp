#include <algorithm>
#include <cmath>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

/// One step's constants, with Adam's bias corrections folded in.
struct Step {
  OptimizerParams params;
  float learning_rate = 0.0F;
  float correction1 = 1.0F;  ///< 1 / (1 - beta1^t)
  float correction2 = 1.0F;  ///< 1 / (1 - beta2^t)
};

struct Row {
  float* weights;
  float* gradient;
  float* first_moment;
  float* second_moment;
};

CURATE_SIMD_CLONES
void update_sgd(const Step& step, const Row& row, std::int64_t dim) {
#pragma omp simd
  for (std::int64_t k = 0; k < dim; ++k) {
    row.weights[k] -= step.learning_rate * row.gradient[k];
  }
}

CURATE_SIMD_CLONES
void update_adagrad(const Step& step, const Row& row, std::int64_t dim) {
#pragma omp simd
  for (std::int64_t k = 0; k < dim; ++k) {
    const float g = row.gradient[k];
    row.second_moment[k] += g * g;
    row.weights[k] -= step.learning_rate * g / (std::sqrt(row.second_moment[k]) + step.params.epsilon);
  }
}

CURATE_SIMD_CLONES
void update_adam(const Step& step, const Row& row, std::int64_t dim) {
  const float beta1 = step.params.beta1;
  const float beta2 = step.params.beta2;
#pragma omp simd
  for (std::int64_t k = 0; k < dim; ++k) {
    const float g = row.gradient[k];
    row.first_moment[k] = beta1 * row.first_moment[k] + (1.0F - beta1) * g;
    row.second_moment[k] = beta2 * row.second_moment[k] + (1.0F - beta2) * g * g;
    const float m = row.first_moment[k] * step.correction1;
    const float v = row.second_moment[k] * step.correction2;
    row.weights[k] -= step.learning_rate * m / (std::sqrt(v) + step.params.epsilon);
  }
}

void update_row(const Step& step, const Row& row, std::int64_t dim) {
  switch (step.params.kind) {
    case OptimizerKind::sgd:
      update_sgd(step, row, dim);
      break;
    case OptimizerKind::adagrad:
      update_adagrad(step, row, dim);
      break;
    case OptimizerKind::adam:
      update_adam(step, row, dim);
      break;
  }
  if (step.params.non_negative) {
    for (std::int64_t k = 0; k < dim; ++k) {
      // Written so that NaN stays NaN: a diverged run must be seen.
      row.weights[k] = row.weights[k] < 0.0F ? 0.0F : row.weights[k];
    }
  }
  std::fill_n(row.gradient, dim, 0.0F);
}

}  // namespace

void update_rows(ThreadPool& pool, const TrainedTable& table, const SegmentsView& segments,
                 const OptimizerParams& params, const StepState& state) {
  if (state.batch_count == 0) {
    return;
  }
  const auto weights = resolve<float>(table.weights);
  const auto gradient = resolve<float>(table.gradient);
  const auto first = resolve<float>(table.first_moment);
  const auto second = resolve<float>(table.second_moment);
  Step step{params, state.learning_rate, 1.0F, 1.0F};
  if (params.kind == OptimizerKind::adam) {
    const auto t = static_cast<double>(state.step + 1);
    step.correction1 = static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(params.beta1), t)));
    step.correction2 = static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(params.beta2), t)));
  }
  const auto update = [&](std::int64_t r) {
    const Row row{weights.row(r), gradient.row(r), first.empty() ? nullptr : first.row(r),
                  second.empty() ? nullptr : second.row(r)};
    update_row(step, row, weights.cols);
  };
  const std::int64_t grain = row_grain(4 * weights.cols);
  if (params.dense) {
    pool.parallel_for(weights.rows, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        update(r);
      }
    });
    return;
  }
  const std::int32_t* rows = resolve<const std::int32_t>(segments.rows).data + state.batch_begin;
  const std::int64_t count = resolve<const std::int32_t>(segments.counts).data[state.batch];
  pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t s = begin; s < end; ++s) {
      update(rows[s]);
    }
  });
}

}  // namespace curate::cpu
