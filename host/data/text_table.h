#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace curate {

// The small text tables that come beside ratings: items, users, tags.

/// Makes UTF-8 of the bytes of a text: as they are if the whole text is valid UTF-8, else from latin-1.
class TextDecoder {
 public:
  explicit TextDecoder(std::string_view text);
  std::string operator()(std::string_view bytes) const;

 private:
  bool utf8_;
};

std::vector<std::string_view> split_plainly(std::string_view line, std::string_view separator);

/// Calls `take` with every line that is not blank, and its number.
void for_each_line(std::string_view text, const std::function<void(std::string_view, std::int64_t)>& take);

/// ASCII letters in lower case.
std::string lower_case(std::string_view text);

/// `what` is the field's name in the message. Throws InputError.
std::int64_t parse_id(std::string_view field, std::string_view what, const std::string& file, std::int64_t line,
                      std::string_view remedy);

/// Records of a CSV text as in RFC 4180: quoted fields may hold commas, doubled quotes and line ends. `file` and
/// `remedy` are for messages and have to outlive the reader.
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& file, std::string_view remedy);

  /// The line that the last record started on.
  std::int64_t line() const { return line_; }

  /// False at the end; skips blank lines. Throws InputError.
  bool next(std::vector<std::string>& fields);

  /// Reads the first record as the header.
  void read_header();
  /// Its names; empty before read_header().
  const std::vector<std::string>& header() const { return header_; }
  /// next() for a record below the header. Throws InputError if it has another number of fields.
  bool next_row(std::vector<std::string>& fields);

  /// The header's column of that name, whatever its case, or nothing.
  std::optional<std::size_t> find_column(std::string_view name) const;
  /// The same; throws InputError with `header_remedy` if there is none.
  std::size_t column(std::string_view name, std::string_view header_remedy) const;

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\n'; }
  [[noreturn]] void fail(std::string_view what, std::size_t start) const;
  void take_quoted(std::string& field, std::size_t start);

  std::string_view text_;
  const std::string& file_;
  std::string_view remedy_;
  std::size_t at_;
  std::int64_t line_ = 1;
  std::int64_t next_line_ = 1;
  std::vector<std::string> header_;
};

}  // namespace curate
