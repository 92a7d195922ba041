#include "data/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "data/delimited_text.h"

namespace curate {
namespace {

/// RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF.
bool is_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto lead = static_cast<unsigned char>(text[at]);
    std::size_t follow = 0;
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    if (lead < 0x80) {
      follow = 0;
    } else if (lead >= 0xC2 && lead <= 0xDF) {
      follow = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      follow = 2;
      low = lead == 0xE0 ? 0xA0 : low;
      high = lead == 0xED ? 0x9F : high;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      follow = 3;
      low = lead == 0xF0 ? 0x90 : low;
      high = lead == 0xF4 ? 0x8F : high;
    } else {
      return false;
    }
    if (text.size() - at <= follow) {
      return false;
    }
    for (std::size_t k = 1; k <= follow; ++k) {
      const auto byte = static_cast<unsigned char>(text[at + k]);
      if (byte < low || byte > high) {
        return false;
      }
      low = 0x80;
      high = 0xBF;
    }
    at += follow + 1;
  }
  return true;
}

}  // namespace

TextDecoder::TextDecoder(std::string_view text) : utf8_(is_utf8(text)) {}

std::string TextDecoder::operator()(std::string_view bytes) const {
  if (utf8_) {
    return std::string(bytes);
  }
  std::string result;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      result += c;
    } else {
      result += static_cast<char>(0xC0 | (byte >> 6U));
      result += static_cast<char>(0x80 | (byte & 0x3FU));
    }
  }
  return result;
}

std::vector<std::string_view> split_plainly(std::string_view line, std::string_view separator) {
  std::vector<std::string_view> fields;
  std::size_t start = 0;
  while (true) {
    const std::size_t end = line.find(separator, start);
    fields.push_back(line.substr(start, end == std::string_view::npos ? end : end - start));
    if (end == std::string_view::npos) {
      return fields;
    }
    start = end + separator.size();
  }
}

void for_each_line(std::string_view text, const std::function<void(std::string_view, std::int64_t)>& take) {
  std::size_t offset = byte_order_mark(text);
  for (std::int64_t number = 1; offset < text.size(); ++number) {
    std::string_view line = next_line(text, offset);
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    if (!trimmed(line).empty()) {
      take(line, number);
    }
  }
}

std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') {
      c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return result;
}

std::int64_t parse_id(std::string_view field, std::string_view what, const std::string& file, std::int64_t line,
                      std::string_view remedy) {
  field = trimmed(field);
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), id);
  if (end != field.data() + field.size() || error != std::errc{}) {
    throw_input_error(file, line, fmt::format("the {} is not a whole number of 64 bits ({})", what, excerpt(field)),
                      remedy);
  }
  return id;
}

CsvReader::CsvReader(std::string_view text, const std::string& file, std::string_view remedy)
    : text_(text), file_(file), remedy_(remedy), at_(byte_order_mark(text)) {}

bool CsvReader::next(std::vector<std::string>& fields) {
  fields.clear();
  while (at_ < text_.size()) {
    std::size_t after = at_;
    if (!trimmed(next_line(text_, after)).empty()) {
      break;
    }
    at_ = after;
    ++next_line_;
  }
  if (at_ >= text_.size()) {
    return false;
  }
  line_ = next_line_;
  const std::size_t start = at_;
  bool more = true;
  while (more) {
    fields.emplace_back();
    while (peek() == ' ') {
      ++at_;
    }
    if (peek() == '"') {
      take_quoted(fields.back(), start);
    } else {
      const std::size_t end = std::min(text_.find_first_of(",\n", at_), text_.size());
      fields.back() = trimmed(text_.substr(at_, end - at_));
      at_ = end;
    }
    more = peek() == ',';
    ++at_;
  }
  ++next_line_;
  return true;
}

void CsvReader::read_header() {
  next(header_);
}

bool CsvReader::next_row(std::vector<std::string>& fields) {
  if (!next(fields)) {
    return false;
  }
  if (fields.size() != header_.size()) {
    throw_input_error(file_, line_,
                      fmt::format("{} field{} separated by comma instead of {} ({})", fields.size(),
                                  fields.size() == 1 ? "" : "s", header_.size(), excerpt(fields[0])),
                      remedy_);
  }
  return true;
}

std::optional<std::size_t> CsvReader::find_column(std::string_view name) const {
  const auto found = std::find_if(header_.begin(), header_.end(),
                                  [&](const std::string& field) { return lower_case(field) == lower_case(name); });
  return found == header_.end() ? std::nullopt : std::optional(static_cast<std::size_t>(found - header_.begin()));
}

std::size_t CsvReader::column(std::string_view name, std::string_view header_remedy) const {
  const std::optional<std::size_t> found = find_column(name);
  if (!found) {
    throw_input_error(file_, line_, fmt::format("the header has no column {}", name), header_remedy);
  }
  return *found;
}

void CsvReader::fail(std::string_view what, std::size_t start) const {
  std::size_t end = start;
  throw_input_error(file_, line_, fmt::format("{} ({})", what, excerpt(next_line(text_, end))), remedy_);
}

void CsvReader::take_quoted(std::string& field, std::size_t start) {
  ++at_;
  while (true) {
    const std::size_t quote = text_.find('"', at_);
    if (quote == std::string_view::npos) {
      fail("a quoted field does not end", start);
    }
    const std::string_view part = text_.substr(at_, quote - at_);
    next_line_ += std::count(part.begin(), part.end(), '\n');
    field += part;
    at_ = quote + 1;
    if (peek() != '"') {
      break;
    }
    field += '"';
    ++at_;
  }
  while (peek() == ' ' || peek() == '\r') {
    ++at_;
  }
  if (peek() != ',' && peek() != '\n') {
    fail("text after the closing quote of a field", start);
  }
}

}  // namespace curate
