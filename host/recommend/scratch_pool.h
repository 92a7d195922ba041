#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace curate {

/// Blocks of working memory of one size that callers take for the length of a call. Takes memory from the heap only
/// when more callers are inside at once than ever before. Any thread may call it.
class ScratchPool {
 public:
  explicit ScratchPool(std::size_t floats) : floats_(floats) {}

  /// Before the first call of take().
  void set_floats(std::size_t floats) { floats_ = floats; }
  std::size_t floats() const { return floats_; }

  std::unique_ptr<float[]> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<float[]> block = std::move(free_.back());
        free_.pop_back();
        return block;
      }
      free_.reserve(++blocks_);  // so that giving it back needs no memory
    }
    return std::make_unique<float[]>(floats_);
  }

  void give_back(std::unique_ptr<float[]> block) noexcept {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(block));
  }

 private:
  std::size_t floats_;
  std::mutex mutex_;
  std::size_t blocks_ = 0;
  std::vector<std::unique_ptr<float[]>> free_;
};

}  // namespace curate
