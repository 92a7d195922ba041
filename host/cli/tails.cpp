#include "cli/tails.h"

#include <fmt/format.h>

#include "report/progress.h"

namespace curate::cli {

std::optional<RatingPlace> place_of(const Dataset& dataset, const HeavyTails& tails) {
  return find_rating_place(dataset, tails.user, tails.item, tails.rating);
}

std::string warning_of(const HeavyTails& tails, const std::optional<RatingPlace>& place) {
  std::string text = place ? fmt::format("warning: {}:{}: ", place->file, place->line) : "warning: ";
  text += fmt::format("the rating {} lies {:.3g} standard deviations {} the mean {:.4g}", tails.rating,
                      tails.deviations, tails.above() ? "above" : "below", tails.mean);
  if (tails.count > 1) {
    text += fmt::format(", the farthest of {} that lie more than {:g} from it", grouped(tails.count),
                        HeavyTails::kDeviations);
  }
  // Logarithms draw in what is large.
  return text + (tails.above() ? "; mend or remove it if it is a mistake, or learn logarithms with --transform log"
                               : "; mend or remove it if it is a mistake");
}

nlohmann::ordered_json to_json(const Dataset& dataset, const HeavyTails& tails,
                               const std::optional<RatingPlace>& place) {
  nlohmann::ordered_json json;
  json["user"] = dataset.users.text(tails.user);
  json["item"] = dataset.items.text(tails.item);
  json["rating"] = tails.rating;
  json["deviations"] = tails.deviations;
  json["far_ratings"] = tails.count;
  json["file"] = place ? nlohmann::ordered_json(place->file) : nlohmann::ordered_json(nullptr);
  json["line"] = place ? nlohmann::ordered_json(place->line) : nlohmann::ordered_json(nullptr);
  return json;
}

}  // namespace curate::cli
