#pragma once

#include <cstddef>
#include <cstdint>

#include "device/device.h"
#include "kernels/launch.h"
#include "support/host_device.h"

namespace curate::cuda {

// How a stack of dense layers lies in a block's shared memory: what the host plans and the kernels of dense_stack.cu
// take.

constexpr int kMostLayers = static_cast<int>(kMostStackLayers);
constexpr int kStackWarps = kBlockThreads / 32;
/// How the warps of a block share a product of a tile's rows: two beside each other share its rows, four its columns.
constexpr int kWarpsDown = 2;
constexpr int kWarpsAcross = kStackWarps / kWarpsDown;

CURATE_HOST_DEVICE constexpr int eights(int count) {
  return (count + 7) / 8;
}

/// A layer as the kernels take it. Offsets are words from the beginning of shared memory (warp_product.cuh). There are
///   values   [tile rows, padded inputs + 1]: the layer's inputs, rounded; on the way back the gradient by the sums of
///            the layer before takes their place; column `inputs` holds 1, others past it 0
///   weights  [padded outputs, padded inputs], rounded, the rest 0; nothing if they do not stay
///   biases   [outputs up to a multiple of 8] f32
struct StackLayer {
  const float* weight;  ///< [outputs, inputs]
  const float* bias;    ///< [outputs]
  Activation activation;
  RandomPurpose dropout_purpose;
  std::uint32_t dropout_threshold;
  bool drops;
  float dropout_scale;  ///< 1 without dropout, as is its inverse
  float dropout_keep;
  int inputs;
  int outputs;
  int values;
  int ld;
  int weights;
  int biases;
  int partial;  ///< floats from the beginning of a slice's partial sums, to those of this layer
};

struct Stack {
  StackLayer layer[kMostLayers];
  int layers;
  int last_values;  ///< what comes out of the last layer, [tile rows, padded outputs]
  int last_ld;
  int panel;        ///< if weights do not stay: a panel of them,
  int panel_depth;  ///< and how deep it is; 0: they stay
  int lane_bits;    ///< 2^lane_bits threads share a row of the first layer's inputs
  int shared_words;
  int partial;  ///< floats of a slice's partial sums
};

/// How the tiles of a stack lie in shared memory.
struct StackTiles {
  Stack stack{};
  int height = 1;  ///< a tile has 32 of that many rows
};

/// The best layout that fits. Throws std::logic_error if there is none (fits_dense_stack).
StackTiles lay_out_stack(const DenseStack& layers, ProductPrecision precision, std::int64_t batch);

/// What a block takes of shared memory.
inline std::size_t shared_bytes(const Stack& stack) {
  return static_cast<std::size_t>(stack.shared_words) * sizeof(std::uint32_t);
}

inline std::int64_t tile_rows_of(const StackTiles& layout) {
  return kWarpsDown * 16 * layout.height;
}

}  // namespace curate::cuda
