// usage: ingest_bench FILE [ROUNDS]
// Reading a file of ratings: throughput beside a plain search for line ends (the roof: the same reads into the same
// kind of buffer), on one thread and on all; the whole of read_dataset; and the peak of memory. Medians of the rounds,
// which take turns. The file should be in the page cache: the first round fills it and is not counted.

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/byte_source.h"
#include "data/rating_reader.h"
#include "support/thread_pool.h"

namespace {

using namespace curate;

constexpr std::int64_t kPiece = std::int64_t{1} << 20U;

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::int64_t count_lines(const std::string& path, ThreadPool& pool) {
  const InputFile file(path);
  std::mutex mutex;
  std::vector<std::vector<char>> idle;
  std::int64_t lines = 0;
  pool.run((file.size() + kPiece - 1) / kPiece, [&](std::int64_t piece) {
    std::vector<char> buffer;
    {
      const std::lock_guard lock(mutex);
      if (!idle.empty()) {
        buffer = std::move(idle.back());
        idle.pop_back();
      }
    }
    buffer.resize(kPiece);
    const std::size_t got = file.read_at(piece * kPiece, buffer);
    const auto here = std::count(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(got), '\n');
    const std::lock_guard lock(mutex);
    lines += here;
    idle.push_back(std::move(buffer));
  });
  return lines;
}

std::int64_t read_ratings(const std::string& path, bool timestamps, ThreadPool& pool) {
  RatingText text(path);
  ReadOptions options;
  options.timestamps = timestamps;
  IdMap users;
  IdMap items;
  return text.read(text.detect(DelimitedContent::ratings), options, users, items, pool).size();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

void run(const std::string& path, int rounds) {
  const double gigabytes = static_cast<double>(InputFile(path).size()) / 1e9;
  std::vector<std::string> names;
  std::vector<std::function<void()>> runs;
  std::vector<std::unique_ptr<ThreadPool>> pools;
  std::int64_t ratings = 0;
  const double before = peak_mib();
  for (const int threads : {1, hardware_threads()}) {
    ThreadPool& pool = *pools.emplace_back(std::make_unique<ThreadPool>(threads));
    const std::string on = fmt::format("{} thread{}", threads, threads == 1 ? "" : "s");
    names.push_back("line ends, " + on);
    runs.emplace_back([&path, &pool] { count_lines(path, pool); });
    names.push_back("ratings, no timestamps, " + on);
    runs.emplace_back([&path, &pool, &ratings] { ratings = read_ratings(path, false, pool); });
    names.push_back("ratings, timestamps, " + on);
    runs.emplace_back([&path, &pool] { read_ratings(path, true, pool); });
    names.push_back("read_dataset, no timestamps, " + on);
    runs.emplace_back([&path, threads] {
      ReadOptions options;
      options.threads = threads;
      options.timestamps = false;
      read_dataset(path, options);
    });
  }
  std::vector<std::vector<double>> seconds(runs.size());
  for (int round = 0; round <= rounds; ++round) {
    for (std::size_t r = 0; r < runs.size(); ++r) {
      const double took = seconds_of(runs[r]);
      if (round > 0) {
        seconds[r].push_back(took);
      }
    }
  }
  const double peak = peak_mib() - before;
  fmt::print("{}: {:.3f} GB, {} ratings; medians of {} rounds\n\n", path, gigabytes, ratings, rounds);
  fmt::print("{:<40} {:>9} {:>8} {:>12}\n", "", "seconds", "GB/s", "of the roof");
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const double took = median(seconds[r]);
    const double roof = median(seconds[r / (runs.size() / 2) * (runs.size() / 2)]);
    fmt::print("{:<40} {:>9.3f} {:>8.2f} {:>10.0f} %\n", names[r], took, gigabytes / took, 100.0 * roof / took);
  }
  const double columns = static_cast<double>(ratings) * 20.0 / (1024.0 * 1024.0);
  fmt::print(
      "\npeak memory {:.0f} MiB beyond the start; ratings with timestamps are {:.0f} MiB, the bound 1.5 times that "
      "and 64 MiB: {:.0f} MiB\n",
      peak, columns, 1.5 * columns + 64.0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    fmt::print(stderr, "usage: ingest_bench FILE [ROUNDS]\n");
    return 2;
  }
  try {
    run(argv[1], argc == 3 ? std::max(1, std::atoi(argv[2])) : 5);
    return 0;
  } catch (const curate::Error& error) {
    fmt::print(stderr, "ingest_bench: {}\n", error.what());
    return 1;
  }
}
