#include "kernels/dense_stack_layout.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "device/dropout_mask.h"
#include "kernels/dense_stack.h"
#include "kernels/shared_rows.h"

namespace curate::cuda {
namespace {

/// Shared memory that every GPU of today has for a block that asks for it.
constexpr std::size_t kMostSharedBytes = std::size_t{99} << 10U;
/// Batches of fewer rows are cut into shorter tiles, so that more blocks have some.
constexpr std::int64_t kLongBatch = 64 * 132;

/// Floats of one layer's partial sums.
int partial_floats(int outputs, int inputs) {
  return (eights(outputs) + 1) / 2 * eights(inputs + 1) * 128;
}

/// Lays a stack of these widths out for tiles of 32 `height` rows.
template <ProductPrecision kPrecision>
Stack tile_layout(const std::vector<std::int64_t>& widths, int height, int panel_depth) {
  using Numbers = SharedRows<kPrecision>;
  const int tile_rows = kWarpsDown * 16 * height;
  Stack stack{};
  stack.layers = static_cast<int>(widths.size()) - 1;
  stack.panel_depth = panel_depth;
  int at = 0;
  const auto take = [&at](int words) { return std::exchange(at, at + words); };
  int panel = 0;
  for (int l = 0; l < stack.layers; ++l) {
    StackLayer& layer = stack.layer[l];
    layer.inputs = static_cast<int>(widths[static_cast<std::size_t>(l)]);
    layer.outputs = static_cast<int>(widths[static_cast<std::size_t>(l) + 1]);
    layer.ld = Numbers::ld(layer.inputs + 1);
    layer.values = take(tile_rows * layer.ld);
    layer.biases = take(8 * eights(layer.outputs));
    if (panel_depth == 0) {
      layer.weights = take(Numbers::padded(layer.outputs) * Numbers::ld(layer.inputs));
    }
    panel = std::max(
        {panel, 8 * eights(layer.outputs) * Numbers::ld(panel_depth), panel_depth * Numbers::ld(layer.inputs)});
    layer.partial = stack.partial;
    stack.partial += partial_floats(layer.outputs, layer.inputs);
  }
  while (stack.lane_bits < 5 && 2 << stack.lane_bits < widths.front()) {
    ++stack.lane_bits;
  }
  stack.last_ld = Numbers::ld(static_cast<int>(widths.back()));
  stack.last_values = take(tile_rows * stack.last_ld);
  if (panel_depth > 0) {
    stack.panel = take(panel);
  }
  stack.shared_words = at;
  return stack;
}

/// The best layout that fits. The widest stack, 128 five times, takes 32 rows of 4 * 140 + 132 words, 4 * 128 biases
/// and a panel of 16 * 132 or 128 * 20 words, 98.5 KiB; for bf16 32 rows of 4 * 76 + 68 words, and panels of 32 * 68 or
/// 128 * 20 words, 58.5 KiB.
template <ProductPrecision kPrecision>
std::optional<StackTiles> lay_out_in(const std::vector<std::int64_t>& widths, std::int64_t batch) {
  struct Way {
    int height;
    int panel_depth;
  };
  for (const Way& way : {Way{2, 0}, Way{1, 0}, Way{1, 32}, Way{1, 16}}) {
    const Stack stack = tile_layout<kPrecision>(widths, way.height, way.panel_depth);
    if (shared_bytes(stack) <= kMostSharedBytes && (way.height == 1 || batch >= kLongBatch)) {
      return StackTiles{stack, way.height};
    }
  }
  return std::nullopt;
}

std::optional<StackTiles> lay_out(const std::vector<std::int64_t>& widths, ProductPrecision precision,
                                  std::int64_t batch) {
  if (widths.size() < 2 || widths.size() > static_cast<std::size_t>(kMostLayers) + 1 ||
      std::any_of(widths.begin(), widths.end(), [](std::int64_t width) { return width > kWidestStackLayer; })) {
    return std::nullopt;
  }
  switch (precision) {
    case ProductPrecision::f32:
      return lay_out_in<ProductPrecision::f32>(widths, batch);
    case ProductPrecision::tf32:
      return lay_out_in<ProductPrecision::tf32>(widths, batch);
    case ProductPrecision::bf16:
      return lay_out_in<ProductPrecision::bf16>(widths, batch);
  }
  return std::nullopt;
}

/// Inputs of the first layer, then every layer's outputs.
std::vector<std::int64_t> widths_of(const DenseStack& layers) {
  std::vector<std::int64_t> widths = {layers.front().params.weight.cols};
  for (const DenseStackLayer& layer : layers) {
    widths.push_back(layer.params.weight.rows);
  }
  return widths;
}

}  // namespace

StackTiles lay_out_stack(const DenseStack& layers, ProductPrecision precision, std::int64_t batch) {
  std::optional<StackTiles> layout = lay_out(widths_of(layers), precision, batch);
  if (!layout) {
    throw std::logic_error("a dense stack that fits no multiprocessor");
  }
  for (std::size_t l = 0; l < layers.size(); ++l) {
    StackLayer& layer = layout->stack.layer[l];
    layer.weight = static_cast<const float*>(layers[l].params.weight.data);
    layer.bias = static_cast<const float*>(layers[l].params.bias.data);
    layer.activation = layers[l].activation;
    const DropoutParams& dropout = layers[l].dropout;
    layer.drops = dropout.rate > 0.0F;
    layer.dropout_purpose = dropout.purpose;
    layer.dropout_threshold = dropout_threshold(dropout.rate);
    layer.dropout_scale = 1.0F / (1.0F - dropout.rate);
    layer.dropout_keep = 1.0F - dropout.rate;
  }
  return *layout;
}

bool suits_dense_stack(const DenseStack& stack, ProductPrecision precision) {
  const std::optional<StackTiles> layout = lay_out(widths_of(stack), precision, 0);
  return layout && (layout->stack.panel_depth == 0 || precision != ProductPrecision::f32);
}

bool fits_dense_stack(const DenseStack& stack, ProductPrecision precision) {
  return lay_out(widths_of(stack), precision, 0).has_value();
}

}  // namespace curate::cuda
