#include "data/rating_columns.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <limits>
#include <new>

#include "curate/error.h"

namespace curate {
namespace {

// Up to here ids are looked up by themselves; 16 MiB of table at most.
constexpr std::int64_t kDirectIds = std::int64_t{1} << (kSmallPieces ? 12U : 22U);

std::size_t hash(std::int64_t raw) {
  // Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4); the high bits are the good ones.
  return static_cast<std::size_t>((static_cast<std::uint64_t>(raw) * 0x9E3779B97F4A7C15ULL) >> 20U);
}

/// Asks for large pages, if the system has them: fewer faults. Best effort.
void advise_large_pages(void* data, std::size_t bytes) {
  constexpr std::size_t kLarge = std::size_t{2} << 20U;
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + kLarge - 1) / kLarge * kLarge;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / kLarge * kLarge;
  if (begin < end) {
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  }
}

template <typename T>
std::vector<T> make_column(std::size_t rows) {
  std::vector<T> column;
  column.reserve(rows);
  advise_large_pages(column.data(), rows * sizeof(T));
  column.resize(rows);
  return column;
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
  std::vector<Slot> old(std::max<std::size_t>(1024, 2 * hashed_.size()));
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

void LocalIds::map(const std::int64_t* raw, std::size_t count, std::int32_t* local) {
  for (std::size_t k = 0; k < count; ++k) {
    // Files are mostly sorted by user.
    local[k] = k > 0 && raw[k] == raw[k - 1] ? local[k - 1] : find_or_add(raw[k]);
  }
}

RatingColumns::~RatingColumns() {
  for (const Column column : {kUsers, kItems, kRatings, kTimestamps}) {
    release(column);
  }
}

void RatingColumns::release(Column column) {
  for (Segment& segment : segments_) {
    if (segment.data[column] != nullptr) {
      ::munmap(segment.data[column], segment.capacity * element_size(column));
      segment.data[column] = nullptr;
    }
  }
}

RatingColumns::Row RatingColumns::allocate(RatingChunk& chunk, std::size_t rows) {
  if (segments_.empty() || segments_.back().capacity - segments_.back().used < rows) {
    segments_.emplace_back();
    Segment& segment = segments_.back();
    segment.capacity = std::max(kSegmentRows, rows);
    for (const Column column : {kUsers, kItems, kRatings, kTimestamps}) {
      if (column == kTimestamps && !timestamps_) {
        continue;
      }
      const std::size_t bytes = segment.capacity * element_size(column);
      void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (data == MAP_FAILED) {
        throw std::bad_alloc();
      }
      segment.data[column] = data;
      advise_large_pages(data, bytes);
    }
  }
  Segment& segment = segments_.back();
  chunk.segment = segments_.size() - 1;
  chunk.first_row = segment.used;
  chunk.rows = rows;
  segment.used += rows;
  const auto at = [&](Column column) -> void* {
    void* data = segment.data[column];
    return data == nullptr ? nullptr : static_cast<std::byte*>(data) + chunk.first_row * element_size(column);
  };
  return {static_cast<std::int32_t*>(at(kUsers)), static_cast<std::int32_t*>(at(kItems)),
          static_cast<float*>(at(kRatings)), static_cast<std::int64_t*>(at(kTimestamps))};
}

template <typename T>
const T* RatingColumns::column(const RatingChunk& chunk, Column which) const {
  return static_cast<const T*>(segments_[chunk.segment].data[which]) + chunk.first_row;
}

RatingTable RatingColumns::take(const std::vector<RatingChunk>& chunks, IdMap& users, IdMap& items, ThreadPool& pool) {
  std::vector<std::size_t> begins;
  std::size_t rows = 0;
  for (const RatingChunk& chunk : chunks) {
    begins.push_back(rows);
    rows += chunk.rows;
  }
  const auto count = static_cast<std::int64_t>(chunks.size());
  RatingTable table;
  const auto take_plain = [&]<typename T>(std::vector<T>& to, Column which) {
    to = make_column<T>(rows);
    pool.run(count, [&](std::int64_t c) {
      const auto index = static_cast<std::size_t>(c);
      std::copy_n(column<T>(chunks[index], which), chunks[index].rows,
                  to.begin() + static_cast<std::ptrdiff_t>(begins[index]));
    });
    release(which);
  };
  const auto take_ids = [&](std::vector<std::int32_t>& to, Column which, IdMap& ids) {
    // In the order of the chunks, so that ids are numbered by first appearance in the file.
    std::vector<std::vector<std::int32_t>> dense(chunks.size());
    for (std::size_t c = 0; c < chunks.size(); ++c) {
      const auto& raw = which == kUsers ? chunks[c].users : chunks[c].items;
      dense[c].reserve(raw.size());
      for (const std::int64_t id : raw) {
        dense[c].push_back(ids.find_or_add(id));
      }
    }
    to = make_column<std::int32_t>(rows);
    pool.run(count, [&](std::int64_t c) {
      const auto index = static_cast<std::size_t>(c);
      const std::int32_t* local = column<std::int32_t>(chunks[index], which);
      std::int32_t* out = to.data() + begins[index];
      for (std::size_t k = 0; k < chunks[index].rows; ++k) {
        out[k] = dense[index][static_cast<std::size_t>(local[k])];
      }
    });
    release(which);
  };
  // The widest first, while nothing else is there twice.
  if (timestamps_) {
    take_plain(table.timestamps, kTimestamps);
  }
  take_ids(table.users, kUsers, users);
  take_ids(table.items, kItems, items);
  take_plain(table.ratings, kRatings);
  return table;
}

}  // namespace curate
