#include "kernels/dense_stack.h"

#include <algorithm>
#include <vector>

#include "device/dropout_mask.h"
#include "kernels/activations.cuh"
#include "kernels/dense_stack_layout.h"
#include "kernels/rows.cuh"
#include "kernels/warp_product.cuh"

namespace curate::cuda {
namespace {

/// Blocks of a grid, each of which goes through tiles in turns: two for every multiprocessor of an H100, and the same
/// on every other GPU, as sums are by block.
constexpr std::int64_t kMostBlocks = 264;

/// Where a layer's outputs lie.
struct Values {
  int first;
  int ld;
};
__device__ Values outputs_of(const Stack& stack, int l) {
  if (l + 1 < stack.layers) {
    return {stack.layer[l + 1].values, stack.layer[l + 1].ld};
  }
  return {stack.last_values, stack.last_ld};
}

/// What a row of a layer's inputs holds in that column: the value, 1, or 0.
__device__ float or_one(float value, int column, int width) {
  return column < width ? value : column == width ? 1.0F : 0.0F;
}

/// The same for two neighbouring columns: the part that does not depend on the row.
struct TwoColumns {
  bool there[2];
  float filler[2];
  float bias[2];

  __device__ TwoColumns(int column, int width)
      : there{column < width, column + 1 < width},
        filler{or_one(0.0F, column, width), or_one(0.0F, column + 1, width)},
        bias{} {}

  template <ProductPrecision kPrecision, typename Words>
  __device__ void store(const Words& shared, int row, int column, float first, float second) const {
    SharedNumbers<kPrecision>::store(shared, row, column, there[0] ? first : filler[0], there[1] ? second : filler[1]);
  }
};

/// A stretch of a layer's weights into shared memory, [rows, width], zeros outside of the layer. All threads of the
/// block.
template <ProductPrecision kPrecision, typename Words>
__device__ void load_weights(const StackLayer& layer, const Words& shared, int to, int j0, int rows, int k0,
                             int width) {
  using Numbers = SharedNumbers<kPrecision>;
  const int warp = warp_of_block();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int ld = Numbers::ld(width);
  for (int j = warp; j < rows; j += kStackWarps) {
    const float* const row = layer.weight + static_cast<std::int64_t>(j0 + j) * layer.inputs + k0;
    const int left = j0 + j < layer.outputs ? layer.inputs - k0 : 0;
    for (int k = 2 * lane; k < width; k += 64) {
      Numbers::store(shared, to + j * ld, k, k < left ? row[k] : 0.0F, k + 1 < left ? row[k + 1] : 0.0F);
    }
  }
}

/// Zeros everywhere, ones where a bias finds its gradient, biases, and weights that stay. All threads of the block.
template <ProductPrecision kPrecision, typename Words>
__device__ void fill_shared(const Stack& stack, const Words& shared, int tile_rows) {
  using Numbers = SharedNumbers<kPrecision>;
  const auto thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < stack.shared_words; i += kBlockThreads) {
    shared[i] = 0U;
  }
  __syncthreads();
  for (int l = 0; l < stack.layers; ++l) {
    const StackLayer& layer = stack.layer[l];
    const int pair = layer.inputs / 2 * 2;
    for (int b = thread; b < tile_rows; b += kBlockThreads) {
      Numbers::store(shared, layer.values + b * layer.ld, pair, or_one(0.0F, pair, layer.inputs),
                     or_one(0.0F, pair + 1, layer.inputs));
    }
    for (int j = thread; j < layer.outputs; j += kBlockThreads) {
      shared[layer.biases + j] = __float_as_uint(layer.bias[j]);
    }
    if (stack.panel_depth == 0) {
      load_weights<kPrecision>(layer, shared, layer.weights, 0, Numbers::padded(layer.outputs), 0,
                               Numbers::padded(layer.inputs));
    }
  }
  __syncthreads();
}

/// The warp's part of a product of a tile's rows with `columns` columns.
template <int kHeight>
struct Part {
  int row;
  int column;
  int wide;  ///< in eights

  __device__ explicit Part(int columns) {
    const int warp = warp_of_block();
    const int all = eights(columns);
    const int each = (all + kWarpsAcross - 1) / kWarpsAcross;
    const int first = warp / kWarpsDown * each;
    const int left = all - first;
    row = warp % kWarpsDown * 16 * kHeight;
    column = 8 * first;
    wide = left < 0 ? 0 : left < each ? left : each;
  }
};

/// sum = the layer's inputs times its weights, for the warp's part of the tile's rows and of the outputs. All threads
/// of the block.
template <ProductPrecision kPrecision, int kHeight, typename Words>
__device__ void multiply_forward(WarpSums<kHeight>& sum, const Stack& stack, const StackLayer& layer,
                                 const Words& shared, const Part<kHeight>& part) {
  using Numbers = SharedNumbers<kPrecision>;
  sum.clear();
  const int depth = Numbers::padded(layer.inputs);
  const int step = stack.panel_depth == 0 ? depth : stack.panel_depth;
  for (int k0 = 0; k0 < depth; k0 += step) {
    const int width = depth - k0 < step ? depth - k0 : step;
    const int ld = Numbers::ld(width);
    int weights = layer.weights;
    if (stack.panel_depth > 0) {
      weights = stack.panel;
      __syncthreads();
      load_weights<kPrecision>(layer, shared, weights, 0, 8 * eights(layer.outputs), k0, width);
      __syncthreads();
    }
    const SharedOperand<false> values = {layer.values + part.row * layer.ld + Numbers::words(k0), layer.ld};
    add_product<kPrecision>(sum, shared, values, SharedOperand<false>{weights + part.column * ld, ld},
                            {2 * kHeight, part.wide, width});
  }
}

/// sum = the gradient by the layer's sums times its weights, for the warp's part of the tile's rows and of the inputs.
/// All threads of the block.
template <ProductPrecision kPrecision, int kHeight, typename Words>
__device__ void multiply_backward(WarpSums<kHeight>& sum, const Stack& stack, const StackLayer& layer,
                                  const Values& gradient, const Words& shared, const Part<kHeight>& part) {
  using Numbers = SharedNumbers<kPrecision>;
  sum.clear();
  const int depth = Numbers::padded(layer.outputs);
  const int step = stack.panel_depth == 0 ? depth : stack.panel_depth;
  const int ld = Numbers::ld(layer.inputs);
  for (int j0 = 0; j0 < depth; j0 += step) {
    const int rows = depth - j0 < step ? depth - j0 : step;
    int weights = layer.weights;
    if (stack.panel_depth > 0) {
      weights = stack.panel;
      __syncthreads();
      load_weights<kPrecision>(layer, shared, weights, j0, rows, 0, Numbers::padded(layer.inputs));
      __syncthreads();
    }
    const SharedOperand<false> h = {gradient.first + part.row * gradient.ld + Numbers::words(j0), gradient.ld};
    add_product<kPrecision>(sum, shared, h, SharedOperand<true>{weights + Numbers::words(part.column), ld},
                            {2 * kHeight, part.wide, rows});
  }
}

/// Adds the tile's part of the gradients of weight and bias to the slice's partial sums, or puts it there. These are
/// in the order in which warps hold them: [outputs / 16, (inputs + 1) / 8, 32 lanes, 4], rounded up, so that every
/// thread meets its own elements alone, 16 bytes at a time.
template <ProductPrecision kPrecision, typename Words>
__device__ void add_parameters(float* partial, bool first_tile, const StackLayer& layer, const Values& gradient,
                               const Words& shared, int tile_rows) {
  using Numbers = SharedNumbers<kPrecision>;
  constexpr int kHeight = 2;
  constexpr int kWidth = WarpSums<kHeight>::kWidth;
  const int warp = warp_of_block();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int high = eights(layer.outputs);
  const int wide = eights(layer.inputs + 1);
  const int across = (wide + kWidth - 1) / kWidth;
  const int units = (high + 2 * kHeight - 1) / (2 * kHeight) * across;
#pragma unroll 1
  for (int unit = warp; unit < units; unit += kStackWarps) {
    const int i0 = unit / across * 2 * kHeight;
    const int n0 = unit % across * kWidth;
    const int own_wide = wide - n0 < kWidth ? wide - n0 : kWidth;
    WarpSums<kHeight> sum;
    sum.clear();
    add_product<kPrecision>(sum, shared, SharedOperand<true>{gradient.first + Numbers::words(8 * i0), gradient.ld},
                            SharedOperand<true>{layer.values + Numbers::words(8 * n0), layer.ld},
                            {high - i0, own_wide, tile_rows});
    float* const own = partial + (static_cast<std::int64_t>(i0 / 2 * wide + n0) * 32 + lane) * 4;
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
#pragma unroll
      for (int n = 0; n < kWidth; ++n) {
        if (i0 + 2 * i < high && n < own_wide) {
          float* const to = own + (i * wide + n) * 128;
          Pack<4> pack = first_tile ? Pack<4>{} : Pack<4>::load(to);
          for (int e = 0; e < 4; ++e) {
            pack.value[e] += sum.value[i][n][e];
          }
          pack.store(to);
        }
      }
    }
  }
}

/// Drops elements of a layer's outputs. A dropped one is -0, which nothing else is: the way back needs no second draw.
/// All threads of the block.
template <ProductPrecision kPrecision, typename Words>
__device__ void drop(const StackLayer& layer, const Values& values, const Words& shared, int tile_rows,
                     std::int64_t row, const StepState* state) {
  using Numbers = SharedNumbers<kPrecision>;
  const int quads = (layer.outputs + 3) / 4;
  for (int e = static_cast<int>(threadIdx.x); e < tile_rows * quads; e += kBlockThreads) {
    const int b = e / quads;
    const int quad = e % quads;
    const PhiloxWords words = dropout_words(state->seed, state->batch_begin + row + b, layer.outputs, quad,
                                            state->epoch, layer.dropout_purpose);
    const int at = values.first + b * values.ld;
    for (int i = 0; i < 4; i += 2) {
      const int column = 4 * quad + i;
      if (column < layer.outputs) {
        float two[2];
        Numbers::load(two, shared, at, column);
        for (int n = 0; n < 2; ++n) {
          two[n] = words.word[i + n] < layer.dropout_threshold ? -0.0F
                   : two[n] == 0.0F                            ? 0.0F
                                                               : two[n] * layer.dropout_scale;
        }
        Numbers::store(shared, at, column, two[0], or_one(two[1], column + 1, layer.outputs));
      }
    }
  }
  __syncthreads();
}

/// The gradient by a layer's sum, from the gradient by `dropped`, the layer's output after its dropout.
template <ActivationKind kKind>
__device__ float by_sum(float gradient, float dropped, const StackLayer& layer) {
  const float result =
      times_slope<kKind>(gradient * layer.dropout_scale, dropped * layer.dropout_keep, layer.activation);
  return layer.drops && __float_as_uint(dropped) == 0x80000000U ? 0.0F : result;
}

/// Rows of a tile that the batch has.
__device__ int rows_in_tile(std::int64_t row, int tile_rows, std::int64_t count) {
  return count - row < tile_rows ? static_cast<int>(count - row) : tile_rows;
}

/// The inputs of a tile's rows, zeros past the batch's end. All threads of the block.
template <ProductPrecision kPrecision, typename Words>
__device__ void load_inputs(const Stack& stack, const Words& shared, const Rows<const float>& in, std::int64_t row,
                            int tile_rows, int rows) {
  const auto thread = static_cast<int>(threadIdx.x);
  const StackLayer& layer = stack.layer[0];
  const int lane = thread & ((1 << stack.lane_bits) - 1);
  for (int b = thread >> stack.lane_bits; b < tile_rows; b += kBlockThreads >> stack.lane_bits) {
    const float* const from = in.row(row + b);
    const int there = b < rows ? layer.inputs : 0;
#pragma unroll 1
    for (int k = 2 * lane; k < layer.inputs; k += 2 << stack.lane_bits) {
      const float first = k < there ? from[k] : 0.0F;
      const float second = k + 1 < there ? from[k + 1] : 0.0F;
      SharedNumbers<kPrecision>::store(shared, layer.values + b * layer.ld, k, first,
                                       or_one(second, k + 1, layer.inputs));
    }
  }
  __syncthreads();
}

/// Forward through all layers. The last one's outputs go to on_two(kind of its activation, row in the tile, output,
/// value, value of the next output), those past the last output too. Rows past the batch's end go through like others:
/// their gradients are 0.
template <ProductPrecision kPrecision, int kHeight, typename Words, typename OnTwo>
__device__ void go_forward(const Stack& stack, const Words& shared, std::int64_t row, const StepState* state,
                           OnTwo on_two) {
  constexpr int kTileRows = kWarpsDown * 16 * kHeight;
  for (int l = 0; l < stack.layers; ++l) {
    const StackLayer& layer = stack.layer[l];
    const Values out = outputs_of(stack, l);
    const bool last = l + 1 == stack.layers;
    const Part<kHeight> part(layer.outputs);
    WarpSums<kHeight> sum;
    multiply_forward<kPrecision>(sum, stack, layer, shared, part);
    with_kind(layer.activation.kind, [&](auto kind) {
      constexpr ActivationKind kKind = decltype(kind)::kValue;
      const auto of_columns = [&](int c) {
        TwoColumns columns(part.column + c, layer.outputs);
        load_shared(columns.bias, shared, layer.biases + part.column + c);
        return columns;
      };
      sum.visit(part.wide, of_columns, [&](int r, int c, float first, float second, const TwoColumns& columns) {
        const int b = part.row + r;
        const int j = part.column + c;
        const float y[2] = {activate<kKind>(first + columns.bias[0], layer.activation),
                            activate<kKind>(second + columns.bias[1], layer.activation)};
        if (last) {
          on_two(kind, b, j, y[0], y[1]);
        } else {
          columns.template store<kPrecision>(shared, out.first + b * out.ld, j, y[0], y[1]);
        }
      });
    });
    __syncthreads();
    if (layer.drops) {
      drop<kPrecision>(layer, out, shared, kTileRows, row, state);
    }
  }
}

/// out[b, :] = the stack's output for in[b, :], b < batch_count.
/// out [batch, outputs of the last layer], in [batch, inputs of the first], weights [outputs, inputs] and biases
/// [outputs] of every layer, all f32. A block keeps the weights, or a panel of them, in shared memory and goes through
/// tiles of 32 kHeight rows; its warps share every product's rows and columns. 4 (inputs + outputs) bytes a row; if
/// weights do not stay, 4 inputs outputs of every layer a tile more, from the L2 cache. Deterministic.
template <ProductPrecision kPrecision, int kHeight>
__global__ void __launch_bounds__(kBlockThreads, 2)
    dense_stack_forward_kernel(Rows<float> out, Rows<const float> in, const __grid_constant__ Stack stack,
                               const StepState* state) {
  constexpr int kTileRows = kWarpsDown * 16 * kHeight;
  const std::int64_t count = state->batch_count;
  if (static_cast<std::int64_t>(blockIdx.x) * kTileRows >= count) {
    return;  // all of the block
  }
  const auto shared = dynamic_shared<std::uint32_t>();
  const int outputs = stack.layer[stack.layers - 1].outputs;
  fill_shared<kPrecision>(stack, shared, kTileRows);
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kTileRows; row < count;
       row += static_cast<std::int64_t>(gridDim.x) * kTileRows) {
    const int rows = rows_in_tile(row, kTileRows, count);
    load_inputs<kPrecision>(stack, shared, in, row, kTileRows, rows);
    go_forward<kPrecision, kHeight>(stack, shared, row, state, [&](auto /*kind*/, int b, int j, float y, float next) {
      if (b < rows) {
        float* const to = out.row(row + b);
        if (j < outputs) {
          to[j] = y;
        }
        if (j + 1 < outputs) {
          to[j + 1] = next;
        }
      }
    });
  }
}

/// The gradients of a stack: grad_in[b, :] for b < batch_count, and partial[slice] = the sums over the slice's rows for
/// weights and biases, in the order of add_parameters. A slice is a block: it takes every `slices`-th tile.
/// grad_in, in [batch, inputs of the first layer], grad_out [batch, outputs of the last], partial [slices,
/// stack.partial], all f32; grad_in may be absent. Tiles as in dense_stack_forward, whose values are computed anew and
/// stay in shared memory; gradients take their place layer by layer. 4 (2 inputs + outputs) bytes a row, and a tile
/// reads and writes 8 bytes of partial sums for every parameter, in the L2 cache. Deterministic.
template <ProductPrecision kPrecision, int kHeight>
__global__ void __launch_bounds__(kBlockThreads, 2)
    dense_stack_backward_kernel(Rows<float> grad_in, float* partial, Rows<const float> grad_out, Rows<const float> in,
                                const __grid_constant__ Stack stack, const StepState* state) {
  using Numbers = SharedNumbers<kPrecision>;
  constexpr int kTileRows = kWarpsDown * 16 * kHeight;
  const std::int64_t count = state->batch_count;
  if (static_cast<std::int64_t>(blockIdx.x) * kTileRows >= count) {
    return;  // all of the block
  }
  const auto shared = dynamic_shared<std::uint32_t>();
  float* const slice = partial + static_cast<std::int64_t>(blockIdx.x) * stack.partial;
  fill_shared<kPrecision>(stack, shared, kTileRows);
  bool first_tile = true;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kTileRows; row < count;
       row += static_cast<std::int64_t>(gridDim.x) * kTileRows) {
    const int rows = rows_in_tile(row, kTileRows, count);
    load_inputs<kPrecision>(stack, shared, in, row, kTileRows, rows);
    const StackLayer& last = stack.layer[stack.layers - 1];
    go_forward<kPrecision, kHeight>(stack, shared, row, state, [&](auto kind, int b, int j, float y, float next) {
      constexpr ActivationKind kKind = decltype(kind)::kValue;
      const float* const gradient = grad_out.row(row + b);
      const int there = b < rows ? last.outputs : 0;
      const float h = j < there ? times_slope<kKind>(gradient[j], y, last.activation) : 0.0F;
      const float next_h = j + 1 < there ? times_slope<kKind>(gradient[j + 1], next, last.activation) : 0.0F;
      Numbers::store(shared, stack.last_values + b * stack.last_ld, j, h, next_h);
    });
    for (int l = stack.layers - 1; l >= 0; --l) {
      const StackLayer& layer = stack.layer[l];
      const Values gradient = outputs_of(stack, l);
      add_parameters<kPrecision>(slice + layer.partial, first_tile, layer, gradient, shared, kTileRows);
      __syncthreads();
      if (l == 0 && grad_in.data == nullptr) {
        break;
      }
      const Part<kHeight> part(layer.inputs);
      WarpSums<kHeight> sum;
      multiply_backward<kPrecision>(sum, stack, layer, gradient, shared, part);
      const auto nothing = [](int /*column*/) { return 0; };
      if (l == 0) {
        sum.visit(part.wide, nothing, [&](int r, int c, float first, float second, int) {
          const int b = part.row + r;
          const int k = part.column + c;
          if (b < rows) {
            float* const to = grad_in.row(row + b);
            if (k < layer.inputs) {
              to[k] = first;
            }
            if (k + 1 < layer.inputs) {
              to[k + 1] = second;
            }
          }
        });
      } else {
        const StackLayer& before = stack.layer[l - 1];
        with_kind(before.activation.kind, [&](auto kind) {
          constexpr ActivationKind kKind = decltype(kind)::kValue;
          const auto of_columns = [&](int c) { return TwoColumns(part.column + c, layer.inputs); };
          sum.visit(part.wide, of_columns, [&](int r, int c, float first, float second, const TwoColumns& columns) {
            const int at = layer.values + (part.row + r) * layer.ld;
            const int k = part.column + c;
            float y[2];
            Numbers::load(y, shared, at, k);
            columns.template store<kPrecision>(shared, at, k, by_sum<kKind>(first, y[0], before),
                                               by_sum<kKind>(second, y[1], before));
          });
        });
      }
      __syncthreads();
    }
    first_tile = false;
  }
}

/// Where the gradients of a layer go.
struct StackGradients {
  float* weight[kMostLayers];
  float* bias[kMostLayers];
};

/// grad_weight [outputs, inputs] and grad_bias [outputs] of every layer = the slices' partial sums; zeros for an empty
/// batch. Each of a block's eight warps adds every eighth slice in order, and the eight sums are added in order at
/// last. A block takes 32 elements of a slice's partial sums. 4 (slices + 1) bytes an element. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    dense_stack_add_slices_kernel(const __grid_constant__ StackGradients gradients, const float* partial,
                                  const __grid_constant__ Stack stack, std::int64_t slices, int tile_rows,
                                  const StepState* state) {
  constexpr int kElements = 32;
  CURATE_SHARED(float, sums, kBlockThreads);
  const auto thread = static_cast<int>(threadIdx.x);
  const int own = static_cast<int>(blockIdx.x) * kElements + thread % kElements;
  const std::int64_t tiles = (state->batch_count + tile_rows - 1) / tile_rows;
  const std::int64_t filled = tiles < slices ? tiles : slices;
  float sum = 0.0F;
  for (std::int64_t slice = thread / kElements; slice < filled; slice += kStackWarps) {
    sum += partial[slice * stack.partial + own];
  }
  sums[thread] = sum;
  __syncthreads();
  if (thread >= kElements) {
    return;
  }
  for (int turn = 1; turn < kStackWarps; ++turn) {
    sum += sums[turn * kElements + thread];
  }
  int l = 0;
  while (l + 1 < stack.layers && own >= stack.layer[l + 1].partial) {
    ++l;
  }
  const StackLayer& layer = stack.layer[l];
  const int wide = eights(layer.inputs + 1);
  const int fragment = (own - layer.partial) / 128;
  const int lane = own / 4 % 32;
  const int e = own % 4;
  const int j = fragment / wide * 16 + e / 2 * 8 + lane / 4;
  const int k = fragment % wide * 8 + lane % 4 * 2 + e % 2;
  if (j < layer.outputs && k < layer.inputs) {
    gradients.weight[l][static_cast<std::int64_t>(j) * layer.inputs + k] = sum;
  } else if (j < layer.outputs && k == layer.inputs) {
    gradients.bias[l][j] = sum;
  }
}

/// use(kernel<precision, height>) by a generic lambda that takes both as constants.
template <typename Use>
void with_variant(ProductPrecision precision, int height, Use use) {
  const auto with_height = [&]<ProductPrecision kPrecision>() {
    if (height == 2) {
      use.template operator()<kPrecision, 2>();
    } else {
      use.template operator()<kPrecision, 1>();
    }
  };
  switch (precision) {
    case ProductPrecision::f32:
      return with_height.template operator()<ProductPrecision::f32>();
    case ProductPrecision::tf32:
      return with_height.template operator()<ProductPrecision::tf32>();
    case ProductPrecision::bf16:
      return with_height.template operator()<ProductPrecision::bf16>();
  }
}

}  // namespace

void dense_stack_forward(cudaStream_t stream, const MatrixView& out, const MatrixView& in, const DenseStack& stack,
                         ProductPrecision precision, const MatrixView& state) {
  const StackTiles layout = lay_out_stack(stack, precision, in.rows);
  const std::int64_t blocks = std::min(divide_up(in.rows, tile_rows_of(layout)), kMostBlocks);
  with_variant(precision, layout.height, [&]<ProductPrecision kPrecision, int kHeight>() {
    launch("dense_stack_forward", stream, {blocks, kBlockThreads, shared_bytes(layout.stack)},
           dense_stack_forward_kernel<kPrecision, kHeight>, rows_of<float>(out), rows_of<const float>(in), layout.stack,
           pointer_of<const StepState>(state));
  });
}

void dense_stack_backward(cudaStream_t stream, const DenseBatch& grad, const std::vector<DenseParams>& grad_params,
                          const MatrixView& in, const DenseStack& stack, ProductPrecision precision,
                          const MatrixView& state, const ScratchFloats& scratch) {
  const StackTiles layout = lay_out_stack(stack, precision, in.rows);
  const std::int64_t slices = std::min({divide_up(in.rows, tile_rows_of(layout)), kMostBlocks,
                                        static_cast<std::int64_t>(scratch.floats) / layout.stack.partial});
  with_variant(precision, layout.height, [&]<ProductPrecision kPrecision, int kHeight>() {
    launch("dense_stack_backward", stream, {slices, kBlockThreads, shared_bytes(layout.stack)},
           dense_stack_backward_kernel<kPrecision, kHeight>, rows_of<float>(grad.in), scratch.data,
           rows_of<const float>(grad.out), rows_of<const float>(in), layout.stack, pointer_of<const StepState>(state));
  });
  StackGradients gradients{};
  for (std::size_t l = 0; l < grad_params.size(); ++l) {
    gradients.weight[l] = pointer_of<float>(grad_params[l].weight);
    gradients.bias[l] = pointer_of<float>(grad_params[l].bias);
  }
  launch("dense_stack_add_slices", stream, {layout.stack.partial / 32}, dense_stack_add_slices_kernel, gradients,
         static_cast<const float*>(scratch.data), layout.stack, slices, static_cast<int>(tile_rows_of(layout)),
         pointer_of<const StepState>(state));
}

}  // namespace curate::cuda
