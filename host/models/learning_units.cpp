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

RatingSpread spread_of(std::span<const float> ratings, const RatingTransform& transform) {
  RatingSpread spread;
  if (ratings.empty()) {
    return spread;
  }
  const auto count = static_cast<double>(ratings.size());
  double total = 0.0;
  for (const float rating : ratings) {
    total += transformed(static_cast<double>(rating), transform);
  }
  spread.mean = total / count;
  double squared = 0.0;
  for (const float rating : ratings) {
    const double offset = transformed(static_cast<double>(rating), transform) - spread.mean;
    squared += offset * offset;
  }
  spread.deviation = std::sqrt(squared / count);
  return spread;
}

RatingTransform transform_of(const TrainOptions& resolved, const RatingScale& scale) {
  return resolved.transform == TransformKind::none
             ? RatingTransform()
             : RatingTransform{resolved.transform, static_cast<double>(scale.min)};
}

RatingUnits learning_units(const TrainOptions& resolved, const RatingSpread& spread, const RatingTransform& transform) {
  if (resolved.units == UnitsKind::raw) {
    return units_of(transform);
  }
  return {resolved.global_mean ? spread.mean : 0.0, spread.deviation > 0.0 ? spread.deviation : 1.0, transform};
}

RatingScale to_units(const RatingScale& scale, const RatingUnits& units) {
  // Logarithms lie on no grid.
  const double step = units.transform.kind == TransformKind::none ? static_cast<double>(scale.step) / units.unit : 0.0;
  return {to_units(scale.min, units), to_units(scale.max, units), static_cast<float>(step)};
}

void to_rating_scale(TensorMap& tensors, const ModelSpec& spec, const RatingUnits& units) {
  if (units == RatingUnits()) {
    return;
  }
  const double centre = units.centre;
  const double unit = units.unit;
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
  if (spec.product) {
    // The layers see what they saw.
    const double factor = std::sqrt(unit);
    Tensor& weight = tensors.at("dense.0.weight");
    const std::int64_t columns = weight.shape[1];
    const std::int64_t scaled = tensors.at("user.embedding").shape[1] + tensors.at("item.embedding").shape[1];
    for (std::size_t k = 0; k < weight.values.size(); ++k) {
      if (static_cast<std::int64_t>(k) % columns < scaled) {
        weight.values[k] = static_cast<float>(static_cast<double>(weight.values[k]) / factor);
      }
    }
    scale_tensor(tensors.at("user.embedding"), factor);
    scale_tensor(tensors.at("item.embedding"), factor);
  }
  // A sigmoid's range is what changes, and spec has that.
  if (spec.activations.back() != "sigmoid") {
    const std::size_t last = spec.activations.size() - 1;
    scale_tensor(tensors.at(fmt::format("dense.{}.weight", last)), unit);
    scale_tensor(tensors.at(fmt::format("dense.{}.bias", last)), unit, centre);
  }
}

}  // namespace curate
