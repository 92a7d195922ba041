#include "device_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>

#include "emulator.h"

namespace curate::emulator {
namespace {

constexpr std::size_t kReserve = std::size_t{1} << 40U;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kAlignment = 16;
constexpr std::size_t kSmallestGap = std::size_t{64} << 10U;
constexpr std::size_t kLargestGap = std::size_t{1} << 30U;
constexpr std::size_t kLargestPoisoned = std::size_t{256} << 20U;
constexpr std::size_t kRemembered = 4096;
constexpr unsigned char kAround = 0xA5;

std::size_t round_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

struct Block {
  std::uintptr_t pages = 0;
  std::size_t page_bytes = 0;
  std::size_t bytes = 0;
  bool live = true;
};

class Memory {
 public:
  Memory() {
    void* const reserve = ::mmap(nullptr, kReserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserve == MAP_FAILED) {
      throw std::bad_alloc();
    }
    if (const char* const mebibytes = std::getenv("CURATE_EMULATOR_MEMORY_MIB")) {
      capacity_ = static_cast<std::size_t>(std::atoll(mebibytes)) << 20U;
    }
    begin_ = reinterpret_cast<std::uintptr_t>(reserve);
    cursor_ = begin_ + kLargestGap;
  }

  void* allocate(std::size_t bytes) {
    const std::size_t rounded = round_up(std::max<std::size_t>(bytes, 1), kAlignment);
    const std::size_t page_bytes = round_up(rounded, kPage);
    if (bytes > capacity_ || in_use_ > capacity_ - bytes) {
      return nullptr;
    }
    const std::uintptr_t pages = place(page_bytes);
    if (::mprotect(reinterpret_cast<void*>(pages), page_bytes, PROT_READ | PROT_WRITE) != 0) {
      return nullptr;
    }
    const std::uintptr_t start = pages + page_bytes - rounded;
    auto* const block = reinterpret_cast<unsigned char*>(start);
    std::memset(reinterpret_cast<void*>(pages), kAround, start - pages);
    if (bytes <= kLargestPoisoned) {
      std::memset(block, 0xFF, bytes);
    }
    std::memset(block + bytes, kAround, rounded - bytes);
    blocks_[start] = {pages, page_bytes, bytes, true};
    in_use_ += bytes;
    most_ = std::max(most_, in_use_);
    ++live_;
    return block;
  }

  std::string free(std::uintptr_t start) {
    const auto found = blocks_.find(start);
    if (found == blocks_.end()) {
      return "frees an address that no allocation begins at";
    }
    Block& block = found->second;
    if (!block.live) {
      return fmt::format("frees an allocation of {} bytes twice", block.bytes);
    }
    const std::string damage = damage_around(start, block);
    // A new mapping in its place: the pages go back, and whoever uses them from here on is stopped.
    ::mmap(reinterpret_cast<void*>(block.pages), block.page_bytes, PROT_NONE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    block.live = false;
    in_use_ -= block.bytes;
    --live_;
    forget_oldest();
    return damage;
  }

  std::string describe(std::uintptr_t address) const {
    if (address < begin_ || address >= begin_ + kReserve) {
      return "";
    }
    const auto next = blocks_.upper_bound(address);
    const auto before = next == blocks_.begin() ? blocks_.end() : std::prev(next);
    const auto word = [](const Block& block) { return block.live ? "an allocation" : "a freed allocation"; };
    if (before != blocks_.end() && address < before->first + before->second.bytes) {
      return fmt::format("byte {} of {} of {} bytes", address - before->first, word(before->second),
                         before->second.bytes);
    }
    const std::uintptr_t past =
        before == blocks_.end() ? ~std::uintptr_t{0} : address - before->first - before->second.bytes;
    if (next != blocks_.end() && next->first - address < past) {
      return fmt::format("{} bytes before {} of {} bytes", next->first - address, word(next->second),
                         next->second.bytes);
    }
    if (before != blocks_.end()) {
      return fmt::format("{} bytes past the end of {} of {} bytes", past, word(before->second), before->second.bytes);
    }
    return "device memory that was never allocated";
  }

  bool holds(std::uintptr_t address, std::size_t bytes) const {
    const auto next = blocks_.upper_bound(address);
    if (next == blocks_.begin()) {
      return false;
    }
    const auto& [start, block] = *std::prev(next);
    return block.live && address - start <= block.bytes && bytes <= block.bytes - (address - start);
  }

  void set_capacity(std::size_t bytes) { capacity_ = bytes; }
  std::size_t capacity() const { return capacity_; }
  std::size_t in_use() const { return in_use_; }
  std::size_t most_in_use() const { return most_; }
  void reset_most() { most_ = in_use_; }
  std::size_t live() const { return live_; }

 private:
  /// A gap as long as the block, so that an index far out of range meets no other block.
  std::uintptr_t place(std::size_t page_bytes) {
    const std::size_t gap = std::clamp(round_up(page_bytes, kPage), kSmallestGap, kLargestGap);
    if (cursor_ + page_bytes + gap > begin_ + kReserve) {
      cursor_ = begin_ + kLargestGap;
      std::erase_if(blocks_, [](const auto& entry) { return !entry.second.live; });
      freed_ = 0;
    }
    // After the first round, live blocks may be in the way.
    auto next = blocks_.lower_bound(cursor_);
    while (next != blocks_.end() && next->second.pages < cursor_ + page_bytes + gap) {
      cursor_ = next->second.pages + next->second.page_bytes + gap;
      next = blocks_.lower_bound(cursor_);
    }
    const std::uintptr_t pages = cursor_;
    cursor_ += page_bytes + gap;
    return pages;
  }

  static std::string damage_around(std::uintptr_t start, const Block& block) {
    const auto intact = [](std::uintptr_t from, std::uintptr_t to) {
      const auto* const first = reinterpret_cast<const unsigned char*>(from);
      const auto* const last = reinterpret_cast<const unsigned char*>(to);
      return std::all_of(first, last, [](unsigned char byte) { return byte == kAround; });
    };
    if (!intact(block.pages, start)) {
      return fmt::format("something wrote before the start of an allocation of {} bytes", block.bytes);
    }
    if (!intact(start + block.bytes, block.pages + block.page_bytes)) {
      return fmt::format("something wrote past the end of an allocation of {} bytes", block.bytes);
    }
    return "";
  }

  /// Freed blocks are remembered for describe() alone.
  void forget_oldest() {
    if (++freed_ < 2 * kRemembered) {
      return;
    }
    std::size_t surplus = kRemembered;
    std::erase_if(blocks_, [&surplus](const auto& entry) {
      if (entry.second.live || surplus == 0) {
        return false;
      }
      --surplus;
      return true;
    });
    freed_ -= kRemembered;
  }

  std::uintptr_t begin_ = 0;
  std::uintptr_t cursor_ = 0;
  std::size_t capacity_ = std::size_t{16} << 30U;
  std::size_t in_use_ = 0;
  std::size_t most_ = 0;
  std::size_t live_ = 0;
  std::size_t freed_ = 0;
  std::map<std::uintptr_t, Block> blocks_;
};

Memory& memory() {
  static Memory memory;
  return memory;
}

std::uintptr_t number(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address);
}

}  // namespace

void* allocate_memory(std::size_t bytes) {
  return memory().allocate(bytes);
}
std::string free_memory(void* address) {
  return memory().free(number(address));
}
std::string describe_address(const void* address) {
  return memory().describe(number(address));
}
bool is_device_memory(const void* address, std::size_t bytes) {
  return memory().holds(number(address), bytes);
}
std::size_t memory_capacity() {
  return memory().capacity();
}
void set_memory(std::size_t bytes) {
  memory().set_capacity(bytes);
}
std::size_t bytes_in_use() {
  return memory().in_use();
}
std::size_t most_bytes_in_use() {
  return memory().most_in_use();
}
void reset_most_bytes_in_use() {
  memory().reset_most();
}
std::size_t allocations_in_use() {
  return memory().live();
}

}  // namespace curate::emulator
