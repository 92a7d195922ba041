#include "train/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
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

/// Where the values of a tensor are within the data, checked.
struct Extent {
  std::vector<std::int64_t> shape;
  std::size_t begin = 0;
  std::size_t elements = 0;
};

Extent read_extent(const std::string& path, const std::string& name, const nlohmann::json& entry,
                   std::size_t data_bytes) {
  if (entry.at("dtype") != "F32") {
    fail(path, fmt::format("tensor {} is {}, not F32", name, entry.at("dtype").get<std::string>()));
  }
  for (const nlohmann::json& extent : entry.at("shape")) {
    if (!extent.is_number_integer()) {
      fail(path, fmt::format("tensor {} has an impossible shape", name));
    }
  }
  Extent result;
  result.shape = entry.at("shape").get<std::vector<std::int64_t>>();
  const auto [begin, end] = entry.at("data_offsets").get<std::pair<std::size_t, std::size_t>>();
  std::size_t elements = 1;
  for (const std::int64_t extent : result.shape) {
    if (extent < 0 || (extent > 0 && elements > data_bytes / static_cast<std::size_t>(extent))) {
      fail(path, fmt::format("tensor {} has an impossible shape", name));
    }
    elements *= static_cast<std::size_t>(extent);
  }
  if (begin > end || end > data_bytes || end - begin != elements * sizeof(float)) {
    fail(path, fmt::format("tensor {} does not lie within the file", name));
  }
  result.begin = begin;
  result.elements = elements;
  return result;
}

Tensor read_tensor(const Extent& extent, std::string_view data) {
  Tensor tensor;
  tensor.shape = extent.shape;
  tensor.values.resize(extent.elements);
  if (extent.elements > 0) {
    std::memcpy(tensor.values.data(), data.data() + extent.begin, extent.elements * sizeof(float));
  }
  return tensor;
}

/// The length of the header, which the file begins with.
std::size_t header_length(const std::string& path, const char* begin, std::uint64_t file_bytes) {
  std::uint64_t length = 0;
  if (file_bytes < kLengthBytes) {
    fail(path, "too short");
  }
  std::memcpy(&length, begin, kLengthBytes);
  if (length > file_bytes - kLengthBytes) {
    fail(path, "its header is cut off");
  }
  return static_cast<std::size_t>(length);
}

struct Header {
  std::map<std::string, std::string> metadata;
  std::map<std::string, Extent> extents;  ///< by the tensors' names
};

/// Each byte of the data is of one tensor: the format has neither holes nor values of two tensors.
void check_every_byte_is_of_one_tensor(const std::string& path, const std::map<std::string, Extent>& extents,
                                       std::size_t data_bytes) {
  std::vector<std::pair<std::string, Extent>> by_place(extents.begin(), extents.end());
  std::sort(by_place.begin(), by_place.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.begin, a.second.elements) < std::pair(b.second.begin, b.second.elements);
  });
  std::size_t covered = 0;
  for (const auto& [name, extent] : by_place) {
    if (extent.begin != covered) {
      fail(path, fmt::format("tensor {} begins at byte {} of the data, not at {}, where the one before it ends", name,
                             extent.begin, covered));
    }
    covered += extent.elements * sizeof(float);
  }
  if (covered != data_bytes) {
    fail(path, fmt::format("{} bytes of data are of no tensor", data_bytes - covered));
  }
}

Header read_header(const std::string& path, std::string_view text, std::size_t data_bytes) {
  Header header;
  try {
    const auto json = nlohmann::json::parse(text);
    for (const auto& [name, entry] : json.items()) {
      if (name == "__metadata__") {
        header.metadata = entry.get<std::map<std::string, std::string>>();
      } else {
        header.extents[name] = read_extent(path, name, entry, data_bytes);
      }
    }
  } catch (const nlohmann::json::exception& error) {
    fail(path, error.what());
  }
  check_every_byte_is_of_one_tensor(path, header.extents, data_bytes);
  return header;
}

}  // namespace

void write_safetensors(const std::string& path, const SafetensorsFile& file) {
  TensorViews tensors;
  for (const auto& [name, tensor] : file.tensors) {
    tensors[name] = &tensor;
  }
  write_safetensors(path, tensors, file.metadata);
}

void write_safetensors(const std::string& path, const TensorViews& tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  header["__metadata__"] = metadata;
  std::size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::size_t bytes = tensor->values.size() * sizeof(float);
    header[name] = {{"dtype", "F32"}, {"shape", tensor->shape}, {"data_offsets", {offset, offset + bytes}}};
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
  for (const auto& [name, tensor] : tensors) {
    content.append(reinterpret_cast<const char*>(tensor->values.data()), tensor->values.size() * sizeof(float));
  }
  write_file_atomically(path, content);
}

SafetensorsFile read_safetensors(const std::string& path) {
  const std::string content = read_file(path);
  const std::size_t length = header_length(path, content.data(), content.size());
  const std::string_view text = std::string_view(content).substr(kLengthBytes, length);
  const std::string_view data = std::string_view(content).substr(kLengthBytes + length);
  Header header = read_header(path, text, data.size());
  SafetensorsFile file;
  file.metadata = std::move(header.metadata);
  for (const auto& [name, extent] : header.extents) {
    file.tensors[name] = read_tensor(extent, data);
  }
  return file;
}

std::map<std::string, std::vector<std::int64_t>> read_tensor_shapes(const std::string& path) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) {
    throw InputError(fmt::format("{}: cannot read: {}; check the path", path,
                                 error ? error.message() : std::string(std::strerror(errno))));
  }
  std::array<char, kLengthBytes> start{};
  file.read(start.data(), start.size());
  const std::size_t length = header_length(path, start.data(), bytes);
  std::string text(length, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(length))) {
    fail(path, "its header is cut off");
  }
  const Header header = read_header(path, text, static_cast<std::size_t>(bytes) - kLengthBytes - length);
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& [name, extent] : header.extents) {
    shapes[name] = extent.shape;
  }
  return shapes;
}

}  // namespace curate
