#include "support/alias_table.h"

#include <numeric>

namespace curate {

AliasTable::AliasTable(const std::vector<double>& weights) : cells_(weights.size()) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> share(weights.size());
  std::vector<std::int32_t> small;
  std::vector<std::int32_t> large;
  for (std::size_t index = 0; index < weights.size(); ++index) {
    share[index] = weights[index] / total * static_cast<double>(weights.size());
    cells_[index].alias = static_cast<std::int32_t>(index);
    (share[index] < 1.0 ? small : large).push_back(static_cast<std::int32_t>(index));
  }
  // A large index fills up each cell that its own index leaves room in; a cell that rounding leaves over counts as
  // full.
  while (!small.empty() && !large.empty()) {
    const auto from = static_cast<std::size_t>(large.back());
    const auto to = static_cast<std::size_t>(small.back());
    small.pop_back();
    cells_[to].own = static_cast<std::uint32_t>(share[to] * 0x1.0p32);
    cells_[to].alias = large.back();
    share[from] -= 1.0 - share[to];
    if (share[from] < 1.0) {
      small.push_back(large.back());
      large.pop_back();
    }
  }
}

}  // namespace curate
