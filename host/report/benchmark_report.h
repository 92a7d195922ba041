#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "benchmark/benchmark.h"
#include "report/svg_plot.h"

namespace curate {

/// The ratings that a benchmark trains on.
struct BenchmarkData {
  std::string source;  ///< a path, or "made up"
  std::string like;    ///< made up: the release that it has the shape of
  double scale = 1.0;  ///< made up
  std::uint64_t seed = 1;
  std::int64_t ratings = 0;
  std::int32_t users = 0;
  std::int32_t items = 0;
  std::optional<double> best_rmse;  ///< made up: of the planted model
};

/// Machine, data and training, in lines.
std::string benchmark_head(const BenchmarkOptions& options, const BenchmarkData& data);

/// Two tables, a row of each for every configuration and absent device, bars, and what the columns mean.
std::string benchmark_tables(const BenchmarkResult& result);

nlohmann::ordered_json benchmark_json(const BenchmarkOptions& options, const BenchmarkData& data,
                                      const BenchmarkResult& result);

/// For every model a panel of ratings/s by dim and one of the RMSE over training time.
PlotPage benchmark_plot(const BenchmarkOptions& options, const BenchmarkData& data, const BenchmarkResult& result);

}  // namespace curate
