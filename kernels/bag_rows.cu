#include "kernels/context.h"

#include <algorithm>

#include "kernels/rows.cuh"

namespace curate::cuda {
namespace {

/// BagsView as kernels take it, with the batch's index [n] i32 in [0, bags).
struct Bags {
  const std::int32_t* starts;  ///< [bags + 1]
  const std::int32_t* rows;
  const std::int32_t* index;
  bool mean;

  /// The bag of the batch's b-th rating: its first row and the one past its last, and what its sum is divided by.
  struct Range {
    std::int32_t begin;
    std::int32_t end;
    float divisor;
  };
  __device__ Range range(const StepState& state, std::int64_t b) const {
    const std::int32_t bag = index[state.batch_begin + b];
    const std::int32_t begin = starts[bag];
    const std::int32_t end = starts[bag + 1];
    return {begin, end, mean && end > begin ? static_cast<float>(end - begin) : 1.0F};
  }
};

Bags bags_of(const BagsView& bags, const MatrixView& index, BagKind kind) {
  return {pointer_of<const std::int32_t>(bags.starts), pointer_of<const std::int32_t>(bags.rows),
          pointer_of<const std::int32_t>(index), kind == BagKind::mean};
}

/// out[b, :] = the sum of table[row, :] over the rows of the bag, divided by the divisor, for b < batch_count; kAdd:
/// +=. out [batch, cols] of Out, f32 or rounded to the nearest; table [rows, cols] f32. Neighbouring threads take
/// neighbouring packs of a row. Per rating, with m rows to a bag, (4 cols + 4) m + 4 cols (2 cols) + 12 bytes (kAdd: as
/// many more as are written) and cols m flops. Deterministic: in the order of the bag.
template <typename Out, int kVector, bool kAdd>
__global__ void __launch_bounds__(kBlockThreads)
    bag_rows_kernel(Rows<Out> out, Rows<const float> table, Bags bags, RowShare share, const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = share.row(thread);
  if (b >= state->batch_count) {
    return;
  }
  const Bags::Range bag = bags.range(*state, b);
  Out* const to = out.row(b);
  share.visit<kVector>(
      share.lane(thread),
      [&](std::int64_t c) {
        Pack<kVector> sum{};
        for (std::int32_t j = bag.begin; j < bag.end; ++j) {
          const auto part = Pack<kVector>::load(table.row(bags.rows[j]) + c);
          for (int i = 0; i < kVector; ++i) {
            sum.value[i] += part.value[i];
          }
        }
        Pack<kVector> before{};
        if constexpr (kAdd) {
          before = Pack<kVector>::load(to + c);
        }
        for (int i = 0; i < kVector; ++i) {
          sum.value[i] = before.value[i] + sum.value[i] / bag.divisor;
        }
        sum.store(to + c);
      },
      [&](std::int64_t c) {
        float sum = 0.0F;
        for (std::int32_t j = bag.begin; j < bag.end; ++j) {
          sum += table.row(bags.rows[j])[c];
        }
        Pack<1> before{};
        if constexpr (kAdd) {
          before = Pack<1>::load(to + c);
        }
        Pack<1>{{before.value[0] + sum / bag.divisor}}.store(to + c);
      });
}

/// grad_table[row, :] += grad_rows[b, :] / divisor for every row of the bag and b < batch_count, by atomic reductions.
/// grad_table [rows, cols] f32; grad_rows [batch, cols] f32. Threads as above. Per rating (4 cols + 4) m + 4 cols + 12
/// bytes, 4 cols m of them reductions. Not deterministic.
template <int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    bag_rows_backward_kernel(Rows<float> grad_table, Rows<const float> grad_rows, Bags bags, RowShare share,
                             const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = share.row(thread);
  if (b >= state->batch_count) {
    return;
  }
  const Bags::Range bag = bags.range(*state, b);
  const float* const from = grad_rows.row(b);
  share.visit<kVector>(
      share.lane(thread),
      [&](std::int64_t c) {
        auto part = Pack<kVector>::load(from + c);
        for (int i = 0; i < kVector; ++i) {
          part.value[i] /= bag.divisor;
        }
        for (std::int32_t j = bag.begin; j < bag.end; ++j) {
          reduce_add(grad_table.row(bags.rows[j]) + c, part);
        }
      },
      [&](std::int64_t c) {
        const float part = from[c] / bag.divisor;
        for (std::int32_t j = bag.begin; j < bag.end; ++j) {
          reduce_add(grad_table.row(bags.rows[j]) + c, part);
        }
      });
}

/// A batch's gradients, the rows of the table that they are summed for, and the number of slices of the batch.
struct BatchRows {
  Rows<const float> grad;
  std::int64_t first;
  std::int64_t rows;
  std::int64_t slices;
};

/// partial[slice, row, :] = what the slice's ratings add to grad_table[first + row, :].
/// partial [slices, rows, cols] f32, contiguous. A group of lanes takes a row and a slice and looks through all bags
/// there: per rating and row of the table 4 m + 12 bytes, and 4 cols if it is in the bag. Deterministic.
template <int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    bag_rows_slices_kernel(Rows<float> partial, BatchRows batch, Bags bags, RowShare share, const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t group = share.row(thread);
  if (group >= batch.rows * batch.slices) {
    return;
  }
  const std::int64_t own = batch.first + group % batch.rows;
  const std::int64_t count = state->batch_count;
  const std::int64_t stretch = (count + batch.slices - 1) / batch.slices;
  const std::int64_t begin = group / batch.rows * stretch;
  const std::int64_t end = begin + stretch < count ? begin + stretch : count;
  // The exact division is a call, around which registers would be spilled.
  const auto visit_own = [&](auto on_rating) {
#pragma unroll 1
    for (std::int64_t b = begin; b < end; ++b) {
      const Bags::Range bag = bags.range(*state, b);
      for (std::int32_t j = bag.begin; j < bag.end; ++j) {
        if (bags.rows[j] == own) {
          on_rating(batch.grad.row(b), __fdividef(1.0F, bag.divisor));
        }
      }
    }
  };
  float* const to = partial.row(group);
  share.visit<kVector>(
      share.lane(thread),
      [&](std::int64_t c) {
        Pack<kVector> sum{};
        visit_own([&](const float* row, float scale) {
          const auto part = Pack<kVector>::load(row + c);
          for (int i = 0; i < kVector; ++i) {
            sum.value[i] += part.value[i] * scale;
          }
        });
        sum.store(to + c);
      },
      [&](std::int64_t c) {
        float sum = 0.0F;
        visit_own([&](const float* row, float scale) { sum += row[c] * scale; });
        to[c] = sum;
      });
}

/// grad_table[row, c] += partial[slice, row, c], slice by slice. One thread an element, 4 slices + 8 bytes each.
/// Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    bag_rows_add_slices_kernel(Rows<float> grad_table, std::int64_t rows, std::int64_t cols, const float* partial,
                               std::int64_t slices) {
  const std::int64_t e = global_thread();
  if (e >= rows * cols) {
    return;
  }
  float sum = 0.0F;
  for (std::int64_t slice = 0; slice < slices; ++slice) {
    sum += partial[slice * rows * cols + e];
  }
  grad_table.row(e / cols)[e % cols] += sum;
}

void bag_rows_backward_atomic(cudaStream_t stream, const MatrixView& grad_table, const MatrixView& grad_rows,
                              const BagsView& bags, const MatrixView& index, BagKind kind, const MatrixView& state) {
  const int vector = vector_width(grad_rows.cols, grad_table, grad_rows);
  const RowShare share = share_rows(grad_rows.cols, vector);
  launch("bag_rows_backward", stream, geometry_for_rows(grad_rows.rows, share),
         vector == 4 ? bag_rows_backward_kernel<4> : bag_rows_backward_kernel<1>, rows_of<float>(grad_table),
         rows_of<const float>(grad_rows), bags_of(bags, index, kind), share, pointer_of<const StepState>(state));
}

void bag_rows_backward_in_order(cudaStream_t stream, const MatrixView& grad_table, const MatrixView& grad_rows,
                                const BagsView& bags, const MatrixView& index, BagKind kind, const MatrixView& state,
                                const ScratchFloats& scratch) {
  // As many slices as fill a large GPU, none shorter than some ratings; as many rows at a time as the scratch holds.
  constexpr std::int64_t kGroupsWanted = 8192;
  constexpr std::int64_t kShortest = 64;
  const std::int64_t cols = grad_table.cols;
  if (grad_rows.rows == 0 || cols == 0) {
    return;
  }
  const std::int64_t rows_at_once = std::max<std::int64_t>(1, static_cast<std::int64_t>(scratch.floats) / cols);
  const bool aligned = cols % 4 == 0 && is_aligned(grad_rows);
  const RowShare share = share_rows(cols, aligned ? 4 : 1);
  for (std::int64_t first = 0; first < grad_table.rows; first += rows_at_once) {
    const std::int64_t rows = std::min(rows_at_once, grad_table.rows - first);
    const std::int64_t slices = std::max<std::int64_t>(
        1, std::min({divide_up(kGroupsWanted, rows), divide_up(grad_rows.rows, kShortest), rows_at_once / rows}));
    const BatchRows batch{rows_of<const float>(grad_rows), first, rows, slices};
    launch("bag_rows_slices", stream, geometry_for_rows(rows * slices, share),
           aligned ? bag_rows_slices_kernel<4> : bag_rows_slices_kernel<1>, Rows<float>{scratch.data, cols}, batch,
           bags_of(bags, index, kind), share, pointer_of<const StepState>(state));
    launch("bag_rows_add_slices", stream, one_thread_each(rows * cols), bag_rows_add_slices_kernel,
           Rows<float>{pointer_of<float>(grad_table) + first * grad_table.ld, grad_table.ld}, rows, cols,
           static_cast<const float*>(scratch.data), slices);
  }
}

}  // namespace

void enqueue(const ops::BagRows& operation, const Context& context) {
  const int vector = vector_width(operation.out.cols, operation.out, operation.table);
  const RowShare share = share_rows(operation.out.cols, vector);
  with_values(operation.out.dtype, [&](auto value) {
    using Out = decltype(value);
    const auto kernel = vector == 4 ? (operation.add ? bag_rows_kernel<Out, 4, true> : bag_rows_kernel<Out, 4, false>)
                                    : (operation.add ? bag_rows_kernel<Out, 1, true> : bag_rows_kernel<Out, 1, false>);
    launch("bag_rows", context.stream, geometry_for_rows(operation.out.rows, share), kernel,
           rows_of<Out>(operation.out), rows_of<const float>(operation.table),
           bags_of(operation.bags, operation.index, operation.kind), share,
           pointer_of<const StepState>(operation.state));
  });
}

void enqueue(const ops::BagRowsBackward& operation, const Context& context) {
  if (operation.scatter == ScatterKind::segments) {
    bag_rows_backward_in_order(context.stream, operation.grad_table, operation.grad_rows, operation.bags,
                               operation.index, operation.kind, operation.state, context.scratch);
  } else {
    bag_rows_backward_atomic(context.stream, operation.grad_table, operation.grad_rows, operation.bags, operation.index,
                             operation.kind, operation.state);
  }
}

}  // namespace curate::cuda
