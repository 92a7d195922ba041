#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "curate/trainer.h"

namespace curate {

/// One line at the bottom of a terminal that is written over and over; silent if stderr is not a terminal.
class LiveLine {
 public:
  LiveLine();
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;
  ~LiveLine() { clear(); }

  /// Shows the text, at most ten times a second.
  void show(const std::string& text);
  void clear();

 private:
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

/// What a command is doing, as a live line, and how long each phase took.
class PhaseLine {
 public:
  /// The phase, how much of it is done and of how many bytes (0: unknown). A new name starts a new phase.
  void show(const char* phase, std::int64_t done = 0, std::int64_t total = 0);
  /// Ends the phase and takes the line away.
  void clear();
  /// "reading 320 ms, splitting 0.6 s": phases in order, without those below 5 ms.
  std::string summary();

 private:
  struct Phase {
    std::string name;
    double seconds = 0.0;
  };
  void end_phase();

  std::vector<Phase> phases_;
  bool running_ = false;
  std::chrono::steady_clock::time_point start_;
  LiveLine line_;
};

/// Prints a row per epoch to stderr, and below it a live line with the progress of the run.
class EpochTable {
 public:
  explicit EpochTable(std::int32_t epochs) : epochs_(epochs) {}

  void on_epoch(const EpochRecord& record);
  void on_progress(std::int32_t epoch, std::int64_t done, std::int64_t total);
  void finish() { line_.clear(); }

 private:
  std::int32_t epochs_;
  bool header_printed_ = false;
  std::optional<EpochRecord> best_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  LiveLine line_;
};

/// "[########......]" with `width` cells.
std::string progress_bar(double fraction, int width);

/// 1234567 as "1.23 M": three digits and a unit.
std::string short_count(double value);
/// "85 ms", "3.2 s", "4 min 05 s".
std::string short_seconds(double seconds);
/// 1234567 as "1,234,567".
std::string grouped(std::int64_t value);

}  // namespace curate
