#include "curate/id_map.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <limits>

#include "curate/error.h"
#include "data/id_lookup.h"
#include "data/piece_sizes.h"

namespace curate {
namespace {

/// Numbers below this index a table, which takes 16 MiB at most.
constexpr std::int64_t kSmallIds = std::int64_t{1} << (kSmallPieces ? 12U : 22U);
constexpr std::size_t kFewestSlots = kSmallPieces ? 8 : 1024;

bool is_small(std::int64_t raw) {
  return raw >= 0 && raw < kSmallIds;
}

std::size_t hash_of(std::int64_t raw) {
  // Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4); the high bits are the good ones.
  return static_cast<std::size_t>((static_cast<std::uint64_t>(raw) * 0x9E3779B97F4A7C15ULL) >> 20U);
}

std::string decimal(std::int64_t number) {
  return std::to_string(number);
}

/// The same without memory from the heap.
std::string_view decimal(std::int64_t number, std::array<char, 20>& digits) {
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  return {digits.data(), static_cast<std::size_t>(end - digits.data())};
}

std::uint32_t hash_of(std::string_view text) {
  return static_cast<std::uint32_t>(std::hash<std::string_view>()(text));
}

/// The number that the whole text is, if it is one; it may have a sign and zeros in front.
std::optional<std::int64_t> number_in(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') {
    text.remove_prefix(1);
  }
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

}  // namespace

RawId::RawId(std::string_view text) {
  const std::optional<std::int64_t> number = number_in(text);
  if (number && decimal(*number) == text) {
    number_ = *number;
  } else {
    text_ = text;
  }
}

std::string RawId::text() const {
  return is_number() ? decimal(number_) : text_;
}

std::string_view IdMap::text_view(std::int32_t dense) const {
  const auto index = static_cast<std::size_t>(dense);
  const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
  return std::string_view(texts_).substr(begin, ends_[index] - begin);
}

/// Where the id is, or the free slot where it would be. There is a free one.
std::size_t IdMap::slot_of(std::int64_t raw) const {
  std::size_t at = hash_of(raw) & (slots_.size() - 1);
  while (slots_[at] >= 0 && raw_[static_cast<std::size_t>(slots_[at])] != raw) {
    at = (at + 1) & (slots_.size() - 1);
  }
  return at;
}

std::size_t IdMap::slot_of(std::string_view text, std::uint32_t hash) const {
  std::size_t at = hash & (text_slots_.size() - 1);
  while (text_slots_[at].dense >= 0 && (text_slots_[at].hash != hash || text_view(text_slots_[at].dense) != text)) {
    at = (at + 1) & (text_slots_.size() - 1);
  }
  return at;
}

std::optional<std::int32_t> IdMap::find(std::int64_t raw) const {
  if (!numbers()) {
    std::array<char, 20> digits;
    return find(decimal(raw, digits));
  }
  if (is_small(raw)) {
    const auto index = static_cast<std::size_t>(raw);
    return index < small_.size() && small_[index] >= 0 ? std::optional(small_[index]) : std::nullopt;
  }
  if (slots_.empty()) {
    return std::nullopt;
  }
  const std::int32_t dense = slots_[slot_of(raw)];
  return dense >= 0 ? std::optional(dense) : std::nullopt;
}

std::optional<std::int32_t> IdMap::find(std::string_view text) const {
  if (numbers()) {
    const std::optional<std::int64_t> number = number_in(text);
    return number ? find(*number) : std::nullopt;
  }
  const std::int32_t dense = text_slots_[slot_of(text, hash_of(text))].dense;
  return dense >= 0 ? std::optional(dense) : std::nullopt;
}

std::optional<std::int32_t> IdMap::find(const RawId& id) const {
  return id.is_number() ? find(id.number()) : find(std::string_view(id.text_));
}

IdLookup::IdLookup(const IdMap& map, const RawId& id) : map_(&map) {
  if (!id.is_number()) {
    start(std::string_view(id.text_));
  } else if (map.numbers()) {
    start(id.number());
  } else {
    start(decimal(id.number(), digits_));
  }
}

IdLookup::IdLookup(const IdMap& map, std::string_view text) : map_(&map) {
  start(text);
}

void IdLookup::start(std::string_view text) {
  if (!map_->numbers()) {
    kind_ = Kind::text;
    text_ = text;
    hash_ = hash_of(text);
    at_ = hash_ & (map_->text_slots_.size() - 1);
    __builtin_prefetch(map_->text_slots_.data() + at_);
  } else if (const std::optional<std::int64_t> number = number_in(text)) {
    start(*number);
  }
}

void IdLookup::start(std::int64_t number) {
  number_ = number;
  if (is_small(number)) {
    if (static_cast<std::size_t>(number) < map_->small_.size()) {
      kind_ = Kind::small;
      at_ = static_cast<std::size_t>(number);
      __builtin_prefetch(map_->small_.data() + at_);
    }
  } else if (!map_->slots_.empty()) {
    kind_ = Kind::number;
    at_ = hash_of(number) & (map_->slots_.size() - 1);
    __builtin_prefetch(map_->slots_.data() + at_);
  }
}

std::int32_t IdLookup::guess() {
  if (kind_ == Kind::text) {
    const std::vector<IdMap::TextSlot>& slots = map_->text_slots_;
    while (slots[at_].dense >= 0 && slots[at_].hash != hash_) {
      at_ = (at_ + 1) & (slots.size() - 1);
    }
    guess_ = slots[at_].dense;
    if (guess_ >= 0) {
      __builtin_prefetch(map_->ends_.data() + guess_);
    }
  } else if (kind_ != Kind::none) {
    guess_ = (kind_ == Kind::small ? map_->small_ : map_->slots_)[at_];
    if (guess_ >= 0 && kind_ == Kind::number) {
      __builtin_prefetch(map_->raw_.data() + guess_);
    }
  }
  return guess_;
}

void IdLookup::fetch_text() const {
  if (guess_ < 0 || kind_ != Kind::text) {
    return;
  }
  const std::string_view text = map_->text_view(guess_);
  __builtin_prefetch(text.data());
  __builtin_prefetch(text.data() + text.size());
}

std::int32_t IdLookup::find() const {
  if (guess_ < 0 || kind_ == Kind::small) {
    return guess_;
  }
  if (kind_ == Kind::number) {
    return map_->raw_[static_cast<std::size_t>(guess_)] == number_ ? guess_ : map_->slots_[map_->slot_of(number_)];
  }
  return map_->text_view(guess_) == text_ ? guess_ : map_->text_slots_[map_->slot_of(text_, hash_)].dense;
}

std::int32_t IdMap::take_number() {
  if (size_ == std::numeric_limits<std::int32_t>::max()) {
    throw InputError("more than 2147483647 different user or item ids; split the data");
  }
  return size_++;
}

void IdMap::grow_slots() {
  if (2 * (taken_ + 1) <= slots_.size()) {
    return;
  }
  std::vector<std::int32_t> old(std::max(kFewestSlots, 2 * slots_.size()), -1);
  old.swap(slots_);
  for (const std::int32_t dense : old) {
    if (dense >= 0) {
      slots_[slot_of(raw_[static_cast<std::size_t>(dense)])] = dense;
    }
  }
}

void IdMap::grow_text_slots() {
  if (2 * (ends_.size() + 1) <= text_slots_.size()) {
    return;
  }
  std::vector<TextSlot> old(std::max(kFewestSlots, 2 * text_slots_.size()));
  old.swap(text_slots_);
  for (const TextSlot& slot : old) {
    std::size_t at = slot.hash & (text_slots_.size() - 1);
    while (slot.dense >= 0 && text_slots_[at].dense >= 0) {
      at = (at + 1) & (text_slots_.size() - 1);
    }
    if (slot.dense >= 0) {
      text_slots_[at] = slot;
    }
  }
}

/// The dense id of a text, new if need be.
std::int32_t IdMap::add_text(std::string_view text) {
  grow_text_slots();
  const std::uint32_t hash = hash_of(text);
  TextSlot& slot = text_slots_[slot_of(text, hash)];
  if (slot.dense < 0) {
    slot = {take_number(), hash};
    texts_ += text;
    ends_.push_back(texts_.size());
  }
  return slot.dense;
}

std::int32_t IdMap::find_or_add(std::int64_t raw) {
  if (!numbers()) {
    return find_or_add(std::string_view(decimal(raw)));
  }
  if (is_small(raw)) {
    const auto index = static_cast<std::size_t>(raw);
    if (index >= small_.size()) {
      small_.resize(std::min<std::size_t>(static_cast<std::size_t>(kSmallIds), std::max<std::size_t>(1024, 2 * index)),
                    -1);
    }
    if (small_[index] < 0) {
      small_[index] = take_number();
      raw_.push_back(raw);
    }
    return small_[index];
  }
  grow_slots();
  std::int32_t& slot = slots_[slot_of(raw)];
  if (slot < 0) {
    slot = take_number();
    ++taken_;
    raw_.push_back(raw);
  }
  return slot;
}

void IdMap::turn_into_texts() {
  const std::vector<std::int64_t> raw = std::move(raw_);
  raw_.clear();
  small_ = {};
  slots_ = {};
  taken_ = 0;
  size_ = 0;
  for (const std::int64_t number : raw) {
    add_text(decimal(number));
  }
}

std::int32_t IdMap::find_or_add(std::string_view text) {
  if (numbers()) {
    const RawId id(text);
    if (id.is_number()) {
      return find_or_add(id.number());
    }
    turn_into_texts();
  }
  return add_text(text);
}

std::int32_t IdMap::find_or_add(const RawId& id) {
  return id.is_number() ? find_or_add(id.number()) : find_or_add(std::string_view(id.text_));
}

RawId IdMap::id(std::int32_t dense) const {
  return numbers() ? RawId(raw(dense)) : RawId(text_view(dense));
}

std::string IdMap::text(std::int32_t dense) const {
  return numbers() ? decimal(raw(dense)) : std::string(text_view(dense));
}

}  // namespace curate
