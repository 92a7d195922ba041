#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "curate/id_map.h"

namespace curate {

/// Gives raw ids the numbers 0, 1, ... in order of first appearance. clear() costs nothing, so that one object serves
/// many chunks of a file.
class LocalIds {
 public:
  /// The number of `raw`, a new one if need be.
  std::int32_t find_or_add(std::int64_t raw);
  /// Raw ids by number.
  const std::vector<std::int64_t>& raw() const { return raw_; }
  void clear();

 private:
  void grow_direct(std::int64_t raw);
  void grow_hashed();

  std::vector<std::int64_t> raw_;
  // Small ids: entry - base_ is the number. If it is negative the entry is left over from before clear().
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

/// Dense ids of the small raw ids that have one already. One thread at a time adds, any thread may look. A thread that
/// does not see an id yet asks the IdMap.
class KnownIds {
 public:
  KnownIds();

  /// The dense id or -1.
  std::int32_t find(std::int64_t raw) const;
  void add(std::int64_t raw, std::int32_t dense);

 private:
  struct Free {
    void operator()(std::int32_t* data) const;
  };
  std::unique_ptr<std::int32_t, Free> dense_;  ///< plus one; zero pages cost nothing until they are used
};

/// One id column of a chunk of rows. Threads work on chunks side by side, but chunks get their dense ids one after the
/// other, so that ids are numbered by first appearance in the file. map() and map_texts() give dense ids as far as they
/// are known and placeholders for the rest, resolve() numbers the placeholders, finish() fills them in.
class ChunkIds {
 public:
  explicit ChunkIds(KnownIds& known) : known_(known) {}

  /// For the next chunk.
  void clear();
  void map(const std::int64_t* raw, std::size_t count, std::int32_t* to);
  /// Not mixed with map() in one chunk. `references` as in field_text(), into `text`.
  void map_texts(std::string_view text, const std::int64_t* references, std::size_t count, std::int32_t* to);
  /// In the order of the chunks, one thread at a time.
  void resolve(IdMap& ids);
  void finish(const std::int32_t* from, std::size_t count, std::int32_t* to) const;

 private:
  KnownIds& known_;
  LocalIds numbers_;
  IdMap texts_;
  std::vector<std::int32_t> dense_;  ///< by number in numbers_ or texts_; its placeholder is ~number
};

}  // namespace curate
