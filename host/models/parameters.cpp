#include "models/parameters.h"

#include <fmt/format.h>

#include "curate/error.h"

namespace curate {
namespace {

/// The contiguous f32 array that a matrix goes through on its way to or from the host: the matrix itself, or memory
/// beside it if it is padded or has 16 bits.
class Staging {
 public:
  explicit Staging(const MatrixView& matrix) : view_(matrix) {
    if (matrix.ld == matrix.cols && matrix.dtype == DType::f32) {
      return;
    }
    const MemoryLabel label(*matrix.device, "transfers");
    memory_ = matrix.device->allocate_array<float>(matrix.rows * matrix.cols);
    view_ = memory_.view(DType::f32, matrix.rows, matrix.cols);
  }

  bool is_beside() const { return memory_.bytes() > 0; }
  const MatrixView& view() const { return view_; }

 private:
  Buffer memory_;
  MatrixView view_;
};

}  // namespace

TensorMap download_parameters(const std::vector<NamedParameter>& parameters) {
  TensorMap tensors;
  for (const NamedParameter& parameter : parameters) {
    Tensor& tensor = tensors[parameter.name];
    tensor.shape = {parameter.view.rows};
    if (!parameter.vector) {
      tensor.shape.push_back(parameter.view.cols);
    }
    tensor.values = download_matrix(parameter.view);
  }
  return tensors;
}

void upload_parameters(const std::vector<NamedParameter>& parameters, const TensorMap& tensors) {
  for (const NamedParameter& parameter : parameters) {
    const auto found = tensors.find(parameter.name);
    if (found == tensors.end()) {
      throw InputError(fmt::format("the model has no tensor {}; train it again", parameter.name));
    }
    const Tensor& tensor = found->second;
    if (static_cast<std::int64_t>(tensor.values.size()) != parameter.view.rows * parameter.view.cols) {
      throw InputError(fmt::format("tensor {} has {} elements, not {} x {}", parameter.name, tensor.values.size(),
                                   parameter.view.rows, parameter.view.cols));
    }
    upload_matrix(parameter.view, tensor.values);
  }
}

void stage_parameters(const std::vector<NamedParameter>& parameters) {
  for (const NamedParameter& parameter : parameters) {
    if (!parameter.view.empty()) {
      const Staging staging(parameter.view);
    }
  }
}

std::vector<float> download_matrix(const MatrixView& source) {
  std::vector<float> values(static_cast<std::size_t>(source.rows * source.cols));
  if (values.empty()) {
    return values;
  }
  const Staging staging(source);
  if (staging.is_beside()) {
    source.device->copy(staging.view(), source);
  }
  source.device->download(std::span<float>(values), staging.view());
  return values;
}

void upload_matrix(const MatrixView& destination, std::span<const float> source) {
  if (destination.empty()) {
    return;
  }
  const Staging staging(destination);
  destination.device->upload(staging.view(), source);
  if (staging.is_beside()) {
    destination.device->copy(destination, staging.view());
  }
}

}  // namespace curate
