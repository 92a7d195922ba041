#include "data/chunk_ids.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>
#include <string>

#include "data/piece_sizes.h"
#include "data/row_parser.h"

namespace curate {
namespace {

// Ids below this index a table, which takes 16 MiB at most.
constexpr std::int64_t kDirectIds = std::int64_t{1} << (kSmallPieces ? 12U : 22U);

std::size_t hash(std::int64_t raw) {
  // Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4); the high bits are the good ones.
  return static_cast<std::size_t>((static_cast<std::uint64_t>(raw) * 0x9E3779B97F4A7C15ULL) >> 20U);
}

}  // namespace

void LocalIds::clear() {
  // What was given out so far is below the new base.
  if (base_ > std::numeric_limits<std::int32_t>::max() - (std::int32_t{1} << 26U)) {
    std::fill(direct_.begin(), direct_.end(), -1);
    std::fill(hashed_.begin(), hashed_.end(), Slot{});
    base_ = 0;
  } else {
    base_ += static_cast<std::int32_t>(raw_.size());
  }
  if (hashed_count_ > 0) {
    std::fill(hashed_.begin(), hashed_.end(), Slot{});
    hashed_count_ = 0;
  }
  raw_.clear();
}

void LocalIds::grow_direct(std::int64_t raw) {
  const auto size = std::min<std::size_t>(static_cast<std::size_t>(kDirectIds),
                                          std::max<std::size_t>(4096, 2 * static_cast<std::size_t>(raw + 1)));
  direct_.resize(size, -1);
}

void LocalIds::grow_hashed() {
  std::vector<Slot> old(std::max<std::size_t>(kSmallPieces ? 8 : 1024, 2 * hashed_.size()));
  old.swap(hashed_);
  for (const Slot& slot : old) {
    if (slot.entry >= base_) {
      std::size_t at = hash(slot.raw) & (hashed_.size() - 1);
      while (hashed_[at].entry >= base_) {
        at = (at + 1) & (hashed_.size() - 1);
      }
      hashed_[at] = slot;
    }
  }
}

std::int32_t LocalIds::find_or_add(std::int64_t raw) {
  const auto next = base_ + static_cast<std::int32_t>(raw_.size());
  if (raw >= 0 && raw < kDirectIds) {
    if (raw >= static_cast<std::int64_t>(direct_.size())) {
      grow_direct(raw);
    }
    std::int32_t& entry = direct_[static_cast<std::size_t>(raw)];
    if (entry < base_) {
      entry = next;
      raw_.push_back(raw);
    }
    return entry - base_;
  }
  if (2 * (hashed_count_ + 1) > hashed_.size()) {
    grow_hashed();
  }
  std::size_t at = hash(raw) & (hashed_.size() - 1);
  while (hashed_[at].entry >= base_) {
    if (hashed_[at].raw == raw) {
      return hashed_[at].entry - base_;
    }
    at = (at + 1) & (hashed_.size() - 1);
  }
  hashed_[at] = {raw, next};
  ++hashed_count_;
  raw_.push_back(raw);
  return next - base_;
}

KnownIds::KnownIds()
    : dense_(static_cast<std::int32_t*>(std::calloc(static_cast<std::size_t>(kDirectIds), sizeof(std::int32_t)))) {
  if (dense_ == nullptr) {
    throw std::bad_alloc();
  }
}

void KnownIds::Free::operator()(std::int32_t* data) const {
  std::free(data);
}

std::int32_t KnownIds::find(std::int64_t raw) const {
  if (raw < 0 || raw >= kDirectIds) {
    return -1;
  }
  // Nothing else is read through the number, so that no order is needed.
  return std::atomic_ref(dense_.get()[raw]).load(std::memory_order_relaxed) - 1;
}

void KnownIds::add(std::int64_t raw, std::int32_t dense) {
  if (raw >= 0 && raw < kDirectIds && dense < std::numeric_limits<std::int32_t>::max()) {
    std::atomic_ref(dense_.get()[raw]).store(dense + 1, std::memory_order_relaxed);
  }
}

void ChunkIds::clear() {
  numbers_.clear();
  if (texts_.size() > 0) {
    texts_ = {};
  }
}

void ChunkIds::map(const std::int64_t* raw, std::size_t count, std::int32_t* to) {
  for (std::size_t k = 0; k < count; ++k) {
    if (k > 0 && raw[k] == raw[k - 1]) {  // files are mostly sorted by user
      to[k] = to[k - 1];
      continue;
    }
    const std::int32_t known = known_.find(raw[k]);
    to[k] = known >= 0 ? known : ~numbers_.find_or_add(raw[k]);
  }
}

void ChunkIds::map_texts(std::string_view text, const std::int64_t* references, std::size_t count, std::int32_t* to) {
  std::string unquoted;
  for (std::size_t k = 0; k < count; ++k) {
    to[k] = ~texts_.find_or_add(field_text(text, references[k], unquoted));
  }
}

void ChunkIds::resolve(IdMap& ids) {
  dense_.clear();
  for (const std::int64_t raw : numbers_.raw()) {
    dense_.push_back(ids.find_or_add(raw));
    known_.add(raw, dense_.back());
  }
  for (std::int32_t text = 0; text < texts_.size(); ++text) {
    dense_.push_back(ids.find_or_add(texts_.id(text)));
  }
}

void ChunkIds::finish(const std::int32_t* from, std::size_t count, std::int32_t* to) const {
  if (dense_.empty()) {
    std::copy_n(from, count, to);
    return;
  }
  for (std::size_t k = 0; k < count; ++k) {
    to[k] = from[k] >= 0 ? from[k] : dense_[static_cast<std::size_t>(~from[k])];
  }
}

}  // namespace curate
