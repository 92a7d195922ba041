#include "data/rating_reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "curate/error.h"
#include "data/chunk_ids.h"
#include "data/delimited_reader.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

class RatingReader : public testing::Test {
 protected:
  RatingReader()
      : folder_(fs::path(testing::TempDir()) / (std::string("curate_rating_reader_") +
                                                testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~RatingReader() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  std::string write_gzip(const std::string& name, const std::string& text) const {
    const std::string path = (folder_ / name).string();
    gzFile file = gzopen(path.c_str(), "wb1");
    EXPECT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
    gzclose(file);
    return path;
  }

  fs::path folder_;
};

/// The slow, general parser on the whole text, and ids numbered one by one: what the reader has to agree with.
struct Expected {
  RawRatings rows;
};

Expected parse_slowly(const std::string& text) {
  const DelimitedFormat format = detect_format(text, "text", DelimitedContent::ratings);
  return {parse_delimited(text, "text", format, {})};
}

void expect_same(const Dataset& got, const Expected& expected, const std::string& label) {
  ASSERT_EQ(got.ratings.size(), static_cast<std::int64_t>(expected.rows.users.size())) << label;
  IdMap users;
  IdMap items;
  for (std::size_t k = 0; k < expected.rows.users.size(); ++k) {
    ASSERT_EQ(got.ratings.users[k], users.find_or_add(expected.rows.users[k])) << label << ", row " << k;
    ASSERT_EQ(got.ratings.items[k], items.find_or_add(expected.rows.items[k])) << label << ", row " << k;
    ASSERT_EQ(got.ratings.ratings[k], expected.rows.ratings[k]) << label << ", row " << k;
    if (!expected.rows.timestamps.empty()) {
      ASSERT_EQ(got.ratings.timestamps[k], expected.rows.timestamps[k]) << label << ", row " << k;
    }
  }
  ASSERT_EQ(got.users.size(), users.size()) << label;
  for (std::int32_t user = 0; user < users.size(); ++user) {
    ASSERT_EQ(got.users.raw(user), users.raw(user)) << label;
  }
}

/// Rows of distinct pairs in a text of some megabytes, so that there are several chunks.
std::string many_rows(std::int64_t rows, const std::function<std::string(std::int64_t)>& row) {
  std::string text;
  for (std::int64_t k = 0; k < rows; ++k) {
    text += row(k);
  }
  return text;
}

std::string half_star(std::int64_t k) {
  return std::to_string(k % 5) + (k % 2 == 0 ? ".0" : ".5");
}

std::string csv_row(std::int64_t k) {
  return std::to_string(k / 100 + 1) + "," + std::to_string((k * 7919) % 100 + 131000) + "," + half_star(k) + "," +
         std::to_string(1000000000 + k) + "\n";
}

constexpr std::int64_t kManyRows = 150000;  // of 24 bytes: four chunks

TEST_F(RatingReader, AgreesWithTheSlowParserOnAnyNumberOfThreads) {
  const std::vector<std::pair<std::string, std::string>> texts = {
      {"plain", many_rows(kManyRows, csv_row)},
      {"header", "userId,movieId,rating,timestamp\n" + many_rows(kManyRows, csv_row)},
      {"header in another order",
       "timestamp,rating,movieId,more,userId\n" + many_rows(kManyRows,
                                                            [](std::int64_t k) {
                                                              return std::to_string(1000000000 + k) + "," +
                                                                     half_star(k) + "," + std::to_string(k % 100) +
                                                                     ",7," + std::to_string(k / 100) + "\n";
                                                            })},
      {"byte order mark", "\xEF\xBB\xBF" + many_rows(kManyRows, csv_row)},
      {"CRLF",
       many_rows(kManyRows, [](std::int64_t k) { return csv_row(k).substr(0, csv_row(k).size() - 1) + "\r\n"; })},
      {"double colon", many_rows(kManyRows,
                                 [](std::int64_t k) {
                                   return std::to_string(k / 100 + 1) + "::" + std::to_string(k % 100 + 1) +
                                          "::" + std::to_string(1 + k % 5) + "::978300760\n";
                                 })},
      {"tab, three columns", many_rows(kManyRows,
                                       [](std::int64_t k) {
                                         return std::to_string(k / 100) + "\t" + std::to_string(k % 100) + "\t" +
                                                std::to_string(k % 101) + "\n";
                                       })},
      {"every row odd", many_rows(40000,
                                  [](std::int64_t k) {
                                    return "\"" + std::to_string(k / 100) + "\" , " + std::to_string(k % 100) +
                                           ",3.25e0,+5\n";
                                  })},
      {"odd rows here and there",
       many_rows(kManyRows,
                 [](std::int64_t k) {
                   switch (k % 1009) {
                     case 0:
                       return " " + csv_row(k);
                     case 1:
                       return "\n" + csv_row(k);
                     case 2:
                       return std::to_string(k / 100 + 1) + ",131000" + std::to_string(k % 100) + ",0004.250,0\n";
                     case 3:
                       return std::to_string(k / 100 + 1) + ",-" + std::to_string(k + 1) + ",-3,-7\n";
                     default:
                       return csv_row(k);
                   }
                 })},
      {"wide ids", many_rows(40000,
                             [](std::int64_t k) {
                               return std::to_string(9000000000000000000 + k / 100) + "," +
                                      std::to_string(1234567890123 + k % 100) + ",4.5,1\n";
                             })},
      {"no final line end", many_rows(kManyRows, csv_row) + "999999,1,3.5,17"},
      {"blank lines at the end", many_rows(1000, csv_row) + "\n\n  \n"},
      {"one row", "1,2,3"},
  };
  for (const auto& [name, text] : texts) {
    const Expected expected = parse_slowly(text);
    const std::string path = write("ratings.csv", text);
    const std::string packed = write_gzip("ratings.csv.gz", text);
    for (const std::int32_t threads : {1, 3}) {
      ReadOptions options;
      options.threads = threads;
      expect_same(read_dataset(path, options), expected, name);
      expect_same(read_dataset(packed, options), expected, name + ", gzip");
      options.timestamps = false;
      Expected untimed = expected;
      untimed.rows.timestamps.clear();
      const Dataset dataset = read_dataset(path, options);
      expect_same(dataset, untimed, name + ", without timestamps");
      EXPECT_FALSE(dataset.ratings.has_timestamps());
    }
  }
}

// Every way of cutting lines at a chunk's end: lines of all lengths slide over it.
TEST_F(RatingReader, LinesAcrossChunkEnds) {
  constexpr std::size_t kChunk = std::size_t{1} << 20U;
  for (std::size_t shift = 0; shift < 30; ++shift) {
    std::string text = "userId,movieId,rating" + std::string(shift, ' ') + "\n";
    std::int64_t k = 0;
    while (text.size() < kChunk + 4096) {
      text += std::to_string(k / 50) + "," + std::to_string(k % 50) + ",3.5\n";
      ++k;
    }
    const Dataset dataset = read_dataset(write("ratings.csv", text));
    ASSERT_EQ(dataset.ratings.size(), k) << shift;
    for (std::int64_t row = 0; row < k; ++row) {
      ASSERT_EQ(dataset.users.raw(dataset.ratings.users[static_cast<std::size_t>(row)]), row / 50) << shift;
      ASSERT_EQ(dataset.items.raw(dataset.ratings.items[static_cast<std::size_t>(row)]), row % 50) << shift;
    }
  }
}

TEST_F(RatingReader, TheFirstWrongLineIsNamedOnAnyNumberOfThreads) {
  std::string text = "userId,movieId,rating,timestamp\n" + many_rows(kManyRows, csv_row);
  // Lines 90,002 and 140,002, in different chunks; the second is the later one.
  std::size_t offset = 0;
  for (std::int64_t line = 1; line < 140002; ++line) {
    offset = text.find('\n', offset) + 1;
    if (line == 90001) {
      text[text.find(',', offset) + 1] = 'x';
    }
  }
  text[offset] = 'y';
  for (const std::string& path : {write("ratings.csv", text), write_gzip("ratings.csv.gz", text)}) {
    for (const std::int32_t threads : {1, 2, 5}) {
      ReadOptions options;
      options.threads = threads;
      try {
        read_dataset(path, options);
        FAIL() << "taken";
      } catch (const InputError& error) {
        EXPECT_EQ(std::string(error.what()).rfind(path + ":90002: the item id is not a whole number", 0), 0U)
            << error.what();
      }
    }
  }
}

TEST_F(RatingReader, RatingsOutOfRangeAreFoundOnTheFastPath) {
  std::string text = many_rows(kManyRows, csv_row);
  const std::string path = write("ratings.csv", text + "5,5,5.5,5\n");
  ReadOptions options;
  options.rating_range = {0.0F, 5.0F};
  try {
    read_dataset(path, options);
    FAIL() << "taken";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(":150001: the rating is outside 0 to 5"), std::string::npos)
        << error.what();
  }
}

// A quote that does not end is no less wrong in a column that is passed over.
TEST_F(RatingReader, QuotesAreCheckedInColumnsThatNobodyReads) {
  const auto refusal = [&](const std::string& text) -> std::string {
    try {
      read_dataset(write("ratings.csv", text));
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  const std::vector<std::pair<std::string, std::string>> layouts = {{"user,item,rating,note\n", "1,{},3,{}\n"},
                                                                    {"note,user,item,rating\n", "{1},1,{0},3\n"}};
  for (const auto& [header, row] : layouts) {
    std::string rows;
    for (const std::string note : {"fine", "", "\"a, \"\"b\"\"\"", " \"c\" ", "d \"e"}) {
      rows += fmt::format(fmt::runtime(row), rows.size() + 1, note);
    }
    EXPECT_EQ(refusal(header + rows), "");
    for (const std::string note : {"\"open", " \"open", "\t\"open", "\"a\"b"}) {
      const std::string odd = fmt::format(fmt::runtime(row), 1000, note) + fmt::format(fmt::runtime(row), 1001, "x");
      EXPECT_NE(refusal(header + rows + odd).find(":7: a quoted field does not end"), std::string::npos) << odd;
    }
  }
}

// Rows may be shorter than those that have all columns: memory is reserved by the length of the text.
TEST_F(RatingReader, TimestampsThatNobodyWantsMayNotBeMissingEither) {
  for (const bool last : {true, false}) {
    std::string text = last ? "user,item,rating,timestamp\n" : "timestamp,user,item,rating\n";
    for (int k = 0; k < 100; ++k) {
      text += fmt::format(fmt::runtime(last ? "{},{},3,\n" : ",{},{},3\n"), k / 10, k % 10);
    }
    for (const bool wanted : {true, false}) {
      ReadOptions options;
      options.timestamps = wanted;
      EXPECT_THROW(read_dataset(write("ratings.csv", text), options), InputError);
      EXPECT_THROW(read_dataset(write_gzip("ratings.csv.gz", text), options), InputError);
    }
  }
}

TEST_F(RatingReader, ALastLineThatIsCutOffIsSuspectedWhereverItBegins) {
  constexpr std::size_t kChunk = std::size_t{1} << 20U;
  for (std::size_t begin = kChunk - 8; begin <= kChunk + 1; ++begin) {
    std::string text = many_rows(43600, csv_row);
    text.resize(text.rfind('\n', begin - 100) + 1);
    text.resize(begin - 1, ' ');
    text += "\n123,45";
    try {
      read_dataset(write("ratings.csv", text));
      FAIL() << "taken";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("truncated last line?"), std::string::npos) << begin << error.what();
    }
  }
}

TEST_F(RatingReader, ALineWithoutEndIsRefused) {
  std::string text = many_rows(kManyRows, csv_row) + "1,1,";
  text.resize(text.size() + (std::size_t{40} << 20U), '5');
  for (const std::string& path : {write("ratings.csv", text), write_gzip("ratings.csv.gz", text)}) {
    try {
      read_dataset(path);
      FAIL() << "taken";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("a line of more than 16 MiB"), std::string::npos) << error.what();
    }
  }
}

TEST_F(RatingReader, TimestampsDecideBetweenRepeatedRatingsEvenWhereNobodyWantsThem) {
  const std::string path = write("ratings.csv", "1,1,5,200\n1,2,4,100\n1,1,3,100\n");
  ReadOptions options;
  options.timestamps = false;
  const Dataset dataset = read_dataset(path, options);
  EXPECT_EQ(dataset.duplicates, 1);
  EXPECT_FALSE(dataset.ratings.has_timestamps());
  EXPECT_EQ(dataset.ratings.ratings, (Column<float>{5.0F, 4.0F}));
}

TEST_F(RatingReader, RepeatedRatingsAreFoundInGroupedAndInMixedOrder) {
  std::string text = many_rows(2000, csv_row);
  EXPECT_EQ(read_dataset(write("grouped.csv", text)).duplicates, 0);
  EXPECT_EQ(read_dataset(write("repeated.csv", text + csv_row(1999))).duplicates, 1);
  EXPECT_EQ(read_dataset(write("mixed.csv", text + csv_row(0))).duplicates, 1);
  EXPECT_EQ(read_dataset(write("new.csv", text + "1,7,2.5,3\n")).duplicates, 0);
}

std::vector<std::int32_t> numbers_of(LocalIds& ids, const std::vector<std::int64_t>& raw) {
  std::vector<std::int32_t> numbers;
  for (const std::int64_t id : raw) {
    numbers.push_back(ids.find_or_add(id));
  }
  return numbers;
}

TEST(LocalIds, NumbersByFirstAppearanceAgainAndAgain) {
  LocalIds ids;
  const std::vector<std::int64_t> raw = {7, 7, -3, 4194304, 7, 9223372036854775807, -3, 0, 4194303};
  for (int round = 0; round < 3; ++round) {
    ids.clear();
    EXPECT_EQ(numbers_of(ids, raw), (std::vector<std::int32_t>{0, 0, 1, 2, 0, 3, 1, 4, 5}));
    EXPECT_EQ(ids.raw(), (std::vector<std::int64_t>{7, -3, 4194304, 9223372036854775807, 0, 4194303}));
  }
  // Enough of both kinds for the tables to grow.
  ids.clear();
  std::vector<std::int64_t> many;
  for (std::int64_t k = 0; k < 20000; ++k) {
    many.push_back(k % 2 == 0 ? k * 3 : (std::int64_t{1} << 40U) + k * 1000003);
  }
  const std::vector<std::int32_t> first = numbers_of(ids, many);
  EXPECT_EQ(numbers_of(ids, many), first);
  EXPECT_EQ(ids.raw(), many);
}

}  // namespace
}  // namespace curate
