#include "data/delimited_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "curate/error.h"
#include "support/atomic_file.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kExcerptLength = 40;

}  // namespace

std::string excerpt(std::string_view bytes) {
  while (!bytes.empty() && (bytes.back() == '\r' || bytes.back() == '\n')) {
    bytes.remove_suffix(1);
  }
  std::string result = "\"";
  bool cut = false;
  for (const char c : bytes) {
    if (result.size() > kExcerptLength) {
      cut = true;
      break;
    }
    if (c == '\t') {
      result += "\\t";
    } else if (c >= 0x20 && c < 0x7f) {
      result += c;
    } else {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  result += cut ? "...\"" : "\"";
  return result;
}

void throw_input_error(std::string_view file, std::int64_t line, std::string_view what, std::string_view remedy) {
  throw InputError(fmt::format("{}:{}: {}; {}", file, line, what, remedy));
}

std::int64_t line_number(std::string_view text, std::size_t offset) {
  return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n');
}

std::string_view next_line(std::string_view text, std::size_t& offset) {
  const std::size_t start = offset;
  const std::size_t newline = text.find('\n', start);
  offset = newline == std::string_view::npos ? text.size() : newline + 1;
  return text.substr(start, newline == std::string_view::npos ? newline : newline - start);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) {
    text.remove_prefix(1);
  }
  while (!text.empty() && is_blank(text.back())) {
    text.remove_suffix(1);
  }
  return text;
}

std::size_t byte_order_mark(std::string_view text) {
  return text.starts_with("\xEF\xBB\xBF") ? 3 : 0;
}

void check_is_text(std::string_view text, const std::string& file) {
  using namespace std::string_view_literals;
  constexpr std::string_view kRemedy = "name a text file of ratings";
  if (text.starts_with("PK\x03\x04"sv)) {
    throw_input_error(file, 1, "this is a zip archive", "unpack it and name what comes out");
  }
  if (text.starts_with("\x1F\x8B"sv)) {
    throw_input_error(file, 1, "this is compressed with gzip", "unpack it with gunzip");
  }
  if (text.starts_with("\xFF\xFE"sv) || text.starts_with("\xFE\xFF"sv)) {
    throw_input_error(file, 1, "this is UTF-16", "save it as UTF-8");
  }
  if (text.substr(byte_order_mark(text)).find_first_not_of(" \t\r\n") == std::string_view::npos) {
    throw_input_error(file, 1, "the file is empty", "name a file that has lines");
  }
  const std::string_view start = text.substr(0, 4096);
  for (std::size_t offset = 0; offset < start.size(); ++offset) {
    const auto byte = static_cast<unsigned char>(start[offset]);
    if (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') {
      const std::size_t from = offset < 10 ? 0 : offset - 10;
      throw_input_error(file, line_number(text, offset),
                        fmt::format("this is not text: byte 0x{:02x} at offset {} ({})", byte, offset,
                                    excerpt(start.substr(from, 20))),
                        kRemedy);
    }
  }
}

std::string read_text(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    throw InputError(fmt::format("{}: no such file or folder; check the path", path));
  }
  if (fs::is_directory(status)) {
    throw InputError(fmt::format("{}: this is a folder; name a file in it", path));
  }
  try {
    return read_file(path);
  } catch (const InputError& failure) {
    throw InputError(fmt::format("{}; check that it is a file that you may read", failure.what()));
  }
}

}  // namespace curate
