#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "curate/id_map.h"
#include "support/ordered_file.h"
#include "support/output_folder.h"

namespace curate {

/// How a file of ratings is written.
struct RatingsFormat {
  std::string_view separator;
  std::array<std::string_view, 4> header;  ///< empty names: no header
  bool one_decimal = false;                ///< 4.0 instead of 4
};

/// An id as it stands in a file: the number, or the text, quoted if need be.
std::string written_id(const IdMap& ids, std::int32_t dense);

/// The texts that the lines of one file have in common. Any number of threads may read them.
class RatingTexts {
 public:
  /// Of ratings with timestamps if `timed`. Keeps references to `format` and `users`.
  RatingTexts(const RatingsFormat& format, bool timed, const IdMap& users, const IdMap& items);

  /// The first line, or nothing if the format has no header.
  std::string header() const;

 private:
  friend class RatingLines;

  static constexpr std::size_t kShort = 16;
  static constexpr std::int32_t kHalves = 21;  ///< from 0 to 10

  const RatingsFormat& format_;
  bool timed_;
  const IdMap& users_;
  // Items and the separator behind them, one after the other; more may be copied than an item has.
  std::vector<char> items_;
  std::vector<std::size_t> item_starts_;
  std::size_t longest_item_ = 0;
  std::array<std::string, kHalves> halves_;  ///< ratings by twice their value
};

/// Makes lines of ratings. Every writer of a layout has its lines from here. One thread at a time.
class RatingLines {
 public:
  explicit RatingLines(const RatingTexts& texts) : texts_(texts) {}

  void clear() { size_ = 0; }
  /// Makes room for so many more bytes.
  void reserve(std::size_t bytes);
  void append(std::string_view text);
  /// Dense ids of the users and items that the texts were made with. A half-star has one decimal or none, any other
  /// rating the fewest digits that read back the same.
  void append_rating(std::int32_t user, std::int32_t item, float rating, std::int64_t time);
  /// What was appended since clear().
  std::string_view text() const { return {buffer_.data(), size_}; }

 private:
  const RatingTexts& texts_;
  std::vector<char> buffer_;
  std::size_t size_ = 0;
  std::int32_t user_ = -1;
  std::string user_text_;  ///< of user_, and the separator
};

/// Stages a file of numbered pieces: `write_piece` is called once for each, on `threads` threads, and writes it to the
/// file. Returns the file's size in bytes. Throws Error if it cannot be written.
std::int64_t write_in_pieces(OutputFolder& folder, const std::string& name, std::int64_t pieces, int threads,
                             const std::function<void(std::int64_t piece, OrderedFile& file)>& write_piece);

}  // namespace curate
