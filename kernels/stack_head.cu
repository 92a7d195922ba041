#include "kernels/stack_head.h"

#include <algorithm>

#include "kernels/activations.cuh"
#include "kernels/bias_gradient.h"
#include "kernels/rows.cuh"
#include "kernels/shared_memory.cuh"
#include "kernels/warp_reduce.cuh"

namespace curate::cuda {
namespace {

constexpr int kVector = 4;
/// Packs of a row that a thread has at most.
constexpr int kMostPacks = static_cast<int>(kWidestHead) / (32 * kVector);
/// Blocks of stack_head_backward, each of which goes through rows in turns: four for every multiprocessor of an H100,
/// and the same on every other GPU, as sums are by block.
constexpr std::int64_t kMostHeadBlocks = 528;

/// to.weight[j, k] = weight[j, k] and to.bias[j] = bias[j], rounded to the nearest; *poison = NaN if one of them is
/// infinite or NaN. weight [outputs, inputs], bias [outputs] f32, contiguous; to.weight [outputs, inputs], to.bias
/// [outputs] bf16. One thread an element, 6 bytes each. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    round_layer_kernel(RoundedLayer to, float* poison, const float* weight, const float* bias, std::int64_t outputs,
                       std::int64_t inputs) {
  const std::int64_t e = global_thread();
  const std::int64_t weights = outputs * inputs;
  if (e >= weights + outputs) {
    return;
  }
  const float value = e < weights ? weight[e] : bias[e - weights];
  Bf16* const place = e < weights ? to.weight + e / inputs * to.weight_ld + e % inputs : to.bias + (e - weights);
  *place = to_nearest<Bf16>(value);
  if (!(value - value == 0.0F)) {
    *poison = value - value;
  }
}

/// What a thread holds of a row: columns 4 (lane + lanes p) and the three after them, for every p.
template <int kPacks>
struct Part {
  Pack<kVector> pack[kPacks];

  template <typename T>
  __device__ static Part load(const T* row, const RowShare& share, std::int64_t lane) {
    Part part{};
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const std::int64_t at = lane + p * share.lanes();
      if (at < share.packs) {
        part.pack[p] = Pack<kVector>::load(row + at * kVector);
      }
    }
    return part;
  }

  __device__ float dot(const Part& other) const {
    float sum = 0.0F;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        sum += pack[p].value[i] * other.pack[p].value[i];
      }
    }
    return sum;
  }
};

/// out[b] = activation(*bias + <in[b, :], weight> + *poison) for b < batch_count.
/// out [batch] f32, any ld; in [batch, n] bf16; weight [n], bias [1], poison [1] f32. A group of lanes takes a row, and
/// shuffles add up. 2 n + 4 bytes a row. Deterministic.
template <int kPacks>
__global__ void __launch_bounds__(kBlockThreads)
    stack_head_forward_kernel(Rows<float> out, Rows<const Bf16> in, const float* weight, const float* bias,
                              const float* poison, RowShare share, Activation activation, const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = share.row(thread);
  const std::int64_t lane = share.lane(thread);
  const bool in_batch = b < state->batch_count;
  float sum = 0.0F;
  if (in_batch) {
    sum = Part<kPacks>::load(in.row(b), share, lane).dot(Part<kPacks>::load(weight, share, lane));
  }
  sum = group_sum(sum, share.lane_bits);
  if (in_batch && lane == 0) {
    with_kind(activation.kind,
              [&](auto kind) { *out.row(b) = activate<decltype(kind)::kValue>(sum + *bias + *poison, activation); });
  }
}

/// For b < batch_count, with h = grad_out[b] activation'(z), z = *bias + <in[b, :], weight>:
///   grad_in[b, k] = in[b, k] > 0 ? h weight[k] scale : 0, for other b < rows 0;
///   partial[block, k] = the sum of h in[b, k] over the rows of the block, partial[block, n] that of h.
/// grad_in, in [rows, n] bf16; grad_out [rows] f32, any ld; weight [n], bias [1] f32; partial [blocks, n + 1] f32.
/// Groups of lanes take rows in turns and keep their sums in registers; the groups' sums are then added in order in
/// shared memory, [groups, n + 1] f32. 4 n + 4 bytes a row. Deterministic.
template <int kPacks>
__global__ void __launch_bounds__(kBlockThreads)
    stack_head_backward_kernel(Rows<Bf16> grad_in, float* partial, Rows<const float> grad_out, Rows<const Bf16> in,
                               const float* weight, const float* bias, std::int64_t rows, RowShare share,
                               Activation activation, float scale, const StepState* state) {
  const auto sums = dynamic_shared<float>();
  const std::int64_t count = state->batch_count;
  const auto thread = static_cast<std::int64_t>(threadIdx.x);
  const std::int64_t group = share.row(thread);
  const std::int64_t lane = share.lane(thread);
  const std::int64_t groups = kBlockThreads >> share.lane_bits;
  const auto weights = Part<kPacks>::load(weight, share, lane);
  Part<kPacks> own{};
  float own_bias = 0.0F;
  for (std::int64_t first = blockIdx.x * groups; first < rows; first += gridDim.x * groups) {
    const std::int64_t b = first + group;
    const bool in_batch = b < count;
    Part<kPacks> values{};
    if (in_batch) {
      values = Part<kPacks>::load(in.row(b), share, lane);
    }
    const float z = group_sum(values.dot(weights), share.lane_bits) + *bias;
    float h = 0.0F;
    if (in_batch) {
      with_kind(activation.kind, [&](auto kind) {
        constexpr ActivationKind kKind = decltype(kind)::kValue;
        h = times_slope<kKind>(*grad_out.row(b), activate<kKind>(z, activation), activation);
      });
    }
    own_bias += h;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const std::int64_t at = lane + p * share.lanes();
      if (at < share.packs && b < rows) {
        Pack<kVector> gradient;
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          const float value = values.pack[p].value[i];
          own.pack[p].value[i] += h * value;
          gradient.value[i] = value > 0.0F ? h * weights.pack[p].value[i] * scale : 0.0F;
        }
        gradient.store(grad_in.row(b) + at * kVector);
      }
    }
  }
  const std::int64_t width = share.cols + 1;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const std::int64_t at = lane + p * share.lanes();
    if (at < share.packs) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        sums[group * width + at * kVector + i] = own.pack[p].value[i];
      }
    }
  }
  if (lane == 0) {
    sums[group * width + share.cols] = own_bias;
  }
  __syncthreads();
  for (std::int64_t c = thread; c < width; c += kBlockThreads) {
    float sum = 0.0F;
    for (std::int64_t g = 0; g < groups; ++g) {
      sum += sums[g * width + c];
    }
    partial[blockIdx.x * width + c] = sum;
  }
}

/// Whether every lane has one pack of a row at most.
bool takes_one_pack(const RowShare& share) {
  return share.packs <= std::int64_t{1} << share.lane_bits;
}

}  // namespace

void round_layer(cudaStream_t stream, const RoundedLayer& to, float* poison, const DenseParams& from) {
  launch("round_layer", stream, one_thread_each(from.weight.rows * (from.weight.cols + 1)), round_layer_kernel, to,
         poison, pointer_of<const float>(from.weight), pointer_of<const float>(from.bias), from.weight.rows,
         from.weight.cols);
}

void stack_head_forward(cudaStream_t stream, const MatrixView& out, const MatrixView& in, const DenseStackLayer& layer,
                        const float* poison, const MatrixView& state) {
  const RowShare share = share_rows(in.cols, kVector);
  launch("stack_head_forward", stream, geometry_for_rows(in.rows, share),
         takes_one_pack(share) ? stack_head_forward_kernel<1> : stack_head_forward_kernel<kMostPacks>,
         rows_of<float>(out), rows_of<const Bf16>(in), pointer_of<const float>(layer.params.weight),
         pointer_of<const float>(layer.params.bias), poison, share, layer.activation,
         pointer_of<const StepState>(state));
}

void stack_head_backward(cudaStream_t stream, const DenseBatch& grad, const DenseParams& grad_params,
                         const MatrixView& in, const DenseStackLayer& layer, float dropout, const MatrixView& state,
                         const ScratchFloats& scratch) {
  const RowShare share = share_rows(in.cols, kVector);
  const std::int64_t groups = kBlockThreads >> share.lane_bits;
  const std::int64_t width = in.cols + 1;
  const std::int64_t blocks = std::min(divide_up(in.rows, groups), kMostHeadBlocks);
  const std::size_t shared = static_cast<std::size_t>(groups * width) * sizeof(float);
  launch("stack_head_backward", stream, {blocks, kBlockThreads, shared},
         takes_one_pack(share) ? stack_head_backward_kernel<1> : stack_head_backward_kernel<kMostPacks>,
         rows_of<Bf16>(grad.in), scratch.data, rows_of<const float>(grad.out), rows_of<const Bf16>(in),
         pointer_of<const float>(layer.params.weight), pointer_of<const float>(layer.params.bias), in.rows, share,
         layer.activation, 1.0F / (1.0F - dropout), pointer_of<const StepState>(state));
  const MatrixView partial = {nullptr, scratch.data, blocks, width, width, DType::f32};
  // Behind the blocks' sums there is room for sums of those.
  const auto used = static_cast<std::size_t>(blocks * width);
  const ScratchFloats rest = {scratch.data + used, scratch.floats - used};
  bias_gradient(stream, grad_params.weight, partial.columns(0, in.cols), rest);
  bias_gradient(stream, grad_params.bias, partial.columns(in.cols, 1), rest);
}

}  // namespace curate::cuda
