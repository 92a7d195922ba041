#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "curate/dataset.h"
#include "data/piece_sizes.h"
#include "data/row_scanner.h"
#include "support/thread_pool.h"

namespace curate {

/// Raw ids to numbers 0, 1, ... in order of first appearance, over and over: clear() costs nothing, so that one serves
/// many chunks of a file.
class LocalIds {
 public:
  /// Numbers of `raw` [count], new ones as need be.
  void map(const std::int64_t* raw, std::size_t count, std::int32_t* local);
  /// Raw ids by number.
  const std::vector<std::int64_t>& raw() const { return raw_; }
  void clear();

 private:
  std::int32_t find_or_add(std::int64_t raw);
  void grow_direct(std::int64_t raw);
  void grow_hashed();

  std::vector<std::int64_t> raw_;
  // Small ids: entry - base_ is the number, if it is not negative. Else left over from before clear().
  std::vector<std::int32_t> direct_;
  std::int32_t base_ = 0;
  // Other ids: open addressing, linear probing.
  struct Slot {
    std::int64_t raw = 0;
    std::int32_t entry = -1;  ///< as in direct_
  };
  std::vector<Slot> hashed_;
  std::size_t hashed_count_ = 0;
};

/// A piece of a text as columns, its ids numbered within the piece.
struct RatingChunk {
  std::vector<std::int64_t> users;  ///< raw ids by number
  std::vector<std::int64_t> items;
  std::size_t segment = 0;  ///< where its rows are
  std::size_t first_row = 0;
  std::size_t rows = 0;
};

/// Rows of many chunks, column by column in memory of its own that goes back column by column: turning them into a
/// RatingTable never holds more than one column twice.
class RatingColumns {
 public:
  explicit RatingColumns(bool timestamps) : timestamps_(timestamps) {}
  RatingColumns(const RatingColumns&) = delete;
  RatingColumns& operator=(const RatingColumns&) = delete;
  ~RatingColumns();

  bool timestamps() const { return timestamps_; }

  struct Row {
    std::int32_t* users;
    std::int32_t* items;
    float* ratings;
    std::int64_t* timestamps;
  };
  /// Room for `rows` rows in a row; thread-safety is the caller's.
  Row allocate(RatingChunk& chunk, std::size_t rows);

  /// Maps the chunks' ids (in their order) through `users` and `items`, to which new ones are added, and gives up all
  /// memory.
  RatingTable take(const std::vector<RatingChunk>& chunks, IdMap& users, IdMap& items, ThreadPool& pool);

 private:
  static constexpr std::size_t kSegmentRows = kSmallPieces ? 16 : std::size_t{1} << 20U;
  enum Column { kUsers, kItems, kRatings, kTimestamps, kColumns };

  struct Segment {
    std::array<void*, kColumns> data{};
    std::size_t capacity = 0;
    std::size_t used = 0;
  };
  static std::size_t element_size(Column column) { return column == kTimestamps ? 8 : 4; }
  void release(Column column);
  template <typename T>
  const T* column(const RatingChunk& chunk, Column which) const;

  bool timestamps_;
  std::vector<Segment> segments_;
};

}  // namespace curate
