#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "curate/export.h"

namespace curate {

/// mf: matrix factorization; mlp: a neural network over embeddings; neumf: that and a dot product; bias: a mean and an
/// offset of every user and item.
enum class ModelKind : std::uint8_t { mf, mlp, neumf, bias };

/// Whether a model has dense layers.
constexpr bool is_network(ModelKind model) {
  return model == ModelKind::mlp || model == ModelKind::neumf;
}

/// sgd_and_adam: users' and items' vectors by SGD, what they share (features' embeddings, dense layers) by Adam.
enum class OptimizerChoice : std::uint8_t { sgd, adagrad, adam, sgd_and_adam };

enum class LossKind : std::uint8_t { mse, mae };

enum class ActivationKind : std::uint8_t { linear, relu, tanh, sigmoid };

enum class ScheduleKind : std::int32_t {
  constant,
  linear,  ///< falls linearly to zero over the planned steps
};

/// What a rating is learnt in. spread: the rating less the mean, over the standard deviation of the training ratings;
/// raw: the rating as it is.
enum class UnitsKind : std::uint8_t { spread, raw };

/// What of a rating is learnt: the rating, or log(1 + rating - lowest rating of the scale).
enum class TransformKind : std::uint8_t { none, log };

/// A transform with what it depends on.
struct CURATE_API RatingTransform {
  TransformKind kind = TransformKind::none;
  double start = 0.0;  ///< log: the lowest rating of the scale

  bool operator==(const RatingTransform&) const = default;
};

/// Distribution of the first factors.
enum class InitKind : std::uint8_t { normal, uniform };

/// How users' and items' embeddings are stored while they are trained. Arithmetic is f32.
enum class EmbeddingPrecision : std::uint8_t { f32, f16, bf16 };

/// What the two matrices of a product are rounded to; sums are f32.
enum class ProductPrecision : std::uint8_t {
  f32,
  tf32,  ///< 10 bits after the point
  bf16,  ///< 7 bits after the point
};

/// Rates of dropout after the users' and the items' embedding, 0 to 0.95.
struct CURATE_API DropoutRates {
  double user = 0.0;
  double item = 0.0;

  bool operator==(const DropoutRates&) const = default;
};

/// Columns of a feature's embedding.
struct CURATE_API FeatureDim {
  std::string name;          ///< empty: of every feature
  std::int32_t columns = 0;  ///< 1 to 1024

  bool operator==(const FeatureDim&) const = default;
};

/// How a GPU goes through ratings in an epoch of per-rating SGD, to be measured. Of lanes, ahead and split 0 is the
/// engine's choice.
struct CURATE_API MfKernelOptions {
  std::int32_t lanes = 0;  ///< threads that share a rating: 1, 2, 4, 8, 16 or 32, or more of them where rows are long
  std::int32_t ahead = 0;  ///< rows of items that are fetched ahead: 1, 2 or 4
  std::int32_t split = 0;  ///< users of more ratings than that are learnt in pieces side by side, at least 16
  std::int32_t hot_items = 0;  ///< most rated items whose changes a block gathers before it adds them: 0 (none) to 1024
  bool scalar_reductions = false;  ///< changes are added one float at a time, not four

  bool operator==(const MfKernelOptions&) const = default;
};

/// How a training went wrong: its error was not finite, grew, or stayed above that of what it started from.
enum class DivergenceKind : std::uint8_t { not_finite, grew, above_start };

/// Members of an ensemble that are of one kind.
struct CURATE_API EnsemblePart {
  std::optional<ModelKind> kind;  ///< none: the model that the options name
  std::int32_t members = 1;

  bool operator==(const EnsemblePart&) const = default;
};

/// Names of an enumeration's values in their order, as options have them.
template <typename Kind>
inline constexpr std::array<std::string_view, 0> kKindNames = {};
template <>
inline constexpr std::array<std::string_view, 4> kKindNames<ModelKind> = {"mf", "mlp", "neumf", "bias"};
template <>
inline constexpr std::array<std::string_view, 4> kKindNames<OptimizerChoice> = {"sgd", "adagrad", "adam", "sgd+adam"};
template <>
inline constexpr std::array<std::string_view, 2> kKindNames<LossKind> = {"mse", "mae"};
template <>
inline constexpr std::array<std::string_view, 4> kKindNames<ActivationKind> = {"linear", "relu", "tanh", "sigmoid"};
template <>
inline constexpr std::array<std::string_view, 2> kKindNames<ScheduleKind> = {"constant", "linear"};
template <>
inline constexpr std::array<std::string_view, 2> kKindNames<UnitsKind> = {"spread", "raw"};
template <>
inline constexpr std::array<std::string_view, 2> kKindNames<TransformKind> = {"none", "log"};
template <>
inline constexpr std::array<std::string_view, 2> kKindNames<InitKind> = {"normal", "uniform"};
template <>
inline constexpr std::array<std::string_view, 3> kKindNames<EmbeddingPrecision> = {"f32", "f16", "bf16"};
template <>
inline constexpr std::array<std::string_view, 3> kKindNames<ProductPrecision> = {"f32", "tf32", "bf16"};

template <>
inline constexpr std::array<std::string_view, 3> kKindNames<DivergenceKind> = {"not_finite", "grew", "above_start"};

/// An enumeration whose values have names.
template <typename Kind>
concept NamedKind = !kKindNames<Kind>.empty();

/// The name of a value, as options have it: "sgd+adam". The value must be one of the enumeration's.
template <NamedKind Kind>
constexpr std::string_view name_of(Kind kind) {
  return kKindNames<Kind>.at(static_cast<std::size_t>(kind));
}

/// The value of that name; std::nullopt where no value has it.
template <NamedKind Kind>
constexpr std::optional<Kind> find_kind(std::string_view name) {
  for (std::size_t kind = 0; kind < kKindNames<Kind>.size(); ++kind) {
    if (kKindNames<Kind>[kind] == name) {
      return static_cast<Kind>(kind);
    }
  }
  return std::nullopt;
}

}  // namespace curate
