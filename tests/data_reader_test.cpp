// Reading delimited ratings: what is taken, what is refused and how, ids, duplicates, scale, pairs.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/delimited_reader.h"
#include "data/delimited_text.h"
#include "data/row_parser.h"

namespace curate {
namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;

constexpr std::int64_t kMinId = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMaxId = std::numeric_limits<std::int64_t>::max();

struct Row {
  std::int64_t user;
  std::int64_t item;
  float rating;
  std::int64_t timestamp = 0;

  bool operator==(const Row&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Row& row) {
  return out << '(' << row.user << ", " << row.item << ", " << row.rating << ", " << row.timestamp << ')';
}

std::vector<Row> rows_of(const RatingTable& table, const Dataset& dataset) {
  EXPECT_EQ(table.users.size(), table.ratings.size());
  EXPECT_EQ(table.items.size(), table.ratings.size());
  if (table.has_timestamps()) {
    EXPECT_EQ(table.timestamps.size(), table.ratings.size());
  }
  std::vector<Row> rows;
  for (std::size_t k = 0; k < table.ratings.size(); ++k) {
    rows.push_back({dataset.users.raw(table.users[k]), dataset.items.raw(table.items[k]), table.ratings[k],
                    table.has_timestamps() ? table.timestamps[k] : 0});
  }
  return rows;
}

std::vector<Row> rows_of(const Dataset& dataset) {
  return rows_of(dataset.ratings, dataset);
}

class DataReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "curate_reader_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content) const {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

  Dataset read(const std::string& content, const ReadOptions& options = {}) const {
    return read_dataset(write("ratings.txt", content), options);
  }

  /// The message of the InputError that `action` throws, which must be one printable line.
  template <typename Action>
  static std::string message_of(const Action& action) {
    try {
      action();
    } catch (const InputError& error) {
      const std::string message = error.what();
      EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](char c) { return c >= 0x20 && c < 0x7f; })) << message;
      return message;
    }
    ADD_FAILURE() << "no InputError";
    return "";
  }

  /// Reading `content` fails with "FILE:LINE: ...what...; ...remedy...".
  void expect_refused(const std::string& content, int line, const std::string& what, const std::string& remedy,
                      const ReadOptions& options = {}) const {
    SCOPED_TRACE(excerpt(content));
    const std::string message = message_of([&] { read(content, options); });
    const std::string place = (folder_ / "ratings.txt").string() + ":" + std::to_string(line) + ": ";
    EXPECT_EQ(message.substr(0, place.size()), place) << message;
    const std::size_t found = message.find(what, place.size());
    ASSERT_NE(found, std::string::npos) << message << "\nlacks: " << what;
    const std::size_t semicolon = message.find("; ", found + what.size());
    ASSERT_NE(semicolon, std::string::npos) << message;
    EXPECT_NE(message.find(remedy, semicolon), std::string::npos) << message << "\nlacks: " << remedy;
  }

  fs::path folder_;
};

// What is taken.

TEST_F(DataReaderTest, TellsEverySeparator) {
  const std::vector<Row> expected = {{1, 10, 3.5F, 100}, {2, 10, 4.0F, 200}};
  for (const std::string separator : {"\t", "::", ",", ";", "|", " "}) {
    SCOPED_TRACE(separator);
    const auto line = [&](const std::vector<std::string>& fields) {
      return fmt::format("{}\n", fmt::join(fields, separator));
    };
    EXPECT_EQ(rows_of(read(line({"1", "10", "3.5", "100"}) + line({"2", "10", "4", "200"}))), expected);
    const Dataset untimed = read(line({"1", "10", "3.5"}));
    EXPECT_FALSE(untimed.ratings.has_timestamps());
    EXPECT_EQ(rows_of(untimed), (std::vector<Row>{{1, 10, 3.5F}}));
    EXPECT_EQ(untimed.layout, "delimited");
  }
}

TEST_F(DataReaderTest, PrefersTheSeparatorThatYieldsNumbers) {
  EXPECT_EQ(rows_of(read("1|2|3.5|4|a,b,c,d\n")), (std::vector<Row>{{1, 2, 3.5F, 4}}));
  EXPECT_EQ(rows_of(read("1, 2, 3.5\n")), (std::vector<Row>{{1, 2, 3.5F}}));
}

TEST_F(DataReaderTest, FindsColumnsByNameInAnyOrder) {
  const std::vector<Row> expected = {{1, 10, 3.5F, 100}};
  EXPECT_EQ(rows_of(read("userId,movieId,rating,timestamp\n1,10,3.5,100\n")), expected);
  EXPECT_EQ(rows_of(read("TIMESTAMP,Rating,Comment,MOVIEID,userid\n100,3.5,\"so, so\",10,1\n")), expected);
  EXPECT_EQ(rows_of(read("stars;item_id;ts;user_id\n3.5;10;100;1\n")), expected);
  EXPECT_EQ(rows_of(read(",uid,item,score,time\n0,1,10,3.5,100\n")), expected);
  EXPECT_EQ(rows_of(read("\tuser\titemId\trating\ttime\n0\t1\t10\t3.5\t100\n")), expected);
  EXPECT_EQ(rows_of(read("\"user\" \"movie_id\" \"rating\" \"ts\"\n1 10 3.5 100\n")), expected);
  // The id rather than the name where there are both.
  EXPECT_EQ(rows_of(read("user,user_id,movie,movieId,rating,ts\nAnn,1,Alien,10,3.5,100\n")), expected);
  EXPECT_FALSE(read("user,item,rating,comment\n1,2,3,fine\n").ratings.has_timestamps());
}

TEST_F(DataReaderTest, TakesQuirks) {
  const std::vector<Row> expected = {{1, 10, 3.5F, 100}, {-2, 11, 4.0F, -5}};
  const std::vector<std::string> texts = {
      "1,10,3.5,100\r\n-2,11,4,-5\r\n",  // CRLF
      "1,10,3.5,100\n-2,11,4,-5",        // no final newline
      "1,10,3.5,100\r\n-2,11,4,-5\r",    //
      "\xEF\xBB\xBF"
      "1,10,3.5,100\n-2,11,4,-5\n",                            // byte order mark
      "\n\n1,10,3.5,100\n\n  \t\n-2,11,4,-5\n\n \r\n\n",       // empty lines
      " 1 , 10 ,\t3.5, 100 \n-2,11 ,4 , -5\n",                 // blanks
      "\"1\",\"10\",\"3.5\",\"100\"\n-2,\"11\" , 4,\"-5\"\n",  // quotes
      "1,10,.35e1,100\n-2,11,4E+0,-5\n",                       // scientific notation
      "+1,+10,+3.5,+100\n-2,11,+4,-5\n",                       // plus signs
      "1,10,35e-1,0100\n-2,011,4.,-5\n",                       // leading zeros
      "1  10 3.5   100\n  -2 11 4 -5  \n",                     // runs of spaces
  };
  for (const std::string& text : texts) {
    SCOPED_TRACE(excerpt(text));
    EXPECT_EQ(rows_of(read(text)), expected);
  }
}

TEST_F(DataReaderTest, QuirksAndPlainRowsReadTheSame) {
  std::mt19937_64 random(1);
  std::string plain;
  std::string quoted;
  std::string reordered = "rating,timestamp,item,user\n";
  for (int k = 0; k < 2000; ++k) {
    const auto user = static_cast<std::int64_t>(random()) >> (random() % 64);
    const auto item = static_cast<std::int64_t>(random()) >> (random() % 64);
    const float rating = std::ldexp(static_cast<float>(static_cast<std::int64_t>(random())), -60);
    const auto timestamp = static_cast<std::int64_t>(random() % 2000000000);
    plain += fmt::format("{},{},{},{}\n", user, item, rating, timestamp);
    quoted += fmt::format("\"{}\", {},\"{}\",{} \r\n", user, item, rating, timestamp);
    reordered += fmt::format("{},{},{},{}\n", rating, timestamp, item, user);
  }
  const std::vector<Row> rows = rows_of(read(plain));
  EXPECT_GT(rows.size(), 1000U);
  EXPECT_EQ(rows_of(read(quoted)), rows);
  EXPECT_EQ(rows_of(read(reordered)), rows);
}

TEST_F(DataReaderTest, ReadsTheNearestFloat) {
  for (const float value : {0.1F, 3.3333333F, 16777215.0F, 1.17549435e-38F, 3.4028235e38F, -2.5F, 0.0F}) {
    EXPECT_EQ(read(fmt::format("1,2,{}\n", value)).ratings.ratings[0], value);
    EXPECT_EQ(read(fmt::format("1,2, {}\n", value)).ratings.ratings[0], value);
  }
  EXPECT_EQ(read("1,2,1e-60\n").ratings.ratings[0], 0.0F);
}

TEST_F(DataReaderTest, SourceIsAbsolute) {
  const std::string path = write("a.csv", "1,2,3\n");
  EXPECT_EQ(read_dataset((folder_ / "." / "a.csv").string()).source, path);
}

// Ids.

TEST_F(DataReaderTest, IdsMapBothWaysInOrderOfAppearance) {
  const Dataset dataset = read("50,-7,1\n-3,8,2\n50,8,3\n0,-7,4\n");
  EXPECT_EQ(dataset.users.size(), 3);
  EXPECT_EQ(dataset.items.size(), 2);
  EXPECT_EQ(dataset.ratings.users, (Column<std::int32_t>{0, 1, 0, 2}));
  EXPECT_EQ(dataset.ratings.items, (Column<std::int32_t>{0, 1, 1, 0}));
  const std::vector<std::int64_t> raw = {50, -3, 0};
  for (std::int32_t user = 0; user < 3; ++user) {
    EXPECT_EQ(dataset.users.raw(user), raw[static_cast<std::size_t>(user)]);
    EXPECT_EQ(dataset.users.find(raw[static_cast<std::size_t>(user)]), user);
  }
  EXPECT_EQ(dataset.users.find(1), std::nullopt);
}

TEST_F(DataReaderTest, TakesEvery64BitId) {
  const std::string text = fmt::format("{},{},3\n{},{},4\n", kMinId, kMaxId, kMaxId, kMinId);
  EXPECT_EQ(rows_of(read(text)), (std::vector<Row>{{kMinId, kMaxId, 3.0F}, {kMaxId, kMinId, 4.0F}}));
}

TEST_F(DataReaderTest, FindOrAddIsStable) {
  IdMap map;
  EXPECT_EQ(map.find_or_add(7), 0);
  EXPECT_EQ(map.find_or_add(-7), 1);
  EXPECT_EQ(map.find_or_add(7), 0);
  EXPECT_EQ(map.size(), 2);
  EXPECT_EQ(map.find(0), std::nullopt);
}

// What is refused.

TEST_F(DataReaderTest, RefusesBadIds) {
  expect_refused("1,2,3\n9223372036854775808,2,3\n", 2, "the user id does not fit 64 bits (\"9223372036854775808\")",
                 "64 bits");
  expect_refused("1,2,3\n1,-9223372036854775809,3\n", 2, "the item id does not fit 64 bits", "64 bits");
  expect_refused("1,2,3\n1.0,2,3\n", 2, "the user id is not a whole number (\"1.0\")", "whole numbers");
  expect_refused("1,2,3\n1,tt0114709,3\n", 2, "the item id is not a whole number (\"tt0114709\")", "whole numbers");
  expect_refused("1,2,3\n1,1e3,3\n", 2, "the item id is not a whole number", "whole numbers");
  expect_refused("1,2,3\n,2,3\n", 2, "the user id is missing", "whole numbers");
  expect_refused("1,2,3\n+-1,2,3\n", 2, "the user id is not a whole number", "whole numbers");
  expect_refused("1,2,3\nann,2,3\n", 2, "the user id is not a whole number", "`text_ids`");
}

TEST_F(DataReaderTest, IdsAreTextWhereTheFirstRowHasNoNumber) {
  const Dataset dataset = read("user,item,rating\nann,7,3\nbob,007,4\n ann , 8 ,5\n12,7,1\n");
  EXPECT_EQ(dataset.ratings.users, (Column<std::int32_t>{0, 1, 0, 2}));
  EXPECT_EQ(dataset.users.text(0), "ann");
  EXPECT_EQ(dataset.users.find(std::int64_t{12}), 2);
  // The other column stays numbers.
  EXPECT_TRUE(dataset.items.numbers());
  EXPECT_EQ(dataset.ratings.items, (Column<std::int32_t>{0, 0, 1, 0}));
  EXPECT_EQ(read("0x1f,2,3\n").users.text(0), "0x1f");
  EXPECT_EQ(read("9223372036854775808,2,3\n").users.text(0), "9223372036854775808");
  EXPECT_EQ(read("1\ttt0114709\t3\n").items.text(0), "tt0114709");
}

TEST_F(DataReaderTest, QuotedIdsMayHoldSeparatorsAndQuotes) {
  const Dataset dataset = read("\"a,b\",\"say \"\"hi\"\"\",3\n\" c \",x,4\n\xC3\xA9t\xC3\xA9,x,5\n");
  EXPECT_EQ(dataset.users.text(0), "a,b");
  EXPECT_EQ(dataset.items.text(0), "say \"hi\"");
  EXPECT_EQ(dataset.users.text(1), " c ");
  EXPECT_EQ(dataset.users.text(2), "\xC3\xA9t\xC3\xA9");
}

TEST_F(DataReaderTest, TextIdsOnDemand) {
  ReadOptions options;
  options.text_ids = true;
  const Dataset dataset = read("1,2,3\n01,2,4\nann,3,5\n", options);
  EXPECT_EQ(dataset.users.size(), 3);
  EXPECT_EQ(dataset.items.size(), 2);
  EXPECT_TRUE(dataset.items.numbers());  // spelt as numbers are
}

TEST_F(DataReaderTest, RefusesBadTextIds) {
  expect_refused("ann,2,3\n,3,4\n", 2, "the user id is missing", "remove the line");
  // Behind the bytes that are looked at to tell text from other data.
  std::string rows;
  for (int k = 0; k < 1000; ++k) {
    rows += fmt::format("ann{},2,3\n", k);
  }
  expect_refused(rows + "b\x01,3,4\n", 1001, "the user id has a control character", "remove it");
  expect_refused("ann,2,3\n" + std::string(1025, 'x') + ",3,4\n", 2, "the user id has 1025 bytes", "at most 1024");
  EXPECT_EQ(read("ann,2,3\n" + std::string(1024, 'x') + ",3,4\n").users.size(), 2);
}

TEST_F(DataReaderTest, FurtherRatingsKeepTheSpellingOfTextIds) {
  Dataset dataset = read("ann,1,3\n007,2,4\n");
  const RatingTable test = read_more_ratings(dataset, write("test.csv", "007,1,5\n7,1,5\n"));
  EXPECT_EQ(test.users, (Column<std::int32_t>{1, 2}));
  // Numbers turn into texts when a test file brings some.
  Dataset numbers = read("5,1,3\n");
  const RatingTable more = read_more_ratings(numbers, write("test.csv", "ann,1,5\n5,1,4\n"));
  EXPECT_EQ(more.users, (Column<std::int32_t>{1, 0}));
  EXPECT_EQ(numbers.users.text(0), "5");
}

TEST_F(DataReaderTest, PairsWithTextIds) {
  const std::vector<RawPair> pairs = read_pairs(write("pairs.txt", "ann,1\n7,2\n"));
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_EQ(pairs[0].user.text(), "ann");
  EXPECT_EQ(pairs[1].user, RawId(7));
  EXPECT_EQ(read_pairs(write("pairs.txt", "007,1\n"), true)[0].user.text(), "007");
}

TEST_F(DataReaderTest, RefusesBadRatings) {
  for (const std::string bad : {"x", "4x", "3.5.5", "1e", "--3", "0x3", "3 5", "+-3"}) {
    expect_refused("1,2,3\n1,3,4\n1,4," + bad + "\n", 3, "the rating is not a number (\"" + bad + "\")", "correct");
  }
  for (const std::string bad : {"nan", "NaN", "inf", "-inf", "INFINITY", "1e39", "-1e400"}) {
    expect_refused("1,2,3\n1,4," + bad + "\n", 2, "the rating is not a finite number (\"" + bad + "\")", "correct");
  }
  expect_refused("1,2,3\n1,2,\n", 2, "the rating is missing", "give every line a rating");
  expect_refused("1;2;3,5;4\n", 1, "the rating is not a number (\"3,5\")", "point");
  expect_refused("rating,user,item\n4,1,2\nnan,1,2\n", 3, "the rating is not a finite number", "correct");
}

TEST_F(DataReaderTest, RefusesRatingsOutsideTheRangeGiven) {
  ReadOptions options;
  options.rating_range = {1.0F, 5.0F};
  EXPECT_EQ(read("1,2,1\n1,3,5\n", options).ratings.size(), 2);
  expect_refused("1,2,3\n1,3,5.5\n", 2, "the rating is outside 1 to 5 (\"5.5\")", "range", options);
  expect_refused("1,2,3\n1,3, 0.5\n", 2, "the rating is outside 1 to 5 (\"0.5\")", "range", options);
  expect_refused("1,2,-3\n", 1, "the rating is outside 1 to 5", "range", options);
}

TEST_F(DataReaderTest, RefusesBadTimestamps) {
  expect_refused("1,2,3,100\n1,3,3,1.5\n", 2, "the timestamp is not a whole number (\"1.5\")", "seconds since 1970");
  expect_refused("1,2,3,100\n1,3,3,\n", 2, "the timestamp is missing", "seconds since 1970");
  expect_refused("1,2,3,99999999999999999999\n", 1, "the timestamp does not fit 64 bits", "seconds since 1970");
  expect_refused("1,2,3,2015-01-01\n", 1, "the timestamp is not a whole number", "header");
}

TEST_F(DataReaderTest, RefusesWrongNumbersOfFields) {
  expect_refused("1,2,3\n1,2,3,4\n1,2,3\n", 2, "4 fields separated by comma instead of 3 (\"1,2,3,4\")", "same fields");
  expect_refused("1\t2\t3\n1\n1\t2\t3\n", 2, "1 field separated by tab instead of 3", "same fields");
  expect_refused("userId,movieId,rating,timestamp\n1,2,3\n1,2,3,4\n", 2, "3 fields separated by comma instead of 4",
                 "same fields");
  expect_refused("1,2\n", 1, "no three fields on the first line (\"1,2\")", "`::`, comma");
  expect_refused("hello\n", 1, "no three fields", "separated by");
}

TEST_F(DataReaderTest, SuspectsATruncatedLastLine) {
  expect_refused("1::2::3::4\n1::3::4::5\n1::4:", 3, "truncated last line? 2 fields separated by `::` instead of 4",
                 "fetch the file again");
  expect_refused("1,2,3\n1,4\n\n", 2, "truncated last line?", "complete or remove");
  for (const std::string text : {"1,2,3\n1,4\n1,5,3\n", "1,2,3\n1,2,3,4\n"}) {
    const std::string message = message_of([&] { read(text); });
    EXPECT_EQ(message.find("truncated"), std::string::npos) << message;
  }
}

TEST_F(DataReaderTest, RefusesMixedSeparators) {
  expect_refused("1,2,3\n1;2;3\n", 2, "separated by semicolon but by comma on the first line (\"1;2;3\")",
                 "one separator");
  expect_refused("1::2::3::4\n1::3::3::4\n1\t2\t3\t4\n1::5::3::4\n", 3, "separated by tab but by `::`",
                 "one separator");
  expect_refused("1,2,3\n1 2 3\n", 2, "separated by space but by comma", "one separator");
}

TEST_F(DataReaderTest, RefusesBadQuotes) {
  expect_refused("1,2,3\n1,\"2,3\n", 2, "a quoted field does not end", "close the quote");
  expect_refused("1,2,3\n1,\"2\"3,3\n", 2, "a quoted field does not end", "close the quote");
}

TEST_F(DataReaderTest, RefusesHeadersWithoutANeededColumn) {
  expect_refused("movieId,rating\n1,2\n", 1, "no three fields", "user, item, rating");
  expect_refused("who,movieId,rating\n1,2,3\n", 1, "no user column", "userId, user_id, uid, user");
  expect_refused("\nuserId,film,rating\n1,2,3\n", 2, "no item column",
                 "movieId, movie_id, itemId, item_id, item, movie");
  expect_refused("userId,movieId,tag,timestamp\n1,2,good,3\n", 1, "no rating column", "rating, score, stars");
}

TEST_F(DataReaderTest, RefusesFilesWithoutRatings) {
  expect_refused("", 1, "the file is empty", "has lines");
  expect_refused("\xEF\xBB\xBF", 1, "the file is empty", "has lines");
  expect_refused("\n \r\n\t\n", 1, "the file is empty", "has lines");
  expect_refused("userId,movieId,rating\n", 1, "nothing follows the header", "add lines");
  expect_refused("\nuserId,movieId,rating\r\n\r\n\n", 2, "nothing follows the header", "add lines");
  expect_refused("userId,movieId,rating", 1, "nothing follows the header", "add lines");
}

TEST_F(DataReaderTest, RefusesWhatIsNoText) {
  // Archives are read, but not broken ones, and not as a list of pairs.
  for (const auto& [content, what, remedy] :
       {std::tuple{"PK\x03\x04 and so on", "zip archive", "unpack"}, {"\x1F\x8B\x08 and so on", "gzip", "gunzip"}}) {
    const std::string path = write("packed", content);
    const std::string message = message_of([&] { read_dataset(path); });
    EXPECT_EQ(message.rfind(path + ": ", 0), 0U) << message;
    EXPECT_NE(message.find(what), std::string::npos) << message;
    EXPECT_NE(message.find("download it again"), std::string::npos) << message;
    EXPECT_NE(message_of([&] { read_pairs(path); }).find(remedy), std::string::npos);
  }
  expect_refused("\xFF\xFE\x31\x00,\x00"s, 1, "UTF-16", "UTF-8");
  expect_refused("1,2,3\n1,3,\0004\n"s, 2, "not text: byte 0x00 at offset 10", "text file");
  expect_refused(
      "\x7F"
      "ELF\x02\x01\x01",
      1, "not text: byte 0x02", "text file");
  // Past the start of the file, where only its line is looked at.
  std::string late;
  for (int k = 0; k < 2000; ++k) {
    late += "1,2,3\n";
  }
  expect_refused(late + "\x01\xFE,2,3\n1,2,3\n", 2001, "the user id is not a whole number (\"\\x01\\xfe\")",
                 "whole numbers");
}

TEST_F(DataReaderTest, ExcerptsAreShortAndPrintable) {
  EXPECT_EQ(excerpt("1,2\r\n"), "\"1,2\"");
  EXPECT_EQ(excerpt("a\tb\x00\xE9"s), "\"a\\tb\\x00\\xe9\"");
  EXPECT_EQ(excerpt(std::string(40, 'x')), "\"" + std::string(40, 'x') + "\"");
  EXPECT_EQ(excerpt(std::string(41, 'x')), "\"" + std::string(40, 'x') + "...\"");
  expect_refused("1,2,3\n" + std::string(100000, 'z') + ",2,3\n", 2, "(\"zzzz", "whole numbers");
  EXPECT_LT(message_of([&] { read("1,2,3\n" + std::string(100000, 'z') + "\n"); }).size(),
            folder_.string().size() + 300);
}

TEST_F(DataReaderTest, RefusesPathsThatAreNoFile) {
  const auto expect_path_refused = [&](const std::string& path, const std::string& what, const std::string& remedy) {
    const std::string message = message_of([&] { read_pairs(path); });
    EXPECT_EQ(message.substr(0, path.size() + 2), path + ": ") << message;
    EXPECT_NE(message.find(what), std::string::npos) << message;
    EXPECT_NE(message.find(remedy), std::string::npos) << message;
  };
  expect_path_refused((folder_ / "absent.csv").string(), "no such file or folder", "check the path");
  expect_path_refused(folder_.string(), "this is a folder", "name a file in it");
  const std::string message = message_of([&] { read_dataset((folder_ / "absent").string()); });
  EXPECT_NE(message.find("check the path"), std::string::npos) << message;
}

TEST_F(DataReaderTest, RefusesUnreadableFiles) {
  // Readable by its permissions, even for root, but not in fact.
  const std::string path = "/proc/self/mem";
  if (!fs::exists(path)) {
    GTEST_SKIP() << "needs " << path;
  }
  const std::string message = message_of([&] { read_dataset(path); });
  EXPECT_NE(message.find(path + ": cannot read"), std::string::npos) << message;
  EXPECT_NE(message.find("; check that"), std::string::npos) << message;
}

TEST_F(DataReaderTest, RefusesFilesWithoutPermission) {
  const std::string path = write("ratings.txt", "1,2,3\n");
  fs::permissions(path, fs::perms::none);
  if (std::ifstream(path).good()) {
    GTEST_SKIP() << "this user may read every file";
  }
  const std::string message = message_of([&] { read_dataset(path); });
  EXPECT_NE(message.find("; check that"), std::string::npos) << message;
}

// Duplicates and scale.

TEST_F(DataReaderTest, LatestOfTheSamePairStays) {
  const Dataset dataset = read("1,2,1,100\n3,2,5,7\n1,2,2,300\n1,4,3,5\n1,2,4,200\n");
  EXPECT_EQ(rows_of(dataset), (std::vector<Row>{{3, 2, 5.0F, 7}, {1, 2, 2.0F, 300}, {1, 4, 3.0F, 5}}));
  EXPECT_EQ(dataset.duplicates, 2);
}

TEST_F(DataReaderTest, LastOfEqualTimestampsStays) {
  const Dataset dataset = read("1,2,1,100\n1,2,2,100\n5,2,1,100\n1,2,3,100\n1,2,4,99\n");
  EXPECT_EQ(rows_of(dataset), (std::vector<Row>{{5, 2, 1.0F, 100}, {1, 2, 3.0F, 100}}));
  EXPECT_EQ(dataset.duplicates, 3);
}

TEST_F(DataReaderTest, LastStaysWithoutTimestamps) {
  const Dataset dataset = read("1,2,1\n1,3,5\n1,2,2\n2,2,3\n2,2,3\n");
  EXPECT_EQ(rows_of(dataset), (std::vector<Row>{{1, 3, 5.0F}, {1, 2, 2.0F}, {2, 2, 3.0F}}));
  EXPECT_EQ(dataset.duplicates, 2);
}

TEST_F(DataReaderTest, DuplicatesAgreeWithAPlainSearch) {
  std::mt19937 random(2);
  for (int round = 0; round < 50; ++round) {
    std::vector<Row> rows(60);
    std::string text;
    for (Row& row : rows) {
      const auto below = [&](std::uint64_t bound) { return static_cast<std::int64_t>(random() % bound); };
      row = {below(6), below(6), static_cast<float>(below(10)), below(4)};
      text += fmt::format("{},{},{},{}\n", row.user, row.item, row.rating, row.timestamp);
    }
    std::vector<Row> expected;
    for (std::size_t k = 0; k < rows.size(); ++k) {
      bool stays = true;
      for (std::size_t other = 0; other < rows.size(); ++other) {
        const bool same = rows[k].user == rows[other].user && rows[k].item == rows[other].item;
        const bool newer =
            rows[other].timestamp > rows[k].timestamp || (rows[other].timestamp == rows[k].timestamp && other > k);
        stays = stays && !(same && newer);
      }
      if (stays) {
        expected.push_back(rows[k]);
      }
    }
    const Dataset dataset = read(text);
    EXPECT_EQ(rows_of(dataset), expected);
    EXPECT_EQ(dataset.duplicates, static_cast<std::int64_t>(rows.size() - expected.size()));
  }
}

TEST_F(DataReaderTest, DetectsTheScale) {
  const auto scale = [&](const std::string& text) { return read(text).scale; };
  EXPECT_EQ(scale("1,2,4\n1,3,2\n").step, 1.0F);
  EXPECT_EQ(scale("1,2,4\n1,3,2.5\n").step, 0.5F);
  EXPECT_EQ(scale("1,2,4\n1,3,2.25\n").step, 0.0F);
  EXPECT_EQ(scale("1,2,-4\n1,3,2.5\n1,4,-0.5\n").step, 0.5F);
  EXPECT_EQ(scale("1,2,4\n1,3,-2.5\n").min, -2.5F);
  EXPECT_EQ(scale("1,2,4\n1,3,-2.5\n").max, 4.0F);
  ReadOptions options;
  options.rating_range = {0.5F, 5.0F};
  EXPECT_EQ(read("1,2,4\n", options).scale.min, 0.5F);
  EXPECT_EQ(read("1,2,4\n", options).scale.max, 5.0F);
}

// Further ratings and pairs.

TEST_F(DataReaderTest, FurtherRatingsShareIds) {
  Dataset dataset = read_dataset(write("train.tsv", "1\t10\t3\n2\t20\t4\n"));
  const RatingTable test = read_more_ratings(dataset, write("test.csv", "user,item,rating\n2,10,5\n3,30,1\n2,10,4\n"));
  EXPECT_EQ(rows_of(test, dataset), (std::vector<Row>{{3, 30, 1.0F}, {2, 10, 4.0F}}));
  EXPECT_EQ(test.users, (Column<std::int32_t>{2, 1}));
  EXPECT_EQ(dataset.users.size(), 3);
  EXPECT_EQ(dataset.items.size(), 3);
  EXPECT_EQ(dataset.ratings.size(), 2);
  EXPECT_EQ(dataset.title(2), "");
}

TEST_F(DataReaderTest, FailedFurtherRatingsLeaveTheDatasetAlone) {
  Dataset dataset = read("1,10,3\n");
  EXPECT_THROW(read_more_ratings(dataset, write("test.csv", "5,6,3\n7,8,x\n")), InputError);
  EXPECT_EQ(dataset.users.size(), 1);
  EXPECT_EQ(dataset.items.size(), 1);
}

TEST_F(DataReaderTest, ReadsPairs) {
  const auto pairs = [&](const std::string& text) {
    std::vector<std::pair<std::int64_t, std::int64_t>> result;
    for (const RawPair& pair : read_pairs(write("pairs.txt", text))) {
      result.emplace_back(pair.user.number(), pair.item.number());
    }
    return result;
  };
  const std::vector<std::pair<std::int64_t, std::int64_t>> expected = {{1, 2}, {3, 4}, {1, 2}};
  EXPECT_EQ(pairs("1,2\n3,4\n1,2\n"), expected);
  EXPECT_EQ(pairs("1 2\n3 4\n1 2"), expected);
  EXPECT_EQ(pairs("1\t2\tx\n3\t4\ty\n1\t2\tz\n"), expected);
  EXPECT_EQ(pairs("1::2::5\n3::4::nan\n1::2::5\n"), expected);
  EXPECT_EQ(pairs("title,movieId,userId\n\"a, b\",2,1\nc,4,3\nd,2,1\n"), expected);
}

TEST_F(DataReaderTest, RefusesBadPairs) {
  const std::string path = (folder_ / "pairs.txt").string();
  const auto expect_pairs_refused = [&](const std::string& text, const std::string& start, const std::string& remedy) {
    const std::string message = message_of([&] { read_pairs(write("pairs.txt", text)); });
    EXPECT_EQ(message.substr(0, path.size() + start.size()), path + start) << message;
    EXPECT_NE(message.find(remedy), std::string::npos) << message;
  };
  expect_pairs_refused("1\n", ":1: no two fields", "user, item separated by");
  expect_pairs_refused("1,2\n3\n", ":2: truncated last line?", "complete or remove");
  expect_pairs_refused("1,2\n3,x\n", ":2: the item id is not a whole number", "whole numbers");
  expect_pairs_refused("", ":1: the file is empty", "has lines");
  expect_pairs_refused("user,rating\n1,2\n", ":1: no number on the first line", "movieId");
}

TEST_F(DataReaderTest, TellsTheStepOfTheScale) {
  const auto scale = [&](const std::string& one, const std::string& other) {
    return read(fmt::format("1,1,{}\n1,2,3\n2,1,{}\n", one, other)).scale;
  };
  EXPECT_EQ(scale("1", "5").step, 1.0F);
  EXPECT_EQ(scale("-2", "100").step, 1.0F);
  EXPECT_EQ(scale("1", "4.5").step, 0.5F);
  EXPECT_EQ(scale("-0.5", "2.5").step, 0.5F);
  EXPECT_EQ(scale("1", "4.25").step, 0.0F);
  EXPECT_EQ(scale("0.1", "4.5").step, 0.0F);
  EXPECT_EQ(scale("-0.5", "7").min, -0.5F);
  EXPECT_EQ(scale("-0.5", "7").max, 7.0F);
}

// The seam for reading in pieces.

TEST_F(DataReaderTest, PiecesReadAsTheWhole) {
  const std::string text = "user,item,rating,ts\n1,2,3,4\n\n5,\"6\",7,8\r\n9,10,11,12\n13,14,15,16";
  const DelimitedFormat format = detect_format(text, "f", DelimitedContent::ratings);
  const RawRatings whole = parse_delimited(text, "f", format, {});
  EXPECT_EQ(whole.users, (std::vector<std::int64_t>{1, 5, 9, 13}));
  for (std::size_t cut = format.body; cut < text.size(); ++cut) {
    if (text[cut - 1] != '\n') {
      continue;
    }
    RawRatings pieces;
    parse_rows(text, "f", format, format.body, cut, std::nullopt, pieces);
    parse_rows(text, "f", format, cut, text.size(), std::nullopt, pieces);
    EXPECT_EQ(pieces.users, whole.users);
    EXPECT_EQ(pieces.items, whole.items);
    EXPECT_EQ(pieces.ratings, whole.ratings);
    EXPECT_EQ(pieces.timestamps, whole.timestamps);
  }
}

TEST_F(DataReaderTest, ReportsProgressAndLinesOfLongFiles) {
  constexpr int kLines = 1500000;
  std::string text;
  for (int k = 0; k < kLines; ++k) {
    text += fmt::format("{},{},3.5\n", k / 100, k % 100);
  }
  std::vector<std::int64_t> done;
  ReadOptions options;
  std::vector<std::string> phases;
  options.progress = [&](const char* phase, std::int64_t bytes, std::int64_t total) {
    if (phases.empty() || phases.back() != phase) {
      phases.emplace_back(phase);
    }
    if (phases.back() == "reading") {
      EXPECT_EQ(total, static_cast<std::int64_t>(text.size()));
      done.push_back(bytes);
    }
  };
  const Dataset dataset = read(text, options);
  EXPECT_EQ(dataset.ratings.size(), kLines);
  EXPECT_EQ(dataset.duplicates, 0);
  EXPECT_EQ(phases, (std::vector<std::string>{"reading", "looking for repeated ratings"}));
  EXPECT_GT(done.size(), 1U);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), static_cast<std::int64_t>(text.size()));
  text += "1,2,x\n";
  expect_refused(text, kLines + 1, "the rating is not a number", "correct");
}

// Whatever comes in: success or InputError.

TEST(DataReaderFuzz, MutatedTextsNeverCrash) {
  const std::vector<std::string> seeds = {
      "userId,movieId,rating,timestamp\r\n1,31,2.5,1260759144\r\n1,1029,3.0,1260759179\r\n7,\"31\",3,5\r\n",
      "196\t242\t3\t881250949\n186\t302\t3\t891717742\n22\t377\t1\t878887116\n",
      "1::1193::5::978300760\n1::661::3::978302109\n2::914::3::978301968\n",
      "\xEF\xBB\xBF"
      "user;item;score;note\n1;2;3.5;\"a \"\"b\"\"; c\"\n-4;5;1e-3;x\n",
      "1 2 3\n 4  5 6.25 \n\n7 8 +9\n",
      "1|2|3|x|y\n9223372036854775807|-9223372036854775808|0.5|x|y\n",
  };
  std::mt19937 random(3);
  int read = 0;
  int refused = 0;
  for (int round = 0; round < 30000; ++round) {
    std::string text = seeds[random() % seeds.size()];
    const auto position = [&] { return text.empty() ? 0 : random() % text.size(); };
    const std::uint64_t mutations = 1 + random() % 4;
    for (std::uint64_t mutation = 0; mutation < mutations; ++mutation) {
      switch (random() % 7) {
        case 0:  // flip a bit
          if (!text.empty()) {
            text[position()] ^= static_cast<char>(1U << (random() % 8));
          }
          break;
        case 1:  // truncate
          text.resize(position());
          break;
        case 2:  // insert a random byte
          text.insert(position(), 1, static_cast<char>(random() % 256));
          break;
        case 3:  // insert what has a meaning
          text.insert(position(), 1, "\"\n\r\t ,;|:-+.eE0\0"[random() % 17]);
          break;
        case 4: {  // repeat a part
          const std::size_t from = position();
          text.insert(position(), text.substr(from, random() % 40));
          break;
        }
        case 5:  // remove a part
          text.erase(position(), random() % 20);
          break;
        default:  // random bytes in place of the rest
          for (std::size_t at = position(); random() % 16 != 0 && at < text.size(); ++at) {
            text[at] = static_cast<char>(random() % 256);
          }
      }
    }
    const DelimitedContent content = random() % 4 == 0 ? DelimitedContent::pairs : DelimitedContent::ratings;
    // An exact copy on the heap, so that a sanitizer sees any step past its end.
    const std::vector<char> exact(text.begin(), text.end());
    const std::string_view view(exact.data(), exact.size());
    try {
      const DelimitedFormat format = detect_format(view, "fuzz", content);
      const RawRatings rows = parse_delimited(view, "fuzz", format, {});
      ++read;
      ASSERT_GT(rows.users.size(), 0U);
      ASSERT_EQ(rows.items.size(), rows.users.size());
      ASSERT_EQ(rows.ratings.size(), content == DelimitedContent::ratings ? rows.users.size() : 0U);
      ASSERT_TRUE(rows.timestamps.empty() || rows.timestamps.size() == rows.users.size());
      for (const float rating : rows.ratings) {
        ASSERT_TRUE(std::isfinite(rating));
      }
    } catch (const InputError& error) {
      ++refused;
      const std::string message = error.what();
      ASSERT_EQ(message.substr(0, 5), "fuzz:") << message;
      ASSERT_GT(std::atoi(message.c_str() + 5), 0) << message;
      ASSERT_NE(message.find("; "), std::string::npos) << message;
      ASSERT_TRUE(std::all_of(message.begin(), message.end(), [](char c) { return c >= 0x20 && c < 0x7f; }))
          << excerpt(message);
    }
  }
  EXPECT_GT(read, 1000);
  EXPECT_GT(refused, 1000);
}

TEST(DataReaderFuzz, RandomBytesNeverCrash) {
  std::mt19937 random(4);
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<char> bytes(random() % 200);
    for (char& byte : bytes) {
      byte = static_cast<char>(random() % 256);
    }
    const std::string_view view(bytes.data(), bytes.size());
    try {
      parse_delimited(view, "fuzz", detect_format(view, "fuzz", DelimitedContent::ratings), {});
    } catch (const InputError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 4990);
}

}  // namespace
}  // namespace curate
