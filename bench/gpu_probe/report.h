#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace curate::probe {

using Json = nlohmann::ordered_json;

/// What is printed: one line of JSON for everything that is measured, as soon as it is.
class Report {
 public:
  using Write = std::function<void(const Json& line)>;

  /// Time begins to run now.
  Report(double seconds, Write write);

  /// Measures one configuration: a line of `config` ("probe" and its parameters) and what `measure` returns. Where time
  /// is over, or the device was lost before, the line has "cut": true instead; where measure throws, "error". After an
  /// error `device_works` (which may throw, too) says whether there is any use in going on.
  void measure(const Json& config, const std::function<Json()>& measure, const std::function<bool()>& device_works);

  /// A line that is no measurement.
  void note(const Json& line) const { write_(line); }

  bool out_of_time() const;
  /// Whether measure() has no use for what it would be given: whoever prepares much for it asks first.
  bool over() const { return lost_ || out_of_time(); }
  /// Lines with figures.
  std::int64_t measured() const { return measured_; }

 private:
  std::chrono::steady_clock::time_point end_;
  Write write_;
  bool lost_ = false;
  std::int64_t measured_ = 0;
};

/// Thrown by what measure() runs where the time ends before there is a figure: the line has "cut": true.
class Cut {};

/// Thrown where figures were measured that cannot be right: the line has both.
struct WrongFigures {
  Json figures;
  std::string problem;
};

/// {"median", "min", "max"} of one value or more.
Json spread(const std::vector<double>& values);
double median(const std::vector<double>& values);

}  // namespace curate::probe
