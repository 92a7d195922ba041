// What the stand-ins of cuBLASLt and cuBLAS compute: rounded as the hardware does, worked out term by term.

#include "library_product.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "device_memory.h"

namespace curate::emulator {
namespace {

/// To the nearest with `bits` fewer bits after the point, of two equally near ones the even one; NaN stays.
float rounded(float value, unsigned bits) {
  if (value != value) {
    return value;
  }
  const auto word = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t half = (1U << (bits - 1U)) - 1U + (word >> bits & 1U);
  return std::bit_cast<float>((word + half) >> bits << bits);
}

float value_at(const void* data, cudaDataType type, std::int64_t element) {
  if (type == CUDA_R_32F) {
    return static_cast<const float*>(data)[element];
  }
  return std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(data)[element]) << 16U);
}

void store(void* data, cudaDataType type, std::int64_t element, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(data)[element] = value;
    return;
  }
  constexpr std::uint32_t kQuiet = 0x40;
  const std::uint32_t upper = std::bit_cast<std::uint32_t>(rounded(value, 16)) >> 16U;
  static_cast<std::uint16_t*>(data)[element] = static_cast<std::uint16_t>(value != value ? upper | kQuiet : upper);
}

/// op(matrix) as [lines, depth], contiguous along `lines` for each step of the depth, as the arithmetic sees it.
std::vector<float> load(const void* data, const ProductMatrix& layout, bool lines_are_rows,
                        cublasComputeType_t compute) {
  const std::int64_t lines = lines_are_rows ? layout.rows : layout.cols;
  std::vector<float> values(static_cast<std::size_t>(layout.rows * layout.cols));
  for (std::int64_t col = 0; col < layout.cols; ++col) {
    for (std::int64_t row = 0; row < layout.rows; ++row) {
      float value = value_at(data, layout.type, col * layout.ld + row);
      value = compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? rounded(value, 13) : value;
      values[static_cast<std::size_t>(lines_are_rows ? col * lines + row : row * lines + col)] = value;
    }
  }
  return values;
}

/// The sum over the first `depth` terms for every line of what load() gave.
void sum_depth(void* sums, cudaDataType type, const std::vector<float>& operand, std::int64_t lines,
               std::int64_t depth) {
  std::vector<float> exact(static_cast<std::size_t>(lines));
  for (std::size_t e = 0; e < static_cast<std::size_t>(depth * lines); ++e) {
    exact[e % exact.size()] += operand[e];
  }
  for (std::int64_t line = 0; line < lines; ++line) {
    store(sums, type, line, exact[static_cast<std::size_t>(line)]);
  }
}

/// Writes an element's bit of the mask, or reads it.
void set_bit(void* mask, std::int64_t bit, bool value) {
  auto& byte = static_cast<std::uint8_t*>(mask)[bit / 8];
  const auto place = static_cast<std::uint8_t>(1U << static_cast<unsigned>(bit % 8));
  byte = static_cast<std::uint8_t>(value ? byte | place : byte & ~place);
}
bool get_bit(const void* mask, std::int64_t bit) {
  return (static_cast<const std::uint8_t*>(mask)[bit / 8] >> static_cast<unsigned>(bit % 8) & 1U) != 0;
}

/// What the epilogue makes of D's element [i, j], of which alpha op(A) op(B) + beta C is `value`.
float finish(const ProductOperation& desc, cudaDataType type, std::int64_t i, std::int64_t j, float value) {
  if ((desc.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0) {
    value += value_at(desc.bias, type, i);
  }
  const std::int64_t bit = j * desc.aux_ld + i;
  if ((desc.epilogue & CUBLASLT_EPILOGUE_RELU) != 0) {
    const bool on = value > 0.0F || (desc.mask_of_zero && value == 0.0F);
    if (desc.has_mask()) {
      set_bit(desc.aux, bit, on);
    }
    value = on ? value : 0.0F;  // max(x, 0) may take either for NaN; this one hides it
  }
  return desc.epilogue == CUBLASLT_EPILOGUE_DRELU && !get_bit(desc.aux, bit) ? 0.0F : value;
}

}  // namespace

std::size_t size_of(cudaDataType type) {
  return type == CUDA_R_16BF ? 2 : 4;
}

std::uint32_t alignment_of(const void* address) {
  return 1U << static_cast<unsigned>(std::min(std::countr_zero(reinterpret_cast<std::uintptr_t>(address)), 4));
}

const char* status_name(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown status";
}

cublasStatus_t LibraryProduct::check() const {
  for (const auto* layout : {&a, &b, &c, &d}) {
    if (layout->rows < 1 || layout->cols < 1 || layout->ld < layout->rows) {
      return CUBLAS_STATUS_INVALID_VALUE;
    }
  }
  const auto turned = [](const ProductMatrix& layout, cublasOperation_t operation) {
    return operation == CUBLAS_OP_T ? std::pair(layout.cols, layout.rows) : std::pair(layout.rows, layout.cols);
  };
  if (turned(a, desc.transpose_a) != std::pair(m(), k()) || turned(b, desc.transpose_b) != std::pair(k(), n()) ||
      c.rows != m() || c.cols != n()) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool types = a.type == b.type && c.type == d.type && (d.type == CUDA_R_32F || a.type == CUDA_R_16BF) &&
                     (a.type == CUDA_R_32F || desc.compute == CUBLAS_COMPUTE_32F);
  if (!types) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  const bool masked = !desc.has_mask() || (desc.aux != nullptr && alignment_of(desc.aux) == 16 && desc.aux_ld >= m() &&
                                           desc.aux_ld % 128 == 0);
  return (desc.has_bias() && desc.bias == nullptr) || !masked ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}

std::uint64_t LibraryProduct::fingerprint() const {
  std::uint64_t hash = 1469598103934665603U;
  const auto add = [&hash](std::uint64_t value) { hash = (hash ^ value) * 1099511628211U; };
  add(desc.compute), add(desc.transpose_a), add(desc.transpose_b), add(desc.epilogue);
  add(static_cast<std::uint64_t>(desc.aux_ld));
  for (const auto* layout : {&a, &b, &c, &d}) {
    add(layout->type), add(static_cast<std::uint64_t>(layout->rows)), add(static_cast<std::uint64_t>(layout->cols)),
        add(static_cast<std::uint64_t>(layout->ld));
  }
  return hash;
}

std::string multiply(const char* call, const LibraryProduct& product, const ProductArguments& at,
                     const SumOrder& order) {
  const auto fits = [](const void* data, const ProductMatrix& layout) {
    const auto elements = static_cast<std::size_t>((layout.cols - 1) * layout.ld + layout.rows);
    return is_device_memory(data, elements * size_of(layout.type));
  };
  const ProductOperation& desc = product.desc;
  const std::int64_t m = product.m();
  const std::int64_t n = product.n();
  const cudaDataType type = product.d.type;
  const std::int64_t biases = desc.epilogue == CUBLASLT_EPILOGUE_BGRADB ? n : m;
  if (!fits(at.a, product.a) || !fits(at.b, product.b) || !fits(at.d, product.d) ||
      (at.beta != 0.0F && !fits(at.c, product.c)) || !is_device_memory(at.workspace, at.workspace_bytes) ||
      (desc.has_bias() && !is_device_memory(desc.bias, static_cast<std::size_t>(biases) * size_of(type))) ||
      (desc.has_mask() && !is_device_memory(desc.aux, static_cast<std::size_t>(n * desc.aux_ld / 8)))) {
    return fmt::format("{}: a matrix leaves the allocation of its device memory", call);
  }
  std::memset(at.workspace, 0xFF, at.workspace_bytes);
  const std::vector<float> left = load(at.a, product.a, desc.transpose_a == CUBLAS_OP_N, desc.compute);
  const std::vector<float> right = load(at.b, product.b, desc.transpose_b == CUBLAS_OP_T, desc.compute);
  std::vector<float> column(static_cast<std::size_t>(m));
  std::vector<float> part(static_cast<std::size_t>(m));
  const std::int64_t stretch = (order.depth + order.parts - 1) / order.parts;
  for (std::int64_t j = 0; j < n; ++j) {
    std::fill(column.begin(), column.end(), 0.0F);
    for (std::int64_t begin = 0; begin < order.depth; begin += stretch) {
      std::fill(part.begin(), part.end(), 0.0F);
      float* const sum = part.data();
      for (std::int64_t step = begin; step < std::min(begin + stretch, order.depth); ++step) {
        const float* const terms = left.data() + step * m;
        const float factor = right[static_cast<std::size_t>(step * n + j)];
#pragma omp simd
        for (std::int64_t i = 0; i < m; ++i) {
          sum[i] += terms[i] * factor;
        }
        constexpr std::int64_t kStretch = 32;
        if (order.sums_in_outputs && type == CUDA_R_16BF && step % kStretch == 0) {
          std::transform(sum, sum + m, sum, [](float value) { return rounded(value, 16); });
        }
      }
      std::transform(column.begin(), column.end(), part.begin(), column.begin(),
                     [](float a, float b) { return a + b; });
    }
    for (std::int64_t i = 0; i < m; ++i) {
      float value = at.alpha * column[static_cast<std::size_t>(i)];
      if (at.beta != 0.0F) {
        value += at.beta * value_at(at.c, type, j * product.c.ld + i);
      }
      store(at.d, type, j * product.d.ld + i, finish(desc, type, i, j, value));
    }
  }
  if (desc.epilogue == CUBLASLT_EPILOGUE_BGRADA) {
    sum_depth(desc.bias, type, left, m, order.depth);
  } else if (desc.epilogue == CUBLASLT_EPILOGUE_BGRADB) {
    sum_depth(desc.bias, type, right, n, order.depth);
  }
  return "";
}

}  // namespace curate::emulator
