#include "data/rating_lines.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <exception>

#include "data/rating_scale.h"
#include "support/csv_field.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

constexpr std::size_t kLongestNumber = 64;

char* write_rating(char* out, float rating, bool one_decimal) {
  constexpr float kMost = 1e6F;
  if (!(rating >= 0.0F && rating < kMost && is_half_star(rating))) {
    return std::to_chars(out, out + kLongestNumber, rating).ptr;
  }
  const auto halves = static_cast<std::int32_t>(2.0F * rating);
  out = std::to_chars(out, out + kLongestNumber, halves / 2).ptr;
  if (halves % 2 == 1 || one_decimal) {
    *out++ = '.';
    *out++ = halves % 2 == 1 ? '5' : '0';
  }
  return out;
}

char* write_text(char* out, std::string_view text) {
  text.copy(out, text.size());
  return out + text.size();
}

}  // namespace

std::string written_id(const IdMap& ids, std::int32_t dense) {
  return csv_field(ids.text(dense));
}

RatingTexts::RatingTexts(const RatingsFormat& format, bool timed, const IdMap& users, const IdMap& items)
    : format_(format), timed_(timed), users_(users) {
  item_starts_.reserve(static_cast<std::size_t>(items.size()) + 1);
  for (std::int32_t item = 0; item < items.size(); ++item) {
    const std::string id = written_id(items, item);
    item_starts_.push_back(items_.size());
    items_.insert(items_.end(), id.begin(), id.end());
    items_.insert(items_.end(), format.separator.begin(), format.separator.end());
    longest_item_ = std::max(longest_item_, items_.size() - item_starts_.back());
  }
  item_starts_.push_back(items_.size());
  items_.resize(items_.size() + kShort);
  for (std::int32_t halves = 0; halves < kHalves; ++halves) {
    std::array<char, kLongestNumber> digits;
    const char* const end = write_rating(digits.data(), 0.5F * static_cast<float>(halves), format.one_decimal);
    halves_[static_cast<std::size_t>(halves)] =
        std::string(digits.data(), static_cast<std::size_t>(end - digits.data()));
  }
}

std::string RatingTexts::header() const {
  std::string line;
  if (!format_.header[0].empty()) {
    line = format_.header[0];
    for (std::size_t column = 1; column < (timed_ ? 4U : 3U); ++column) {
      line += format_.separator;
      line += format_.header[column];
    }
    line += '\n';
  }
  return line;
}

void RatingLines::reserve(std::size_t bytes) {
  if (buffer_.size() - size_ < bytes) {
    buffer_.resize(std::max(2 * buffer_.size(), size_ + bytes));
  }
}

void RatingLines::append(std::string_view text) {
  reserve(text.size());
  write_text(buffer_.data() + size_, text);
  size_ += text.size();
}

void RatingLines::append_rating(std::int32_t user, std::int32_t item, float rating, std::int64_t time) {
  const std::string_view separator = texts_.format_.separator;
  if (user != user_) {
    user_ = user;
    user_text_ = written_id(texts_.users_, user);
    user_text_ += separator;
  }
  const char* const item_text = texts_.items_.data() + texts_.item_starts_[static_cast<std::size_t>(item)];
  const std::size_t item_size =
      texts_.item_starts_[static_cast<std::size_t>(item) + 1] - texts_.item_starts_[static_cast<std::size_t>(item)];
  reserve(user_text_.size() + texts_.longest_item_ + RatingTexts::kShort + 2 * kLongestNumber);
  char* out = write_text(buffer_.data() + size_, user_text_);
  // A copy whose size the compiler knows takes one instruction.
  std::memcpy(out, item_text, RatingTexts::kShort);
  if (item_size > RatingTexts::kShort) {
    std::memcpy(out, item_text, item_size);
  }
  out += item_size;
  const auto halves =
      rating >= 0.0F && rating < 0.5F * RatingTexts::kHalves ? static_cast<std::size_t>(2.0F * rating) : 0;
  out = 0.5F * static_cast<float>(halves) == rating ? write_text(out, texts_.halves_[halves])
                                                    : write_rating(out, rating, texts_.format_.one_decimal);
  if (texts_.timed_) {
    out = write_text(out, separator);
    out = std::to_chars(out, out + kLongestNumber, time).ptr;
  }
  *out++ = '\n';
  size_ = static_cast<std::size_t>(out - buffer_.data());
}

std::int64_t write_in_pieces(OutputFolder& folder, const std::string& name, std::int64_t pieces, int threads,
                             const std::function<void(std::int64_t piece, OrderedFile& file)>& write_piece) {
  OrderedFile file(folder.stage(name), folder.label(name));
  ThreadPool pool(threads);
  // The pool hands out pieces in order, so that those before are done or under way, as OrderedFile needs.
  pool.run(pieces, [&](std::int64_t piece) {
    try {
      file.check();
      write_piece(piece, file);
    } catch (...) {
      file.give_up(std::current_exception());
      throw;
    }
  });
  const std::int64_t bytes = file.bytes();
  file.close();
  return bytes;
}

}  // namespace curate
