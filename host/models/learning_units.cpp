#include "models/learning_units.h"

#include <fmt/format.h>

#include <cmath>
#include <string>

#include "models/rating_model.h"

namespace curate {
namespace {

void scale_tensor(Tensor& tensor, double factor, double addend = 0.0) {
  for (float& value : tensor.values) {
    value = static_cast<float>(factor * static_cast<double>(value) + addend);
  }
}

}  // namespace

RatingSpread spread_of(std::span<const float> ratings) {
  RatingSpread spread;
  if (ratings.empty()) {
    return spread;
  }
  const auto count = static_cast<double>(ratings.size());
  double total = 0.0;
  for (const float rating : ratings) {
    total += static_cast<double>(rating);
  }
  spread.mean = total / count;
  double squared = 0.0;
  for (const float rating : ratings) {
    const double offset = static_cast<double>(rating) - spread.mean;
    squared += offset * offset;
  }
  spread.deviation = std::sqrt(squared / count);
  return spread;
}

RatingUnits learning_units(const TrainOptions& resolved, const RatingSpread& spread) {
  if (resolved.units == UnitsKind::raw) {
    return {};
  }
  return {resolved.global_mean ? spread.mean : 0.0, spread.deviation > 0.0 ? spread.deviation : 1.0};
}

RatingScale to_units(const RatingScale& scale, const RatingUnits& units) {
  return {to_units(scale.min, units), to_units(scale.max, units),
          static_cast<float>(static_cast<double>(scale.step) / units.unit)};
}

void to_rating_scale(TensorMap& tensors, const ModelSpec& spec, const RatingUnits& units) {
  if (units == RatingUnits()) {
    return;
  }
  const auto [centre, unit] = units;
  if (!is_network(spec.kind)) {
    // <sqrt(unit) p, sqrt(unit) q> = unit <p, q>.
    for (auto& [name, tensor] : tensors) {
      if (name.ends_with(".embedding")) {
        scale_tensor(tensor, std::sqrt(unit));
      } else if (name.ends_with(".bias")) {
        scale_tensor(tensor, unit);
      } else if (name == "global_mean") {
        scale_tensor(tensor, unit, centre);
      }
    }
    return;
  }
  for (const char* factors : {"user.factors", "item.factors"}) {
    if (const auto found = tensors.find(factors); found != tensors.end()) {
      scale_tensor(found->second, std::sqrt(unit));
    }
  }
  // A sigmoid's range is what changes, and spec has that.
  if (spec.activations.back() != "sigmoid") {
    const std::size_t last = spec.activations.size() - 1;
    scale_tensor(tensors.at(fmt::format("dense.{}.weight", last)), unit);
    scale_tensor(tensors.at(fmt::format("dense.{}.bias", last)), unit, centre);
  }
}

}  // namespace curate
