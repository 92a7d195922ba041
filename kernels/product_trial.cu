#include "kernels/product_trial.h"

#include <utility>

#include "kernels/rows.cuh"
#include "kernels/warp_reduce.cuh"

namespace curate::cuda {
namespace {

/// Tells the matrices of a trial apart.
enum : std::uint32_t { kFirst = 1, kSecond = 2, kBias = 3, kOut = 4, kSample = 5 };

__device__ std::uint32_t mixed(std::uint32_t value) {
  value ^= value >> 16U;
  value *= 0x7FEB352DU;
  value ^= value >> 15U;
  value *= 0x846CA68BU;
  return value ^ value >> 16U;
}

/// Element [i, j] of a matrix of the trial: -2, -1, 0, 1 or 2.
__device__ float trial_value(std::uint32_t matrix, std::int64_t i, std::int64_t j) {
  const std::uint32_t place = mixed(static_cast<std::uint32_t>(i) + 0x9E3779B9U * matrix);
  return static_cast<float>(mixed(place + static_cast<std::uint32_t>(j)) % 5U) - 2.0F;
}

/// Added to a bias if the product writes a mask: then no sum is 0. Libraries differ in the bit of a 0.
constexpr float kOffZero = 0.5F;

__device__ float trial_bias(Epilogue epilogue, std::int64_t c) {
  return trial_value(kBias, 0, c) + (epilogue == Epilogue::add_bias_relu_mask ? kOffZero : 0.0F);
}

constexpr std::int64_t kStrip = 32;  ///< elements of a row that a thread fills

/// to[r, c] = element [r, c] of the trial's matrix, [c, r] if it lies transposed, and `shift`. to [rows, cols] of T.
/// A thread takes 32 elements of a row. Deterministic.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) fill_trial_kernel(Rows<T> to, std::int64_t rows, std::int64_t cols,
                                                                   bool transposed, std::uint32_t matrix, float shift) {
  const std::int64_t strips = (cols + kStrip - 1) / kStrip;
  const std::int64_t r = global_thread() / strips;
  const std::int64_t begin = global_thread() % strips * kStrip;
  if (r >= rows) {
    return;
  }
  for (std::int64_t c = begin; c < begin + kStrip && c < cols; ++c) {
    Pack<1>{{shift + (transposed ? trial_value(matrix, c, r) : trial_value(matrix, r, c))}}.store(to.row(r) + c);
  }
}

/// What the check needs of a product.
struct Checked {
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t depth;
  Epilogue epilogue;
  bool adds;
  float relative;  ///< of a right result's rounding
};

__device__ bool bias_is_added(Epilogue epilogue) {
  return epilogue == Epilogue::add_bias || epilogue == Epilogue::add_bias_relu ||
         epilogue == Epilogue::add_bias_relu_mask;
}

/// *wrong = the number of samples that are not what the product says. out [rows, cols] of T, bias [rows] f32 if it
/// is the product's result, mask [rows, mask_ld bytes] if there is one: a row has to have as many bits on as it has
/// outputs above 0. A warp takes a sample, the four corners and others anywhere. depth flops each. Deterministic.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    check_trial_kernel(int* wrong, Rows<const T> out, const float* bias, const std::uint8_t* mask, std::int64_t mask_ld,
                       std::int64_t samples, Checked product) {
  const std::int64_t sample = global_thread() / warpSize;
  const std::int64_t lane = global_thread() % warpSize;
  if (sample >= samples) {
    return;  // all of the warp
  }
  const auto number = static_cast<std::uint32_t>(sample);
  const std::int64_t anywhere = mixed(number + kSample) % product.rows;
  const std::int64_t r = sample < 4 ? sample / 2 * (product.rows - 1) : anywhere;
  const std::int64_t c =
      sample < 4 ? sample % 2 * (product.cols - 1) : static_cast<std::int64_t>(mixed(number * 7919U) % product.cols);
  float sum = 0.0F;
  float of_first = 0.0F;
  for (std::int64_t k = lane; k < product.depth; k += warpSize) {
    const float first = trial_value(kFirst, r, k);
    sum += first * trial_value(kSecond, k, c);
    of_first += first;
  }
  int bits = 0;
  if (product.epilogue == Epilogue::add_bias_relu_mask) {
    for (std::int64_t j = lane; j < product.cols; j += warpSize) {
      bits += (mask[r * mask_ld + j / 8] >> (j % 8) & 1) != 0 ? 1 : 0;
      bits -= Pack<1>::load(out.row(r) + j).value[0] > 0.0F ? 1 : 0;
    }
  }
  sum = warp_sum(sum);
  of_first = warp_sum(of_first);
  bits = warp_sum(bits);
  if (lane != 0) {
    return;
  }
  float expected = sum + (bias_is_added(product.epilogue) ? trial_bias(product.epilogue, c) : 0.0F) +
                   (product.adds ? trial_value(kOut, r, c) : 0.0F);
  const bool relu = product.epilogue == Epilogue::add_bias_relu || product.epilogue == Epilogue::add_bias_relu_mask;
  const bool off = product.epilogue == Epilogue::apply_mask && r < product.rows / 2;
  expected = (relu && expected < 0.0F) || off ? 0.0F : expected;
  const auto close = [&](float got, float right, float relative) {
    const float error = got - right;
    const float most = 0.25F + relative * (right < 0.0F ? -right : right);
    return error <= most && -error <= most;  // NaN is not
  };
  bool right = close(Pack<1>::load(out.row(r) + c).value[0], expected, product.relative) && bits == 0;
  if (product.epilogue == Epilogue::sum_of_first) {
    right = right && close(bias[r], of_first, 0.0F);
  }
  if (!right) {
    atomicAdd(wrong, 1);
  }
}

void fill(cudaStream_t stream, DType dtype, void* to, std::int64_t ld, std::int64_t rows, std::int64_t cols,
          bool transposed, std::uint32_t matrix, float shift = 0.0F) {
  with_values(dtype, [&](auto value) {
    using T = decltype(value);
    launch("fill_trial", stream, one_thread_each(rows * divide_up(cols, kStrip)), fill_trial_kernel<T>,
           Rows<T>{static_cast<T*>(to), ld}, rows, cols, transposed, matrix, shift);
  });
}

std::int64_t bytes_of(DType dtype, std::int64_t rows, std::int64_t ld) {
  return rows * ld * static_cast<std::int64_t>(size_of(dtype));
}

}  // namespace

ProductTrial::ProductTrial(cudaStream_t stream, const Product& product) : stream_(stream), product_(product) {
  const DType operands = product.operands();
  const std::int64_t first_rows = product.first_transposed ? product.depth : product.rows;
  const std::int64_t second_rows = product.second_transposed ? product.cols : product.depth;
  // First the bytes, then the memory, then where everything is.
  for (int pass = 0; pass < 2; ++pass) {
    bytes_ = 0;
    wrong_ = static_cast<int*>(take(sizeof(int)));
    memory_ = {take(bytes_of(product.out, product.rows, product.out_ld)),
               take(bytes_of(operands, first_rows, product.first_ld)),
               take(bytes_of(operands, second_rows, product.second_ld)),
               take(bytes_of(DType::f32, product.epilogue == Epilogue::sum_of_first ? product.rows : product.cols, 1)),
               has_mask(product.epilogue) ? take(product.rows * mask_bytes(product.cols)) : nullptr};
    if (pass == 0) {
      all_.emplace(stream, bytes_);
    }
  }
  fill(stream, operands, const_cast<void*>(memory_.first), product.first_ld, first_rows,
       product.first_transposed ? product.rows : product.depth, product.first_transposed, kFirst);
  fill(stream, operands, const_cast<void*>(memory_.second), product.second_ld, second_rows,
       product.second_transposed ? product.depth : product.cols, product.second_transposed, kSecond);
  if (adds_bias(product.epilogue)) {
    fill(stream, product.out, memory_.bias, product.cols, 1, product.cols, false, kBias,
         product.epilogue == Epilogue::add_bias_relu_mask ? kOffZero : 0.0F);
  }
  if (product.epilogue == Epilogue::apply_mask) {
    const auto half = static_cast<std::size_t>(product.rows / 2 * mask_bytes(product.cols));
    const auto whole = static_cast<std::size_t>(product.rows * mask_bytes(product.cols));
    CURATE_CUDA_CHECK(cudaMemsetAsync(memory_.mask, 0, half, stream));
    CURATE_CUDA_CHECK(cudaMemsetAsync(static_cast<std::byte*>(memory_.mask) + half, 0xFF, whole - half, stream));
  }
}

void* ProductTrial::take(std::int64_t bytes) {
  constexpr std::int64_t kUnit = 256;
  const std::int64_t at = std::exchange(bytes_, bytes_ + divide_up(bytes, kUnit) * kUnit);
  return all_ ? all_->data() + at : nullptr;
}

void ProductTrial::reset() {
  constexpr int kNan = 0xFF;
  const auto bytes = static_cast<std::size_t>(bytes_of(product_.out, product_.rows, product_.out_ld));
  CURATE_CUDA_CHECK(cudaMemsetAsync(memory_.out, kNan, bytes, stream_));
  if (product_.adds) {
    fill(stream_, product_.out, memory_.out, product_.out_ld, product_.rows, product_.cols, false, kOut);
  }
  if (product_.epilogue == Epilogue::sum_of_first) {
    const auto sums = static_cast<std::size_t>(bytes_of(DType::f32, product_.rows, 1));
    CURATE_CUDA_CHECK(cudaMemsetAsync(memory_.bias, kNan, sums, stream_));
  }
}

bool ProductTrial::right() {
  CURATE_CUDA_CHECK(cudaMemsetAsync(wrong_, 0, sizeof(int), stream_));
  const bool half = product_.out == DType::bf16;
  const Checked checked = {product_.rows,     product_.cols, product_.depth,
                           product_.epilogue, product_.adds, half ? 0.005F : 1e-5F};
  with_values(product_.out, [&](auto value) {
    using T = decltype(value);
    launch("check_trial", stream_, one_thread_each(kSamples * 32), check_trial_kernel<T>, wrong_,
           Rows<const T>{static_cast<const T*>(memory_.out), product_.out_ld}, static_cast<const float*>(memory_.bias),
           static_cast<const std::uint8_t*>(memory_.mask), mask_bytes(product_.cols), kSamples, checked);
  });
  int wrong = 0;
  CURATE_CUDA_CHECK(cudaMemcpyAsync(&wrong, wrong_, sizeof(wrong), cudaMemcpyDeviceToHost, stream_));
  CURATE_CUDA_CHECK(cudaStreamSynchronize(stream_));
  return wrong == 0;
}

}  // namespace curate::cuda
