// MovieLens folders, their item files and titles; the published data sets where they are at hand.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/movielens.h"

namespace curate {
namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;

const std::string kItem1 = "1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n";
const std::string kItem2 = "2|Mis\xE9rables, Les (1995)|||http://x|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n";

class MovielensTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "curate_movielens_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content) const {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }

  Dataset read(const ReadOptions& options = {}) const { return read_dataset(folder_.string(), options); }

  /// The message of the InputError that reading `path` throws has all of the parts.
  static void expect_refused(const std::string& path, const std::vector<std::string>& parts) {
    try {
      read_dataset(path);
      ADD_FAILURE() << "no InputError";
    } catch (const InputError& error) {
      const std::string message = error.what();
      for (const std::string& part : parts) {
        EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks: " << part;
      }
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }

  /// The same, and it starts with the place.
  void expect_item_file_refused(const std::string& file, int line, const std::string& what) const {
    expect_refused(folder_.string(),
                   {(folder_ / file).string() + ":" + std::to_string(line) + ": ", what, "without titles"});
  }

  fs::path folder_;
};

TEST_F(MovielensTest, Reads100k) {
  write("u.data", "196\t2\t3\t881250949\n186\t1\t5\t891717742\n");
  write("u.item", kItem1 + kItem2);
  const Dataset dataset = read();
  EXPECT_EQ(dataset.layout, "ml-100k");
  EXPECT_EQ(dataset.source, folder_.string());
  EXPECT_EQ(dataset.ratings.size(), 2);
  EXPECT_EQ(dataset.title(0), "Mis\xC3\xA9rables, Les (1995)");
  EXPECT_EQ(dataset.item_info[0].genres, "");  // "unknown"
  EXPECT_EQ(dataset.title(1), "Toy Story (1995)");
  EXPECT_EQ(dataset.item_info[1].genres, "Animation|Children's|Comedy");
}

TEST_F(MovielensTest, GenreNamesComeFromTheFileBeside) {
  write("u.data", "1\t1\t3\t1\n");
  write("u.item", "1|A|||http://x|0|1|1\r\n");
  write("u.genre", "unknown|0\nKurz|1\nM\xE4rchen|2\n\n");
  EXPECT_EQ(read().item_info[0].genres, "Kurz|M\xC3\xA4rchen");
}

TEST_F(MovielensTest, Reads1m) {
  write("ratings.dat", "1::73::5::978300760\n2::1::0.5::978302109\n");
  write("movies.dat", "1::Toy Story: The Movie (1995)::Animation|Children's\n73::Mis\xE9rables, Les (1995)::Drama\n");
  const Dataset dataset = read();
  EXPECT_EQ(dataset.layout, "ml-1m");
  EXPECT_EQ(dataset.title(0), "Mis\xC3\xA9rables, Les (1995)");
  EXPECT_EQ(dataset.title(1), "Toy Story: The Movie (1995)");
  EXPECT_EQ(dataset.item_info[1].genres, "Animation|Children's");
}

TEST_F(MovielensTest, Utf8ItemFilesStay) {
  write("ratings.dat", "1::73::5::978300760\n");
  write("movies.dat", "73::Mis\xC3\xA9rables :: Les (1995)::Drama\n");
  EXPECT_EQ(read().title(0), "Mis\xC3\xA9rables :: Les (1995)");
}

TEST_F(MovielensTest, InvalidUtf8IsLatin1) {
  write("ratings.dat", "1::1::5::1\n");
  // Overlong forms, a surrogate, a cut sequence, past the last code point: none is UTF-8.
  for (const std::string bytes : {"\xC0\xAF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80", "\xE2\x82",
                                  "\xF4\x90\x80\x80", "\xFF", "\x80"}) {
    write("movies.dat", "1::" + bytes + "::Drama\n");
    EXPECT_EQ(read().title(0).size(), 2 * bytes.size());
  }
  for (const std::string bytes :
       {"\xC2\xA9", "\xE0\xA0\x80", "\xF0\x90\x80\x80", "\xED\x9F\xBF", "\xE2\x82\xAC", "\xF4\x8F\xBF\xBF"}) {
    write("movies.dat", "1::" + bytes + "::Drama\n");
    EXPECT_EQ(read().title(0), bytes);
  }
}

TEST_F(MovielensTest, ReadsCsv) {
  write("ratings.csv", "userId,movieId,rating,timestamp\r\n1,31,2.5,1260759144\r\n1,7,3.0,1260759179\r\n2,9,4.0,5\r\n");
  write("movies.csv",
        "movieId,title,genres\r\n31,\"Slingshot, The (1993)\",Comedy|Drama\r\n"
        "7,\"11'09\"\"01 - September 11 (2002)\",(no genres listed)\r\n9,Caf\xC3\xA9 (1995),\"Comedy\"\r\n");
  const Dataset dataset = read();
  EXPECT_EQ(dataset.layout, "ml-csv");
  EXPECT_EQ(dataset.title(0), "Slingshot, The (1993)");
  EXPECT_EQ(dataset.item_info[0].genres, "Comedy|Drama");
  EXPECT_EQ(dataset.title(1), "11'09\"01 - September 11 (2002)");
  EXPECT_EQ(dataset.item_info[1].genres, "");
  EXPECT_EQ(dataset.title(2), "Caf\xC3\xA9 (1995)");
  EXPECT_EQ(dataset.item_info[2].genres, "Comedy");
}

TEST_F(MovielensTest, CsvColumnsAreFoundByName) {
  const ItemTable items =
      parse_movies_csv("\xEF\xBB\xBFGenres, year ,Title,\"movieId\"\n\nWar,1990,\" two\nlines \", 5\nWar,1,b , 6", "f");
  EXPECT_EQ(items.size(), 2U);
  EXPECT_EQ(items.at(5).title, " two\nlines ");
  EXPECT_EQ(items.at(6).title, "b");
  EXPECT_EQ(items.at(6).genres, "War");
}

TEST_F(MovielensTest, ItemsWithoutRatingsGetNoId) {
  write("ratings.csv", "userId,movieId,rating\n1,5,4\n");
  write("movies.csv", "movieId,title,genres\n4,Four,War\n5,Five,War\n6,Six,War\n");
  const Dataset dataset = read();
  EXPECT_EQ(dataset.items.size(), 1);
  EXPECT_EQ(dataset.items.find(4), std::nullopt);
  EXPECT_EQ(dataset.item_info.size(), 1U);
  EXPECT_EQ(dataset.title(0), "Five");
}

TEST_F(MovielensTest, TitlesAreEmptyWhereUnknown) {
  write("ratings.csv", "userId,movieId,rating\n1,5,4\n1,6,4\n");
  EXPECT_EQ(read().title(0), "");
  write("movies.csv", "movieId,title,genres\n6,Six,War\n");
  const Dataset dataset = read();
  EXPECT_EQ(dataset.title(0), "");
  EXPECT_EQ(dataset.title(1), "Six");
  EXPECT_EQ(dataset.title(2), "");
  EXPECT_EQ(dataset.title(-1), "");
}

TEST_F(MovielensTest, FilesGetTitlesFromTheItemFileOfTheirLayout) {
  write("u.item", "7|Tab|||x|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|1\n");
  write("movies.dat", "7::Colons::War\n");
  write("movies.csv", "movieId,title,genres\n7,Comma,War\n");
  EXPECT_EQ(read_dataset(write("u1.base", "1\t7\t3\t1\n")).title(0), "Tab");
  EXPECT_EQ(read_dataset(write("part.dat", "1::7::3::1\n")).title(0), "Colons");
  EXPECT_EQ(read_dataset(write("part.csv", "1,7,3,1\n")).title(0), "Comma");
  EXPECT_EQ(read_dataset(write("part.txt", "1;7;3;1\n")).title(0), "");
}

TEST_F(MovielensTest, FurtherRatingsBringTitlesOfNewItems) {
  write("u.item", kItem1 + kItem2);
  Dataset dataset = read_dataset(write("u1.base", "1\t1\t3\t1\n"));
  const RatingTable test = read_more_ratings(dataset, write("u1.test", "1\t2\t3\t1\n"));
  EXPECT_EQ(test.items, (Column<std::int32_t>{1}));
  EXPECT_EQ(dataset.title(0), "Toy Story (1995)");
  EXPECT_EQ(dataset.title(1), "Mis\xC3\xA9rables, Les (1995)");
}

TEST_F(MovielensTest, FoldersKnowTheRangeOfRatings) {
  write("ml-100k/u.data", "1\t1\t3\t1\n1\t2\t0.5\t1\n");
  write("ml-1m/ratings.dat", "1::1::3::1\n1::2::0::1\n");
  write("ml-csv/ratings.csv", "userId,movieId,rating\n1,2,0.5\n1,3,6\n");
  expect_refused((folder_ / "ml-100k").string(), {"u.data:2: the rating is outside 1 to 5 (\"0.5\")", "range"});
  expect_refused((folder_ / "ml-1m").string(), {"ratings.dat:2: the rating is outside 0.5 to 5 (\"0\")", "range"});
  expect_refused((folder_ / "ml-csv").string(), {"ratings.csv:3: the rating is outside 0.5 to 5 (\"6\")", "range"});
  ReadOptions options;
  options.rating_range = {0.0F, 10.0F};
  EXPECT_EQ(read_dataset((folder_ / "ml-csv").string(), options).ratings.size(), 2);
  EXPECT_EQ(read_dataset((folder_ / "ml-csv" / "ratings.csv").string()).ratings.size(), 2);
}

TEST_F(MovielensTest, RefusesFoldersWithoutRatings) {
  expect_refused(folder_.string(), {folder_.string() + ": no MovieLens ratings", "u.data, ratings.dat and ratings.csv",
                                    "name the folder"});
  write("ml/ratings.csv", "userId,movieId,rating\n1,2,3\n");
  write("other/readme", "");
  expect_refused(folder_.string(), {"did you mean " + (folder_ / "ml").string() + "?"});
  write("ml2/u.data", "1\t2\t3\t4\n");
  expect_refused(folder_.string(), {"name the folder"});
}

TEST_F(MovielensTest, RefusesAnotherSeparatorThanTheLayouts) {
  write("ratings.dat", "1\t2\t3\n");
  expect_refused(
      folder_.string(),
      {"ratings.dat:1: ", "the file separates its fields by tab, but MovieLens separates those of ratings.dat by `::`",
       "name the file"});
}

TEST_F(MovielensTest, RefusesMalformedUItem) {
  write("u.data", "1\t1\t3\t1\n");
  write("u.item", kItem1 + "2|Short|x\n");
  expect_item_file_refused("u.item", 2, "3 fields separated by `|` instead of 5 and a flag for each of 19 genres");
  write("u.item", kItem1 + "x" + kItem2);
  expect_item_file_refused("u.item", 2, "the item id is not a whole number of 64 bits (\"x2\")");
  write("u.item", "1|A|||x|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|2|0\n");
  expect_item_file_refused("u.item", 1, "the flag of genre War is neither 0 nor 1 (\"2\")");
  write("u.item", "");
  expect_refused(folder_.string(), {"u.item:1: the file is empty"});
  write("u.item", kItem1);
  write("u.genre", "unknown|0\nAction|2\n");
  expect_refused(folder_.string(), {"u.genre:2: ", "its number 1", "usual 19 genres"});
}

TEST_F(MovielensTest, RefusesMalformedMoviesDat) {
  write("ratings.dat", "1::1::3::1\n");
  write("movies.dat", "1::A::War\n\n2::B\n");
  expect_item_file_refused("movies.dat", 3, "three fields separated by `::` are needed");
  write("movies.dat", "1:::War\n");
  expect_item_file_refused("movies.dat", 1, "three fields separated by `::` are needed");
  write("movies.dat", "99999999999999999999::A::War\n");
  expect_item_file_refused("movies.dat", 1, "the item id is not a whole number of 64 bits");
  write("movies.dat", "1::A\0::War\n"s);
  expect_refused(folder_.string(), {"movies.dat:1: this is not text"});
}

TEST_F(MovielensTest, RefusesMalformedMoviesCsv) {
  write("ratings.csv", "userId,movieId,rating\n1,1,3\n");
  write("movies.csv", "id,title,genres\n1,A,War\n");
  expect_refused(folder_.string(), {"movies.csv:1: the header has no column movieId", "movieId,title,genres"});
  write("movies.csv", "movieId,title,genres\n1,A,War\n2,Slingshot, The,War\n");
  expect_item_file_refused("movies.csv", 3, "4 fields separated by comma instead of 3");
  write("movies.csv", "movieId,title,genres\n1,\"A\nB\",War\n\n2,\"B,War\n3,C,War\n");
  expect_item_file_refused("movies.csv", 5, "a quoted field does not end (\"2,\"B,War\")");
  write("movies.csv", "movieId,title,genres\n1,\"A\" b,War\n");
  expect_item_file_refused("movies.csv", 2, "text after the closing quote");
  write("movies.csv", "movieId,title,genres\n1.5,A,War\n");
  expect_item_file_refused("movies.csv", 2, "the item id is not a whole number");
  write("movies.csv", "movieId,title,genres\n1,A,W");
  EXPECT_EQ(read().title(0), "A");
}

TEST(MovielensFuzz, MutatedItemFilesNeverCrash) {
  const std::vector<std::string> seeds = {
      kItem1 + kItem2,
      "1::Toy Story: X::Animation|Children's\n73::Mis\xE9rables, Les (1995)::Drama\n",
      "movieId,title,genres\r\n31,\"Slingshot, The (1993)\",Comedy\r\n7,\"11'09\"\"01\",War\r\n9,\"a\nb\",War",
      "unknown|0\nAction|1\nWar|2\n\n",
  };
  std::mt19937 random(5);
  int read = 0;
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::size_t kind = random() % seeds.size();
    std::string text = seeds[kind];
    const std::uint64_t mutations = 1 + random() % 3;
    for (std::uint64_t mutation = 0; mutation < mutations && !text.empty(); ++mutation) {
      const std::size_t position = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[position] ^= static_cast<char>(1U << (random() % 8));
          break;
        case 1:
          text.resize(position);
          break;
        case 2:
          text.insert(position, 1, "\"\n\r ,:|0"[random() % 8]);
          break;
        default:
          text.erase(position, random() % 10);
      }
    }
    const std::vector<char> exact(text.begin(), text.end());
    const std::string_view view(exact.data(), exact.size());
    try {
      const std::size_t found = kind == 0   ? parse_u_item(view, "fuzz", movielens_100k_genres()).size()
                                : kind == 1 ? parse_movies_dat(view, "fuzz").size()
                                : kind == 2 ? parse_movies_csv(view, "fuzz").size()
                                            : parse_u_genre(view, "fuzz").size();
      ASSERT_LE(found, 10U);
      ++read;
    } catch (const InputError& error) {
      const std::string message = error.what();
      ASSERT_EQ(message.substr(0, 5), "fuzz:") << message;
      ASSERT_TRUE(std::none_of(message.begin(), message.end(), [](char c) { return c == '\n' || c == '\0'; }));
      ++refused;
    }
  }
  EXPECT_GT(read, 1000);
  EXPECT_GT(refused, 1000);
}

// The published data sets.

class PublishedMovielens : public ::testing::Test {
 protected:
  /// Empty where it is not known where the data sets are.
  static std::string folder(const std::string& name) {
    const char* const root = std::getenv("CURATE_TEST_DATA");
    return root == nullptr ? "" : (fs::path(root) / name).string();
  }

  static void expect_counts(const Dataset& dataset, std::int64_t ratings, std::int32_t users, std::int32_t items) {
    EXPECT_EQ(dataset.ratings.size(), ratings);
    EXPECT_EQ(dataset.users.size(), users);
    EXPECT_EQ(dataset.items.size(), items);
    EXPECT_EQ(dataset.duplicates, 0);
    EXPECT_EQ(dataset.item_info.size(), static_cast<std::size_t>(items));
  }

  static std::string title(const Dataset& dataset, std::int64_t raw) {
    const auto dense = dataset.items.find(raw);
    return dense ? dataset.title(*dense) : "no such item";
  }
};

#define CURATE_NEEDS(path)                                                             \
  if ((path).empty() || !fs::exists(path)) {                                           \
    GTEST_SKIP() << "set CURATE_TEST_DATA to a folder that holds ml-100k, ml-1m, ..."; \
  }

TEST_F(PublishedMovielens, OneHundredThousand) {
  const std::string path = folder("ml-100k");
  CURATE_NEEDS(path);
  const Dataset dataset = read_dataset(path);
  EXPECT_EQ(dataset.layout, "ml-100k");
  expect_counts(dataset, 100000, 943, 1682);
  EXPECT_EQ(dataset.scale.min, 1.0F);
  EXPECT_EQ(dataset.scale.max, 5.0F);
  EXPECT_EQ(dataset.scale.step, 1.0F);
  EXPECT_EQ(title(dataset, 543), "Misérables, Les (1995)");
  EXPECT_EQ(title(dataset, 1104), "C'est arrivé près de chez vous (1992)");
  EXPECT_EQ(dataset.item_info[static_cast<std::size_t>(*dataset.items.find(1))].genres, "Animation|Children's|Comedy");
}

TEST_F(PublishedMovielens, OneHundredThousandWithATestFile) {
  const std::string path = folder("ml-100k");
  CURATE_NEEDS(path);
  Dataset dataset = read_dataset(path + "/u1.base");
  EXPECT_EQ(dataset.layout, "delimited");
  const RatingTable test = read_more_ratings(dataset, path + "/u1.test");
  EXPECT_EQ(dataset.ratings.size(), 80000);
  EXPECT_EQ(test.size(), 20000);
  EXPECT_EQ(dataset.items.size(), 1682);
  EXPECT_EQ(dataset.title(1681).empty(), false);  // only in u1.test
}

TEST_F(PublishedMovielens, OneMillion) {
  const std::string path = folder("ml-1m");
  CURATE_NEEDS(path);
  const Dataset dataset = read_dataset(path);
  EXPECT_EQ(dataset.layout, "ml-1m");
  expect_counts(dataset, 1000209, 6040, 3706);
  EXPECT_EQ(dataset.scale.step, 1.0F);
  EXPECT_EQ(title(dataset, 73), "Misérables, Les (1995)");
  EXPECT_EQ(title(dataset, 1), "Toy Story (1995)");
}

TEST_F(PublishedMovielens, LatestSmall) {
  const std::string path = folder("ml-latest-small-2016");
  CURATE_NEEDS(path);
  const Dataset dataset = read_dataset(path);
  EXPECT_EQ(dataset.layout, "ml-csv");
  expect_counts(dataset, 100004, 671, 9066);
  EXPECT_EQ(dataset.scale.min, 0.5F);
  EXPECT_EQ(dataset.scale.max, 5.0F);
  EXPECT_EQ(dataset.scale.step, 0.5F);
  EXPECT_EQ(title(dataset, 29), "City of Lost Children, The (Cité des enfants perdus, La) (1995)");
  EXPECT_EQ(title(dataset, 7789), "11'09\"01 - September 11 (2002)");
}

}  // namespace
}  // namespace curate
