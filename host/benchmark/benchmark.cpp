#include "benchmark/benchmark.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <system_error>

#include "benchmark/roof.h"
#include "curate/error.h"
#include "device/cuda_engine.h"
#include "device/device.h"
#include "support/machine.h"
#include "support/printable.h"
#include "support/split_list.h"
#include "support/thread_pool.h"
#include "train/training_session.h"

namespace curate {
namespace {

struct DeviceKind {
  const char* name;
  const char* kind;
};
constexpr std::array<DeviceKind, 3> kDeviceKinds = {{{"cpu", "cpu"}, {"cuda", "gpu"}, {"cuda-emulated", "emulated"}}};

const char* kind_of(const std::string& device) {
  const auto found = std::find_if(kDeviceKinds.begin(), kDeviceKinds.end(),
                                  [&](const DeviceKind& kind) { return device == kind.name; });
  return found == kDeviceKinds.end() ? "gpu" : found->kind;  // cuda:N
}

constexpr std::int32_t kLargestDim = 1024;

/// The parts of a list; none may be there twice.
std::vector<std::string> parts_of(const char* key, const std::string& list) {
  std::vector<std::string> parts = split_list(list);
  std::set<std::string> seen;
  for (const std::string& part : parts) {
    if (!seen.insert(part).second) {
      throw InputError(key, printable(list), fmt::format("{} is there twice; remove one", printable(part)));
    }
  }
  return parts;
}

std::vector<std::string> parse_names(const char* key, const std::string& list, const std::vector<std::string>& names) {
  std::vector<std::string> parts = parts_of(key, list);
  for (const std::string& part : parts) {
    if (std::find(names.begin(), names.end(), part) == names.end()) {
      throw InputError(key, printable(list),
                       fmt::format("'{}' is not one of {}; write one, or several with commas between them",
                                   printable(part), fmt::join(names, ", ")));
    }
  }
  return parts;
}

/// All passes of a row's roof.
class RoofSamples {
 public:
  void measure(const BenchmarkRow& row, const Dataset& dataset) {
    const bool flops = row.unit == "flops";
    if (row.opened->has_own_memory()) {
      constexpr std::int64_t kSize = 4096;
      constexpr std::int64_t kBytes = std::int64_t{512} << 20U;
      measure_ = flops ? "dense layer" : "copy";
      for (int pass = 0; pass < kPasses; ++pass) {
        samples_.push_back(flops ? dense_flops_per_second(*row.opened, kSize)
                                 : copy_bytes_per_second(*row.opened, kBytes));
      }
      return;
    }
    ThreadPool pool(row.options.threads > 0 ? row.options.threads : hardware_threads());
    if (flops) {
      constexpr std::int64_t kSize = 1024;
      measure_ = "gemm";
      for (int pass = 0; pass < kPasses; ++pass) {
        samples_.push_back(gemm_flops_per_second(pool, kSize));
      }
      return;
    }
    measure_ = "item rows";
    groups_ = pool.threads();
    ItemRowProbe probe(dataset.ratings.items, dataset.items.size(), row.dim(), groups_, pool);
    bytes_per_rating_ = probe.bytes() / static_cast<double>(probe.ratings());
    probe.run();  // the first pass brings the rows near
    for (int pass = 0; pass < kPasses; ++pass) {
      samples_.push_back(probe.bytes() / probe.run());
    }
  }

  Roof roof(const BenchmarkRow& row) const {
    Roof roof;
    roof.measure = measure_;
    roof.groups = groups_;
    roof.samples = samples_;
    roof.work_per_second = spread_of(samples_).median;
    // A rating has one item row, whatever else it moves: the probe counts by the rating.
    roof.ratings_per_second =
        roof.work_per_second / (bytes_per_rating_ > 0.0 ? bytes_per_rating_ : row.work_per_rating);
    return roof;
  }

 private:
  static constexpr int kPasses = 3;

  std::string measure_;
  std::int32_t groups_ = 0;
  double bytes_per_rating_ = 0.0;  ///< item rows
  std::vector<double> samples_;
};

void summarise(BenchmarkRow& row) {
  std::vector<double> rates;
  std::vector<double> seconds;
  std::vector<double> first;
  for (const std::vector<EpochRecord>& round : row.rounds) {
    first.push_back(round.front().seconds);
    for (std::size_t e = 1; e < round.size(); ++e) {
      rates.push_back(round[e].ratings_per_second);
      seconds.push_back(round[e].seconds);
    }
  }
  row.ratings_per_second = spread_of(rates);
  row.epoch_seconds = spread_of(seconds).median;
  row.first_epoch_seconds = spread_of(first).median;
  row.curve = curve_of(row.rounds);
  const auto best = std::min_element(row.curve.begin(), row.curve.end(),
                                     [](const CurvePoint& a, const CurvePoint& b) { return a.rmse < b.rmse; });
  row.best_rmse = best->rmse;
  row.best_epoch = static_cast<std::int32_t>(best - row.curve.begin()) + 1;
}

/// Fills in the figures that compare rows with each other.
void compare(std::vector<BenchmarkRow>& rows, const std::optional<double>& target) {
  for (BenchmarkRow& row : rows) {
    std::vector<std::vector<CurvePoint>> curves;
    for (const BenchmarkRow& other : rows) {
      if (other.model() == row.model()) {
        curves.push_back(other.curve);
      }
      const bool on_cpu = !other.opened->has_own_memory();
      if (on_cpu && row.opened->has_own_memory() && other.model() == row.model() && other.dim() == row.dim()) {
        row.over_cpu = row.ratings_per_second.median / other.ratings_per_second.median;
      }
    }
    row.target_rmse = target.value_or(default_target(curves));
    row.seconds_to_target = seconds_to(row.curve, row.target_rmse);
  }
}

}  // namespace

std::vector<std::string> parse_devices(const std::string& list) {
  std::vector<std::string> names;
  for (const DeviceKind& kind : kDeviceKinds) {
    names.emplace_back(kind.name);
  }
  for (const std::string& part : split_list(list)) {
    if (gpu_of(part)) {
      names.push_back(part);  // also cuda:N
    }
  }
  return parse_names("device", list, names);
}

std::vector<ModelKind> parse_models(const std::string& list) {
  std::vector<ModelKind> models;
  for (const std::string& name : parse_names("model", list, {"mf", "mlp"})) {
    models.push_back(find_kind<ModelKind>(name).value());
  }
  return models;
}

std::vector<std::int32_t> parse_dims(const std::string& list) {
  std::vector<std::int32_t> dims;
  for (const std::string& part : parts_of("dim", list)) {
    std::int32_t dim = 0;
    const char* const end = part.data() + part.size();
    const auto [stop, error] = std::from_chars(part.data(), end, dim);
    if (error != std::errc() || stop != end || dim < 1 || dim > kLargestDim) {
      throw InputError("dim", printable(list),
                       fmt::format("'{}' is not a whole number from 1 to {}; write one, or several like 32,64,128",
                                   printable(part), kLargestDim));
    }
    if (std::find(dims.begin(), dims.end(), dim) != dims.end()) {
      throw InputError("dim", printable(list), fmt::format("{} is there twice; remove one", dim));
    }
    dims.push_back(dim);
  }
  return dims;
}

std::vector<BenchmarkDevice> find_devices(const std::vector<std::string>& names, std::int32_t threads) {
  if (threads < 0) {
    throw InputError("threads", fmt::format("{}", threads), "must be 0 or more");
  }
  std::vector<BenchmarkDevice> devices;
  std::string reasons;
  for (const std::string& name : names) {
    BenchmarkDevice device;
    device.name = name;
    device.kind = kind_of(name);
    try {
      device.opened = make_device(name, threads);
      device.description = device.opened->info().description;
    } catch (const InputError& error) {
      device.absent = gpu_of(name) ? cuda_status(*gpu_of(name)).problem : error.what();
      reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", name, device.absent);
    }
    devices.push_back(device);
  }
  if (std::all_of(devices.begin(), devices.end(), [](const auto& device) { return !device.absent.empty(); })) {
    throw InputError("device", fmt::format("{}", fmt::join(names, ",")),
                     fmt::format("none is here ({}); use `device` cpu", reasons));
  }
  return devices;
}

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
  return {median, values.front(), values.back()};
}

double default_target(const std::vector<std::vector<CurvePoint>>& curves) {
  double target = 0.0;
  for (const std::vector<CurvePoint>& curve : curves) {
    double best = std::numeric_limits<double>::infinity();
    for (const CurvePoint& point : curve) {
      best = std::min(best, point.rmse);
    }
    target = std::max(target, best);
  }
  return target;
}

std::optional<double> seconds_to(const std::vector<CurvePoint>& curve, double target) {
  const auto reached =
      std::find_if(curve.begin(), curve.end(), [&](const CurvePoint& point) { return point.rmse <= target; });
  return reached == curve.end() ? std::nullopt : std::optional(reached->seconds);
}

std::vector<CurvePoint> curve_of(const std::vector<std::vector<EpochRecord>>& rounds) {
  std::vector<CurvePoint> curve;
  std::vector<double> elapsed(rounds.size(), 0.0);
  for (std::size_t epoch = 0; epoch < rounds.front().size(); ++epoch) {
    std::vector<double> rmse;
    for (std::size_t round = 0; round < rounds.size(); ++round) {
      const EpochRecord& record = rounds[round][epoch];
      elapsed[round] += record.seconds;
      rmse.push_back(record.validation_rmse.value());
    }
    curve.push_back({spread_of(elapsed).median, spread_of(rmse).median});
  }
  return curve;
}

std::vector<BenchmarkRow> benchmark_rows(const BenchmarkOptions& options, const std::vector<BenchmarkDevice>& devices) {
  if (options.epochs && *options.epochs < 2) {
    throw InputError("epochs", fmt::format("{}", *options.epochs),
                     "must be 2 or more: the first epoch is counted apart");
  }
  if (options.rounds < 1) {
    throw InputError("rounds", fmt::format("{}", options.rounds), "must be 1 or more");
  }
  if (options.target_rmse && !(*options.target_rmse > 0.0 && std::isfinite(*options.target_rmse))) {
    throw InputError("target_rmse", fmt::format("{}", *options.target_rmse), "must be above 0");
  }
  std::vector<BenchmarkRow> rows;
  for (const BenchmarkDevice& device : devices) {
    for (const ModelKind model : options.models) {
      for (const std::int32_t dim : options.dims) {
        if (!device.absent.empty()) {
          continue;
        }
        BenchmarkRow row;
        row.device = device.name;
        row.opened = device.opened;
        TrainOptions train;
        train.model = model;
        train.dim = dim;
        train.epochs = options.epochs;
        train.device = device.name;
        train.threads = options.threads;
        train.seed = options.seed;
        train.biases = options.biases;
        train.validation = kBenchmarkHeldOut;
        train.refit = false;
        if (device.opened->has_own_memory()) {
          train.precision = options.precision;
          train.sgd_kernel = model == ModelKind::mf ? options.sgd_kernel : std::nullopt;
        }
        row.options = resolve(train);
        row.unit = is_network(model) ? "flops" : "bytes";
        row.work_per_rating = is_network(model) ? mlp_flops_per_rating(row.options)
                                                : mf_bytes_per_rating(dim, options.biases, train.precision);
        rows.push_back(std::move(row));
      }
    }
  }
  return rows;
}

void check_benchmark_data(const Dataset& dataset) {
  constexpr std::int64_t kFewestRatings = 10;
  if (dataset.ratings.size() < kFewestRatings) {
    throw InputError(fmt::format("{} ratings: too few to hold out a tenth; give a data set with {} or more",
                                 dataset.ratings.size(), kFewestRatings));
  }
}

BenchmarkResult run_benchmark(const BenchmarkOptions& options, const std::vector<BenchmarkDevice>& devices,
                              const Dataset& dataset, const std::function<void(const BenchmarkProgress&)>& progress) {
  check_benchmark_data(dataset);
  BenchmarkResult result;
  result.devices = devices;
  result.rows = benchmark_rows(options, devices);
  std::vector<RoofSamples> roofs(result.rows.size());
  const double steps = static_cast<double>(result.rows.size()) * static_cast<double>(options.rounds);
  BenchmarkProgress at;
  const auto tell = [&] {
    if (progress) {
      progress(at);
    }
  };
  for (at.round = 1; at.round <= options.rounds; ++at.round) {
    for (std::size_t r = 0; r < result.rows.size(); ++r) {
      BenchmarkRow& row = result.rows[r];
      const double before =
          (static_cast<double>(at.round - 1) * static_cast<double>(result.rows.size()) + static_cast<double>(r)) /
          steps;
      at.row = &row;
      at.phase = "measuring the roof";
      at.epoch = 0;
      at.done = before;
      tell();
      roofs[r].measure(row, dataset);
      result.peak_by_row = reset_peak_memory() && result.peak_by_row;
      std::vector<EpochRecord> epochs;
      TrainEvents events;
      events.on_phase = [&](const char* phase) {
        at.phase = phase;
        at.epoch = at.phase == "training" ? 1 : 0;
        tell();
      };
      events.on_epoch = [&](const EpochRecord& record) {
        epochs.push_back(record);
        at.epoch = std::min(record.epoch + 1, row.options.epochs.value());
        at.done = before + static_cast<double>(record.epoch) / static_cast<double>(row.options.epochs.value()) / steps;
        tell();
      };
      events.on_divergence = [&](const Divergence& divergence) {
        if (divergence.kind == DivergenceKind::above_start && divergence.next_rate) {
          epochs.clear();
          return;
        }
        throw Error(fmt::format("training diverged in epoch {} at learning rate {:.3g}; give a lower --lr",
                                divergence.epoch, divergence.learning_rate));
      };
      events.on_progress = [&](std::int32_t epoch, std::int64_t done, std::int64_t total) {
        const double within = static_cast<double>(epoch - 1) + static_cast<double>(done) / static_cast<double>(total);
        at.done = before + within / static_cast<double>(row.options.epochs.value()) / steps;
        tell();
      };
      try {
        const Trained trained = train(*row.opened, row.options, dataset, dataset.ratings, events);
        row.device_bytes = std::max(row.device_bytes, static_cast<std::int64_t>(trained.result.device_bytes));
      } catch (const InputError&) {
        throw;
      } catch (const AsyncDeviceError&) {
        throw;
      } catch (const Error& error) {
        throw Error(fmt::format("{}, dim {} on {}: {}", row.model(), row.dim(), row.device, error.what()));
      }
      row.peak_memory = std::max(row.peak_memory, peak_memory_bytes());
      row.rounds.push_back(std::move(epochs));
    }
  }
  for (std::size_t r = 0; r < result.rows.size(); ++r) {
    summarise(result.rows[r]);
    result.rows[r].roof = roofs[r].roof(result.rows[r]);
  }
  compare(result.rows, options.target_rmse);
  return result;
}

}  // namespace curate
