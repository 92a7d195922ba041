#include "kernels/library_products.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "kernels/bias_gradient.h"
#include "kernels/epilogue.h"
#include "kernels/find_library.h"

namespace curate::cuda {
namespace {

/// The same product without its epilogue. If that adds a bias, the product adds to `out`, which holds the bias before.
Product without_epilogue(Product product) {
  product.adds = adds_bias(product.epilogue);
  product.epilogue = Epilogue::none;
  return product;
}

/// Why the library could not start. Throws DeviceError if the GPU itself has failed.
std::string problem_of(const LibraryError& error, cudaStream_t stream) {
  cudaGetLastError();
  CURATE_CUDA_CHECK(cudaStreamSynchronize(stream));
  return error.what();
}

}  // namespace

LibraryProducts::LibraryProducts(cudaStream_t stream, const GpuShape& gpu, const ScratchFloats& scratch)
    : stream_(stream), gpu_(gpu), scratch_(scratch) {}

bool LibraryProducts::load() {
  if (std::exchange(looked_, true)) {
    return loaded();
  }
  if (const std::optional<CublasLtFunctions> functions = find_cublaslt(why_not_)) {
    try {
      lt_ = std::make_unique<CublasLt>(*functions, stream_, gpu_);
    } catch (const LibraryError& error) {
      why_not_ = problem_of(error, stream_);
    }
  }
  if (lt_ == nullptr) {
    load_cublas();
  }
  return loaded();
}

void LibraryProducts::load_cublas() {
  if (std::exchange(looked_for_cublas_, true)) {
    return;
  }
  if (const std::optional<CublasFunctions> functions = find_cublas(why_no_cublas_)) {
    try {
      cublas_ = std::make_unique<Cublas>(*functions, stream_, gpu_);
    } catch (const LibraryError& error) {
      why_no_cublas_ = problem_of(error, stream_);
    }
  }
}

const LibraryProducts::Entry* LibraryProducts::find(const Product& product) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.product == product; });
  return found == entries_.end() ? nullptr : &*found;
}

LibraryProducts::Entry LibraryProducts::make_entry(const char* operation, const Product& product) {
  Entry entry = {product, without_epilogue(product), ProductWay::none, lt_ == nullptr ? why_not_ : ""};
  const auto add_reason = [&entry](const std::string& reason) {
    entry.why += (entry.why.empty() ? "" : "; ") + reason;
  };
  if (lt_ != nullptr) {
    if (lt_->prepare(operation, product)) {
      entry.way = ProductWay::epilogue;
      return entry;
    }
    add_reason(lt_->why(product));
  }
  if (has_mask(product.epilogue)) {
    return entry;
  }
  if (lt_ != nullptr && product.epilogue != Epilogue::none) {
    if (lt_->prepare(operation, entry.plain)) {
      entry.way = ProductWay::plain;
      return entry;
    }
    add_reason(fmt::format("without epilogue: {}", lt_->why(entry.plain)));
  }
  load_cublas();
  if (cublas_ == nullptr) {
    add_reason(why_no_cublas_);
  } else if (cublas_->prepare(operation, entry.plain)) {
    entry.way = ProductWay::cublas;
  } else {
    add_reason(cublas_->why(entry.plain));
  }
  return entry;
}

bool LibraryProducts::prepare(const char* operation, const Product& product) {
  const Entry* entry = find(product);
  if (entry == nullptr) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    CURATE_CUDA_CHECK(cudaStreamIsCapturing(stream_, &status));
    if (status != cudaStreamCaptureStatusNone) {
      throw std::logic_error(fmt::format(
          "{}: a product of {} inside a capture that neither prepare_dense nor lay_out_dense_stack was told of",
          operation, label_of(product)));
    }
    entries_.push_back(make_entry(operation, product));
    entry = &entries_.back();
  }
  return entry->way != ProductWay::none;
}

bool LibraryProducts::multiply(const char* operation, const Product& product, const ProductMemory& memory) {
  prepare(operation, product);
  const Entry& entry = *find(product);
  switch (entry.way) {
    case ProductWay::epilogue:
      lt_->multiply(operation, product, memory);
      return true;
    case ProductWay::plain:
    case ProductWay::cublas:
      multiply_plain(operation, entry, memory);
      return true;
    case ProductWay::none:
      return false;
  }
  return false;
}

void LibraryProducts::multiply_plain(const char* operation, const Entry& entry, const ProductMemory& memory) {
  const Product& product = entry.product;
  const MatrixView out = {nullptr, memory.out, product.rows, product.cols, product.out_ld, product.out};
  if (entry.plain.adds) {
    fill_with_bias(stream_, out, memory.bias);
  }
  if (entry.way == ProductWay::plain) {
    lt_->multiply(operation, entry.plain, memory);
  } else {
    cublas_->multiply(operation, entry.plain, memory);
  }
  if (product.epilogue == Epilogue::add_bias_relu) {
    relu_in_place(stream_, out);
  }
  if (product.epilogue == Epilogue::sum_of_first) {
    if (!product.first_transposed) {
      throw std::logic_error("the sum of a first operand that lies row by row");
    }
    const MatrixView sums = {nullptr, memory.bias, product.rows, 1, 1, DType::f32};
    const MatrixView h = {
        nullptr, const_cast<void*>(memory.first), product.depth, product.rows, product.first_ld, product.operands()};
    bias_gradient(stream_, sums, h, scratch_);
  }
}

std::vector<ProductReport> LibraryProducts::reports() const {
  std::vector<ProductReport> reports;
  for (const Entry& entry : entries_) {
    const bool by_lt = entry.way == ProductWay::epilogue || entry.way == ProductWay::plain;
    const Product& done = entry.way == ProductWay::plain ? entry.plain : entry.product;
    reports.push_back({label_of(entry.product), entry.way, by_lt ? lt_->choice(done) : "", entry.why});
  }
  return reports;
}

std::string LibraryProducts::why(const Product& product) const {
  const Entry* const entry = find(product);
  return entry == nullptr ? "not asked for" : entry->why;
}

}  // namespace curate::cuda
