#include "report/distinct_ends.h"

#include <cstddef>
#include <iterator>
#include <map>

namespace curate {

namespace fs = std::filesystem;

std::vector<std::string> distinct_ends(const std::vector<fs::path>& paths) {
  const auto end_of = [](const fs::path& path, int names) {
    fs::path rest = path;
    fs::path end;
    for (; names > 0 && rest.has_relative_path(); --names) {
      end = end.empty() ? rest.filename() : rest.filename() / end;
      rest = rest.parent_path();
    }
    return end.empty() ? path.string() : end.string();
  };
  std::vector<std::string> ends(paths.size());
  bool shared = true;
  for (int names = 1; shared; ++names) {
    std::map<std::string, int> uses;
    for (const fs::path& path : paths) {
      ++uses[end_of(path, names)];
    }
    shared = false;
    for (std::size_t p = 0; p < paths.size(); ++p) {
      const bool longer_left = names < std::distance(paths[p].begin(), paths[p].end());
      if (ends[p].empty() && (uses[end_of(paths[p], names)] == 1 || !longer_left)) {
        ends[p] = end_of(paths[p], names);
      }
      shared = shared || ends[p].empty();
    }
  }
  return ends;
}

}  // namespace curate
