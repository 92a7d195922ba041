#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "curate/model.h"

namespace curate {

/// Tensors that somebody else owns, by name.
using TensorViews = std::map<std::string, const Tensor*>;

struct SafetensorsFile {
  TensorMap tensors;
  std::map<std::string, std::string> metadata;
};

/// The safetensors format: 8 bytes of little-endian header length, a JSON header {name: {dtype, shape, data_offsets}},
/// raw little-endian values. All tensors are F32. They lie in any order, and each byte of the values is of one of them.
/// Written to a temporary name, synced, renamed.
void write_safetensors(const std::string& path, const TensorViews& tensors,
                       const std::map<std::string, std::string>& metadata);
void write_safetensors(const std::string& path, const SafetensorsFile& file);

/// Throws InputError naming the path if the file is not sound: lengths, offsets, shapes and types are all checked.
SafetensorsFile read_safetensors(const std::string& path);

/// The shapes of the tensors by name. Checks the header in the same way, and does not read the values.
std::map<std::string, std::vector<std::int64_t>> read_tensor_shapes(const std::string& path);

}  // namespace curate
