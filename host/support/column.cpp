#include "curate/column.h"

#include <sys/mman.h>

#include <cstdlib>

namespace curate {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20U;

}  // namespace

void* allocate_column(std::size_t bytes) {
  const bool large = bytes >= 2 * kLargePage;
  // Sizes have to be multiples of the alignment.
  if (bytes > static_cast<std::size_t>(-1) - kLargePage) {
    throw std::bad_alloc();
  }
  const std::size_t rounded = large ? (bytes + kLargePage - 1) / kLargePage * kLargePage : bytes;
  void* const data = large ? std::aligned_alloc(kLargePage, rounded) : std::malloc(bytes == 0 ? 1 : bytes);
  if (data == nullptr) {
    throw std::bad_alloc();
  }
  if (large) {
    ::madvise(data, rounded, MADV_HUGEPAGE);  // best effort
  }
  return data;
}

void free_column(void* data) noexcept {
  std::free(data);
}

}  // namespace curate
