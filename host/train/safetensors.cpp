#include "train/safetensors.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "curate/error.h"
#include "support/atomic_file.h"
#include "support/printable.h"

namespace curate {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::size_t kLengthBytes = 8;

[[noreturn]] void fail(const std::string& path, const std::string& problem) {
  throw InputError(
      fmt::format("{}: not a sound safetensors file: {}; train the model again", path, printable(problem)));
}

Tensor read_tensor(const std::string& path, const std::string& name, const nlohmann::json& entry,
                   std::string_view data) {
  if (entry.at("dtype") != "F32") {
    fail(path, fmt::format("tensor {} is {}, not F32", name, entry.at("dtype").get<std::string>()));
  }
  Tensor tensor;
  for (const nlohmann::json& extent : entry.at("shape")) {
    if (!extent.is_number_integer()) {
      fail(path, fmt::format("tensor {} has an impossible shape", name));
    }
  }
  tensor.shape = entry.at("shape").get<std::vector<std::int64_t>>();
  const auto [begin, end] = entry.at("data_offsets").get<std::pair<std::size_t, std::size_t>>();
  std::size_t elements = 1;
  for (const std::int64_t extent : tensor.shape) {
    if (extent < 0 || (extent > 0 && elements > data.size() / static_cast<std::size_t>(extent))) {
      fail(path, fmt::format("tensor {} has an impossible shape", name));
    }
    elements *= static_cast<std::size_t>(extent);
  }
  if (begin > end || end > data.size() || end - begin != elements * sizeof(float)) {
    fail(path, fmt::format("tensor {} does not lie within the file", name));
  }
  tensor.values.resize(elements);
  if (elements > 0) {
    std::memcpy(tensor.values.data(), data.data() + begin, end - begin);
  }
  return tensor;
}

}  // namespace

void write_safetensors(const std::string& path, const SafetensorsFile& file) {
  nlohmann::ordered_json header;
  header["__metadata__"] = file.metadata;
  std::size_t offset = 0;
  for (const auto& [name, tensor] : file.tensors) {
    const std::size_t bytes = tensor.values.size() * sizeof(float);
    header[name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  // The values start on an 8-byte boundary, so that a reader can map them.
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  std::string content(kLengthBytes, '\0');
  const std::uint64_t length = text.size();
  std::memcpy(content.data(), &length, kLengthBytes);
  content.reserve(kLengthBytes + text.size() + offset);
  content += text;
  for (const auto& [name, tensor] : file.tensors) {
    content.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float));
  }
  write_file_atomically(path, content);
}

SafetensorsFile read_safetensors(const std::string& path) {
  const std::string content = read_file(path);
  std::uint64_t length = 0;
  if (content.size() < kLengthBytes) {
    fail(path, "too short");
  }
  std::memcpy(&length, content.data(), kLengthBytes);
  if (length > content.size() - kLengthBytes) {
    fail(path, "its header is cut off");
  }
  const std::string_view text = std::string_view(content).substr(kLengthBytes, length);
  const std::string_view data = std::string_view(content).substr(kLengthBytes + length);
  SafetensorsFile file;
  try {
    const auto header = nlohmann::json::parse(text);
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        file.metadata = entry.get<std::map<std::string, std::string>>();
      } else {
        file.tensors[name] = read_tensor(path, name, entry, data);
      }
    }
  } catch (const nlohmann::json::exception& error) {
    fail(path, error.what());
  }
  return file;
}

}  // namespace curate
