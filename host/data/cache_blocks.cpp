#include "data/cache_blocks.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "data/row_parser.h"

namespace curate {
namespace {

static_assert(std::endian::native == std::endian::little, "the cache is written as numbers are in memory");

/// A user's ratings in a row.
struct Run {
  std::int32_t user;
  std::int32_t count;
};

/// Calls with(width), with the width (0 to 8) as a constant of its type.
template <typename With>
void for_width(std::uint32_t width, With with) {
  switch (width) {
    case 0:
      return with(std::integral_constant<std::size_t, 0>());
    case 1:
      return with(std::integral_constant<std::size_t, 1>());
    case 2:
      return with(std::integral_constant<std::size_t, 2>());
    case 3:
      return with(std::integral_constant<std::size_t, 3>());
    case 4:
      return with(std::integral_constant<std::size_t, 4>());
    case 5:
      return with(std::integral_constant<std::size_t, 5>());
    case 6:
      return with(std::integral_constant<std::size_t, 6>());
    case 7:
      return with(std::integral_constant<std::size_t, 7>());
    default:
      return with(std::integral_constant<std::size_t, 8>());
  }
}

/// `count` numbers of `width` bytes each, appended.
template <typename Value>
void pack(std::vector<char>& to, std::uint32_t width, std::size_t count, Value value) {
  const std::size_t start = to.size();
  to.resize(start + count * width);
  char* const out = to.data() + start;
  for_width(width, [&](auto bytes) {
    for (std::size_t k = 0; k < count; ++k) {
      const std::uint64_t number = value(k);
      if constexpr (decltype(bytes)::value > 0) {  // else `out` may be null
        std::memcpy(out + k * bytes, &number, bytes);
      }
    }
  });
}

/// Calls take(k, number) for the numbers that pack() wrote. `from` has count * width bytes.
template <typename Take>
void unpack(const char* from, std::uint32_t width, std::size_t count, Take take) {
  for_width(width, [&](auto bytes) {
    for (std::size_t k = 0; k < count; ++k) {
      std::uint64_t number = 0;
      if constexpr (decltype(bytes)::value > 0) {
        std::memcpy(&number, from + k * bytes, bytes);
      }
      take(k, number);
    }
  });
}

void append(std::vector<char>& to, const void* data, std::size_t bytes) {
  const char* const begin = static_cast<const char*>(data);
  to.insert(to.end(), begin, begin + bytes);
}

}  // namespace

std::uint32_t bytes_for(std::uint64_t largest) {
  return static_cast<std::uint32_t>((std::bit_width(largest) + 7) / 8);
}

RatingCodes::RatingCodes(const Column<float>& ratings) {
  for (const float rating : ratings) {
    const auto bits = std::bit_cast<std::uint32_t>(rating);
    if (bits == last_) {
      continue;
    }
    last_ = bits;
    if (find(bits) == kMostCodes) {
      if (values_.size() == kMostCodes) {
        values_.clear();
        return;
      }
      values_.push_back(bits);
    }
  }
}

std::size_t RatingCodes::find(std::uint32_t bits) const {
  const auto found = std::find(values_.begin(), values_.end(), bits);
  return found == values_.end() ? kMostCodes : static_cast<std::size_t>(found - values_.begin());
}

std::vector<char> pack_rows(const RatingTable& table, std::size_t begin, std::size_t end, const CacheHeader& header,
                            const RatingCodes& codes) {
  std::vector<char> block;
  block.reserve((end - begin) * (header.item_bytes + 4) + 4096);
  std::vector<Run> runs;
  for (std::size_t k = begin; k < end; ++k) {
    if (runs.empty() || runs.back().user != table.users[k]) {
      runs.push_back({table.users[k], 0});
    }
    ++runs.back().count;
  }
  const auto count = static_cast<std::uint64_t>(runs.size());
  append(block, &count, sizeof(count));
  append(block, runs.data(), runs.size() * sizeof(Run));
  pack(block, header.item_bytes, end - begin,
       [&](std::size_t k) { return static_cast<std::uint64_t>(table.items[begin + k]); });
  if ((header.flags & kRatingCodes) != 0) {
    std::uint32_t last = 0xFFFFFFFFU;
    std::uint64_t code = 0;
    pack(block, 1, end - begin, [&](std::size_t k) {
      const auto bits = std::bit_cast<std::uint32_t>(table.ratings[begin + k]);
      if (bits != last) {
        last = bits;
        code = codes.find(bits);
      }
      return code;
    });
  } else {
    append(block, table.ratings.data() + begin, (end - begin) * sizeof(float));
  }
  return block;
}

std::vector<char> pack_times(const RatingTable& table, std::size_t begin, std::size_t end, const CacheHeader& header) {
  std::vector<char> block;
  pack(block, header.time_bytes, end - begin, [&](std::size_t k) {
    return static_cast<std::uint64_t>(table.timestamps[begin + k]) - static_cast<std::uint64_t>(header.first_time);
  });
  return block;
}

std::vector<char> pack_ids(const IdMap& ids) {
  std::vector<char> block;
  for (std::int32_t id = 0; id < ids.size(); ++id) {
    if (ids.numbers()) {
      const std::int64_t raw = ids.raw(id);
      append(block, &raw, sizeof(raw));
    } else {
      const std::string text = ids.text(id);
      const auto length = static_cast<std::uint32_t>(text.size());
      append(block, &length, sizeof(length));
      append(block, text.data(), text.size());
    }
  }
  return block;
}

bool unpack_rows(std::span<const char> block, std::size_t begin, std::size_t end, const CacheHeader& header,
                 RatingTable& table) {
  const std::size_t rows = end - begin;
  std::uint64_t runs = 0;
  if (block.size() < sizeof(runs)) {
    return false;
  }
  std::memcpy(&runs, block.data(), sizeof(runs));
  const bool coded = (header.flags & kRatingCodes) != 0;
  const std::size_t item_bytes = rows * header.item_bytes;
  const std::size_t rating_bytes = rows * (coded ? 1 : sizeof(float));
  if (runs > rows || block.size() != sizeof(runs) + runs * sizeof(Run) + item_bytes + rating_bytes) {
    return false;
  }
  const char* at = block.data() + sizeof(runs);
  std::size_t row = begin;
  for (std::uint64_t r = 0; r < runs; ++r, at += sizeof(Run)) {
    Run run{};
    std::memcpy(&run, at, sizeof(run));
    if (run.user < 0 || run.user >= header.users || run.count < 0 || static_cast<std::size_t>(run.count) > end - row) {
      return false;
    }
    std::fill_n(table.users.begin() + static_cast<std::ptrdiff_t>(row), run.count, run.user);
    row += static_cast<std::size_t>(run.count);
  }
  if (row != end) {
    return false;
  }
  std::uint64_t largest = 0;
  std::int32_t* const items = table.items.data() + begin;
  unpack(at, header.item_bytes, rows, [&](std::size_t k, std::uint64_t item) {
    largest = std::max(largest, item);
    items[k] = static_cast<std::int32_t>(item);
  });
  if (largest >= static_cast<std::uint64_t>(header.items)) {
    return false;
  }
  at += item_bytes;
  float* const ratings = table.ratings.data() + begin;
  if (coded) {
    std::uint64_t largest_code = 0;
    for (std::size_t k = 0; k < rows; ++k) {
      const auto code = static_cast<unsigned char>(at[k]);
      largest_code = std::max<std::uint64_t>(largest_code, code);
      ratings[k] = header.code_values[code];
    }
    return largest_code < header.codes;
  }
  std::memcpy(ratings, at, rating_bytes);
  return std::all_of(ratings, ratings + rows,
                     [&](float rating) { return rating >= header.min && rating <= header.max; });
}

bool unpack_times(std::span<const char> block, std::size_t begin, std::size_t end, const CacheHeader& header,
                  RatingTable& table) {
  if (block.size() != (end - begin) * header.time_bytes) {
    return false;
  }
  std::int64_t* const times = table.timestamps.data() + begin;
  const auto first = static_cast<std::uint64_t>(header.first_time);
  unpack(block.data(), header.time_bytes, end - begin,
         [&](std::size_t k, std::uint64_t time) { times[k] = static_cast<std::int64_t>(first + time); });
  return true;
}

bool unpack_ids(std::span<const char> block, bool texts, std::int64_t count, IdMap& ids) {
  std::size_t at = 0;
  for (std::int64_t id = 0; id < count; ++id) {
    std::int64_t raw = 0;
    std::uint32_t length = 0;
    const std::size_t head = texts ? sizeof(length) : sizeof(raw);
    if (block.size() - at < head) {
      return false;
    }
    std::int32_t dense = 0;
    if (texts) {
      std::memcpy(&length, block.data() + at, head);
      at += head;
      if (block.size() - at < length) {
        return false;
      }
      const std::string_view text(block.data() + at, length);
      if (!may_be_id(text)) {
        return false;
      }
      dense = ids.find_or_add(text);
      at += length;
    } else {
      std::memcpy(&raw, block.data() + at, head);
      at += head;
      dense = ids.find_or_add(raw);
    }
    if (dense != id) {
      return false;
    }
  }
  return at == block.size() && ids.numbers() == !texts;
}

}  // namespace curate
