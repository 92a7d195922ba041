#include "kernels/dense.h"

#include <algorithm>

#include "kernels/activations.cuh"
#include "kernels/tiled_product.cuh"

namespace curate::cuda {
namespace {

/// out[b, j] = activation(bias[j] + sum_k in[b, k] weight[j, k]) for b < batch_count.
/// out [batch, outputs], in [batch, inputs], weight [outputs, inputs], bias [outputs], all f32. A block takes a tile of
/// 64 rows and 64 outputs. 2 inputs outputs flops a row; a tile reads 4 (64 + 64) bytes for every input. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    dense_forward_kernel(Rows<float> out, Rows<const float> in, Rows<const float> weight, const float* bias,
                         std::int64_t outputs, std::int64_t inputs, std::int64_t tiles_across, Activation activation,
                         const StepState* state) {
  const std::int64_t count = state->batch_count;
  const std::int64_t m0 = blockIdx.x / tiles_across * kTile;
  const std::int64_t n0 = blockIdx.x % tiles_across * kTile;
  if (m0 >= count) {
    return;  // all of the block
  }
  float sum[kOwn][kOwn];
  multiply_tile(sum, ByRows{in, count, inputs}, ByRows{weight, outputs, inputs}, m0, n0, 0, inputs);
  with_kind(activation.kind, [&](auto kind) {
    visit_tile(sum, m0, n0, [&](std::int64_t m, std::int64_t n, float value) {
      if (m < count && n < outputs) {
        out.row(m)[n] = activate<decltype(kind)::kValue>(value + bias[n], activation);
      }
    });
  });
}

/// out[b, j] = activation(out[b, j]) for b < batch_count. out [batch, outputs] f32. Neighbouring threads take
/// neighbouring packs, 8 bytes an element. Deterministic.
template <int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    activation_forward_kernel(Rows<float> out, Activation activation, RowShare share, const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = share.row(thread);
  if (b >= state->batch_count) {
    return;
  }
  float* const row = out.row(b);
  with_kind(activation.kind, [&](auto kind) {
    constexpr ActivationKind kKind = decltype(kind)::kValue;
    share.visit<kVector>(
        share.lane(thread),
        [&](std::int64_t j) {
          auto pack = Pack<kVector>::load(row + j);
          for (int i = 0; i < kVector; ++i) {
            pack.value[i] = activate<kKind>(pack.value[i], activation);
          }
          pack.store(row + j);
        },
        [&](std::int64_t j) { row[j] = activate<kKind>(row[j], activation); });
  });
}

/// grad[b, j] *= activation'(z), taken from out[b, j], for b < batch_count; if `clear` is set, grad[b, j] = 0 for
/// the other b < rows, whatever it was. grad, out [rows, outputs] f32. Neighbouring threads take neighbouring packs, 12
/// bytes an element. Deterministic.
template <int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    activation_backward_kernel(Rows<float> grad, Rows<const float> out, std::int64_t rows, Activation activation,
                               bool clear, RowShare share, const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = share.row(thread);
  const std::int64_t lane = share.lane(thread);
  float* const to = grad.row(b);
  if (b >= state->batch_count) {
    if (clear && b < rows) {
      share.visit<kVector>(
          lane, [&](std::int64_t j) { Pack<kVector>{}.store(to + j); }, [&](std::int64_t j) { to[j] = 0.0F; });
    }
    return;
  }
  const float* const from = out.row(b);
  with_kind(activation.kind, [&](auto kind) {
    constexpr ActivationKind kKind = decltype(kind)::kValue;
    share.visit<kVector>(
        lane,
        [&](std::int64_t j) {
          auto pack = Pack<kVector>::load(to + j);
          const auto values = Pack<kVector>::load(from + j);
          for (int i = 0; i < kVector; ++i) {
            pack.value[i] = times_slope<kKind>(pack.value[i], values.value[i], activation);
          }
          pack.store(to + j);
        },
        [&](std::int64_t j) { to[j] = times_slope<kKind>(to[j], from[j], activation); });
  });
}

/// grad_in[b, k] = sum_j h[b, j] weight[j, k] for b < batch_count.
/// grad_in [batch, inputs], h [batch, outputs], weight [outputs, inputs], all f32. Tiles as in dense_forward.
/// Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    dense_grad_in_kernel(Rows<float> grad_in, Rows<const float> h, Rows<const float> weight, std::int64_t outputs,
                         std::int64_t inputs, std::int64_t tiles_across, const StepState* state) {
  const std::int64_t count = state->batch_count;
  const std::int64_t m0 = blockIdx.x / tiles_across * kTile;
  const std::int64_t n0 = blockIdx.x % tiles_across * kTile;
  if (m0 >= count) {
    return;  // all of the block
  }
  float sum[kOwn][kOwn];
  multiply_tile(sum, ByRows{h, count, outputs}, ByColumns{weight, inputs, outputs}, m0, n0, 0, outputs);
  visit_tile(sum, m0, n0, [&](std::int64_t m, std::int64_t n, float value) {
    if (m < count && n < inputs) {
      grad_in.row(m)[n] = value;
    }
  });
}

/// partial[slice, j, k] = sum over the slice's rows b of h[b, j] in[b, k], and of h[b, j] alone at k = inputs: the
/// gradients of weight and bias. The batch's rows are cut into `slices` stretches; a single one goes to grad_weight and
/// grad_bias at once.
/// partial [slices, outputs, inputs + 1], h [batch, outputs], in [batch, inputs], grad_weight [outputs, inputs],
/// grad_bias [outputs], all f32. A block takes a tile of a slice. 2 (inputs + 1) outputs flops a row. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    dense_grad_weight_kernel(float* partial, float* grad_weight, float* grad_bias, Rows<const float> h,
                             Rows<const float> in, std::int64_t outputs, std::int64_t inputs, std::int64_t tiles_across,
                             std::int64_t tiles, std::int64_t slices, const StepState* state) {
  const std::int64_t count = state->batch_count;
  const std::int64_t slice = blockIdx.x / tiles;
  const std::int64_t tile = blockIdx.x % tiles;
  const std::int64_t m0 = tile / tiles_across * kTile;
  const std::int64_t n0 = tile % tiles_across * kTile;
  const std::int64_t stretch = (count + slices - 1) / slices;
  const std::int64_t begin = slice * stretch < count ? slice * stretch : count;
  const std::int64_t end = begin + stretch < count ? begin + stretch : count;
  float sum[kOwn][kOwn];
  multiply_tile(sum, ByColumns{h, outputs, count}, ByColumnsAndOnes{in, inputs, count}, m0, n0, begin, end);
  visit_tile(sum, m0, n0, [&](std::int64_t m, std::int64_t n, float value) {
    if (m >= outputs || n > inputs) {
      return;
    }
    if (slices > 1) {
      partial[(slice * outputs + m) * (inputs + 1) + n] = value;
    } else if (n < inputs) {
      grad_weight[m * inputs + n] = value;
    } else {
      grad_bias[m] = value;
    }
  });
}

/// The slices of dense_grad_weight added up in order: grad_weight [outputs, inputs] and grad_bias [outputs], f32. One
/// thread an element, 4 (slices + 1) bytes each. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    dense_add_slices_kernel(float* grad_weight, float* grad_bias, const float* partial, std::int64_t outputs,
                            std::int64_t inputs, std::int64_t slices) {
  const std::int64_t width = inputs + 1;
  const std::int64_t e = global_thread();
  if (e >= outputs * width) {
    return;
  }
  float sum = 0.0F;
  for (std::int64_t slice = 0; slice < slices; ++slice) {
    sum += partial[slice * outputs * width + e];
  }
  // Divided in 32 bits, which is cheaper: the slices fit the scratch, so that e fits too.
  const auto j = static_cast<std::uint32_t>(e) / static_cast<std::uint32_t>(width);
  const std::int64_t k = e - j * width;
  if (k == inputs) {
    grad_bias[j] = sum;
  } else {
    grad_weight[j * inputs + k] = sum;
  }
}

/// to[r, c] = from[r, c] for r < rows, rounded. to [rows, 4 packs] bf16, from [rows, 4 packs] f32, rows of both at
/// multiples of 8 and 16 bytes. Neighbouring threads take neighbouring packs, 6 bytes an element. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    to_bf16_kernel(Rows<Bf16> to, Rows<const float> from, std::int64_t rows, RowShare share) {
  const std::int64_t thread = global_thread();
  const std::int64_t r = share.row(thread);
  if (r < rows) {
    for (std::int64_t p = share.lane(thread); p < share.packs; p += share.lanes()) {
      Pack<4>::load(from.row(r) + 4 * p).store(to.row(r) + 4 * p);
    }
  }
}

std::int64_t tiles_for(std::int64_t lines) {
  return divide_up(lines, kTile);
}

/// As many as fill a large GPU, none shorter than a few tiles are deep, and no more than the scratch holds.
std::int64_t slices_for(std::int64_t batch, std::int64_t tiles, std::int64_t elements, std::size_t scratch_floats) {
  constexpr std::int64_t kBlocksWanted = 512;
  constexpr std::int64_t kShortest = 256;
  const std::int64_t most = std::min(divide_up(batch, kShortest), static_cast<std::int64_t>(scratch_floats) / elements);
  return std::max<std::int64_t>(1, std::min(divide_up(kBlocksWanted, tiles), most));
}

}  // namespace

void dense_forward(cudaStream_t stream, const DenseBatch& batch, const DenseParams& params,
                   const Activation& activation, const MatrixView& state) {
  const std::int64_t across = tiles_for(batch.out.cols);
  launch("dense_forward", stream, {tiles_for(batch.out.rows) * across}, dense_forward_kernel, rows_of<float>(batch.out),
         rows_of<const float>(batch.in), rows_of<const float>(params.weight), pointer_of<const float>(params.bias),
         batch.out.cols, batch.in.cols, across, activation, pointer_of<const StepState>(state));
}

void activation_forward(cudaStream_t stream, const MatrixView& out, const Activation& activation,
                        const MatrixView& state) {
  const int vector = vector_width(out.cols, out);
  const RowShare share = share_rows(out.cols, vector);
  launch("activation_forward", stream, geometry_for_rows(out.rows, share),
         vector == 4 ? activation_forward_kernel<4> : activation_forward_kernel<1>, rows_of<float>(out), activation,
         share, pointer_of<const StepState>(state));
}

void activation_backward(cudaStream_t stream, const MatrixView& grad, const MatrixView& out,
                         const Activation& activation, PastCount past, const MatrixView& state) {
  const int vector = vector_width(out.cols, grad, out);
  const RowShare share = share_rows(out.cols, vector);
  launch("activation_backward", stream, geometry_for_rows(out.rows, share),
         vector == 4 ? activation_backward_kernel<4> : activation_backward_kernel<1>, rows_of<float>(grad),
         rows_of<const float>(out), out.rows, activation, past == PastCount::zeros, share,
         pointer_of<const StepState>(state));
}

void dense_grad_params(cudaStream_t stream, const DenseParams& grad_params, const MatrixView& h, const MatrixView& in,
                       const MatrixView& state, const ScratchFloats& scratch) {
  const std::int64_t outputs = h.cols;
  const std::int64_t inputs = in.cols;
  const std::int64_t across = tiles_for(inputs + 1);
  const std::int64_t tiles = tiles_for(outputs) * across;
  const std::int64_t elements = outputs * (inputs + 1);
  const std::int64_t slices = slices_for(h.rows, tiles, elements, scratch.floats);
  auto* const grad_weight = pointer_of<float>(grad_params.weight);
  auto* const grad_bias = pointer_of<float>(grad_params.bias);
  launch("dense_grad_weight", stream, {slices * tiles}, dense_grad_weight_kernel, scratch.data, grad_weight, grad_bias,
         rows_of<const float>(h), rows_of<const float>(in), outputs, inputs, across, tiles, slices,
         pointer_of<const StepState>(state));
  if (slices > 1) {
    launch("dense_add_slices", stream, one_thread_each(elements), dense_add_slices_kernel, grad_weight, grad_bias,
           static_cast<const float*>(scratch.data), outputs, inputs, slices);
  }
}

void dense_grad_in(cudaStream_t stream, const MatrixView& grad_in, const MatrixView& h, const MatrixView& weight,
                   const MatrixView& state) {
  const std::int64_t across = tiles_for(grad_in.cols);
  launch("dense_grad_in", stream, {tiles_for(h.rows) * across}, dense_grad_in_kernel, rows_of<float>(grad_in),
         rows_of<const float>(h), rows_of<const float>(weight), h.cols, grad_in.cols, across,
         pointer_of<const StepState>(state));
}

void to_bf16(cudaStream_t stream, Bf16* to, std::int64_t ld, const MatrixView& from) {
  const RowShare share = share_rows(from.cols, 4);
  launch("to_bf16", stream, geometry_for_rows(from.rows, share), to_bf16_kernel, Rows<Bf16>{to, ld},
         rows_of<const float>(from), from.rows, share);
}

}  // namespace curate::cuda
