#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "curate/export.h"

namespace curate {

/// Memory for a column of a table, aligned to 64 bytes; from 1 MiB on in large pages if the system has them. std::free
/// may give it back, too. Throws std::bad_alloc.
CURATE_API void* allocate_column(std::size_t bytes);
CURATE_API void free_column(void* data) noexcept;
/// What allocate_column() takes for so many bytes.
CURATE_API std::size_t column_bytes(std::size_t bytes);

/// Leaves new elements uninitialised. A vector that is resized and then written touches its memory once, on the threads
/// that write it, and what was reserved beyond that costs no memory.
template <typename T>
class CURATE_API ColumnAllocator {
 public:
  using value_type = T;
  static_assert(std::is_arithmetic_v<T>);

  ColumnAllocator() = default;
  template <typename U>
  ColumnAllocator(const ColumnAllocator<U>& /*other*/) noexcept {}  // NOLINT(google-explicit-constructor)

  T* allocate(std::size_t count) {
    if (count > static_cast<std::size_t>(-1) / sizeof(T)) {
      throw std::bad_array_new_length();
    }
    return static_cast<T*>(allocate_column(count * sizeof(T)));
  }
  void deallocate(T* data, std::size_t /*count*/) noexcept { free_column(data); }

  template <typename U>
  void construct(U* /*at*/) noexcept {}
  template <typename U, typename... Arguments>
  void construct(U* at, Arguments&&... arguments) {
    ::new (static_cast<void*>(at)) U(std::forward<Arguments>(arguments)...);
  }

  friend bool operator==(const ColumnAllocator& /*a*/, const ColumnAllocator& /*b*/) noexcept { return true; }
};

/// A vector of numbers whose resize() does not initialise.
template <typename T>
using Column = std::vector<T, ColumnAllocator<T>>;

}  // namespace curate
