#include "cli/inspect_sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "cli/output.h"
#include "data/side_files.h"
#include "report/progress.h"
#include "train/option_text.h"

namespace curate::cli {
namespace {

double share(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

void add(std::vector<SideCoverage>& all, const char* side, const FeatureTable& table,
         std::span<const std::int32_t> ids) {
  for (const FeatureColumn& column : table.columns) {
    SideCoverage one;
    one.side = side;
    one.name = column.name;
    one.kind = column.kind;
    one.values = static_cast<std::int64_t>(column.vocabulary.size());
    if (column.kind == FeatureKind::number) {
      std::vector<float> known;
      std::copy_if(column.numbers.begin(), column.numbers.end(), std::back_inserter(known),
                   [](float number) { return !std::isnan(number); });
      const auto [min, max] = std::minmax_element(known.begin(), known.end());
      one.min = *min;  // a column has one value at least
      one.max = *max;
    }
    one.rows = table.rows;
    one.ratings = static_cast<std::int64_t>(ids.size());
    one.known = coverage_of(column, table.rows, ids);
    all.push_back(std::move(one));
  }
}

std::string describe_values(const SideCoverage& one) {
  switch (one.kind) {
    case FeatureKind::number:
      return fmt::format("{:g} to {:g}", one.min, one.max);
    case FeatureKind::vector:
      return fmt::format("{} number{}", grouped(one.values), one.values == 1 ? "" : "s");
    case FeatureKind::category:
    case FeatureKind::multi:
      break;
  }
  return fmt::format("{} value{}", grouped(one.values), one.values == 1 ? "" : "s");
}

std::string describe_model(const TrainOptions& options) {
  const std::string optimizer = text_of(options.optimizer);
  if (is_network(options.model)) {
    return fmt::format("{}, dim {} + {}, layers {}, {}", name_of(options.model), *options.user_dim, *options.item_dim,
                       text_of(options.layers), optimizer);
  }
  return fmt::format("mf, dim {}, {}", *options.dim, options.batch == 1 ? "per-rating " + optimizer : optimizer);
}

}  // namespace

std::vector<SideCoverage> side_coverage(const Dataset& dataset) {
  const DatasetFeatures features = read_features(*files_beside(dataset.source), dataset);
  std::vector<SideCoverage> all;
  add(all, "user", features.users, dataset.ratings.users);
  add(all, "item", features.items, dataset.ratings.items);
  return all;
}

nlohmann::ordered_json to_json(const std::vector<SideCoverage>& coverage) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const SideCoverage& one : coverage) {
    nlohmann::ordered_json json;
    json["side"] = one.side;
    json["name"] = one.name;
    json["kind"] = name_of(one.kind);
    if (one.kind == FeatureKind::number) {
      json["min"] = one.min;
      json["max"] = one.max;
    } else {
      json["values"] = one.values;
    }
    json["rows"] = one.known.rows;
    json["share_of_rows"] = share(one.known.rows, one.rows);
    json["ratings"] = one.known.ratings;
    json["share_of_ratings"] = share(one.known.ratings, one.ratings);
    all.push_back(std::move(json));
  }
  return all;
}

std::string to_text(const std::vector<SideCoverage>& coverage) {
  if (coverage.empty()) {
    return "side information  none beside the ratings\n";
  }
  std::string text = "side information  what                  known of      of them  of ratings\n";
  for (const SideCoverage& one : coverage) {
    text += fmt::format("{:<18}{:<17}{:>7} {:<6}{:>8.1f} %{:>10.1f} %\n", one.side + " " + one.name,
                        describe_values(one), grouped(one.known.rows), one.side + "s",
                        100.0 * share(one.known.rows, one.rows), 100.0 * share(one.known.ratings, one.ratings));
  }
  return text;
}

std::vector<ModelMemory> training_memory(const Dataset& dataset) {
  TrainOptions mf;
  mf.dim = 64;
  TrainOptions adam = mf;
  adam.optimizer = OptimizerChoice::adam;
  TrainOptions mlp;
  mlp.model = ModelKind::mlp;
  std::vector<ModelMemory> all;
  for (const TrainOptions& options : {mf, adam, mlp}) {
    const TrainOptions resolved = resolve(options);
    const TrainingSize size = {dataset.users.size(),
                               dataset.items.size(),
                               dataset.ratings.size(),
                               dataset.scale,
                               {},
                               dataset.ratings.has_timestamps()};
    all.push_back({resolved, estimate_memory(*make_measuring_cpu(), resolved, size),
                   estimate_memory(*make_measuring_gpu(), resolved, size)});
  }
  return all;
}

nlohmann::ordered_json to_json(const std::vector<ModelMemory>& memory) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  const auto json_of = [](const MemoryEstimate& bytes) {
    nlohmann::ordered_json json;
    for (const auto& [what, array_bytes] : bytes.arrays) {
      json[what] = array_bytes;
    }
    json["scratch"] = bytes.scratch;
    json["host"] = bytes.host;
    return json;
  };
  for (const auto& [options, cpu, gpu] : memory) {
    nlohmann::ordered_json json;
    json["model"] = name_of(options.model);
    json["dim"] = *options.dim;
    if (is_network(options.model)) {
      json["layers"] = text_of(options.layers);
    }
    json["optimizer"] = text_of(options.optimizer);
    json["batch"] = *options.batch;
    json["cpu"] = json_of(cpu);
    json["gpu"] = json_of(gpu);
    json["cpu_bytes"] = cpu.all_bytes();
    json["gpu_bytes"] = gpu.device_bytes();
    json["gpu_host_bytes"] = gpu.host;
    all.push_back(std::move(json));
  }
  return all;
}

std::string to_text(const std::vector<ModelMemory>& memory) {
  constexpr const char* kRow = "{:<44}{:>10}{:>12}{:>12}{:>22}\n";
  std::string text =
      fmt::format(kRow, "memory to train on all ratings, about", "ratings", "model", "on a CPU", "on a GPU + its host");
  for (const auto& [options, cpu, gpu] : memory) {
    const std::int64_t ratings = cpu.array_bytes("ratings") + cpu.array_bytes("segments");
    text += fmt::format(kRow, describe_model(options), short_bytes(ratings), short_bytes(cpu.array_bytes() - ratings),
                        short_bytes(cpu.all_bytes()),
                        fmt::format("{} + {}", short_bytes(gpu.device_bytes()), short_bytes(gpu.host)));
  }
  return text;
}

}  // namespace curate::cli
