#include "runs/run_config.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <nlohmann/json.hpp>
#include <string_view>
#include <type_traits>
#include <utility>

#include "curate/error.h"
#include "support/atomic_file.h"
#include "support/printable.h"
#include "support/split_list.h"
#include "support/toml_text.h"
#include "train/option_json.h"

namespace curate {
namespace {

/// Calls visit(key, member) for what RunConfig has beyond TrainOptions.
template <typename Config, typename Visitor>
void visit_data_options(Config& config, Visitor&& visit) {
  visit("data", config.data);
  visit("test", config.test);
  visit("split", config.split);
  visit("folds", config.folds);
  visit("fold", config.fold);
  visit("rating_range", config.rating_range);
  visit("text_ids", config.text_ids);
}

/// What an entry of config.toml says; errors name its place.
class Entry {
 public:
  Entry(const std::string& path, const toml::key& key, const toml::node& node)
      : key_(key.str()), node_(node), place_(fmt::format("{}:{}", path, node.source().begin.line)) {}

  std::string_view key() const { return key_; }
  const std::string& place() const { return place_; }

  void read(bool& value) const { value = exactly<bool>("true or false"); }
  void read(std::string& value) const { value = exactly<std::string>("a string in quotes"); }
  void read(std::int32_t& value) const { value = whole_number<std::int32_t>(); }
  void read(std::int64_t& value) const { value = whole_number<std::int64_t>(); }
  void read(std::uint64_t& value) const {
    // The greatest are digits in quotes.
    const auto digits = parse_number<std::uint64_t>(node_.value_exact<std::string>().value_or(""));
    value = digits ? *digits : whole_number<std::uint64_t>();
  }
  void read(double& value) const {
    const auto number = node_.value<double>();
    if (!number || node_.is_boolean()) {
      fail("a number");
    }
    value = *number;
  }

  template <typename T>
  void read(const OptionInfo& info, T& value) const {
    if constexpr (requires { value.has_value(); }) {
      typename T::value_type given{};
      read(info, given);
      value = std::move(given);
    } else if constexpr (requires { read(value); }) {
      read(value);
    } else {
      // All else is text.
      std::string text;
      read(text);
      try {
        read_text(info, text, value);
      } catch (const InputError& error) {
        throw InputError(fmt::format("{}: {}", place_, message_in_config(error)));
      }
    }
  }

 private:
  [[noreturn]] void fail(const char* wanted) const {
    throw InputError(fmt::format("{}: {} takes {}", place_, key_, wanted));
  }
  template <typename T>
  T exactly(const char* wanted) const {
    const auto value = node_.value_exact<T>();
    if (!value) {
      fail(wanted);
    }
    return *value;
  }
  template <typename T>
  T whole_number() const {
    const auto value = exactly<std::int64_t>("a whole number in range");
    if (!std::in_range<T>(value)) {
      fail("a whole number in range");
    }
    return static_cast<T>(value);
  }

  std::string_view key_;
  const toml::node& node_;
  std::string place_;
};

}  // namespace

std::string to_toml(const RunConfig& config) {
  std::string text = fmt::format(
      "# Written by curate {}: all options of a run. Another one may start from them: option config, this file.\n",
      CURATE_VERSION);
  visit_data_options(config, [&](const char* key, const auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>) {
      text += fmt::format("{} = {}\n", key, toml_text(value));
    } else {
      text += fmt::format("{} = {}\n", key, value);
    }
  });
  return text + to_toml(config.options);
}

std::string message_in_config(const InputError& error) {
  return error.key().empty() ? error.what() : fmt::format("{} {}: {}", error.key(), error.problem(), error.remedy());
}

RunConfig read_config(const std::string& path, const RunConfig& base) {
  const std::string content = read_file(path);
  toml::table table;
  try {
    table = toml::parse(content, path);
  } catch (const toml::parse_error& error) {
    throw InputError(
        fmt::format("{}:{}: {}; correct that line", path, error.source().begin.line, printable(error.description())));
  }
  RunConfig config = base;
  if (const toml::node* preset = table.get("preset")) {
    try {
      config.options = preset_options(preset->value<std::string>().value_or("?"));
    } catch (const InputError& error) {
      throw InputError(fmt::format("{}:{}: {}", path, preset->source().begin.line, message_in_config(error)));
    }
  }
  if (table.contains("lr") && table.contains("seed") && !table.contains("units")) {
    // The whole configuration of a run, of before there were units and a second training.
    config.options.units = UnitsKind::raw;
    config.options.refit = false;
  }
  for (const auto& [key, node] : table) {
    const Entry entry(path, key, node);
    bool known = entry.key() == "preset";
    visit_data_options(config, [&](const char* name, auto& member) {
      if (entry.key() == name) {
        known = true;
        entry.read(member);
      }
    });
    visit_options(config.options, [&](auto& member, const OptionInfo& info) {
      if (entry.key() == info.key) {
        known = true;
        entry.read(info, member);
      }
    });
    if (!known) {
      throw InputError(fmt::format("{}: no option is called {}; `help` lists them", entry.place(),
                                   printable(std::string(entry.key()))));
    }
  }
  return config;
}

nlohmann::ordered_json config_json(const RunConfig& config) {
  nlohmann::ordered_json json;
  const auto put = [&](std::string_view key, const auto& value) {
    const bool absent = key.starts_with("fold") && option_json(value) == 0;
    json[std::string(key)] = absent ? nlohmann::ordered_json() : option_json(value);
  };
  visit_data_options(config, put);
  put("preset", config.options.preset);
  visit_options(config.options, [&](const auto& value, const OptionInfo& info) { put(info.key, value); });
  return json;
}

}  // namespace curate
