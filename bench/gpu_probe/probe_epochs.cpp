#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <utility>

#include "bench/gpu_probe/probes.h"
#include "benchmark/roof.h"
#include "curate/error.h"
#include "data/movielens_like.h"
#include "models/rating_model.h"
#include "solvers/per_rating_sgd.h"
#include "support/printable.h"
#include "train/evaluator.h"
#include "train/option_text.h"

namespace curate::probe {
namespace {

/// All epochs over one data set, whose ratings are uploaded once.
class EpochsProbe {
 public:
  EpochsProbe(Report& report, Device& device, const EpochsRequest& request, const Dataset& dataset)
      : report_(report), device_(device), request_(request), dataset_(dataset) {}

  void run() {
    // Dims of the engine's own way first: the largest is what is least known.
    std::vector<std::int32_t> dims = request_.dims;
    std::stable_sort(dims.begin(), dims.end(), std::greater<>());
    const Way& first = request_.ways.front();
    for (const std::string& precision : request_.precisions) {
      for (const std::int32_t dim : dims) {
        measure(first, precision, dim);
      }
    }
    for (const std::string& precision : request_.precisions) {
      for (const std::int32_t dim : dims) {
        for (std::size_t way = 1; way < request_.ways.size(); ++way) {
          measure(request_.ways[way], precision, dim);
        }
      }
    }
  }

 private:
  struct Epoch {
    double seconds = 0.0;
    double train_rmse = 0.0;
  };
  struct Training {
    std::vector<Epoch> epochs;
    /// Of an epoch, where the host enqueues several before it waits; 0: not measured.
    double back_to_back_seconds = 0.0;
  };

  void measure(const Way& way, const std::string& precision, std::int32_t dim) {
    report_.measure(
        {{"probe", "epoch"}, {"dim", dim}, {"precision", precision}, {"kernel", way.name}},
        [&] { return figures(train(way, options_of(precision, dim)), precision, dim); },
        [this] {
          device_.synchronize();
          return true;
        });
  }

  TrainOptions options_of(const std::string& precision, std::int32_t dim) const {
    TrainOptions options;
    options.device = request_.device;
    options.dim = dim;
    options.precision = find_kind<EmbeddingPrecision>(precision).value();
    options.epochs = request_.warmup + request_.epochs;
    return resolve(options);
  }

  /// As Trainer does it, but for the validation.
  Training train(const Way& way, const TrainOptions& options) {
    const ModelSpec spec = model_spec(options, dataset_.scale);
    const auto model = make_model(device_, spec, start_of(options, spec), storage_of(options));
    const MfTables tables = dynamic_cast<const Factorization&>(*model).tables().value();
    const MfSgdParams params = per_rating_options(options, {}).sgd;
    const std::int64_t count = dataset_.ratings.size();
    const Buffer state = device_.allocate_array<StepState>(1);
    const Buffer sums = device_.allocate_array<ErrorSums>(1);
    const MatrixView state_view = state.view(DType::step_state, 1);
    const MatrixView sums_view = sums.view(DType::error_sums, 1);
    const MfEpochPlan& plan = plan_of(way);
    const StepState start;
    device_.upload(state_view, std::span<const StepState>(&start, 1));
    LearningRateSchedule schedule;
    schedule.kind = options.schedule;
    schedule.base = static_cast<float>(options.learning_rate.value());
    schedule.total_steps = options.epochs.value();
    const auto enqueue_epoch = [&](std::int64_t number) {
      device_.zero(sums_view);
      device_.enqueue(ops::BeginEpoch{state_view, {options.seed, number, count, count, schedule}});
      device_.enqueue(ops::MfSgdEpoch{tables, sums_view, &plan, params, state_view});
      device_.enqueue(ops::AdvanceStep{state_view});
    };
    Training training;
    std::int64_t number = 0;
    for (; number < options.epochs.value() && !report_.out_of_time(); ++number) {
      Epoch epoch;
      epoch.seconds = device_.seconds_of([&] { enqueue_epoch(number); });
      epoch.train_rmse = to_metrics(device_.read<ErrorSums>(sums_view), {}).rmse;
      training.epochs.push_back(epoch);
    }
    if (!report_.out_of_time()) {
      // After the schedule's end: the learning rate is 0, and the work the same.
      const std::int64_t together = std::min(request_.epochs, 10);
      const double seconds = device_.seconds_of([&] {
        for (std::int64_t n = 0; n < together; ++n) {
          enqueue_epoch(number + n);
        }
      });
      training.back_to_back_seconds = seconds / static_cast<double>(together);
    }
    return training;
  }

  Json figures(const Training& training, const std::string& precision, std::int32_t dim) const {
    const std::vector<Epoch>& epochs = training.epochs;
    std::vector<double> milliseconds;
    for (std::size_t e = static_cast<std::size_t>(request_.warmup); e < epochs.size(); ++e) {
      milliseconds.push_back(1e3 * epochs[e].seconds);
    }
    if (milliseconds.empty()) {
      throw Cut();
    }
    const auto ratings = static_cast<double>(dataset_.ratings.size());
    const double seconds = 1e-3 * median(milliseconds);
    const auto bytes = static_cast<std::int64_t>(
        ratings * mf_bytes_per_rating(dim, true, find_kind<EmbeddingPrecision>(precision).value()));
    Json figures = {{"ratings", dataset_.ratings.size()},
                    {"epochs", milliseconds.size()},
                    {"epoch_ms", spread(milliseconds)},
                    {"ratings_per_second", ratings / seconds},
                    {"bytes", bytes},
                    {"gbps", 1e-9 * static_cast<double>(bytes) / seconds},
                    {"first_train_rmse", epochs.front().train_rmse},
                    {"train_rmse", epochs.back().train_rmse}};
    if (training.back_to_back_seconds > 0.0) {
      figures["back_to_back_ms"] = 1e3 * training.back_to_back_seconds;
    }
    if (static_cast<std::int32_t>(milliseconds.size()) < request_.epochs) {
      figures["shortened"] = true;
    }
    for (const Epoch& epoch : epochs) {
      if (!std::isfinite(epoch.train_rmse)) {
        throw WrongFigures{figures, "the training diverged: an epoch's RMSE is not finite"};
      }
    }
    if (epochs.size() > 1 && !(epochs.back().train_rmse < epochs.front().train_rmse)) {
      throw WrongFigures{figures, "the training RMSE does not fall"};
    }
    return figures;
  }

  /// The first parameters; those of one dim are the same for all ways and precisions, and drawing them takes long.
  const TensorMap& start_of(const TrainOptions& options, const ModelSpec& spec) {
    const auto found = starts_.find(options.dim.value());
    if (found != starts_.end()) {
      return found->second;
    }
    const Column<float>& values = dataset_.ratings.ratings;
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
    return starts_
        .emplace(options.dim.value(),
                 initial_parameters(options, spec, dataset_.users.size(), dataset_.items.size(), mean))
        .first->second;
  }

  /// Made once for each way, since it depends on neither dim nor precision.
  const MfEpochPlan& plan_of(const Way& way) {
    if (!ratings_) {
      ratings_ = std::make_unique<DeviceRatings>(device_, dataset_.ratings);
    }
    std::unique_ptr<MfEpochPlan>& plan = plans_[way.name];
    if (plan == nullptr) {
      plan = device_.run(ops::PlanMfEpoch{ratings_->view(), dataset_.users.size(), dataset_.items.size(), way.plan});
    }
    return *plan;
  }

  Report& report_;
  Device& device_;
  const EpochsRequest& request_;
  const Dataset& dataset_;
  std::unique_ptr<DeviceRatings> ratings_;
  std::map<std::string, std::unique_ptr<MfEpochPlan>> plans_;
  std::map<std::int32_t, TensorMap> starts_;
};

}  // namespace

Dataset load(const DataRequest& request) {
  if (request.folder.empty()) {
    return generate_movielens_like(request.like, 0, false, [](std::int64_t, std::int64_t) {}).dataset;
  }
  ReadOptions how;
  how.timestamps = false;
  return read_dataset(request.folder, how);
}

Way parse_way(const std::string& text) {
  Way way;
  way.name = text;
  if (text == "default") {
    return way;
  }
  if (text.empty()) {
    throw InputError("a way of the kernel is empty; write default, deterministic, or ahead=4 and the like");
  }
  std::string rest;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('+', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    if (part == "deterministic") {
      way.plan.deterministic = true;
    } else {
      rest += (rest.empty() ? "" : ",") + part;
    }
    begin = end + 1;
  }
  if (!rest.empty()) {
    read_text(find_option("sgd_kernel"), rest, way.plan.kernel);
  }
  return way;
}

void probe_epochs(Report& report, Device& device, const EpochsRequest& request, const Dataset& dataset) {
  EpochsProbe(report, device, request, dataset).run();
}

}  // namespace curate::probe
