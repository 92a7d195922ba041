#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tests/emulator/grid.h"

namespace curate::emulator {

/// An array in a block's shared memory, used as array[index] only. Every access is checked: bounds, elements that
/// nobody has written, and accesses of two threads, one of which writes, that no barrier orders.
template <typename T>
class SharedArray {
  static_assert(std::is_trivially_copyable_v<T>, "shared memory has no constructors");

 public:
  explicit SharedArray(SharedBlock& block) : block_(&block) {}

  class Element {
   public:
    Element(SharedBlock& block, std::int64_t index) : block_(&block), index_(index) {}
    operator T() const {
      check_shared_read(*block_, index_);
      return *address();
    }
    Element& operator=(const T& value) {
      check_shared_write(*block_, index_);
      *address() = value;
      return *this;
    }
    Element& operator=(const Element& other) { return *this = static_cast<T>(other); }
    Element(const Element&) = default;
    Element& operator+=(const T& value) { return *this = static_cast<T>(*this) + value; }

   private:
    T* address() const { return reinterpret_cast<T*>(block_->bytes.data()) + index_; }
    SharedBlock* block_;
    std::int64_t index_;
  };

  Element operator[](std::int64_t index) const { return {*block_, index}; }

  /// The element before `change` changed it, at once: no barrier has to order these among each other.
  template <typename Change>
  T atomic(std::int64_t index, const Change& change) const {
    preempt();
    check_shared_atomic(*block_, index);
    T* const address = reinterpret_cast<T*>(block_->bytes.data()) + index;
    const T before = *address;
    *address = change(before);
    return before;
  }

 private:
  SharedBlock* block_;
};

/// For accesses of several elements at once.
inline void check_aligned(std::int64_t index, int elements) {
  if (index % elements != 0) {
    fail("takes several elements of shared memory at once from where it may not");
  }
}

}  // namespace curate::emulator
