#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/flags.h"
#include "curate/option_table.h"
#include "support/json_text.h"

namespace curate::cli {
namespace {

/// A switch is given without a value, and taken back with --no-.
std::string example_of(const OptionInfo& info, std::string_view value) {
  const std::string flag = flag_of(info.key);
  if (info.type != OptionType::on_or_off) {
    return fmt::format("{} {}", flag, value);
  }
  return value == "on" ? flag : fmt::format("--no-{}", flag.substr(2));
}

std::vector<std::string> examples_of(const OptionInfo& info) {
  std::vector<std::string> examples;
  for (const std::string_view value : info.examples) {
    examples.push_back(example_of(info, value));
  }
  return examples;
}

std::string type_of(const OptionInfo& info) {
  return info.unit.empty() ? name_of(info.type) : fmt::format("{}, {}", name_of(info.type), info.unit);
}

void print_text(const std::vector<OptionInfo>& table) {
  for (const OptionInfo& info : table) {
    fmt::print("{}\n  {}\n  takes    {} ({})\n  default  {}\n  example  {}\n\n", flag_of(info.key),
               in_flags(info.sentence), in_flags(values_of(info)), type_of(info), in_flags(info.by_default),
               fmt::join(examples_of(info), "; "));
  }
}

/// A cell of a Markdown table.
std::string cell(std::string_view text) {
  std::string escaped;
  for (const char c : in_flags(text)) {
    escaped += c == '|' ? "\\|" : std::string(1, c);
  }
  return escaped;
}

void print_markdown(const std::vector<OptionInfo>& table) {
  fmt::print(
      "# Options of `curate train`\n\nMade by `curate options --markdown`. In `config.toml` an option has its name "
      "without the dashes, with `_` for `-`.\n\n"
      "| option | what it does | takes | type, unit | default | examples |\n|---|---|---|---|---|---|\n");
  for (const OptionInfo& info : table) {
    fmt::print("| `{}` | {} | {} | {} | {} | `{}` |\n", flag_of(info.key), cell(info.sentence), cell(values_of(info)),
               type_of(info), cell(info.by_default), fmt::join(examples_of(info), "`, `"));
  }
}

/// null where there is none.
nlohmann::ordered_json bound(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

void print_json(const std::vector<OptionInfo>& table) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const OptionInfo& info : table) {
    nlohmann::ordered_json json;
    json["key"] = info.key;
    json["flag"] = flag_of(info.key);
    json["type"] = name_of(info.type);
    json["choices"] = info.choices;
    json["takes"] = in_flags(values_of(info));
    json["least"] = bound(info.least);
    json["most"] = bound(info.most);
    json["unit"] = info.unit;
    json["default"] = in_flags(info.by_default);
    json["sentence"] = in_flags(info.sentence);
    json["examples"] = info.examples;
    all.push_back(std::move(json));
  }
  fmt::print("{}", json_text(all));
}

/// All options, or the one that is meant by "rate_decay", "rate-decay" or "--rate-decay".
std::vector<OptionInfo> chosen(const std::string& name) {
  if (name.empty()) {
    return option_table();
  }
  std::string key = name.substr(std::min(name.find_first_not_of('-'), name.size()));
  std::replace(key.begin(), key.end(), '-', '_');
  return {find_option(key)};
}

}  // namespace

Command add_options(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("options", "every option of a training: what it does, what it takes, its default");
  struct Request {
    std::string name;
    bool json = false;
    bool markdown = false;
  };
  const auto request = std::make_shared<Request>();
  app->add_option("NAME", request->name, "one option alone, like rate-decay");
  CLI::Option* const json = app->add_flag("--json", request->json, "as JSON");
  app->add_flag("--markdown", request->markdown, "as a table in Markdown")->excludes(json);
  return {app, [request](const Reparse& /*reparse*/) {
            const std::vector<OptionInfo> table = chosen(request->name);
            request->json ? print_json(table) : request->markdown ? print_markdown(table) : print_text(table);
          }};
}

}  // namespace curate::cli
