#include "data/rating_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "curate/error.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void set_modified(const std::string& path, std::int64_t seconds) {
  const timespec times[2] = {{seconds, 0}, {seconds, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

void expect_equal(const Dataset& a, const Dataset& b) {
  EXPECT_EQ(a.ratings.users, b.ratings.users);
  EXPECT_EQ(a.ratings.items, b.ratings.items);
  EXPECT_EQ(a.ratings.ratings, b.ratings.ratings);
  EXPECT_EQ(a.ratings.timestamps, b.ratings.timestamps);
  EXPECT_EQ(a.duplicates, b.duplicates);
  EXPECT_EQ(a.scale.min, b.scale.min);
  EXPECT_EQ(a.scale.max, b.scale.max);
  EXPECT_EQ(a.scale.step, b.scale.step);
  EXPECT_EQ(a.layout, b.layout);
  EXPECT_EQ(a.source, b.source);
  for (const auto& [one, other] : {std::pair{&a.users, &b.users}, {&a.items, &b.items}}) {
    ASSERT_EQ(one->size(), other->size());
    EXPECT_EQ(one->numbers(), other->numbers());
    for (std::int32_t id = 0; id < one->size(); ++id) {
      ASSERT_EQ(one->id(id), other->id(id));
    }
  }
  ASSERT_EQ(a.item_info.size(), b.item_info.size());
  for (std::size_t item = 0; item < a.item_info.size(); ++item) {
    EXPECT_EQ(a.item_info[item].title, b.item_info[item].title);
  }
}

class RatingCache : public testing::Test {
 protected:
  RatingCache()
      : folder_(fs::path(testing::TempDir()) /
                (std::string("curate_cache_") + testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = (folder_ / "ratings.csv").string();
    cached_.cache = true;
    cached_.cache_from = 1;
    cached_.threads = 2;
  }
  ~RatingCache() override {
    fs::permissions(folder_, fs::perms::owner_all);
    fs::remove_all(folder_);
  }

  /// Written an hour ago, so that its time of modification is to be trusted.
  void write(const std::string& text, std::int64_t age = 3600) const {
    std::ofstream(path_, std::ios::binary) << text;
    set_modified(path_, std::time(nullptr) - age);
  }

  Dataset read() const { return read_dataset(path_, cached_); }
  Dataset read_text() const {
    ReadOptions options = cached_;
    options.cache = false;
    return read_dataset(path_, options);
  }

  fs::path folder_;
  std::string path_;
  ReadOptions cached_;
};

/// More rows than a block of the cache has, users that come again, timestamps.
std::string many_rows() {
  std::string text = "userId,movieId,rating,timestamp\n";
  for (std::int64_t k = 0; k < 300000; ++k) {
    text += std::to_string(k % 7 == 0 ? 1 + k % 100 : 1000 + k / 50) + "," + std::to_string((k * 7919) % 70001) + "," +
            std::to_string(k % 5) + (k % 2 == 0 ? ".0" : ".5") + "," + std::to_string(1000000000 + k * 37 % 99991) +
            "\n";
  }
  return text;
}

TEST_F(RatingCache, GivesWhatReadingGives) {
  const std::vector<std::pair<const char*, std::string>> texts = {
      {"many rows", many_rows()},
      {"repeated pairs", "1,2,3,10\n1,2,4,9\n2,2,5,1\n"},
      {"one row", "1,1,1\n"},
      {"large ids", "9223372036854775807,-9223372036854775808,0.1,-5\n-1,4611686018427387904,1e30,5000000000000\n"},
      {"texts", "alice,\"a,b\",3\nbob,7,4.5\nalice,007,0\n"},
      {"no small number of values",
       [] {
         std::string text;
         for (int k = 0; k < 1000; ++k) {
           text += std::to_string(k) + ",1," + std::to_string(k) + ".125\n";
         }
         return text;
       }()},
  };
  for (const auto& [name, text] : texts) {
    SCOPED_TRACE(name);
    for (const bool timestamps : {true, false}) {
      fs::remove(cache_path(path_));
      write(text);
      cached_.timestamps = timestamps;
      const Dataset expected = read_text();
      EXPECT_FALSE(fs::exists(cache_path(path_)));
      const Dataset first = read();
      EXPECT_FALSE(first.from_cache);
      EXPECT_TRUE(fs::exists(cache_path(path_)));
      expect_equal(first, expected);
      for (const std::int32_t threads : {1, 3}) {
        cached_.threads = threads;
        const Dataset again = read();
        EXPECT_TRUE(again.from_cache);
        expect_equal(again, expected);
      }
    }
  }
}

TEST_F(RatingCache, HoldsAReleaseAndItsTitles) {
  write("userId,movieId,rating,timestamp\n1,10,3.5,5\n2,20,4.0,6\n");
  std::ofstream(folder_ / "movies.csv") << "movieId,title,genres\n10,Ten,Drama\n";
  read_dataset(folder_.string(), cached_);
  const Dataset again = read_dataset(folder_.string(), cached_);
  EXPECT_TRUE(again.from_cache);
  EXPECT_EQ(again.layout, "ml-csv");
  EXPECT_EQ(again.title(0), "Ten");
  // Titles are always read from their own file.
  std::ofstream(folder_ / "movies.csv") << "movieId,title,genres\n10,Eleven,Drama\n";
  EXPECT_EQ(read_dataset(folder_.string(), cached_).title(0), "Eleven");
}

TEST_F(RatingCache, TimestampsAreReadWhenTheyAreWanted) {
  write(many_rows());
  cached_.timestamps = false;
  read();
  cached_.timestamps = true;
  const Dataset with = read();
  EXPECT_FALSE(with.from_cache);
  EXPECT_TRUE(with.ratings.has_timestamps());
  EXPECT_TRUE(read().from_cache);
  cached_.timestamps = false;
  const Dataset without = read();
  EXPECT_TRUE(without.from_cache);
  EXPECT_FALSE(without.ratings.has_timestamps());
}

TEST_F(RatingCache, IsNotMadeForSmallFilesNorUnasked) {
  write("1,2,3\n");
  cached_.cache_from = 7;
  read();
  EXPECT_FALSE(fs::exists(cache_path(path_)));
  cached_.cache_from = 6;
  read();
  EXPECT_TRUE(fs::exists(cache_path(path_)));
  EXPECT_FALSE(read_text().from_cache);
}

TEST_F(RatingCache, AnotherSizeIsAnotherFile) {
  write("1,2,3\n");
  read();
  write("1,2,3\n1,3,4\n");
  EXPECT_EQ(read().ratings.size(), 2);
  EXPECT_EQ(read().ratings.size(), 2);
}

TEST_F(RatingCache, AnotherTimeIsDecidedByTheContent) {
  write("1,2,3\n");
  read();
  set_modified(path_, std::time(nullptr) - 1800);
  EXPECT_TRUE(read().from_cache);
  // The new time stands in the cache now: a change that only the content would tell goes unnoticed.
  write("1,2,4\n", 1800);
  EXPECT_TRUE(read().from_cache);

  write("1,2,5\n", 1700);
  const Dataset changed = read();
  EXPECT_FALSE(changed.from_cache);
  EXPECT_EQ(changed.ratings.ratings[0], 5.0F);
  EXPECT_EQ(read().ratings.ratings[0], 5.0F);
}

TEST_F(RatingCache, AFileChangedJustBeforeIsDecidedByItsContent) {
  const auto seconds = std::time(nullptr);
  write("1,2,3\n", 0);
  set_modified(path_, seconds);
  read();
  write("1,2,4\n", 0);
  set_modified(path_, seconds);
  EXPECT_EQ(read().ratings.ratings[0], 4.0F);
}

TEST_F(RatingCache, RatingsOutsideTheRangeAreStillNamedByTheirLine) {
  write("1,2,3\n1,3,9\n");
  read();
  cached_.rating_range = {1.0F, 5.0F};
  try {
    read();
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(":2: "), std::string::npos) << error.what();
  }
  cached_.rating_range = {0.0F, 10.0F};
  const Dataset dataset = read();
  EXPECT_TRUE(dataset.from_cache);
  EXPECT_EQ(dataset.scale.max, 10.0F);
}

TEST_F(RatingCache, IdsAsTextsAreAnotherCache) {
  write("7,1,3\n007,1,4\n");
  EXPECT_EQ(read().users.size(), 1);
  cached_.text_ids = true;
  EXPECT_EQ(read().users.size(), 2);
  const Dataset again = read();
  EXPECT_TRUE(again.from_cache);
  EXPECT_EQ(again.users.size(), 2);
  cached_.text_ids = false;
  EXPECT_EQ(read().users.size(), 1);
}

/// Every byte changed in turn, every length cut: never a wrong rating, never a failure.
TEST_F(RatingCache, DamageIsSeen) {
  write("1,2,3,5\n1,3,4,6\n2,2,5,7\n2,3,1,8\n");
  const Dataset expected = read_text();
  read();
  const std::string cache = cache_path(path_);
  const std::string good = content_of(cache);
  ASSERT_TRUE(read().from_cache);
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x41);
    std::ofstream(cache, std::ios::binary) << bad;
    const Dataset dataset = read();
    ASSERT_FALSE(dataset.from_cache) << at;
    ASSERT_EQ(dataset.ratings.ratings, expected.ratings.ratings) << at;
    ASSERT_EQ(content_of(cache).size(), good.size()) << "made anew";
  }
  for (std::size_t length = 0; length < good.size(); length += 13) {
    std::ofstream(cache, std::ios::binary) << good.substr(0, length);
    ASSERT_FALSE(read().from_cache) << length;
  }
  std::ofstream(cache, std::ios::binary) << good + "x";
  EXPECT_FALSE(read().from_cache);
  EXPECT_TRUE(read().from_cache);
}

TEST_F(RatingCache, HoldsWhatIsTheSameInAllRows) {
  write("7,8,3.5,100\n");
  const Dataset expected = read();
  const Dataset cached = read();
  EXPECT_TRUE(cached.from_cache);
  expect_equal(cached, expected);
}

// Ids of a cache go into the tables of a run: they are what the reader of a text would have taken.
TEST_F(RatingCache, IdsThatNoTextHasAreRefused) {
  write("ann,2,3\n");
  ThreadPool pool(1);
  const auto loads = [&](const std::string& id) {
    CachedRatings content;
    content.ratings.users = {0};
    content.ratings.items = {0};
    content.ratings.ratings = {3.0F};
    content.users.find_or_add(std::string_view(id));
    content.items.find_or_add(std::int64_t{2});
    content.scale = {3.0F, 3.0F, 1.0F};
    store_cache(path_, *stamp_of(path_), false, content, pool);
    return load_cache(path_, false, false, pool).has_value();
  };
  EXPECT_TRUE(loads("ann"));
  EXPECT_TRUE(loads(std::string(1024, 'x')));
  EXPECT_FALSE(loads(std::string(1025, 'x')));
  EXPECT_FALSE(loads("a\tb"));
  EXPECT_FALSE(loads("a\n"));
}

TEST_F(RatingCache, GoesWithoutWhereItCannotBeWritten) {
  write("1,2,3\n");
  fs::create_directory(cache_path(path_));
  EXPECT_EQ(read().ratings.size(), 1);
  EXPECT_FALSE(read().from_cache);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_)) {
    ++files;
  }
  EXPECT_EQ(files, 2U) << "a temporary file was left";
}

// Catches: caches that killed processes have not finished and that stay beside the ratings for ever.
TEST_F(RatingCache, WhatAKilledProcessLeftIsRemoved) {
  write("1,2,3\n");
  const std::string left = cache_path(path_) + ".1.1.tmp";
  std::ofstream(left) << "half a cache";
  EXPECT_EQ(read().ratings.size(), 1);
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(read().from_cache);
}

TEST_F(RatingCache, OthersReadTheCacheWhoReadTheRatings) {
  for (const fs::perms mode : {fs::perms::owner_read | fs::perms::owner_write,
                               fs::perms::owner_read | fs::perms::owner_write | fs::perms::others_read}) {
    write("1,2,3\n");
    fs::permissions(path_, mode);
    fs::remove(cache_path(path_));
    read();
    EXPECT_EQ(fs::status(cache_path(path_)).permissions(), mode);
  }
}

TEST_F(RatingCache, ManyReadersAndWritersAtOnce) {
  write(many_rows());
  const Dataset expected = read_text();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 3; ++round) {
        ReadOptions options = cached_;
        options.timestamps = (t + round) % 2 == 0;
        const Dataset dataset = read_dataset(path_, options);
        EXPECT_EQ(dataset.ratings.items, expected.ratings.items);
        EXPECT_EQ(dataset.ratings.ratings, expected.ratings.ratings);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(read().from_cache || read().from_cache);
}

}  // namespace
}  // namespace curate
