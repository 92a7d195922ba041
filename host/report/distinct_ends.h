#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace curate {

/// For every path the shortest end of it, in whole names, that no other path has; the whole path if there is none.
std::vector<std::string> distinct_ends(const std::vector<std::filesystem::path>& paths);

}  // namespace curate
