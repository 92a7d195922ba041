#include "report/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace curate {

LiveLine::LiveLine() : terminal_(::isatty(STDERR_FILENO) == 1) {}

void LiveLine::show(const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || (shown_ && now - last_ < std::chrono::milliseconds(100))) {
    return;
  }
  fmt::print(stderr, "\r{}\x1b[K", text);
  std::fflush(stderr);
  shown_ = true;
  last_ = now;
}

void LiveLine::clear() {
  if (shown_) {
    fmt::print(stderr, "\r\x1b[K");
    shown_ = false;
  }
}

void PhaseLine::show(const char* phase, std::int64_t done, std::int64_t total) {
  if (!running_ || phases_.back().name != phase) {
    end_phase();
    line_.clear();  // so that the new name is seen at once
    const auto known =
        std::find_if(phases_.begin(), phases_.end(), [&](const Phase& one) { return one.name == phase; });
    if (known == phases_.end()) {
      phases_.push_back({phase, 0.0});
    } else {
      std::rotate(known, known + 1, phases_.end());
    }
    running_ = true;
    start_ = std::chrono::steady_clock::now();
  }
  if (total <= 0) {
    line_.show(phase);
    return;
  }
  const double fraction = static_cast<double>(done) / static_cast<double>(total);
  line_.show(
      fmt::format("{} {} {:3.0f} % of {} MB", phase, progress_bar(fraction, 30), 100.0 * fraction, total / 1000000));
}

void PhaseLine::end_phase() {
  if (running_) {
    phases_.back().seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    running_ = false;
  }
}

void PhaseLine::clear() {
  end_phase();
  line_.clear();
}

std::string PhaseLine::summary() {
  end_phase();
  constexpr double kShortest = 0.005;
  std::string text;
  for (const Phase& phase : phases_) {
    if (phase.seconds >= kShortest) {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", phase.name, short_seconds(phase.seconds));
    }
  }
  return text;
}

void EpochTable::on_epoch(const EpochRecord& record) {
  line_.clear();
  if (!header_printed_) {
    fmt::print(stderr, "{:>5}  {:>10}  {:>15}  {:>13}  {:>11}  {:>8}\n", "epoch", "train RMSE", "validation RMSE",
               "learning rate", "ratings/s", "time");
    header_printed_ = true;
  }
  if (record.best) {
    best_ = record;
  }
  const std::string validation = record.validation_rmse ? fmt::format("{:.4f}", *record.validation_rmse) : "-";
  fmt::print(stderr, "{:>5}  {:>10.4f}  {:>15}  {:>13.3g}  {:>11}  {:>8}{}\n", record.epoch, record.train_rmse,
             validation, record.learning_rate, short_count(record.ratings_per_second), short_seconds(record.seconds),
             record.best && record.validation_rmse ? "  *" : "");
  on_progress(record.epoch + 1, 0, 1);
}

void EpochTable::on_progress(std::int32_t epoch, std::int64_t done, std::int64_t total) {
  if (epoch > epochs_) {
    return;
  }
  const double within = static_cast<double>(done) / static_cast<double>(std::max<std::int64_t>(1, total));
  const double fraction = (static_cast<double>(epoch - 1) + within) / static_cast<double>(epochs_);
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  std::string text =
      fmt::format("epoch {}/{} {} {:3.0f} %", epoch, epochs_, progress_bar(fraction, 30), 100.0 * fraction);
  if (fraction > 0.0) {
    text += fmt::format("  {} left", short_seconds(elapsed / fraction - elapsed));
  }
  if (best_ && best_->validation_rmse) {
    text += fmt::format("  best {:.4f} (epoch {})", *best_->validation_rmse, best_->epoch);
  }
  line_.show(text);
}

std::string progress_bar(double fraction, int width) {
  const auto filled = static_cast<std::size_t>(std::lround(std::clamp(fraction, 0.0, 1.0) * width));
  return fmt::format("[{}{}]", std::string(filled, '#'), std::string(static_cast<std::size_t>(width) - filled, '.'));
}

std::string short_count(double value) {
  constexpr std::array<const char*, 5> kUnits = {"", " k", " M", " G", " T"};
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000.0;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : (value >= 9.995 ? 1 : 2);
  return fmt::format("{:.{}f}{}", value, decimals, kUnits[unit]);
}

std::string short_seconds(double seconds) {
  if (seconds < 0.9995) {
    return fmt::format("{:.0f} ms", seconds * 1000.0);
  }
  if (seconds < 99.95) {
    return fmt::format("{:.1f} s", seconds);
  }
  const std::int64_t whole = std::llround(seconds);
  return fmt::format("{} min {:02} s", whole / 60, whole % 60);
}

std::string grouped(std::int64_t value) {
  const std::string digits = fmt::format("{}", value);
  std::string text;
  for (std::size_t at = 0; at < digits.size(); ++at) {
    const std::size_t left = digits.size() - at;
    if (at > 0 && left % 3 == 0 && digits[at - 1] != '-') {
      text += ',';
    }
    text += digits[at];
  }
  return text;
}

}  // namespace curate
