#pragma once

#include <span>
#include <string>
#include <vector>

#include "curate/model.h"
#include "device/device.h"

namespace curate {

/// A parameter on a device, its gradient, or what an optimizer keeps of it.
struct NamedParameter {
  std::string name;     ///< as in model.safetensors
  MatrixView view;      ///< [rows, cols] f32, embeddings maybe in 16 bits, any ld
  bool vector = false;  ///< stored with shape [rows] rather than [rows, cols]
};

/// On the host, by name. Blocks.
TensorMap download_parameters(const std::vector<NamedParameter>& parameters);
/// The other way. Throws InputError if a tensor is missing or has another number of elements.
void upload_parameters(const std::vector<NamedParameter>& parameters, const TensorMap& tensors);

/// What those two take of the device alone: to plan memory by.
void stage_parameters(const std::vector<NamedParameter>& parameters);

/// A device matrix of any ld, f32 or 16 bits, to a contiguous host array.
std::vector<float> download_matrix(const MatrixView& source);
/// A contiguous host array to a device matrix of any ld.
void upload_matrix(const MatrixView& destination, std::span<const float> source);

}  // namespace curate
