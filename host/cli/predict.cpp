#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/device_options.h"
#include "curate/error.h"
#include "curate/predictor.h"
#include "models/members.h"
#include "support/csv_field.h"
#include "support/json_text.h"

namespace curate::cli {
namespace {

struct PredictArguments {
  std::string run;
  std::optional<std::string> user;
  std::optional<std::string> item;
  std::string pairs;
  ComputeOptions compute;
  bool json = false;
};

std::string title_of(const Model& model, const RawId& raw_item) {
  const auto item = model.parts().items.find(raw_item);
  const auto& info = model.parts().item_info;
  return item && static_cast<std::size_t>(*item) < info.size() ? info[static_cast<std::size_t>(*item)].title : "";
}

/// An id as the model's data had it. Throws InputError for no text, and for text if all ids are numbers.
RawId one_id(const char* flag, const std::string& text, const IdMap& ids) {
  if (text.empty()) {
    throw InputError(fmt::format("{} is empty; give an id of the data", flag));
  }
  const std::optional<std::int32_t> known = ids.find(std::string_view(text));
  const RawId id = known ? ids.id(*known) : RawId(text);
  if (ids.numbers() && !id.is_number()) {
    throw InputError(fmt::format("{} {}: ids of this model are whole numbers of 64 bits; give one", flag, text));
  }
  return id;
}

nlohmann::ordered_json to_json(const RawId& id) {
  return id.is_number() ? nlohmann::ordered_json(id.number()) : nlohmann::ordered_json(id.text());
}

void run_predict(const PredictArguments& arguments) {
  if (!arguments.pairs.empty() && (arguments.user || arguments.item)) {
    throw InputError("--pairs goes without --user and --item; give one or the other");
  }
  if (arguments.pairs.empty() && !(arguments.user && arguments.item)) {
    throw InputError("nothing to predict: give --user U --item I, or --pairs FILE");
  }
  const Model model = Model::load(arguments.run);
  const IdMap& users = model.parts().users;
  const IdMap& items = model.parts().items;
  const std::vector<RawPair> pairs =
      arguments.pairs.empty()
          ? std::vector<RawPair>{{one_id("--user", *arguments.user, users), one_id("--item", *arguments.item, items)}}
          : read_pairs(arguments.pairs, !users.numbers() || !items.numbers());
  const std::vector<Prediction> predictions = Predictor(model, arguments.compute).predict(pairs);
  const bool ensemble = is_ensemble(model.parts());
  if (arguments.json) {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (std::size_t n = 0; n < pairs.size(); ++n) {
      nlohmann::ordered_json& one = json.emplace_back();
      one["user"] = to_json(pairs[n].user);
      one["item"] = to_json(pairs[n].item);
      one["prediction"] = predictions[n].rating;
      if (ensemble) {
        one["spread"] =
            predictions[n].spread ? nlohmann::ordered_json(*predictions[n].spread) : nlohmann::ordered_json(nullptr);
      }
      one["basis"] = name_of(predictions[n].basis);
      one["title"] = title_of(model, pairs[n].item);
    }
    fmt::print("{}", json_text(json));
    return;
  }
  std::string text = fmt::format("userId,movieId,prediction{},basis,title\n", ensemble ? ",spread" : "");
  for (std::size_t n = 0; n < pairs.size(); ++n) {
    const std::optional<float> spread = predictions[n].spread;
    text += fmt::format("{},{},{:.4f}{},{},{}\n", csv_field(pairs[n].user.text()), csv_field(pairs[n].item.text()),
                        predictions[n].rating,
                        !ensemble ? ""
                        : spread  ? fmt::format(",{:.4f}", *spread)
                                  : ",",
                        name_of(predictions[n].basis), csv_field(title_of(model, pairs[n].item)));
  }
  fmt::print("{}", text);
}

}  // namespace

Command add_predict(CLI::App& root) {
  CLI::App* app = root.add_subcommand("predict", "predict ratings with a trained model, as csv on standard output");
  const auto arguments = std::make_shared<PredictArguments>();
  app->add_option("run", arguments->run, "run directory of curate train")->required();
  app->add_option("--user", arguments->user, "user id, as in the data");
  app->add_option("--item", arguments->item, "item id, as in the data");
  app->add_option("--pairs", arguments->pairs, "file of user, item (further columns are ignored)");
  app->add_option("--device", arguments->compute.device, "auto, cpu, cuda, or cuda:N for the GPU numbered N")
      ->capture_default_str();
  add_debug_device(*app);
  app->add_option("--threads", arguments->compute.threads, "CPU threads; 0: all cores")
      ->transform(whole_number<std::int32_t>)
      ->capture_default_str();
  app->add_flag("--json", arguments->json, "predictions as JSON");
  return {app, [arguments](const Reparse& /*reparse*/) { run_predict(*arguments); }};
}

}  // namespace curate::cli
