#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "curate/dataset.h"
#include "data/piece_sizes.h"

namespace curate {

// The file: a header, blocks of rows, blocks of timestamps (if any), the raw ids of users and items, and an index of
// the blocks. Numbers are little-endian. Every block has a hash (XXH3, 64 bits), and so have index and header. Each
// hash is checked before its part is used, and so is every number: anybody may have written the file.

inline constexpr std::int64_t kBlockRows = std::int64_t{1} << (kSmallPieces ? 3U : 18U);
inline constexpr std::size_t kMostCodes = 256;

/// Bits of CacheHeader::flags.
enum CacheFlag : std::uint32_t { kTextIds = 1, kTimestamps = 2, kUserTexts = 4, kItemTexts = 8, kRatingCodes = 16 };

/// At the start of the file, as it is in memory.
struct CacheHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t flags;
  std::int64_t source_size;
  std::int64_t source_modified;
  std::uint64_t source_hash;
  std::int64_t created;
  std::int64_t rows;
  std::int64_t users;
  std::int64_t items;
  std::int64_t duplicates;
  std::int64_t first_time;
  std::uint32_t item_bytes;  ///< per rating
  std::uint32_t time_bytes;  ///< per rating, beyond first_time
  std::uint32_t codes;       ///< of ratings in `code_values`
  float min;
  float max;
  float step;
  std::array<float, kMostCodes> code_values;
  std::int64_t index_offset;
  std::int64_t index_entries;
  std::uint64_t index_hash;
  std::uint64_t header_hash;  ///< of all before
};
static_assert(sizeof(CacheHeader) == 144 + kMostCodes * sizeof(float), "hashed as it is: there is to be no padding");

/// Number of blocks of so many rows.
inline std::int64_t blocks_of(std::int64_t rows) {
  return (rows + kBlockRows - 1) / kBlockRows;
}

/// The least number of bytes that hold numbers up to `largest`.
std::uint32_t bytes_for(std::uint64_t largest);

/// Codes of ratings: a number for each value, if there are few values.
class RatingCodes {
 public:
  explicit RatingCodes(const Column<float>& ratings);

  const std::vector<std::uint32_t>& values() const { return values_; }  ///< bits of floats; empty: too many

  /// kMostCodes if there is none.
  std::size_t find(std::uint32_t bits) const;

 private:
  std::vector<std::uint32_t> values_;
  std::uint32_t last_ = 0xFFFFFFFFU;  // a NaN, which no rating is
};

// Blocks. What packs cannot fail. What unpacks takes any bytes: false if they are not what a block of the header's file
// has. Rows are those in [begin, end) of the table.

/// Runs of users, items, ratings.
std::vector<char> pack_rows(const RatingTable& table, std::size_t begin, std::size_t end, const CacheHeader& header,
                            const RatingCodes& codes);
bool unpack_rows(std::span<const char> block, std::size_t begin, std::size_t end, const CacheHeader& header,
                 RatingTable& table);

std::vector<char> pack_times(const RatingTable& table, std::size_t begin, std::size_t end, const CacheHeader& header);
bool unpack_times(std::span<const char> block, std::size_t begin, std::size_t end, const CacheHeader& header,
                  RatingTable& table);

/// Raw ids in order of the dense ones.
std::vector<char> pack_ids(const IdMap& ids);
/// `count` ids that are texts or numbers.
bool unpack_ids(std::span<const char> block, bool texts, std::int64_t count, IdMap& ids);

}  // namespace curate
