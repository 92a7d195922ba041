#include "solvers/solver.h"

#include <algorithm>
#include <array>

#include "solvers/mini_batch.h"
#include "solvers/per_rating_sgd.h"

namespace curate {
namespace {

struct SolverRow {
  SolverKind kind;
  bool (*suits)(const TrainOptions&);
  std::unique_ptr<Solver> (*make)(Device&, RatingModel&, const SolverData&, const TrainOptions&);
};

/// Of several that suit the options the first counts.
constexpr std::array<SolverRow, 2> kSolvers = {{
    {SolverKind::per_rating_sgd,
     [](const TrainOptions& options) {
       return options.model == ModelKind::mf && options.features.empty() && options.optimizer == OptimizerChoice::sgd &&
              options.batch == 1;
     },
     [](Device& device, RatingModel& model, const SolverData& data, const TrainOptions& options) {
       return make_per_rating_sgd(device, dynamic_cast<Factorization&>(model), data,
                                  per_rating_options(options, data.scale));
     }},
    {SolverKind::mini_batch, [](const TrainOptions& /*options*/) { return true; },
     [](Device& device, RatingModel& model, const SolverData& data, const TrainOptions& options) {
       MiniBatchOptions how = mini_batch_options(options);
       how.gradients.scatter = options.deterministic ? ScatterKind::segments : device.fastest_scatter();
       return make_mini_batch(device, model, data, how);
     }},
}};

const SolverRow& row_of(const TrainOptions& options) {
  return *std::find_if(kSolvers.begin(), kSolvers.end(), [&](const SolverRow& row) { return row.suits(options); });
}

}  // namespace

SolverKind solver_of(const TrainOptions& resolved) {
  return row_of(resolved).kind;
}

std::unique_ptr<Solver> make_solver(Device& device, RatingModel& model, const SolverData& data,
                                    const TrainOptions& resolved) {
  return row_of(resolved).make(device, model, data, resolved);
}

}  // namespace curate
