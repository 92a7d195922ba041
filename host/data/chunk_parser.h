#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "curate/dataset.h"
#include "data/chunk_ids.h"
#include "data/delimited_format.h"
#include "data/row_parser.h"
#include "data/row_scanner.h"

namespace curate {

/// One thread's working memory: parses chunks of lines into columns.
class ChunkParser {
 public:
  /// Keeps references to `format` and what is known of ids, which other threads' parsers share.
  ChunkParser(const DelimitedFormat& format, const ReadOptions& options, bool timestamps, KnownIds& known_users,
              KnownIds& known_items);

  /// Whole lines; RowScanner::kSlack bytes before and behind them may be read. `last`: the file ends with them. Throws
  /// RowError.
  void parse(std::string_view text, bool last);

  std::size_t rows() const { return rows_; }

  /// Numbers the ids that are new; chunk by chunk, one thread at a time.
  void resolve(IdMap& users, IdMap& items);

  /// What parse() found, after resolve().
  void store(RatingTable& table, std::size_t first_row) const;

 private:
  void add(std::string_view text, const std::int64_t* users, const std::int64_t* items, const float* ratings,
           const std::int64_t* timestamps, std::size_t count);

  const DelimitedFormat& format_;
  std::optional<std::pair<float, float>> range_;
  bool timed_;
  RowScanner scanner_;
  RowBlock block_{};
  RawRatings slow_;
  ChunkIds user_ids_;
  ChunkIds item_ids_;
  std::size_t rows_ = 0;
  Column<std::int32_t> users_;
  Column<std::int32_t> items_;
  Column<float> ratings_;
  Column<std::int64_t> timestamps_;
};

}  // namespace curate
