#include "runs/run_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <system_error>

#include "curate/error.h"
#include "support/atomic_file.h"
#include "support/printable.h"
#include "support/split_list.h"

namespace curate {
namespace {

std::string csv_number(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "";
}

}  // namespace

std::string history_csv(const std::vector<EpochRecord>& history) {
  const bool ensemble = !history.empty() && history.front().member > 0;
  std::string text = ensemble ? "member," : "";
  text += "epoch,seconds,train_rmse,validation_rmse,learning_rate,ratings_per_second\n";
  for (const EpochRecord& record : history) {
    text += ensemble ? fmt::format("{},", record.member) : "";
    text += fmt::format("{},{},{},{},{},{}\n", record.epoch, record.seconds, record.train_rmse,
                        csv_number(record.validation_rmse), record.learning_rate, record.ratings_per_second);
  }
  return text;
}

std::vector<EpochRecord> read_history(const std::string& path) {
  const std::string content = read_file(path);
  std::vector<EpochRecord> history;
  std::vector<std::string> header;
  std::int64_t line = 0;
  const auto fail = [&](const std::string& problem) {
    throw InputError(fmt::format("{}:{}: {}; train the run again", path, std::max<std::int64_t>(1, line), problem));
  };
  for (std::size_t from = 0; from < content.size();) {
    const std::size_t end = content.find('\n', from);
    ++line;
    if (end == std::string::npos) {
      fail("cut off");
    }
    const std::vector<std::string> fields = split_list(content.substr(from, end - from));
    from = end + 1;
    if (line == 1) {
      header = fields;
      continue;
    }
    if (fields.size() != header.size()) {
      fail(fmt::format("{} fields, not the {} of the first line", fields.size(), header.size()));
    }
    const auto number = [&](const char* column, bool may_be_absent) -> std::optional<double> {
      const auto found = std::find(header.begin(), header.end(), column);
      if (found == header.end()) {
        fail(fmt::format("no column is called {}", column));
      }
      const std::string& text = fields[static_cast<std::size_t>(found - header.begin())];
      if (text.empty() && may_be_absent) {
        return std::nullopt;
      }
      double value = 0.0;
      const char* text_end = text.data() + text.size();
      const auto [stop, error] = std::from_chars(text.data(), text_end, value);
      if (error != std::errc() || stop != text_end || !std::isfinite(value) || value < 0.0) {
        fail(fmt::format("{} is \"{}\", not a number of 0 or more", column, printable(text)));
      }
      return value;
    };
    EpochRecord record;
    record.epoch = history.empty() ? 1 : history.back().epoch + 1;
    if (header.front() == "member") {
      // The next epoch of a member, or the first one of the next.
      record.member = history.empty() ? 1 : history.back().member;
      const double member = number("member", false).value_or(0.0);
      if (!history.empty() && member == static_cast<double>(record.member + 1)) {
        ++record.member;
        record.epoch = 1;
      } else if (member != static_cast<double>(record.member)) {
        fail(fmt::format("not member {} or the next one", record.member));
      }
    }
    if (number("epoch", false) != static_cast<double>(record.epoch)) {
      fail(fmt::format("not epoch {}, which comes next", record.epoch));
    }
    record.seconds = number("seconds", false).value_or(0.0);
    record.train_rmse = number("train_rmse", false).value_or(0.0);
    record.validation_rmse = number("validation_rmse", true);
    record.learning_rate = number("learning_rate", false).value_or(0.0);
    record.ratings_per_second = number("ratings_per_second", false).value_or(0.0);
    history.push_back(record);
  }
  if (history.empty()) {
    fail("no epoch");
  }
  return history;
}

}  // namespace curate
