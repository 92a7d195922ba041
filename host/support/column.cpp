#include "curate/column.h"

#include <sys/mman.h>

#include <cstdlib>

namespace curate {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20U;
constexpr std::size_t kCacheLine = 64;

}  // namespace

void* allocate_column(std::size_t bytes) {
  const bool large = bytes >= kLargePage / 2;
  const std::size_t alignment = large ? kLargePage : kCacheLine;
  if (bytes > static_cast<std::size_t>(-1) - kLargePage) {
    throw std::bad_alloc();
  }
  // Never 0 bytes, for which null may come back.
  const std::size_t rounded = (bytes / alignment + (bytes % alignment != 0 || bytes == 0 ? 1 : 0)) * alignment;
  void* const data = std::aligned_alloc(alignment, rounded);
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
