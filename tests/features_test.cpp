// Side tables: users, genres, years, tags and the tag genome as columns over dense ids; what is refused and how.

#include "data/feature_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "curate/error.h"
#include "data/movielens.h"

namespace curate {
namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;

using Names = std::vector<std::string>;

IdMap ids(const std::vector<std::int64_t>& raw) {
  IdMap map;
  for (const std::int64_t id : raw) {
    map.find_or_add(id);
  }
  return map;
}

/// The value of a category column as text, "" where missing.
std::string value(const FeatureColumn& column, std::int32_t row) {
  EXPECT_EQ(column.kind, FeatureKind::category);
  const std::int32_t index = column.values.at(static_cast<std::size_t>(row));
  EXPECT_EQ(column.has(row), index != FeatureColumn::kMissing);
  return index == FeatureColumn::kMissing ? "" : column.vocabulary.at(static_cast<std::size_t>(index));
}

/// The values of a multi column's row.
Names values(const FeatureColumn& column, std::int32_t row) {
  EXPECT_EQ(column.kind, FeatureKind::multi);
  Names names;
  const auto at = static_cast<std::size_t>(row);
  for (std::int32_t k = column.offsets.at(at); k < column.offsets.at(at + 1); ++k) {
    names.push_back(column.vocabulary.at(static_cast<std::size_t>(column.values.at(static_cast<std::size_t>(k)))));
  }
  EXPECT_EQ(column.has(row), !names.empty());
  return names;
}

float number(const FeatureColumn& column, std::int32_t row, std::int32_t k = 0) {
  return column.numbers.at(static_cast<std::size_t>(row * column.width + k));
}

Names column_names(const FeatureTable& table) {
  Names names;
  for (const FeatureColumn& column : table.columns) {
    names.push_back(column.name);
  }
  return names;
}

/// The message of the InputError that `act` throws starts with `place` and has all of the parts.
template <typename Act>
void expect_refused(Act act, const std::string& place, const Names& parts) {
  try {
    act();
    ADD_FAILURE() << "no InputError, wanted " << place;
  } catch (const InputError& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.rfind(place + ": ", 0), 0U) << message << "\ndoes not start with: " << place;
    for (const std::string& part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks: " << part;
    }
    EXPECT_NE(message.find("; "), std::string::npos) << message << "\nlacks a remedy";
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(TitleYear, IsTheOneThatEndsTheTitle) {
  const std::vector<std::pair<std::string, std::int32_t>> cases = {{"Toy Story (1995)", 1995},
                                                                   {"Two Friends (1986) ", 1986},
                                                                   {"1984 (1956)", 1956},
                                                                   {"Misérables, Les (The) (1995)", 1995},
                                                                   {"Fawlty Towers (1975-1979)", 1975},
                                                                   {"Big Bang Theory, The (2007-)", 2007},
                                                                   {"Series (2006\xE2\x80\x93"
                                                                    "2007)",
                                                                    2006},
                                                                   {"(1999)", 1999},
                                                                   {"Land Before Time (1995) (V)", 0},
                                                                   {"Hyena Road", 0},
                                                                   {"2001: A Space Odyssey", 0},
                                                                   {"Blade Runner (2049 AD)", 0},
                                                                   {"Room (1408a)", 0},
                                                                   {"Big (19955)", 0},
                                                                   {"Early (1066)", 0},
                                                                   {"Late (9999)", 0},
                                                                   {"Signed (-995)", 0},
                                                                   {"Short (995)", 0},
                                                                   {")", 0},
                                                                   {"()", 0},
                                                                   {"1995)", 0},
                                                                   {"", 0}};
  for (const auto& [title, year] : cases) {
    EXPECT_EQ(year_of_title(title), year) << title;
  }
}

TEST(TitleYear, IsReadWithTheItem) {
  EXPECT_EQ(parse_movies_csv("movieId,title,genres\n1,\"Boot, Das (1981)\",War\n2,Untitled,\n", "f").at(1).year, 1981);
  EXPECT_EQ(parse_movies_csv("movieId,title,genres\n2,Untitled,\n", "f").at(2).year, 0);
  EXPECT_EQ(parse_movies_dat("1::Ran (1985)::War\n", "f").at(1).year, 1985);
}

TEST(TitleYear, FallsBackToTheReleaseDate) {
  const Names genres = {"unknown", "War"};
  const ItemTable items = parse_u_item(
      "1|Ran (1985)|01-Jan-1986|||0|1\n2|Land (1995) (V)|4-Feb-1996|||0|1\n3|unknown||||1|0\n4|X|soon|||1|0\n"
      "5|Y|01-Jan-95|||1|0\n",
      "f", genres);
  EXPECT_EQ(items.at(1).year, 1985);
  EXPECT_EQ(items.at(2).year, 1996);
  EXPECT_EQ(items.at(3).year, 0);
  EXPECT_EQ(items.at(4).year, 0);
  EXPECT_EQ(items.at(5).year, 0);
}

TEST(UserFiles, UsersDat) {
  const UserTable users = parse_users_dat("1::F::1::10::48067\r\n2::M::56::16::70072-1234\n\n3::::::::\n", "f");
  ASSERT_EQ(users.size(), 3U);
  EXPECT_EQ(users.at(1).sex, "F");
  EXPECT_EQ(users.at(1).age, 1);
  EXPECT_TRUE(users.at(1).age_is_group);
  EXPECT_EQ(users.at(1).occupation, "K-12 student");
  EXPECT_EQ(users.at(1).zip, "48067");
  EXPECT_EQ(users.at(2).occupation, "self-employed");
  EXPECT_EQ(users.at(2).zip, "70072-1234");
  EXPECT_EQ(users.at(3).sex, "");
  EXPECT_EQ(users.at(3).age, UserInfo::kUnknownAge);
  EXPECT_FALSE(users.at(3).age_is_group);
  EXPECT_EQ(users.at(3).occupation, "");
}

TEST(UserFiles, UUser) {
  const UserTable users = parse_u_user(
      "1|24|M|technician|85711\n2||F|sch\xE4"
      "fer|V5A\n",
      "f");
  ASSERT_EQ(users.size(), 2U);
  EXPECT_EQ(users.at(1).sex, "M");
  EXPECT_EQ(users.at(1).age, 24);
  EXPECT_FALSE(users.at(1).age_is_group);
  EXPECT_EQ(users.at(1).occupation, "technician");
  EXPECT_EQ(users.at(1).zip, "85711");
  EXPECT_EQ(users.at(2).age, UserInfo::kUnknownAge);
  EXPECT_EQ(users.at(2).occupation,
            "sch\xC3\xA4"
            "fer");
}

TEST(UserFiles, UsersCsv) {
  const UserTable users =
      parse_users_csv("zip,Occupation,USERID,age\n\"1,2\",\"a \"\"b\"\"\",7,30\n,,8,under 18\n,x,9,\n", "f");
  ASSERT_EQ(users.size(), 3U);
  EXPECT_EQ(users.at(7).zip, "1,2");
  EXPECT_EQ(users.at(7).occupation, "a \"b\"");
  EXPECT_EQ(users.at(7).age, 30);
  EXPECT_FALSE(users.at(7).age_is_group);
  EXPECT_EQ(users.at(7).sex, "");
  EXPECT_EQ(users.at(8).age, 1);
  EXPECT_TRUE(users.at(8).age_is_group);
  EXPECT_EQ(users.at(9).age, UserInfo::kUnknownAge);
}

TEST(UserFiles, TheLaterLineCounts) {
  EXPECT_EQ(parse_u_user("1|24|M|writer|1\n1|25|F|artist|2\n", "f").at(1).age, 25);
}

TEST(UserFiles, MalformedLinesAreRefused) {
  using Parse = UserTable (*)(std::string_view, const std::string&);
  struct Case {
    Parse parse;
    std::string text;
    int line;
    std::string what;
  };
  const std::vector<Case> cases = {
      {parse_users_dat, "1::F::1::10::48067\n2::F::1::10\n", 2, "4 fields separated by `::` instead of 5"},
      {parse_users_dat, "x::F::1::10::48067\n", 1, "the user id is not a whole number of 64 bits (\"x\")"},
      {parse_users_dat, "1::X::1::10::48067\n", 1, "the sex is neither F nor M (\"X\")"},
      {parse_users_dat, "1::F::old::10::48067\n", 1, "the age is not a whole number from 0 to 150"},
      {parse_users_dat, "1::F::1::21::48067\n", 1, "the occupation is not a whole number from 0 to 20 (\"21\")"},
      {parse_users_dat, "1::F::1::-1::48067\n", 1, "the occupation"},
      {parse_users_dat, "1|24|M|technician|85711\n", 1, "1 fields separated by `::`"},
      {parse_u_user, "\n1|24|M|technician|85711\n1|24|M|technician|85711|6\n", 3, "6 fields separated by `|`"},
      {parse_u_user, "1|151|M|technician|85711\n", 1, "the age"},
      {parse_u_user, "1|2.5|M|technician|85711\n", 1, "the age"},
      {parse_u_user, "1|99999999999|M|technician|85711\n", 1, "the age"},
      {parse_u_user, "1|24|technician|M|85711\n", 1, "the sex is neither F nor M (\"technician\")"},
      {parse_users_csv, "user,age\n1,2\n", 1, "the header has no column userId"},
      {parse_users_csv, "userId,age\n1,24\n2\n", 3, "1 field separated by comma instead of 2"},
      {parse_users_csv, "userId,age\n1,25-35\n", 2, "the age"},
      {parse_users_csv, "userId,age\n1,\"2\n", 2, "a quoted field does not end"},
      {parse_users_csv, "", 1, "the file is empty"}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.text);
    expect_refused([&] { one.parse(one.text, "dir/users"); }, "dir/users:" + std::to_string(one.line), {one.what});
  }
}

TEST(AgeGroups, AreThoseOfMovielens1m) {
  const std::map<std::int32_t, std::string> expected = {
      {0, "under 18"}, {1, "under 18"}, {17, "under 18"}, {18, "18-24"}, {24, "18-24"}, {25, "25-34"},
      {34, "25-34"},   {35, "35-44"},   {44, "35-44"},    {45, "45-49"}, {49, "45-49"}, {50, "50-55"},
      {55, "50-55"},   {56, "56+"},     {73, "56+"},      {150, "56+"}};
  for (const auto& [age, name] : expected) {
    EXPECT_EQ(kAgeGroups.at(static_cast<std::size_t>(age_group(age))).name, name) << age;
  }
  for (const AgeGroup& group : kAgeGroups) {
    EXPECT_EQ(kAgeGroups.at(static_cast<std::size_t>(age_group(group.code))).name, group.name);
  }
}

TEST(UserFeatures, AreInTheOrderOfDenseIds) {
  const UserTable table = parse_u_user("1|24|M|writer|1\n5|17|F|artist|2\n9|60|M|writer|3\n7|||x|\n", "f");
  const FeatureTable features = user_features(table, ids({9, 2, 5, 7}));
  EXPECT_EQ(features.rows, 4);
  EXPECT_EQ(column_names(features), (Names{"sex", "age", "age_group", "occupation"}));
  const FeatureColumn& sex = *features.find("sex");
  EXPECT_EQ(sex.vocabulary, (Names{"F", "M"}));
  EXPECT_EQ((Names{value(sex, 0), value(sex, 1), value(sex, 2), value(sex, 3)}), (Names{"M", "", "F", ""}));
  const FeatureColumn& occupation = *features.find("occupation");
  EXPECT_EQ(occupation.vocabulary, (Names{"artist", "writer", "x"}));
  EXPECT_EQ((Names{value(occupation, 0), value(occupation, 1), value(occupation, 2), value(occupation, 3)}),
            (Names{"writer", "", "artist", "x"}));
  const FeatureColumn& group = *features.find("age_group");
  EXPECT_EQ(group.vocabulary.size(), 7U);
  EXPECT_EQ((Names{value(group, 0), value(group, 1), value(group, 2), value(group, 3)}),
            (Names{"56+", "", "under 18", ""}));
  const FeatureColumn& age = *features.find("age");
  EXPECT_EQ(age.kind, FeatureKind::number);
  EXPECT_EQ(number(age, 0), 60.0F);
  EXPECT_TRUE(std::isnan(number(age, 1)));
  EXPECT_EQ(number(age, 2), 17.0F);
  EXPECT_FALSE(age.has(3));
  EXPECT_EQ(features.find("zip"), nullptr);
}

TEST(UserFeatures, GroupsAreNoAges) {
  const FeatureTable features = user_features(parse_users_dat("1::F::1::10::1\n2::M::25::0::1\n", "f"), ids({1, 2}));
  EXPECT_EQ(column_names(features), (Names{"sex", "age_group", "occupation"}));
  EXPECT_EQ(value(*features.find("age_group"), 0), "under 18");
  EXPECT_EQ(value(*features.find("age_group"), 1), "25-34");
  EXPECT_EQ(value(*features.find("occupation"), 1), "other");
}

TEST(UserFeatures, WithoutAnyValueThereAreNoColumns) {
  EXPECT_TRUE(user_features({}, ids({1, 2})).columns.empty());
  EXPECT_TRUE(user_features(parse_u_user("3|24|M|writer|1\n", "f"), ids({1, 2})).columns.empty());
}

TEST(ItemFeatures, GenresAndYears) {
  const ItemTable table = parse_movies_csv(
      "movieId,title,genres\n10,A (1990),War|Comedy\n20,B,(no genres listed)\n30,C (2000),Drama| War ||War\n", "f");
  const FeatureTable features = item_features(by_dense_id(table, ids({30, 99, 10, 20})), 4);
  EXPECT_EQ(column_names(features), (Names{"genres", "year"}));
  const FeatureColumn& genres = *features.find("genres");
  EXPECT_EQ(genres.vocabulary, (Names{"Comedy", "Drama", "War"}));
  EXPECT_EQ(values(genres, 0), (Names{"Drama", "War"}));
  EXPECT_EQ(values(genres, 1), Names{});
  EXPECT_EQ(values(genres, 2), (Names{"Comedy", "War"}));
  EXPECT_EQ(values(genres, 3), Names{});
  EXPECT_TRUE(genres.counts.empty());
  const FeatureColumn& year = *features.find("year");
  EXPECT_EQ(number(year, 0), 2000.0F);
  EXPECT_FALSE(year.has(1));
  EXPECT_EQ(number(year, 2), 1990.0F);
  EXPECT_FALSE(year.has(3));
}

TEST(ItemFeatures, InfoMayBeShort) {
  const FeatureTable features = item_features({{"A (1990)", "War", 1990}}, 3);
  EXPECT_EQ(values(*features.find("genres"), 2), Names{});
  EXPECT_FALSE(features.find("year")->has(2));
  EXPECT_TRUE(item_features({}, 3).columns.empty());
}

TEST(Tags, AreCountedPerItem) {
  const std::string text =
      "userId,movieId,tag,timestamp\n1,10,Dark,5\n2,10,dark,5\n3,10,funny,5\n1,20,funny,5\n2,20,\"a, \"\"b\"\"\",5\n"
      "9,77,elsewhere,5\n9,77,elsewhere,5\n9,77,elsewhere,5\n3,20, dark ,5\n1,20,,5\n";
  const FeatureColumn tags = parse_tags_csv(text, "f", ids({20, 10, 30}));
  EXPECT_EQ(tags.name, "tags");
  EXPECT_EQ(tags.vocabulary, (Names{"dark", "funny", "a, \"b\""}));
  EXPECT_EQ(values(tags, 0), (Names{"dark", "funny", "a, \"b\""}));
  EXPECT_EQ(values(tags, 1), (Names{"dark", "funny"}));
  EXPECT_EQ(values(tags, 2), Names{});
  EXPECT_EQ(tags.counts, (std::vector<std::int32_t>{1, 1, 1, 2, 1}));
}

TEST(Tags, OnlyTheMostUsedStay) {
  std::string text = "userId,movieId,tag,timestamp\n";
  for (int tag = 0; tag < 150; ++tag) {
    for (int use = 0; use <= tag; ++use) {
      text += fmt::format("{},{},t{:03},1\n", use, tag % 2 == 0 ? 10 : 20, tag);
    }
  }
  const IdMap items = ids({10, 20});
  const FeatureColumn tags = parse_tags_csv(text, "f", items);
  ASSERT_EQ(tags.vocabulary.size(), 100U);
  EXPECT_EQ(tags.vocabulary.front(), "t149");
  EXPECT_EQ(tags.vocabulary.back(), "t050");
  EXPECT_EQ(values(tags, 0).size(), 50U);
  EXPECT_EQ(values(tags, 0).front(), "t148");
  EXPECT_EQ(tags.counts.front(), 149);
  EXPECT_EQ(values(parse_tags_csv(text, "f", items, 1), 0), Names{});
  EXPECT_EQ(values(parse_tags_csv(text, "f", items, 1), 1), Names{"t149"});
}

TEST(Tags, OfEquallyFrequentOnesTheFirstByName) {
  const std::string text = "userId,movieId,tag,timestamp\n1,1,c,1\n1,1,a,1\n1,1,b,1\n";
  EXPECT_EQ(parse_tags_csv(text, "f", ids({1}), 2).vocabulary, (Names{"a", "b"}));
}

TEST(Tags, DatOf10m) {
  const FeatureColumn tags =
      parse_tags_dat("15::10::star wars: episode::iv::1215184630\n15::10::b::1\n16::10::B::2\n", "f", ids({10}));
  EXPECT_EQ(values(tags, 0), (Names{"b", "star wars: episode::iv"}));
  EXPECT_EQ(tags.counts, (std::vector<std::int32_t>{2, 1}));
}

TEST(Tags, MalformedLinesAreRefused) {
  const IdMap items = ids({1});
  const std::vector<std::pair<std::string, std::string>> csv = {
      {"userId,tag,timestamp\n1,2,3\n", "1: the header has no column movieId"},
      {"userId,movieId,timestamp\n1,2,3\n", "1: the header has no column tag"},
      {"userId,movieId,tag,timestamp\n1,1,a,1\n1,x,a,1\n", "3: the item id is not a whole number"},
      {"userId,movieId,tag,timestamp\n1,1,a\n", "2: 3 fields separated by comma instead of 4"},
      {"userId,movieId,tag,timestamp\n1,1,\"a\nb\n", "2: a quoted field does not end"},
      {"\x1F\x8B\x08", "1: this is compressed with gzip"}};
  for (const auto& [text, what] : csv) {
    expect_refused([&text = text, &items] { parse_tags_csv(text, "d/t", items); }, "d/t:" + what.substr(0, 1),
                   {what.substr(3)});
  }
  for (const std::string text : {"1::2::3", "1::2", "1", "::::", "1::1:::5"}) {
    expect_refused([&] { parse_tags_dat(text, "d/t", items); }, "d/t:1", {"four fields"});
  }
  expect_refused([&] { parse_tags_dat("1::x::a::5", "d/t", items); }, "d/t:1", {"the item id"});
}

const std::string kGenomeTags = "tagId,tag\n1,007\n2,\"dark, slow\"\n5,zombies\n";
const std::string kGenome =
    "movieId,tagId,relevance\n10,1,0.02500000000000002\n10,2,0.5\n10,5,1\n77,1,0.9\n20,5,0.25\n";

FeatureColumn read_genome(const std::string& text, const IdMap& items, const GenomeTags& tags, std::size_t piece) {
  GenomeReader reader("dir/genome-scores.csv", items, tags);
  for (std::size_t at = 0; at < text.size(); at += piece) {
    reader.feed(std::string_view(text).substr(at, piece));
  }
  return reader.finish();
}

TEST(Genome, IsAVectorPerItem) {
  const GenomeTags tags = parse_genome_tags(kGenomeTags, "f");
  for (const std::size_t piece : {1U, 2U, 7U, 1000U}) {
    const FeatureColumn genome = read_genome(kGenome, ids({20, 30, 10}), tags, piece);
    EXPECT_EQ(genome.kind, FeatureKind::vector);
    EXPECT_EQ(genome.width, 3);
    EXPECT_EQ(genome.vocabulary, (Names{"007", "dark, slow", "zombies"}));
    ASSERT_EQ(genome.numbers.size(), 9U);
    EXPECT_TRUE(std::isnan(number(genome, 0, 0)));
    EXPECT_TRUE(std::isnan(number(genome, 0, 1)));
    EXPECT_EQ(number(genome, 0, 2), 0.25F);
    EXPECT_FALSE(genome.has(1));
    EXPECT_EQ(number(genome, 2, 0), 0.025F);
    EXPECT_EQ(number(genome, 2, 1), 0.5F);
    EXPECT_EQ(number(genome, 2, 2), 1.0F);
  }
}

TEST(Genome, WithoutTheTagsTheirIdsAreTheNames) {
  const FeatureColumn genome =
      read_genome("\xEF\xBB\xBF\r\nmovieId,tagId,relevance\r\n1,30,0.5\r\n\r\n1,-4,0.25\r\n2,-4,0.75\r\n1,30,0.125",
                  ids({1, 2}), {}, 5);
  EXPECT_EQ(genome.vocabulary, (Names{"30", "-4"}));
  EXPECT_EQ(number(genome, 0, 0), 0.125F);
  EXPECT_EQ(number(genome, 0, 1), 0.25F);
  EXPECT_TRUE(std::isnan(number(genome, 1, 0)));
  EXPECT_EQ(number(genome, 1, 1), 0.75F);
}

TEST(Genome, AHeaderAloneHasNoValues) {
  const FeatureColumn genome = read_genome("movieId,tagId,relevance\n", ids({1, 2}), {}, 100);
  EXPECT_FALSE(genome.has(0));
  EXPECT_FALSE(read_genome("movieId,tagId,relevance", ids({1, 2}), {{1, "a"}}, 100).has(1));
}

TEST(Genome, MalformedLinesAreRefused) {
  const std::string header = "movieId,tagId,relevance\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "1: the file is empty"},
      {"\n\n", "1: the file is empty"},
      {"1,1,0.5\n", "1: the header is not movieId,tagId,relevance"},
      {"movieId,tagId,relevance,more\n", "1: the header is not"},
      {header + "1,1,0.5\n1,1\n", "3: this is not an item id, a tag id and a finite number"},
      {header + "1,1,0.5,6\n", "2: this is not"},
      {header + "1,1,0.5 \n", "2: this is not"},
      {header + "1,1,nan\n", "2: this is not"},
      {header + "1,1,inf\n", "2: this is not"},
      {header + "1,1,1e99\n", "2: this is not"},
      {header + "x,1,0.5\n", "2: this is not"},
      {header + "1,99999999999999999999,0.5\n", "2: this is not"},
      {header + "1,1,", "2: this is not"},
      {header + "1,2,0.5\n", "2: tag 2 is not in genome-tags.csv"},
      {header + std::string(5000, '1'), "2: a line too long"},
      {"PK\x03\x04", "1: the header is not"}};
  for (const auto& [text, what] : cases) {
    for (const std::size_t piece : {3U, 100000U}) {
      SCOPED_TRACE(text.substr(0, 100));
      expect_refused(
          [&text = text, piece] {
            read_genome(text, ids({1}), {{1, "a"}}, piece);
          },
          "dir/genome-scores.csv:" + what.substr(0, 1), {what.substr(3)});
    }
  }
  expect_refused([] { parse_genome_tags("tagId,tag\n1,a\n1,b\n", "d/t"); }, "d/t:3", {"tag 1 is named in line 2"});
  expect_refused([] { parse_genome_tags("tagId,name\n1,a\n", "d/t"); }, "d/t:1", {"no column tag"});
  expect_refused([] { parse_genome_tags("tagId,tag\nx,a\n", "d/t"); }, "d/t:2", {"the tag id"});
}

TEST(Genome, TagsHaveABound) {
  std::string text = "movieId,tagId,relevance\n";
  for (int tag = 0; tag < 16385; ++tag) {
    text += fmt::format("1,{},0.5\n", tag);
  }
  expect_refused([&] { read_genome(text, ids({1}), {}, text.size()); }, "dir/genome-scores.csv:16386",
                 {"more than 16384 tags"});
}

TEST(Coverage, CountsRowsAndTheirRatings) {
  const FeatureTable features = user_features(parse_u_user("1|24|M|x|1\n3|30||x|1\n", "f"), ids({1, 2, 3}));
  const std::vector<std::int32_t> users = {0, 0, 0, 1, 2, 2};
  const FeatureCoverage sex = coverage_of(*features.find("sex"), features.rows, users);
  EXPECT_EQ(sex.rows, 1);
  EXPECT_EQ(sex.ratings, 3);
  const FeatureCoverage age = coverage_of(*features.find("age"), features.rows, users);
  EXPECT_EQ(age.rows, 2);
  EXPECT_EQ(age.ratings, 5);
}

class SideFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "curate_features_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  DatasetFeatures read(const std::string& name = "") const {
    const Dataset dataset = read_dataset((name.empty() ? folder_ : folder_ / name).string());
    return read_features(*files_beside(dataset.source), dataset);
  }

  fs::path folder_;
};

TEST_F(SideFilesTest, AreFoundByLayout) {
  write("ratings.csv", "userId,movieId,rating\n1,10,3\n2,20,4\n");
  write("movies.csv", "movieId,title,genres\n10,A (1990),War\n");
  write("tags.csv", "userId,movieId,tag,timestamp\n1,20,x,1\n");
  write("genome-scores.csv", "movieId,tagId,relevance\n20,1,0.5\n");
  write("genome-tags.csv", "tagId,tag\n1,dark\n2,slow\n");
  write("users.csv", "userId,age\n2,30\n");
  write("u.user", "1|24|M|writer|1\n");  // of another layout
  const DatasetFeatures features = read();
  EXPECT_EQ(column_names(features.items), (Names{"genres", "year", "tags", "genome"}));
  EXPECT_EQ(column_names(features.users), (Names{"age", "age_group"}));
  EXPECT_EQ(features.items.find("genome")->width, 2);
  EXPECT_EQ(values(*features.items.find("tags"), 1), Names{"x"});
}

TEST_F(SideFilesTest, OfAFolderOf1m) {
  write("ratings.dat", "1::10::3::5\n2::20::4::5\n");
  write("movies.dat", "20::B (1991)::War\n");
  write("users.dat", "1::F::25::1::0\n");
  const DatasetFeatures features = read();
  EXPECT_EQ(column_names(features.items), (Names{"genres", "year"}));
  EXPECT_EQ(value(*features.users.find("occupation"), 0), "academic/educator");
  EXPECT_EQ(value(*features.users.find("occupation"), 1), "");
}

TEST_F(SideFilesTest, BesideAFileOfRatings) {
  write("part.base", "1\t10\t3\t5\n2\t20\t4\t5\n");
  write("u.user", "2|24|M|writer|1\n");
  EXPECT_EQ(column_names(read("part.base").users), (Names{"sex", "age", "age_group", "occupation"}));
}

TEST_F(SideFilesTest, NoneAreNeeded) {
  write("ratings.csv", "userId,movieId,rating\n1,10,3\n");
  const DatasetFeatures features = read();
  EXPECT_TRUE(features.items.columns.empty());
  EXPECT_TRUE(features.users.columns.empty());
}

TEST_F(SideFilesTest, AreReadWhole) {
  std::string content;
  std::mt19937 random(1);
  while (content.size() < 3000000) {
    content += std::to_string(random());
  }
  write("big", content);
  EXPECT_EQ(files_in(folder_.string())->text("big"), content);
  write("none", "");
  EXPECT_EQ(files_in(folder_.string())->text("none"), "");
  EXPECT_FALSE(files_in(folder_.string())->has("missing"));
  EXPECT_THROW(files_in(folder_.string())->text("missing"), InputError);
}

TEST_F(SideFilesTest, DamagedFilesNeverCrash) {
  // Bytes of good files exchanged, left out or doubled: read or refused with a line, nothing else.
  struct Way {
    std::string text;
    void (*parse)(const std::string&);
  };
  static const IdMap kItems = ids({10, 20});
  const std::vector<Way> ways = {
      {"1::F::1::10::48067\n2::M::56::16::70072\n", [](const std::string& text) { parse_users_dat(text, "f"); }},
      {"1|24|M|technician|85711\n2|53|F|other|94043\n", [](const std::string& text) { parse_u_user(text, "f"); }},
      {"userId,gender,age,occupation,zip\n1,F,25-34,\"a, b\",1\n",
       [](const std::string& text) { parse_users_csv(text, "f"); }},
      {"userId,movieId,tag,timestamp\n1,10,\"a, \"\"b\"\"\",5\n2,20,b,6\n",
       [](const std::string& text) { parse_tags_csv(text, "f", kItems); }},
      {"1::10::a::5\n2::20::b:c::6\n", [](const std::string& text) { parse_tags_dat(text, "f", kItems); }},
      {kGenomeTags, [](const std::string& text) { parse_genome_tags(text, "f"); }},
      {kGenome, [](const std::string& text) { read_genome(text, kItems, {}, 7); }}};
  std::mt19937 random(7);
  const std::string bytes = "0,:|\"\n\r \xE4\xFF-.9aF\0"s;
  for (const Way& way : ways) {
    for (int round = 0; round < 3000; ++round) {
      std::string text = way.text;
      for (unsigned change = 0; change <= random() % 3; ++change) {
        const std::size_t at = random() % text.size();
        const char byte = bytes[random() % bytes.size()];
        switch (random() % 3) {
          case 0:
            text[at] = byte;
            break;
          case 1:
            text.insert(at, 1, byte);
            break;
          default:
            text.erase(at, 1 + random() % 5);
            text += text.empty() ? "x" : "";
        }
      }
      try {
        way.parse(text);
      } catch (const InputError& error) {
        EXPECT_EQ(std::string(error.what()).find("\n"), std::string::npos);
      }
    }
  }
}

/// The published data sets, where CURATE_TEST_DATA names a folder that holds them.
class PublishedFeatures : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* root = std::getenv("CURATE_TEST_DATA");
    if (root == nullptr || !fs::exists(fs::path(root) / name_)) {
      GTEST_SKIP() << "set CURATE_TEST_DATA to a folder that holds " << name_;
    }
    dataset_ = read_dataset((fs::path(root) / name_).string());
    features_ = read_features(*files_beside(dataset_.source), dataset_);
  }

  explicit PublishedFeatures(std::string name) : name_(std::move(name)) {}

  FeatureCoverage users(const char* column) const {
    return coverage_of(*features_.users.find(column), features_.users.rows, dataset_.ratings.users);
  }
  FeatureCoverage items(const char* column) const {
    return coverage_of(*features_.items.find(column), features_.items.rows, dataset_.ratings.items);
  }

  std::string name_;
  Dataset dataset_;
  DatasetFeatures features_;
};

class Published100k : public PublishedFeatures {
 protected:
  Published100k() : PublishedFeatures("ml-100k") {}
};

TEST_F(Published100k, HasAll) {
  EXPECT_EQ(column_names(features_.users), (Names{"sex", "age", "age_group", "occupation"}));
  EXPECT_EQ(column_names(features_.items), (Names{"genres", "year"}));
  for (const char* column : {"sex", "age", "age_group", "occupation"}) {
    EXPECT_EQ(users(column).rows, 943) << column;
    EXPECT_EQ(users(column).ratings, 100000) << column;
  }
  const FeatureColumn& sex = *features_.users.find("sex");
  EXPECT_EQ(std::count(sex.values.begin(), sex.values.end(), 0), 273);
  EXPECT_EQ(features_.users.find("occupation")->vocabulary.size(), 21U);
  EXPECT_EQ(features_.items.find("genres")->vocabulary.size(), 18U);
  EXPECT_EQ(items("genres").rows, 1680);
  EXPECT_EQ(items("year").rows, 1681);  // all but "unknown"
}

class Published1m : public PublishedFeatures {
 protected:
  Published1m() : PublishedFeatures("ml-1m") {}
};

TEST_F(Published1m, HasAll) {
  EXPECT_EQ(column_names(features_.users), (Names{"sex", "age_group", "occupation"}));
  const FeatureColumn& group = *features_.users.find("age_group");
  for (const auto& [index, count] : std::map<std::int32_t, int>{{0, 222}, {1, 1103}, {2, 2096}, {6, 380}}) {
    EXPECT_EQ(std::count(group.values.begin(), group.values.end(), index), count);
  }
  EXPECT_EQ(items("year").rows, 3706);
  EXPECT_EQ(items("genres").ratings, 1000209);
  EXPECT_EQ(features_.users.find("occupation")->vocabulary.size(), 21U);
}

class PublishedLatestSmall : public PublishedFeatures {
 protected:
  PublishedLatestSmall() : PublishedFeatures("ml-latest-small-2016") {}
};

TEST_F(PublishedLatestSmall, HasTags) {
  EXPECT_EQ(column_names(features_.items), (Names{"genres", "year", "tags"}));
  EXPECT_TRUE(features_.users.columns.empty());
  EXPECT_EQ(features_.items.find("tags")->vocabulary.size(), 100U);
  EXPECT_GT(items("tags").rows, 100);
}

}  // namespace
}  // namespace curate
