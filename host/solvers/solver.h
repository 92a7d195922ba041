#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "curate/dataset.h"
#include "curate/options.h"
#include "device/device.h"
#include "models/parameters.h"
#include "models/rating_model.h"

namespace curate {

/// The ways to learn a model's parameters.
enum class SolverKind : std::uint8_t { per_rating_sgd, mini_batch };

/// Which of them the options ask for.
SolverKind solver_of(const TrainOptions& resolved);

/// L2 of users' and items' biases once an epoch, whatever the number of their ratings; 0: none.
struct BiasRidges {
  float user = 0.0F;
  float item = 0.0F;
};

/// What a solver works on, in memory of its device that others own.
struct SolverData {
  RatingsView ratings;  ///< ids are below num_users and num_items
  std::int64_t num_users = 0;
  std::int64_t num_items = 0;
  RatingScale scale = {};  ///< of the ratings
  MatrixView state = {};   ///< [1] step_state
  MatrixView sums = {};    ///< [1] error_sums
  BiasRidges bias_ridges = {};
};

/// One way to learn: owns its layout of the ratings on the device, and what it keeps from step to step. The model, the
/// data and the device have to outlive it.
class Solver {
 public:
  Solver() = default;
  Solver(const Solver&) = delete;
  Solver& operator=(const Solver&) = delete;
  virtual ~Solver() = default;

  /// Ratings of a step.
  virtual std::int64_t batch() const = 0;

  /// Ratings that were handed to the device so far, and in all.
  using Progress = std::function<void(std::int64_t done, std::int64_t total)>;

  /// Enqueues the epoch. The state is at its first step, and is left past its last one. The errors before each update
  /// are added to the sums. `progress` may be empty.
  virtual void enqueue_epoch(const Progress& progress) = 0;

  /// All that the epochs to come depend on, besides the model's parameters and the state.
  virtual std::vector<NamedParameter> slots() const { return {}; }
};

/// The solver that the options ask for. They have to be those that the model was made with.
std::unique_ptr<Solver> make_solver(Device& device, RatingModel& model, const SolverData& data,
                                    const TrainOptions& resolved);

}  // namespace curate
