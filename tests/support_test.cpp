#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "curate/error.h"
#include "curate/version.h"
#include "support/atomic_file.h"
#include "support/csv_field.h"
#include "support/philox.h"
#include "support/thread_pool.h"
#include "support/utf8.h"

namespace curate {
namespace {

TEST(Version, IsTheBuilds) {
  EXPECT_STREQ(version(), CURATE_VERSION);
}

TEST(ThreadPool, EveryTaskOnceOnAnyNumberOfThreads) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const std::int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> done(static_cast<std::size_t>(count));
      pool.run(count, [&](std::int64_t i) { ++done[static_cast<std::size_t>(i)]; });
      for (const auto& times : done) {
        EXPECT_EQ(times.load(), 1);
      }
    }
  }
}

TEST(ThreadPool, PiecesDependOnTheGrainAlone) {
  for (const int threads : {1, 4}) {
    ThreadPool pool(threads);
    std::vector<std::int64_t> length(4);
    pool.parallel_for(10, 3, [&](std::int64_t begin, std::int64_t end) {
      length[static_cast<std::size_t>(begin / 3)] = end - begin;
    });
    EXPECT_EQ(length, (std::vector<std::int64_t>{3, 3, 3, 1}));
  }
}

TEST(ThreadPool, ManyShortRoundsAfterOneAnother) {
  ThreadPool pool(4);
  std::atomic<std::int64_t> sum{0};
  for (int round = 0; round < 5000; ++round) {
    pool.run(4, [&](std::int64_t i) { sum += i; });
  }
  EXPECT_EQ(sum.load(), 5000 * 6);
}

TEST(ThreadPool, AnExceptionComesOutAndThePoolGoesOn) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.run(100,
                        [](std::int64_t i) {
                          if (i == 37) {
                            throw std::runtime_error("37");
                          }
                        }),
               std::runtime_error);
  std::atomic<int> count{0};
  pool.run(10, [&](std::int64_t) { ++count; });
  EXPECT_EQ(count.load(), 10);
}

// Catches: two callers who write the same task and count, and a task that waits for the round that it is part of.
TEST(ThreadPool, SeveralCallersAtOnceAndTasksThatCall) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        std::vector<std::atomic<int>> done(20);
        pool.run(4, [&](std::int64_t i) {
          pool.run(5, [&](std::int64_t k) { ++done[static_cast<std::size_t>(5 * i + k)]; });
        });
        for (const auto& times : done) {
          wrong += times.load() == 1 ? 0 : 1;
        }
      }
    });
  }
  for (std::thread& caller : callers) {
    caller.join();
  }
  EXPECT_EQ(wrong.load(), 0);
  // Nobody is left behind as busy, not even by an exception.
  EXPECT_THROW(pool.run(2, [](std::int64_t) { throw std::runtime_error("task"); }), std::runtime_error);
  std::atomic<int> begun{0};
  std::atomic<int> alone{0};
  pool.run(2, [&](std::int64_t) {
    ++begun;
    for (int wait = 0; begun.load() < 2 && wait < 2000; ++wait) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    alone += begun.load() < 2 ? 1 : 0;
  });
  EXPECT_EQ(alone.load(), 0);
}

TEST(AtomicFile, ReplacesWholeFilesAndLeavesNothingBehind) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "curate_atomic_file";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "file").string();
  write_file_atomically(path, "first, and longer");
  write_file_atomically(path, "second");
  EXPECT_EQ(read_file(path), "second");
  EXPECT_THROW(write_file_atomically((folder / "none/file").string(), "x"), Error);
  EXPECT_THROW(write_file_atomically(folder.string(), "x"), Error);  // a directory cannot be replaced by a file
  EXPECT_THROW(read_file(folder.string()), InputError);
  EXPECT_THROW(read_file(path + "2"), InputError);
  const auto entries = std::distance(std::filesystem::directory_iterator(folder), {});
  EXPECT_EQ(entries, 1);
  std::filesystem::remove_all(folder);
}

TEST(PrintableUtf8, KeepsTextAndEscapesTheRest) {
  EXPECT_EQ(printable_utf8("f\xC3\xBCr \xE2\x82\xAC"), "f\xC3\xBCr \xE2\x82\xAC");
  EXPECT_EQ(printable_utf8("a\x1b[1m\n\x7f"), "a\\x1b[1m\\x0a\\x7f");
  EXPECT_EQ(printable_utf8("\xC3"), "\\xc3");
  EXPECT_EQ(printable_utf8("\xC2\x9B"), "\\xc2\\x9b");  // a control character in two bytes
  EXPECT_EQ(character_count("f\xC3\xBCr"), 3U);
}

TEST(CsvField, QuotesWhatNeedsIt) {
  EXPECT_EQ(csv_field("plain"), "plain");
  EXPECT_EQ(csv_field("Thin Man, The"), "\"Thin Man, The\"");
  EXPECT_EQ(csv_field("a \"b\""), "\"a \"\"b\"\"\"");
  EXPECT_EQ(csv_field(" blank"), "\" blank\"");
}

// A known answer of Philox4x32-10 from Random123's kat_vectors; permute_test has the others.
TEST(Philox, CounterLayoutAndKnownAnswer) {
  const PhiloxWords ones = philox(~0ULL, ~0ULL, ~0U, static_cast<RandomPurpose>(~0U));
  EXPECT_EQ(ones.word[0], 0x408f276dU);
}

TEST(Philox, MomentsOfTheDistributions) {
  double uniform = 0.0;
  double normal = 0.0;
  double normal_squared = 0.0;
  constexpr int kDraws = 200000;
  for (int n = 0; n < kDraws; ++n) {
    const PhiloxWords words = philox(1, static_cast<std::uint64_t>(n), 0, RandomPurpose::split);
    uniform += static_cast<double>(uniform_float(words.word[0]));
    const double value = normal_double(words);
    normal += value;
    normal_squared += value * value;
  }
  EXPECT_NEAR(uniform / kDraws, 0.5, 0.003);
  EXPECT_NEAR(normal / kDraws, 0.0, 0.01);
  EXPECT_NEAR(normal_squared / kDraws, 1.0, 0.02);
}

}  // namespace
}  // namespace curate
