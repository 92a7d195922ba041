#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "curate/dataset.h"
#include "curate/options.h"
#include "curate/trainer.h"
#include "device/device.h"

namespace curate {

/// What `curate bench` is asked for: every device with every model and every dim.
struct BenchmarkOptions {
  std::vector<std::string> devices = {"cpu"};
  std::vector<ModelKind> models = {ModelKind::mf};
  std::vector<std::int32_t> dims = {32, 64, 128};
  std::optional<std::int32_t> epochs;  ///< 2 or more; the model's own default
  std::int32_t rounds = 3;             ///< trainings of each; configurations take turns
  std::int32_t threads = 0;            ///< of the CPU; 0: all cores
  std::uint64_t seed = 1;
  bool biases = true;                                      ///< mf
  EmbeddingPrecision precision = EmbeddingPrecision::f32;  ///< TrainOptions::precision, of GPUs
  std::optional<MfKernelOptions> sgd_kernel;               ///< TrainOptions::sgd_kernel, of mf on GPUs
  std::optional<double> target_rmse;                       ///< nothing: see default_target
};

/// Fraction of the ratings that is held out for the RMSE.
inline constexpr double kBenchmarkHeldOut = 0.1;

/// Lists as on the command line, parts separated by commas. Throw InputError, naming option and remedy, for what is
/// unknown, out of range or there twice.
std::vector<std::string> parse_devices(const std::string& list);
std::vector<ModelKind> parse_models(const std::string& list);
std::vector<std::int32_t> parse_dims(const std::string& list);

/// A device by name: what it is, or why it is not here.
struct BenchmarkDevice {
  std::string name;
  std::string kind;  ///< cpu, gpu, emulated
  std::string description;
  std::string absent;  ///< the reason; empty if it is here
  std::shared_ptr<Device> opened = nullptr;
};

/// Opens the devices of these names (as parse_devices takes them) that are here. Throws InputError if none is.
std::vector<BenchmarkDevice> find_devices(const std::vector<std::string>& names, std::int32_t threads);

struct Spread {
  double median = 0.0;
  double least = 0.0;
  double most = 0.0;
};
/// Of one value or more; the median of an even number is the mean of the middle two.
Spread spread_of(std::vector<double> values);

struct CurvePoint {
  double seconds = 0.0;  ///< of training up to the end of the epoch, without validation
  double rmse = 0.0;     ///< on the part held out
};

/// How fast work could be done, measured beside the training.
struct Roof {
  std::string measure;              ///< "item rows", "gemm", "dense layer", "copy"
  std::int32_t groups = 0;          ///< item rows: groups of items
  double work_per_second = 0.0;     ///< bytes or flops, as the probe counts them; median
  double ratings_per_second = 0.0;  ///< as fast as an epoch would be at the roof
  std::vector<double> samples;      ///< work per second
};

/// A device, a model and a dim, and what came of them.
struct BenchmarkRow {
  std::string device;
  std::shared_ptr<Device> opened = nullptr;
  TrainOptions options;  ///< resolved
  std::string unit;      ///< of work: "bytes" (mf) or "flops" (mlp)
  double work_per_rating = 0.0;
  Roof roof;
  std::vector<std::vector<EpochRecord>> rounds;
  std::int64_t device_bytes = 0;  ///< in arrays on the device, the most at once
  std::int64_t peak_memory = 0;   ///< of the process while it trained, the data set included

  // From the above.
  Spread ratings_per_second;  ///< of all epochs but the first of each round
  double epoch_seconds = 0.0;
  double first_epoch_seconds = 0.0;
  std::vector<CurvePoint> curve;  ///< by epoch; medians of the rounds
  double best_rmse = 0.0;
  std::int32_t best_epoch = 0;  ///< from 1
  double target_rmse = 0.0;
  std::optional<double> seconds_to_target;  ///< nothing: not reached
  std::optional<double> over_cpu;           ///< ratings/s over those of the CPU with the same model and dim

  std::string model() const { return std::string(name_of(options.model)); }
  std::int32_t dim() const { return options.dim.value(); }
  double work_per_second() const { return work_per_rating * ratings_per_second.median; }
  /// Time at the roof over time taken.
  double of_roof() const { return ratings_per_second.median / roof.ratings_per_second; }
};

struct BenchmarkResult {
  std::vector<BenchmarkDevice> devices;
  std::vector<BenchmarkRow> rows;  ///< by device, model and dim, as asked for; none for absent devices
  bool peak_by_row = true;         ///< false: peak_memory counts what came before, too
};

/// The highest of the lowest RMSEs of the curves: each of them reaches it.
double default_target(const std::vector<std::vector<CurvePoint>>& curves);

/// Seconds up to the end of the first epoch with an RMSE of at most `target`.
std::optional<double> seconds_to(const std::vector<CurvePoint>& curve, double target);

/// The epochs of all rounds as one curve.
std::vector<CurvePoint> curve_of(const std::vector<std::vector<EpochRecord>>& rounds);

/// Where a benchmark is.
struct BenchmarkProgress {
  const BenchmarkRow* row = nullptr;
  std::int32_t round = 0;  ///< from 1
  std::string phase;       ///< "measuring the roof", then those of the trainer
  std::int32_t epoch = 0;  ///< from 1, while training
  double done = 0.0;       ///< of all rounds of all configurations
};

/// The rows to come, without results. Throws InputError if the options make no sense.
std::vector<BenchmarkRow> benchmark_rows(const BenchmarkOptions& options, const std::vector<BenchmarkDevice>& devices);

/// Throws InputError if a data set has too few ratings to hold some out.
void check_benchmark_data(const Dataset& dataset);

/// Trains what benchmark_rows() says, and measures the roofs beside it. Throws InputError as the two above do.
BenchmarkResult run_benchmark(const BenchmarkOptions& options, const std::vector<BenchmarkDevice>& devices,
                              const Dataset& dataset, const std::function<void(const BenchmarkProgress&)>& progress);

}  // namespace curate
