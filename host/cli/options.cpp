#include <fmt/format.h>
#include <fmt/ranges.h>

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

void print_text() {
  for (const OptionInfo& info : option_table()) {
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

void print_markdown() {
  fmt::print(
      "# Options of `curate train`\n\nMade by `curate options --markdown`. In `config.toml` an option has its name "
      "without the dashes, with `_` for `-`.\n\n"
      "| option | what it does | takes | type, unit | default | examples |\n|---|---|---|---|---|---|\n");
  for (const OptionInfo& info : option_table()) {
    fmt::print("| `{}` | {} | {} | {} | {} | `{}` |\n", flag_of(info.key), cell(info.sentence), cell(values_of(info)),
               type_of(info), cell(info.by_default), fmt::join(examples_of(info), "`, `"));
  }
}

void print_json() {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const OptionInfo& info : option_table()) {
    nlohmann::ordered_json json;
    json["key"] = info.key;
    json["flag"] = flag_of(info.key);
    json["type"] = name_of(info.type);
    json["choices"] = info.choices;
    json["takes"] = in_flags(values_of(info));
    json["unit"] = info.unit;
    json["default"] = in_flags(info.by_default);
    json["sentence"] = in_flags(info.sentence);
    json["examples"] = info.examples;
    all.push_back(std::move(json));
  }
  fmt::print("{}", json_text(all));
}

}  // namespace

Command add_options(CLI::App& root) {
  CLI::App* app = root.add_subcommand("options", "every option of a training: what it does, takes, and is by default");
  struct Forms {
    bool json = false;
    bool markdown = false;
  };
  const auto forms = std::make_shared<Forms>();
  CLI::Option* const json = app->add_flag("--json", forms->json, "as JSON");
  app->add_flag("--markdown", forms->markdown, "as a table in Markdown")->excludes(json);
  return {app, [forms](const Reparse& /*reparse*/) {
            forms->json ? print_json() : forms->markdown ? print_markdown() : print_text();
          }};
}

}  // namespace curate::cli
