#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/gpu_probe/gpu.h"
#include "bench/gpu_probe/report.h"
#include "curate/dataset.h"
#include "curate/options.h"
#include "device/device.h"

namespace curate::probe {

// One function for each subcommand. Each measures the most valuable configurations first, and writes a line for every
// one of them.

/// Rates and latencies of the GPU's memory, launches and shuffles. `small`: sizes for the emulator.
void probe_memory(Report& report, const Gpu& gpu, bool small);

/// Rows and weights whose popularity is shaped like that of the items of ML-20M, or of so many items.
struct Popularity {
  std::vector<std::uint32_t> index;  ///< [visits] rows, every second visit of a row with kSubtract
  std::vector<std::int32_t> net;     ///< [rows] visits that add minus those that subtract: 0 or 1
  double top_share = 0.0;            ///< of the visits, those of the 512 rows that are visited most
};
Popularity draw_popularity(std::int64_t rows, std::int64_t visits, bool uniform);

/// Ratings in memory, from a folder or made up.
struct DataRequest {
  std::string folder;  ///< empty: made up
  MovielensLikeOptions like;
};
Dataset load(const DataRequest& request);

/// A way to go through an epoch of per-rating SGD.
struct Way {
  std::string name;  ///< as it was given
  MfPlanOptions plan;
};
/// "default", "deterministic", or what TrainOptions::sgd_kernel takes, parts joined by +. Throws InputError.
Way parse_way(const std::string& text);

struct EpochsRequest {
  std::string device;
  std::vector<std::int32_t> dims;
  std::vector<std::string> precisions;
  std::vector<Way> ways;
  std::int32_t epochs = 30;
  std::int32_t warmup = 3;
};
/// Epochs of per-rating SGD, each timed by the device.
void probe_epochs(Report& report, Device& device, const EpochsRequest& request, const Dataset& dataset);

/// "key=value,key=value" with the keys of the option table (host/train/option_visit.h); a part whose key is none of
/// them belongs to the value before ("layers=100,50"). Throws InputError for unknown keys and values that cannot be
/// read.
TrainOptions parse_options(const std::string& text);

struct OptionSet {
  std::string text;
  TrainOptions options;
};
/// Trainings by Trainer.
void probe_train(Report& report, const Gpu& gpu, const std::vector<OptionSet>& sets, const Dataset& dataset);

struct ProductsRequest {
  std::int64_t batch = 65536;
  std::vector<std::int64_t> widths;  ///< inputs of the first layer, then the outputs of all
  std::vector<ProductPrecision> precisions;
};
/// Products of wide layers by cuBLASLt.
void probe_products(Report& report, const Gpu& gpu, const ProductsRequest& request);

}  // namespace curate::probe
