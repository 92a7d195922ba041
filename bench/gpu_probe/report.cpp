#include "bench/gpu_probe/report.h"

#include <exception>
#include <utility>

#include "benchmark/benchmark.h"

namespace curate::probe {
namespace {

bool works(const std::function<bool()>& device_works) {
  try {
    return device_works();
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

Report::Report(double seconds, Write write)
    : end_(std::chrono::steady_clock::now() +
           std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds))),
      write_(std::move(write)) {}

bool Report::out_of_time() const {
  return std::chrono::steady_clock::now() >= end_;
}

void Report::measure(const Json& config, const std::function<Json()>& measure,
                     const std::function<bool()>& device_works) {
  Json line = config;
  if (over()) {
    line["cut"] = true;
    write_(line);
    return;
  }
  try {
    line.update(measure());
    ++measured_;
  } catch (const Cut&) {
    line["cut"] = true;
  } catch (const WrongFigures& wrong) {
    line.update(wrong.figures);
    line["error"] = wrong.problem;
  } catch (const std::exception& error) {
    line["error"] = error.what();
    lost_ = !works(device_works);
  }
  write_(line);
}

Json spread(const std::vector<double>& values) {
  const Spread of = spread_of(values);
  return {{"median", of.median}, {"min", of.least}, {"max", of.most}};
}

double median(const std::vector<double>& values) {
  return spread_of(values).median;
}

}  // namespace curate::probe
