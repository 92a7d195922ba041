#pragma once

#include <string>
#include <string_view>

namespace curate {

/// Writes the whole content to a temporary name beside `path`, syncs it and renames it over `path`: readers see the old
/// file or the new one, never a half. Throws Error naming the path and the reason; the temporary file is gone then.
void write_file_atomically(const std::string& path, std::string_view content);

/// The whole file. Throws InputError naming the path and the reason.
std::string read_file(const std::string& path);

}  // namespace curate
