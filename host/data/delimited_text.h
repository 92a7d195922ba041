#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace curate {

// Lines of a text and what messages say of them.

/// Bytes in double quotes, cut at about 40 characters, anything but printable ASCII escaped.
std::string excerpt(std::string_view bytes);

/// Throws InputError "FILE:LINE: what; remedy".
[[noreturn]] void throw_input_error(std::string_view file, std::int64_t line, std::string_view what,
                                    std::string_view remedy);

/// 1-based line of an offset.
std::int64_t line_number(std::string_view text, std::size_t offset);

/// The line that starts at `offset`, without its end; moves `offset` to the start of the next.
std::string_view next_line(std::string_view text, std::size_t& offset);

/// Whether it may stand around a field: a space, tab or carriage return.
inline bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

/// Without the blanks around it.
std::string_view trimmed(std::string_view text);

/// Length of a UTF-8 byte order mark at the start, 0 or 3.
std::size_t byte_order_mark(std::string_view text);

/// Throws InputError if the text is empty or starts like an archive, UTF-16 or other binary data.
void check_is_text(std::string_view text, const std::string& file);

/// The whole file. Throws InputError with a remedy for one that is missing, a folder or unreadable.
std::string read_text(const std::string& path);

}  // namespace curate
