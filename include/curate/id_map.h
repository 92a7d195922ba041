#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "curate/export.h"

namespace curate {

/// The id of a user or item as it stands in the data: a whole number of 64 bits, or any other text.
class CURATE_API RawId {
 public:
  RawId() = default;
  RawId(std::integral auto number)
      : number_(static_cast<std::int64_t>(number)) {}  // NOLINT(google-explicit-constructor)
  /// From a text: a number if that is how the number is written ("7", not "007" or "+7"), else text.
  explicit RawId(std::string_view text);

  bool is_number() const { return text_.empty(); }
  std::int64_t number() const { return number_; }
  /// As it stands in the data.
  std::string text() const;

  friend bool operator==(const RawId& a, const RawId& b) = default;

 private:
  friend class IdMap;
  friend class IdLookup;

  std::int64_t number_ = 0;
  std::string text_;  ///< empty: a number
};

/// Maps raw ids to dense ids 0..size-1 in order of first appearance, and back. Stores numbers as long as all ids are
/// numbers, 12 to 16 bytes an id; from the first other text on it stores texts. Any number of threads may read a map
/// that none changes.
class CURATE_API IdMap {
 public:
  std::int32_t size() const { return size_; }
  /// Whether all ids are whole numbers.
  bool numbers() const { return ends_.empty(); }

  /// The dense id, or nothing if the raw id was never added. If all ids are numbers, text finds the number that
  /// it says ("007" finds 7). Takes no memory, and throws nothing.
  std::optional<std::int32_t> find(std::int64_t raw) const;
  std::optional<std::int32_t> find(std::string_view text) const;
  std::optional<std::int32_t> find(const RawId& id) const;

  /// The dense id, new if need be. Throws InputError past 2^31 - 1 ids.
  std::int32_t find_or_add(std::int64_t raw);
  std::int32_t find_or_add(std::string_view text);
  std::int32_t find_or_add(const RawId& id);

  /// The raw id of a dense one, which must lie in [0, size()). raw() needs numbers().
  std::int64_t raw(std::int32_t dense) const { return raw_[static_cast<std::size_t>(dense)]; }
  RawId id(std::int32_t dense) const;
  std::string text(std::int32_t dense) const;

 private:
  friend class IdLookup;  // in stages

  /// Of the open addressing of texts. The hash tells most texts apart before any is read.
  struct TextSlot {
    std::int32_t dense = -1;  ///< -1: free
    std::uint32_t hash = 0;
  };

  std::string_view text_view(std::int32_t dense) const;
  std::size_t slot_of(std::int64_t raw) const;
  std::size_t slot_of(std::string_view text, std::uint32_t hash) const;
  std::int32_t take_number();
  void grow_slots();
  void grow_text_slots();
  std::int32_t add_text(std::string_view text);
  void turn_into_texts();

  std::int32_t size_ = 0;
  std::vector<std::int64_t> raw_;  ///< numbers only
  // Texts only: one after the other, and where each ends.
  std::string texts_;
  std::vector<std::size_t> ends_;
  std::vector<TextSlot> text_slots_;
  // Numbers only.
  std::vector<std::int32_t> small_;  ///< dense id by small number, -1 if there is none
  std::vector<std::int32_t> slots_;  ///< of all others: open addressing with linear probing, -1 if free
  std::size_t taken_ = 0;            ///< of slots_
};

}  // namespace curate
