#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "curate/error.h"
#include "curate/model.h"
#include "support/csv_field.h"
#include "support/json_text.h"

namespace curate::cli {
namespace {

struct PredictArguments {
  std::string run;
  std::optional<std::int64_t> user;
  std::optional<std::int64_t> item;
  std::string pairs;
  ComputeOptions compute;
  bool json = false;
};

std::string title_of(const Model& model, std::int64_t raw_item) {
  const auto item = model.parts().items.find(raw_item);
  const auto& info = model.parts().item_info;
  return item && static_cast<std::size_t>(*item) < info.size() ? info[static_cast<std::size_t>(*item)].title : "";
}

void run_predict(const PredictArguments& arguments) {
  std::vector<RawPair> pairs;
  if (!arguments.pairs.empty()) {
    if (arguments.user || arguments.item) {
      throw InputError("--pairs goes without --user and --item; give one or the other");
    }
    pairs = read_pairs(arguments.pairs);
  } else if (arguments.user && arguments.item) {
    pairs.push_back({*arguments.user, *arguments.item});
  } else {
    throw InputError("nothing to predict: give --user U --item I, or --pairs FILE");
  }
  const Model model = Model::load(arguments.run);
  const std::vector<Prediction> predictions = model.predict(pairs, arguments.compute);
  if (arguments.json) {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (std::size_t n = 0; n < pairs.size(); ++n) {
      json.push_back({{"user", pairs[n].user},
                      {"item", pairs[n].item},
                      {"prediction", predictions[n].rating},
                      {"basis", name_of(predictions[n].basis)},
                      {"title", title_of(model, pairs[n].item)}});
    }
    fmt::print("{}", json_text(json));
    return;
  }
  std::string text = "userId,movieId,prediction,basis,title\n";
  for (std::size_t n = 0; n < pairs.size(); ++n) {
    text += fmt::format("{},{},{:.4f},{},{}\n", pairs[n].user, pairs[n].item, predictions[n].rating,
                        name_of(predictions[n].basis), csv_field(title_of(model, pairs[n].item)));
  }
  fmt::print("{}", text);
}

}  // namespace

Command add_predict(CLI::App& root) {
  CLI::App* app = root.add_subcommand("predict", "predict ratings with a trained model, as csv on standard output");
  const auto arguments = std::make_shared<PredictArguments>();
  app->add_option("run", arguments->run, "run directory of curate train")->required();
  app->add_option("--user", arguments->user, "user id, as in the data")->transform(whole_number<std::int64_t>);
  app->add_option("--item", arguments->item, "item id, as in the data")->transform(whole_number<std::int64_t>);
  app->add_option("--pairs", arguments->pairs, "file of user, item (further columns are ignored)");
  app->add_option("--device", arguments->compute.device, "auto, cpu or cuda")->capture_default_str();
  app->add_option("--threads", arguments->compute.threads, "CPU threads; 0: all cores")
      ->transform(whole_number<std::int32_t>)
      ->capture_default_str();
  app->add_flag("--json", arguments->json, "predictions as JSON");
  return {app, [arguments](const Reparse& /*reparse*/) { run_predict(*arguments); }};
}

}  // namespace curate::cli
