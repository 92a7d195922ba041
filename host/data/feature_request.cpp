#include "data/feature_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "curate/error.h"
#include "data/delimited_text.h"
#include "data/text_table.h"
#include "support/printable.h"

namespace curate {
namespace {

std::optional<FeatureKind> kind_of(std::string_view name) {
  for (const FeatureKind kind : {FeatureKind::category, FeatureKind::multi, FeatureKind::number}) {
    if (name == name_of(kind)) {
      return kind;
    }
  }
  return std::nullopt;
}

/// Takes the part after the last colon, and that colon, off the text, and returns the part.
std::string take_last(std::string& text) {
  const std::size_t colon = text.rfind(':');
  std::string last = colon == std::string::npos ? "" : text.substr(colon + 1);
  text.resize(colon == std::string::npos ? 0 : colon);
  return last;
}

bool is_file(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

FeatureRequest parse_request(const std::string& text) {
  FeatureRequest request;
  if (text.find(':') == std::string::npos) {
    request.name = text;
    return request;
  }
  request.file = text;
  request.name = take_last(request.file);
  request.kind = kind_of(request.name);
  // Columns may be called like kinds, and paths may have colons.
  if (request.kind && request.file.find(':') != std::string::npos && !is_file(request.file)) {
    request.name = take_last(request.file);
  } else {
    request.kind.reset();
  }
  if (request.file.empty() || request.name.empty()) {
    throw InputError("features", printable(text),
                     "write FILE:COLUMN or FILE:COLUMN:KIND, with KIND category, multi or number");
  }
  return request;
}

}  // namespace

std::string FeatureRequest::text() const {
  if (file.empty()) {
    return name;
  }
  return kind ? fmt::format("{}:{}:{}", file, name, name_of(*kind)) : fmt::format("{}:{}", file, name);
}

std::vector<FeatureRequest> parse_feature_requests(const std::string& list) {
  std::vector<FeatureRequest> requests;
  for (const std::string_view part : split_plainly(list, ",")) {
    if (trimmed(part).empty()) {
      throw InputError("features", printable(list),
                       "a name is missing; write them with commas between, like genres,year");
    }
    requests.push_back(parse_request(std::string(trimmed(part))));
    check_feature_name(requests.back().name);
  }
  return requests;
}

void check_feature_name(const std::string& name) {
  const bool printed = std::none_of(name.begin(), name.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
  });
  if (name.empty() || !printed) {
    throw InputError(
        fmt::format("a feature called '{}': give it a name, one without tabs, line ends and other control "
                    "characters",
                    printable(name)));
  }
}

}  // namespace curate
