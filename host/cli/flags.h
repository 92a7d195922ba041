#pragma once

#include <string>
#include <string_view>

namespace curate::cli {

/// The flag of an option's key: "--rate-decay" of "rate_decay".
std::string flag_of(std::string_view key);

/// Text of the library as the command line has it: keys in backticks become flags, `rate_decay` is --rate-decay.
/// Other text in backticks stays.
std::string in_flags(std::string_view text);

}  // namespace curate::cli
