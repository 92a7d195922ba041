#include "curate/column.h"

#include <sys/mman.h>

#include <cstdlib>

namespace curate {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20U;
constexpr std::size_t kCacheLine = 64;

bool takes_large_pages(std::size_t bytes) {
  return bytes >= kLargePage / 2;
}

std::size_t alignment_of(std::size_t bytes) {
  return takes_large_pages(bytes) ? kLargePage : kCacheLine;
}

}  // namespace

std::size_t column_bytes(std::size_t bytes) {
  const std::size_t alignment = alignment_of(bytes);
  // Never 0 bytes, for which null may come back.
  return (bytes / alignment + (bytes % alignment != 0 || bytes == 0 ? 1 : 0)) * alignment;
}

void* allocate_column(std::size_t bytes) {
  if (bytes > static_cast<std::size_t>(-1) - kLargePage) {
    throw std::bad_alloc();
  }
  const std::size_t rounded = column_bytes(bytes);
  void* const data = std::aligned_alloc(alignment_of(bytes), rounded);
  if (data == nullptr) {
    throw std::bad_alloc();
  }
  if (takes_large_pages(bytes)) {
    ::madvise(data, rounded, MADV_HUGEPAGE);  // best effort
  }
  return data;
}

void free_column(void* data) noexcept {
  std::free(data);
}

}  // namespace curate
