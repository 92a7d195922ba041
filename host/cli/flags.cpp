#include "cli/flags.h"

#include <algorithm>

namespace curate::cli {
namespace {

bool is_key(std::string_view text) {
  return !text.empty() && text.front() >= 'a' && text.front() <= 'z' &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

}  // namespace

std::string flag_of(std::string_view key) {
  std::string flag = "--";
  flag += key;
  std::replace(flag.begin() + 2, flag.end(), '_', '-');
  return flag;
}

std::string in_flags(std::string_view text) {
  std::string all;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text[at] == '`' ? text.find('`', at + 1) : std::string_view::npos;
    if (end != std::string_view::npos && is_key(text.substr(at + 1, end - at - 1))) {
      all += flag_of(text.substr(at + 1, end - at - 1));
      at = end + 1;
    } else {
      all += text[at++];
    }
  }
  return all;
}

}  // namespace curate::cli
