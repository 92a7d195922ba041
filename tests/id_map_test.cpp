#include "curate/id_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "data/id_lookup.h"

namespace curate {
namespace {

constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

TEST(RawId, IsANumberWhereTheTextIsHowThatNumberIsWritten) {
  for (const std::int64_t number : {std::int64_t{0}, std::int64_t{7}, std::int64_t{-7}, kLeast, kMost}) {
    const RawId id(std::to_string(number));
    EXPECT_TRUE(id.is_number()) << number;
    EXPECT_EQ(id.number(), number);
    EXPECT_EQ(id, RawId(number));
    EXPECT_EQ(id.text(), std::to_string(number));
  }
  for (const std::string text :
       {"007", "+7", "-0", "7 ", " 7", "1e3", "9223372036854775808", "tt0114709", "7\n", "x"}) {
    const RawId id{std::string_view(text)};
    EXPECT_FALSE(id.is_number()) << text;
    EXPECT_EQ(id.text(), text);
  }
}

TEST(IdMap, NumbersOfAllSizes) {
  IdMap map;
  const std::vector<std::int64_t> raw = {7, -7, 0, (std::int64_t{1} << 22U) - 1, std::int64_t{1} << 22U, kLeast, kMost};
  for (std::size_t k = 0; k < raw.size(); ++k) {
    EXPECT_EQ(map.find(raw[k]), std::nullopt);
    EXPECT_EQ(map.find_or_add(raw[k]), static_cast<std::int32_t>(k));
    EXPECT_EQ(map.find_or_add(raw[k]), static_cast<std::int32_t>(k));
  }
  ASSERT_EQ(map.size(), static_cast<std::int32_t>(raw.size()));
  EXPECT_TRUE(map.numbers());
  for (std::size_t k = 0; k < raw.size(); ++k) {
    const auto dense = static_cast<std::int32_t>(k);
    EXPECT_EQ(map.raw(dense), raw[k]);
    EXPECT_EQ(map.id(dense), RawId(raw[k]));
    EXPECT_EQ(map.find(std::string_view(std::to_string(raw[k]))), dense);
  }
  EXPECT_EQ(map.find(std::string_view("007")), 0);
  EXPECT_EQ(map.find(std::string_view("seven")), std::nullopt);
  EXPECT_EQ(map.find(std::int64_t{8}), std::nullopt);
  EXPECT_EQ(map.find(std::int64_t{1} << 40U), std::nullopt);
}

TEST(IdMap, ManyLargeNumbers) {
  IdMap map;
  constexpr std::int32_t kCount = 100000;
  const auto raw = [](std::int32_t k) { return (std::int64_t{1} << 40U) + std::int64_t{1000003} * k; };
  for (std::int32_t k = 0; k < kCount; ++k) {
    ASSERT_EQ(map.find_or_add(raw(k)), k);
  }
  for (std::int32_t k = 0; k < kCount; ++k) {
    ASSERT_EQ(map.find(raw(k)), k);
    ASSERT_EQ(map.find(raw(k) + 1), std::nullopt);
  }
}

template <typename Id>
std::int32_t found_in_stages(const IdMap& map, const Id& id) {
  IdLookup lookup(map, id);
  lookup.guess();
  lookup.fetch_text();
  return lookup.find();
}

// Catches: texts that are taken for one another because of their hash, and a slot that is lost when the slots grow.
TEST(IdMap, ManyTexts) {
  IdMap map;
  constexpr std::int32_t kCount = 300000;
  const auto text = [](std::int32_t k) { return "text " + std::to_string(k); };
  std::vector<std::uint32_t> hashes;
  for (std::int32_t k = 0; k < kCount; ++k) {
    ASSERT_EQ(map.find_or_add(std::string_view(text(k))), k);
    hashes.push_back(static_cast<std::uint32_t>(std::hash<std::string_view>()(text(k))));
  }
  std::sort(hashes.begin(), hashes.end());
  EXPECT_NE(std::adjacent_find(hashes.begin(), hashes.end()), hashes.end()) << "no two texts with one hash: add more";
  for (std::int32_t k = 0; k < kCount; ++k) {
    ASSERT_EQ(map.find_or_add(std::string_view(text(k))), k);
    ASSERT_EQ(map.find(std::string_view(text(k))), k);
    ASSERT_EQ(found_in_stages(map, std::string_view(text(k))), k);
    ASSERT_EQ(found_in_stages(map, std::string_view(text(k + kCount))), -1);
  }
}

// Catches: a guess that is taken for the answer, a number that is not written as its text, a text not read as its
// number.
TEST(IdLookup, FindsWhatTheMapFinds) {
  IdMap nothing;
  IdMap numbers;
  IdMap large;
  IdMap texts;
  for (std::int64_t k = 0; k < 3000; ++k) {
    numbers.find_or_add(3 * k);
    numbers.find_or_add((std::int64_t{1} << 40U) + 3 * k);
    large.find_or_add((std::int64_t{1} << 40U) + 3 * k);
    texts.find_or_add(k % 2 == 0 ? RawId("text " + std::to_string(k)) : RawId(3 * k));
  }
  std::vector<RawId> ids = {RawId(kLeast), RawId(kMost), RawId(-1), RawId("007"), RawId("+9"), RawId("none")};
  for (std::int64_t k = 0; k < 3100; ++k) {
    ids.insert(ids.end(), {RawId(k), RawId((std::int64_t{1} << 40U) + k), RawId("text " + std::to_string(k))});
  }
  for (const IdMap* map : {&nothing, &numbers, &large, &texts}) {
    for (const RawId& id : ids) {
      const std::string text = id.text();
      ASSERT_EQ(found_in_stages(*map, id), map->find(id).value_or(-1)) << text;
      ASSERT_EQ(found_in_stages(*map, std::string_view(text)), map->find(std::string_view(text)).value_or(-1)) << text;
    }
  }
}

TEST(IdMap, TextsKeepTheirSpelling) {
  IdMap map;
  EXPECT_EQ(map.find_or_add(std::string_view("7")), 0);
  EXPECT_TRUE(map.numbers());
  EXPECT_EQ(map.find_or_add(std::string_view("007")), 1);
  EXPECT_FALSE(map.numbers());
  EXPECT_EQ(map.find_or_add(std::string_view("+7")), 2);
  EXPECT_EQ(map.find_or_add(std::int64_t{7}), 0);
  EXPECT_EQ(map.find_or_add(std::int64_t{8}), 3);
  EXPECT_EQ(map.find(std::string_view("8")), 3);
  EXPECT_EQ(map.find(std::int64_t{9}), std::nullopt);
  EXPECT_EQ(map.find(RawId(std::string_view("007"))), 1);
  EXPECT_EQ(map.text(1), "007");
  EXPECT_EQ(map.id(0), RawId(7));
}

TEST(IdMap, NumbersTurnIntoTextsWithTheFirstText) {
  IdMap map;
  constexpr std::int32_t kCount = 5000;
  for (std::int32_t k = 0; k < kCount; ++k) {
    map.find_or_add(k % 2 == 0 ? std::int64_t{k} : (std::int64_t{1} << 50U) + k);
  }
  const IdMap before = map;
  EXPECT_EQ(map.find_or_add(std::string_view("a")), kCount);
  EXPECT_EQ(map.find_or_add(std::string_view("a")), kCount);
  ASSERT_EQ(map.size(), kCount + 1);
  for (std::int32_t k = 0; k < kCount; ++k) {
    ASSERT_EQ(map.text(k), std::to_string(before.raw(k)));
    ASSERT_EQ(map.find(before.raw(k)), k);
  }
}

}  // namespace
}  // namespace curate
