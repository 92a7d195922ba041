// A few ratings far from all others: when they are noticed, and the line that the farthest one is on.

#include "data/heavy_tails.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "data/rating_place.h"
#include "data/rating_scale.h"
#include "support/philox.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// `count` ratings; draw(u) has u uniform in (0, 1).
RatingTable drawn(std::int64_t count, const std::function<double(double)>& draw) {
  RatingTable table;
  for (std::int64_t k = 0; k < count; ++k) {
    const double u = uniform_double(philox(7, static_cast<std::uint64_t>(k), 0, RandomPurpose::validation).low64());
    table.users.push_back(static_cast<std::int32_t>(k / 50));
    table.items.push_back(static_cast<std::int32_t>(k % 50));
    table.ratings.push_back(static_cast<float>(draw(u)));
  }
  return table;
}

std::optional<HeavyTails> tails_of(const RatingTable& table) {
  ThreadPool pool(1);
  return find_heavy_tails(table, detect_scale(table.ratings, pool));
}

double stars(double u) {
  return 1.0 + std::floor(5.0 * u);
}

TEST(HeavyTails, OneRatingOf500Among80000Stars) {
  RatingTable table = drawn(80000, stars);
  table.ratings[70001] = 500.0F;
  const std::optional<HeavyTails> tails = tails_of(table);
  ASSERT_TRUE(tails);
  EXPECT_EQ(tails->rating, 500.0F);
  EXPECT_EQ(tails->user, table.users[70001]);
  EXPECT_EQ(tails->item, table.items[70001]);
  EXPECT_EQ(tails->count, 1);
  EXPECT_TRUE(tails->above());
  // Mean 3, variance 2, and 497 off once in 80,000.
  EXPECT_NEAR(tails->mean, 3.006, 0.02);
  EXPECT_NEAR(tails->deviations, 497.0 / std::sqrt(2.0 + 497.0 * 497.0 / 80000.0), 2.0);
}

// Catches: a farthest rating that is looked for on one side, and the last of equal ones.
TEST(HeavyTails, TheFarthestIsOnEitherSideAndTheFirstOfEqualOnes) {
  RatingTable table = drawn(20000, stars);
  table.ratings[40] = 300.0F;
  table.ratings[500] = -400.0F;
  table.ratings[900] = -400.0F;
  const std::optional<HeavyTails> tails = tails_of(table);
  ASSERT_TRUE(tails);
  EXPECT_EQ(tails->rating, -400.0F);
  EXPECT_FALSE(tails->above());
  EXPECT_EQ(tails->user, table.users[500]);
  EXPECT_EQ(tails->item, table.items[500]);
  EXPECT_EQ(tails->count, 3);
}

TEST(HeavyTails, CountsOfPlays) {
  // Log-normal, as far as Box and Muller go with one number: 1 to some 100,000.
  const RatingTable table = drawn(90000, [](double u) {
    const double normal = std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307 * std::fmod(1000.0 * u, 1.0));
    return std::max(1.0, std::floor(std::exp(5.5 + 1.5 * normal)));
  });
  const std::optional<HeavyTails> tails = tails_of(table);
  ASSERT_TRUE(tails);
  EXPECT_EQ(tails->rating, *std::max_element(table.ratings.begin(), table.ratings.end()));
  EXPECT_GT(tails->rating, 20000.0F);
  EXPECT_GT(tails->count, 10);
  EXPECT_LT(tails->count, 900);
}

// Catches: a rule that takes grades which few users give for far ones, a grid that is not looked at, and a step of half
// a star that counts as a whole one.
TEST(HeavyTails, NoScaleOfGradesHasThem) {
  const auto expect_none = [](const char* name, const std::function<double(double)>& draw) {
    const std::optional<HeavyTails> tails = tails_of(drawn(50000, draw));
    EXPECT_FALSE(tails) << name << ": " << tails->rating << ", " << tails->deviations << " deviations";
  };
  expect_none("1..5", stars);
  expect_none("0.5..5", [](double u) { return 0.5 + 0.5 * std::floor(10.0 * u); });
  expect_none("1..10", [](double u) { return 1.0 + std::floor(10.0 * u); });
  expect_none("0..10", [](double u) { return std::floor(11.0 * u); });
  expect_none("jokes", [](double u) { return -10.0 + 20.0 * u; });
  expect_none("1..100", [](double u) { return 1.0 + std::floor(100.0 * u); });
  expect_none("1..100 near its end", [](double u) { return 1.0 + std::floor(100.0 * std::pow(u, 0.2)); });
  expect_none("tens", [](double u) { return u < 0.9 ? 10.0 : 1.0 + std::floor(90.0 * (u - 0.9)); });
  // A rating of 1 lies 30 deviations from this mean, and is a grade all the same.
  expect_none("tens and few ones", [](double u) { return u < 0.999 ? 10.0 : 1.0; });
  expect_none("0..10, few tens", [](double u) { return u < 0.999 ? 0.0 : 10.0; });
  expect_none("-10..10, few -10", [](double u) { return u < 0.9995 ? 10.0 : -10.0; });
  expect_none("-15..15, few at the ends", [](double u) { return u < 0.999 ? 0.0 : u < 0.9995 ? -15.0 : 15.0; });
  expect_none("clicks", [](double u) { return u < 0.999 ? 0.0 : 1.0; });
  expect_none("trust", [](double) { return 1.0; });
}

// The limits themselves: twenty steps are not far, and neither are nine deviations.
TEST(HeavyTails, FarIsMoreThanTwentyStepsAndTenDeviations) {
  const auto with = [](double rating, double others, double step) {
    RatingTable table = drawn(2000, [&](double u) { return u < 0.5 ? others - step : others + step; });
    table.ratings[100] = static_cast<float>(rating);
    return tails_of(table).has_value();
  };
  EXPECT_FALSE(with(19.0, 0.0, 1.0)) << "19 steps, 17 deviations";
  EXPECT_TRUE(with(22.0, 0.0, 1.0)) << "22 steps, 20 deviations";
  EXPECT_FALSE(with(9.0 * 8.0, 0.0, 8.0)) << "72 steps, 8.8 deviations";
  EXPECT_TRUE(with(12.0 * 8.0, 0.0, 8.0)) << "96 steps, 11.6 deviations";
  EXPECT_TRUE(with(11.0, 0.0, 0.5)) << "22 steps of half a star, 20 deviations";
  EXPECT_TRUE(with(1.2, 0.0, 0.1)) << "no grid, 11.6 deviations";
  EXPECT_FALSE(find_heavy_tails({}, {0.0F, 100.0F, 0.0F}));
}

class RatingPlaceTest : public testing::Test {
 protected:
  RatingPlaceTest()
      : folder_(fs::path(testing::TempDir()) /
                (std::string("curate_place_") + testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~RatingPlaceTest() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = (folder_ / name).string();
    fs::create_directories(fs::path(path).parent_path());
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

  /// Of user and item as they stand in the data.
  static std::optional<RatingPlace> place_of(const Dataset& dataset, const std::string& user, const std::string& item,
                                             float rating) {
    return find_rating_place(dataset, dataset.users.find(user).value(), dataset.items.find(item).value(), rating);
  }

  static void expect_place(const std::string& path, const std::string& user, const std::string& item, float rating,
                           const std::string& file, std::int64_t line, const ReadOptions& options = {}) {
    const Dataset dataset = read_dataset(path, options);
    const std::optional<RatingPlace> place = place_of(dataset, user, item, rating);
    ASSERT_TRUE(place) << path;
    EXPECT_EQ(place->file, file);
    EXPECT_EQ(place->line, line) << path;
  }

  fs::path folder_;
};

TEST_F(RatingPlaceTest, InFoldersOfMovielens) {
  std::string path = write("100k/u.data", "1\t10\t3\t100\n1\t11\t5\t100\n2\t10\t4\t100\n");
  expect_place((folder_ / "100k").string(), "1", "11", 5.0F, path, 2);
  expect_place(path, "2", "10", 4.0F, path, 3);
  path = write("1m/ratings.dat", "1::10::3::100\n1::11::5::100\n2::10::4::100");
  expect_place((folder_ / "1m").string(), "2", "10", 4.0F, path, 3);
  path = write("csv/ratings.csv", "userId,movieId,rating,timestamp\n1,10,3.5,100\n1,11,5.0,100\n2,10,4.0,100\n");
  expect_place((folder_ / "csv").string(), "1", "10", 3.5F, path, 2);
  expect_place((folder_ / "csv").string(), "2", "10", 4.0F, path, 4);
}

TEST_F(RatingPlaceTest, InGzipAndZip) {
  const std::string text = "userId,movieId,rating,timestamp\n1,10,3.5,100\n1,11,5.0,100\n2,10,4.0,100\n";
  const std::string packed = write_gzip("ratings.csv.gz", text);
  expect_place(packed, "1", "11", 5.0F, packed, 3);
  write("small/ratings.csv", text);
  const std::string zip = (folder_ / "small.zip").string();
  const std::string command = "python3 -c \"import zipfile; z = zipfile.ZipFile('" + zip +
                              "', 'w', zipfile.ZIP_DEFLATED); z.write('" + (folder_ / "small/ratings.csv").string() +
                              "', 'small/ratings.csv'); z.close()\"";
  ASSERT_EQ(std::system(command.c_str()), 0);
  expect_place(zip, "2", "10", 4.0F, zip + ": small/ratings.csv", 4);
}

// Catches: lines that count rows, a byte order mark or a header taken for a row, and columns in the usual order.
TEST_F(RatingPlaceTest, InDelimitedFilesWithAllTheirQuirks) {
  std::string path =
      write("columns.csv", "\xEF\xBB\xBFrating;item;user\r\n\r\n3;a;x\r\n \r\n4;\"b;\"\"c\";x\r\n500;a;y\r\n");
  expect_place(path, "x", "a", 3.0F, path, 3);
  expect_place(path, "x", "b;\"c", 4.0F, path, 5);
  expect_place(path, "y", "a", 500.0F, path, 6);
  path = write("plain.csv", "1,2,3\n\n\n1,+3,4.50\n1,4,1e2");
  expect_place(path, "1", "3", 4.5F, path, 4);
  expect_place(path, "1", "4", 100.0F, path, 5);
  ReadOptions texts;
  texts.text_ids = true;
  path = write("texts.csv", "007,2,3\n7,2,4\n");
  expect_place(path, "007", "2", 3.0F, path, 1, texts);
  expect_place(path, "7", "2", 4.0F, path, 2, texts);
}

// Catches: the first or the last of repeated rows, timestamps that are not looked at.
TEST_F(RatingPlaceTest, OfRepeatedPairsTheLineOfTheRatingThatWasKept) {
  std::string path = write("untimed.csv", "1,2,500\n1,3,4\n1,2,500\n1,2,3\n1,2,500\n1,3,5\n");
  expect_place(path, "1", "2", 500.0F, path, 5);
  path = write("timed.csv", "1,2,500,20\n1,3,4,1\n1,2,500,90\n1,2,3,50\n1,2,500,10\n");
  ReadOptions options;
  for (const bool timestamps : {true, false}) {
    options.timestamps = timestamps;
    expect_place(path, "1", "2", 500.0F, path, 3, options);
  }
}

// Catches: blocks whose lines count from 1, a line that two blocks share, and a kept rating that is looked for in its
// own block alone.
TEST_F(RatingPlaceTest, InFilesOfManyBlocks) {
  std::string text = "user,item,rating,timestamp\n";
  constexpr std::int64_t kRows = 200000;  // some 3.7 MB
  for (std::int64_t k = 0; k < kRows; ++k) {
    text += std::to_string(k / 100) + "," + std::to_string(k % 100) + ",3," + std::to_string(1000000 + k) + "\n";
  }
  text += "5,7,500,2000000\n";            // repeated, and kept
  text += "1999,0,500,10\n1500,3,3,1\n";  // repeated, and not kept
  const std::string path = write("large.csv", text);
  const std::string packed = write_gzip("large.csv.gz", text);
  ReadOptions cached;
  cached.cache = true;
  cached.cache_from = 1;
  fs::last_write_time(path, fs::last_write_time(path) - std::chrono::hours(1));
  for (int round = 0; round < 2; ++round) {
    const Dataset dataset = read_dataset(path, cached);
    EXPECT_EQ(dataset.from_cache, round == 1);
    EXPECT_EQ(place_of(dataset, "5", "7", 500.0F)->line, kRows + 2);
    EXPECT_EQ(place_of(dataset, "1500", "3", 3.0F)->line, 150003 + 2);
    EXPECT_EQ(place_of(dataset, "1999", "0", 3.0F)->line, 199900 + 2);
    EXPECT_EQ(place_of(dataset, "1999", "99", 3.0F)->line, kRows + 1);
  }
  expect_place(packed, "1500", "3", 3.0F, packed, 150003 + 2);
}

TEST_F(RatingPlaceTest, IsUnknownIfTheSourceCannotTell) {
  const Dataset made = generate_dataset(SyntheticOptions()).dataset;
  EXPECT_FALSE(find_rating_place(made, 0, 0, made.ratings.ratings[0]));
  const std::string path = write("changes.csv", "1,2,3\n1,3,500\n");
  const Dataset dataset = read_dataset(path);
  write("changes.csv", "1,2,3\n1,3,5\n");
  EXPECT_FALSE(place_of(dataset, "1", "3", 500.0F));
  write("changes.csv", "1,2,3\n1,3,nonsense\n");
  EXPECT_FALSE(place_of(dataset, "1", "3", 500.0F));
  fs::remove(path);
  EXPECT_FALSE(place_of(dataset, "1", "3", 500.0F));
}

}  // namespace
}  // namespace curate
