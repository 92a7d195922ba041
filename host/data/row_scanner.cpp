#include "data/row_scanner.h"

#include <bit>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "device/cpu/simd.h"

namespace curate {
namespace {

constexpr std::uint32_t kMostFields = 8;
constexpr std::size_t kWindow = 64;

/// Tenths, each the float nearest to the decimal, as a parser of decimals yields it.
constexpr std::array<float, 100> make_tenths() {
  std::array<float, 100> tenths{};
  for (std::size_t k = 0; k < tenths.size(); ++k) {
    tenths[k] = static_cast<float>(static_cast<double>(k) / 10.0);
  }
  return tenths;
}
constexpr std::array<float, 100> kTenths = make_tenths();

#if defined(__SSE2__) && defined(__x86_64__)

/// Bit k: byte k of the 32 at `at` is the separator or a line end.
[[gnu::always_inline]] inline std::uint64_t marks_of_32(const char* at, __m128i separator, __m128i newline) {
  const auto half = [&](const char* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, separator), _mm_cmpeq_epi8(bytes, newline));
    return static_cast<std::uint32_t>(_mm_movemask_epi8(marks));
  };
  return half(at) | (half(at + 16) << 16U);
}

/// The number in the `length` (1 to 8) digits that end at `end`. Sets `odd` if something else is among them. Eight
/// bytes before `end` are read.
[[gnu::always_inline]] inline std::uint64_t digits8(const char* end, std::uint32_t length, std::uint64_t& odd) {
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, end - 8, 8);
  // What stands before the field is shifted out at the low end and zeros (of value 0) come in.
  const std::uint32_t shift = (8 - length) * 8;
  const std::uint64_t value = bytes ^ 0x3030303030303030ULL;
  const std::uint64_t digits = (value >> shift) << shift;
  // A digit is 0..9 after the exclusive or: no high nibble, and none after adding 6.
  odd |= (digits | (digits + 0x0606060606060606ULL)) & 0xF0F0F0F0F0F0F0F0ULL;
  // Pairs, fours, eights: the first digit is the lowest byte.
  const std::uint64_t pairs = (digits * 10 + (digits >> 8U)) & 0x00FF00FF00FF00FFULL;
  const std::uint64_t fours = (pairs * 100 + (pairs >> 16U)) & 0x0000FFFF0000FFFFULL;
  return (fours * 10000 + (fours >> 32U)) & 0xFFFFFFFFULL;
}

/// Up to 16 digits.
[[gnu::always_inline]] inline std::int64_t whole_number(const char* begin, const char* end, std::uint64_t& odd) {
  const auto length = static_cast<std::uint32_t>(end - begin);
  if (length - 1 < 8) [[likely]] {
    return static_cast<std::int64_t>(digits8(end, length, odd));
  }
  if (length - 1 >= 16) {
    odd = 1;
    return 0;
  }
  return static_cast<std::int64_t>(digits8(end - 8, length - 8, odd) * 100000000 + digits8(end, 8, odd));
}

[[gnu::always_inline]] inline float rating_number(const char* begin, const char* end, std::uint64_t& odd) {
  const auto length = static_cast<std::uint32_t>(end - begin);
  if (length == 3 && begin[1] == '.') [[likely]] {
    const auto whole = static_cast<std::uint32_t>(static_cast<unsigned char>(begin[0])) - '0';
    const auto tenth = static_cast<std::uint32_t>(static_cast<unsigned char>(begin[2])) - '0';
    if (whole > 9 || tenth > 9) {
      odd = 1;
      return 0.0F;
    }
    return kTenths[whole * 10 + tenth];
  }
  if (length - 1 >= 8) {
    odd = 1;
    return 0.0F;
  }
  return static_cast<float>(digits8(end, length, odd));
}

/// Whether a field may start with a quote, after blanks. Fields that are passed over are checked for that.
[[gnu::always_inline]] inline bool opens_quote(const char* begin, const char* end) {
  return begin != end && (*begin == '"' || *begin == ' ' || *begin == '\t' || *begin == '\r');
}

struct Layout {
  char separator;
  std::uint32_t marks;
  std::uint32_t fields;
  std::uint32_t user;
  std::uint32_t item;
  std::uint32_t rating;
  std::uint32_t timestamp;
  std::uint32_t skipped;
  float low;
  float high;
};

/// kUsual: user, item, rating, timestamp in this order with one character between them; without kTimed the timestamp is
/// passed over.
template <bool kUsual, bool kTimed>
[[gnu::always_inline]] inline std::size_t scan_rows(const Layout& given, const char*& start, const char* end,
                                                    RowBlock& block) {
  Layout layout = given;
  if constexpr (kUsual) {
    layout.marks = 1;
    layout.fields = 4;
    layout.user = 0;
    layout.item = 1;
    layout.rating = 2;
    layout.timestamp = kTimed ? 3 : 4;
    layout.skipped = kTimed ? 4 : 3;
  }
  const __m128i separator = _mm_set1_epi8(layout.separator);
  const __m128i newline = _mm_set1_epi8('\n');
  // If no column is passed over, none is checked for quotes.
  const bool all_read = layout.fields == (layout.timestamp < layout.fields ? 4U : 3U);
  const std::uint32_t first_checked = all_read ? layout.fields : 0;
  const char* at = start;
  std::size_t rows = 0;
  while (rows < RowBlock::kCapacity && at < end) {
    std::uint64_t marks = marks_of_32(at, separator, newline);
    const std::uint32_t wanted = (layout.fields - 1) * layout.marks + 1;
    if (static_cast<std::uint32_t>(std::popcount(marks)) < wanted) {
      marks |= marks_of_32(at + 32, separator, newline) << 32U;
    }
    const char* begins[kMostFields];
    const char* ends[kMostFields];
    const char* field = at;
    bool broken = false;
    for (std::uint32_t f = 0; f < layout.fields; ++f) {
      if (marks == 0) {
        broken = true;
        break;
      }
      const char* mark = at + std::countr_zero(marks);
      marks &= marks - 1;
      begins[f] = field;
      ends[f] = mark;
      if (f + 1 < layout.fields) {
        if (layout.marks == 2) {
          // Both characters, side by side.
          if (marks == 0 || at + std::countr_zero(marks) != mark + 1 || mark[1] != layout.separator) {
            broken = true;
            break;
          }
          marks &= marks - 1;
        }
        broken = broken || *mark != layout.separator;
        field = mark + layout.marks;
      } else {
        broken = broken || *mark != '\n';
        field = mark + 1;
      }
    }
    if (broken || field > end) {
      break;
    }
    const char*& last = ends[layout.fields - 1];
    last -= last > begins[layout.fields - 1] && last[-1] == '\r' ? 1 : 0;
    std::uint64_t odd = 0;
    block.users[rows] = whole_number(begins[layout.user], ends[layout.user], odd);
    block.items[rows] = whole_number(begins[layout.item], ends[layout.item], odd);
    const float rating = rating_number(begins[layout.rating], ends[layout.rating], odd);
    block.ratings[rows] = rating;
    if (layout.skipped < layout.fields) {
      // A timestamp that is not wanted has to start with a digit; the slow path judges any other.
      odd |= static_cast<unsigned char>(*begins[layout.skipped] - '0') > 9 ? 1U : 0U;
    }
    if constexpr (!kUsual) {
      for (std::uint32_t f = first_checked; f < layout.fields; ++f) {
        odd |= opens_quote(begins[f], ends[f]) ? 1U : 0U;
      }
    }
    if (layout.timestamp < layout.fields) {
      block.timestamps[rows] = whole_number(begins[layout.timestamp], ends[layout.timestamp], odd);
    }
    if (odd != 0 || !(rating >= layout.low && rating <= layout.high)) {
      break;
    }
    ++rows;
    at = field;
  }
  start = at;
  return rows;
}

CURATE_SIMD_CLONES
std::size_t scan_usual(const Layout& layout, const char*& at, const char* end, RowBlock& block) {
  return scan_rows<true, false>(layout, at, end, block);
}

CURATE_SIMD_CLONES
std::size_t scan_usual_timed(const Layout& layout, const char*& at, const char* end, RowBlock& block) {
  return scan_rows<true, true>(layout, at, end, block);
}

CURATE_SIMD_CLONES
std::size_t scan_any(const Layout& layout, const char*& at, const char* end, RowBlock& block) {
  return scan_rows<false, false>(layout, at, end, block);
}

constexpr bool kScans = true;
#else
constexpr bool kScans = false;
#endif

}  // namespace

RowScanner::RowScanner(const DelimitedFormat& format, std::pair<float, float> range, bool want_timestamps)
    : separator_(separator_text(format.separator).front()),
      marks_(static_cast<std::uint32_t>(separator_text(format.separator).size())),
      fields_(static_cast<std::uint32_t>(format.fields)),
      user_(static_cast<std::uint32_t>(format.user)),
      item_(static_cast<std::uint32_t>(format.item)),
      rating_(static_cast<std::uint32_t>(format.rating)),
      timestamp_(want_timestamps && format.timestamp != kNoColumn ? static_cast<std::uint32_t>(format.timestamp)
                                                                  : kMostFields),
      skipped_(!want_timestamps && format.timestamp != kNoColumn ? static_cast<std::uint32_t>(format.timestamp)
                                                                 : kMostFields),
      low_(range.first),
      high_(range.second),
      applies_(kScans && format.fields <= kMostFields && format.rating != kNoColumn &&
               format.separator != Separator::space && !format.user_text && !format.item_text) {}

std::size_t RowScanner::scan(const char*& at, const char* end, RowBlock& block) const {
#if defined(__SSE2__) && defined(__x86_64__)
  if (!applies_) {
    return 0;
  }
  const Layout layout = {separator_, marks_, fields_, user_, item_, rating_, timestamp_, skipped_, low_, high_};
  if (fields_ == 4 && user_ == 0 && item_ == 1 && rating_ == 2 && marks_ == 1) {
    if (timestamp_ == 3) {
      return scan_usual_timed(layout, at, end, block);
    }
    if (skipped_ == 3) {
      return scan_usual(layout, at, end, block);
    }
  }
  return scan_any(layout, at, end, block);
#else
  static_cast<void>(at);
  static_cast<void>(end);
  static_cast<void>(block);
  return 0;
#endif
}

}  // namespace curate
