#include "models/parameters.h"

#include <fmt/format.h>

#include "curate/error.h"

namespace curate {

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

std::vector<float> download_matrix(const MatrixView& source) {
  std::vector<float> values(static_cast<std::size_t>(source.rows * source.cols));
  if (values.empty()) {
    return values;
  }
  if (source.ld == source.cols && source.dtype == DType::f32) {
    source.device->download(std::span<float>(values), source);
    return values;
  }
  const Buffer dense = source.device->allocate_array<float>(source.rows * source.cols);
  const MatrixView view = dense.view(DType::f32, source.rows, source.cols);
  source.device->copy(view, source);
  source.device->download(std::span<float>(values), view);
  return values;
}

void upload_matrix(const MatrixView& destination, std::span<const float> source) {
  if (destination.empty()) {
    return;
  }
  if (destination.ld == destination.cols && destination.dtype == DType::f32) {
    destination.device->upload(destination, source);
    return;
  }
  const Buffer dense = destination.device->allocate_array<float>(destination.rows * destination.cols);
  const MatrixView view = dense.view(DType::f32, destination.rows, destination.cols);
  destination.device->upload(view, source);
  destination.device->copy(destination, view);
}

}  // namespace curate
