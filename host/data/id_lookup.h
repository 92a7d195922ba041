#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "curate/id_map.h"

namespace curate {

/// IdMap::find in stages: guess(), fetch_text(), find(). Each stage asks the memory for what the next one reads, so
/// that the cache misses of several look-ups overlap if their stages alternate. Takes no memory from the heap. The map,
/// and what the id's text lies in, have to outlive it.
class IdLookup {
 public:
  IdLookup(const IdMap& map, const RawId& id);
  IdLookup(const IdMap& map, std::string_view text);
  IdLookup(const IdLookup&) = delete;  // text_ may lie in digits_
  IdLookup& operator=(const IdLookup&) = delete;

  /// The dense id that it most likely is, or -1 if the map does not have the id.
  std::int32_t guess();
  void fetch_text() const;
  /// The dense id, or -1.
  std::int32_t find() const;

 private:
  enum class Kind : std::uint8_t { none, small, number, text };

  void start(std::string_view text);
  void start(std::int64_t number);

  const IdMap* map_;
  Kind kind_ = Kind::none;  ///< none: cannot be in the map
  std::int32_t guess_ = -1;
  std::size_t at_ = 0;  ///< of IdMap::small_, IdMap::slots_ or IdMap::text_slots_
  std::int64_t number_ = 0;
  std::uint32_t hash_ = 0;
  std::string_view text_;
  std::array<char, 20> digits_;
};

}  // namespace curate
