// Reading ratings: throughput beside a plain search for line ends, the cache, the peak of memory, and making the data
// set to begin with. See --help and bench/README.md.

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/byte_source.h"
#include "data/rating_cache.h"
#include "data/rating_reader.h"
#include "data/row_scanner.h"
#include "support/json_text.h"
#include "support/thread_pool.h"

namespace {

using namespace curate;
namespace fs = std::filesystem;

constexpr std::int64_t kPiece = std::int64_t{1} << 20U;
constexpr double kMebi = 1024.0 * 1024.0;

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// visit(text, begins_line) for every piece of the file, on all threads of the pool, in a buffer of each thread: the
/// bytes from one before the piece (of the first piece: from its start) to 4 KiB behind it.
void visit_pieces(const InputFile& file, ThreadPool& pool,
                  const std::function<void(std::string_view text, bool first, std::size_t own)>& visit) {
  pool.run((file.size() + kPiece - 1) / kPiece, [&](std::int64_t piece) {
    static thread_local std::vector<char> buffer(static_cast<std::size_t>(kPiece) + 8192 + 2 * RowScanner::kSlack);
    const std::int64_t begin = std::max<std::int64_t>(0, piece * kPiece - 1);
    const std::int64_t end = std::min((piece + 1) * kPiece, file.size());
    const std::span<char> room(buffer.data() + RowScanner::kSlack, static_cast<std::size_t>(end - begin) + 4096);
    const std::size_t got = file.read_at(begin, room);
    visit({room.data(), got}, piece == 0, std::min(got, static_cast<std::size_t>(end - begin)));
  });
}

/// The roof: the same reads into the same kind of buffer, and a search for line ends.
std::int64_t count_lines(const std::string& path, ThreadPool& pool) {
  const InputFile file(path);
  std::mutex mutex;
  std::int64_t lines = 0;
  visit_pieces(file, pool, [&](std::string_view text, bool first, std::size_t own) {
    const std::string_view mine = text.substr(first ? 0 : 1, own - (first ? 0 : 1));
    const auto here = std::count(mine.begin(), mine.end(), '\n');
    const std::lock_guard lock(mutex);
    lines += here;
  });
  return lines;
}

/// The scanner alone: rows as numbers in a block of 512, over and over. Returns how many it found.
std::int64_t scan(const std::string& path, const DelimitedFormat& format, bool timestamps, ThreadPool& pool) {
  const InputFile file(path);
  const RowScanner scanner(format, {-1e9F, 1e9F}, timestamps);
  std::mutex mutex;
  std::int64_t rows = 0;
  visit_pieces(file, pool, [&](std::string_view text, bool first, std::size_t own) {
    static thread_local RowBlock block;
    // Lines that begin in the piece: after the first line end from the byte before it on.
    const char* at = text.data() + (first ? format.body : text.find('\n') + 1);
    const std::size_t last = text.find('\n', own - 1);
    const char* const end = text.data() + (last == std::string_view::npos ? text.size() : last + 1);
    std::int64_t here = 0;
    while (at < end) {
      const std::size_t found = scanner.scan(at, end, block);
      here += static_cast<std::int64_t>(found);
      if (found == 0) {
        break;  // odd lines are counted by their absence
      }
    }
    const std::lock_guard lock(mutex);
    rows += here;
  });
  return rows;
}

/// Memory that is new to the process, written once by all threads: what keeping so many ratings costs at the least.
void touch(std::int64_t bytes, ThreadPool& pool) {
  Column<char> memory;
  memory.resize(static_cast<std::size_t>(bytes));
  pool.run((bytes + kPiece - 1) / kPiece, [&](std::int64_t piece) {
    const std::int64_t begin = piece * kPiece;
    std::memset(memory.data() + begin, 1, static_cast<std::size_t>(std::min(kPiece, bytes - begin)));
  });
}

struct Measure {
  std::string name;
  int threads = 1;
  std::function<void()> run;
  std::vector<double> seconds;
};

/// Beyond what the process had before, in a process of its own.
double peak_mib_of(const std::function<void()>& run) {
  int ends[2];
  if (::pipe(ends) != 0) {
    throw Error("no pipe can be made");
  }
  const pid_t child = ::fork();
  if (child == 0) {
    // The counter of a new process starts from the resident memory that it was forked with.
    const auto peak = [] {
      rusage usage{};
      getrusage(RUSAGE_SELF, &usage);
      return static_cast<double>(usage.ru_maxrss) / 1024.0;
    };
    const double before = peak();
    run();
    const double result = peak() - before;
    const bool sent = ::write(ends[1], &result, sizeof(result)) == sizeof(result);
    ::_exit(sent ? 0 : 1);
  }
  ::close(ends[1]);
  double result = -1.0;
  const bool got = ::read(ends[0], &result, sizeof(result)) == sizeof(result);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!got || status != 0) {
    throw Error("the process that measures memory failed");
  }
  return result;
}

struct Arguments {
  std::string path;
  int rounds = 5;
  bool json = false;
};

ReadOptions options_of(int threads, bool timestamps, bool cache) {
  ReadOptions options;
  options.threads = threads;
  options.timestamps = timestamps;
  options.cache = cache;
  options.cache_from = 1;
  return options;
}

void run(const Arguments& arguments) {
  const std::string& path = arguments.path;
  RatingText text(path);
  const DelimitedFormat format = text.detect(DelimitedContent::ratings);
  const bool timed = format.timestamp != kNoColumn;
  const auto bytes = static_cast<double>(InputFile(path).size());
  const std::string cache = cache_path(path);
  if (fs::exists(cache)) {
    throw InputError(fmt::format("{}: is there already; remove it first, this bench makes its own", cache));
  }

  // Memory first, while the process is small; this also brings the file into the page cache.
  const std::int64_t ratings = count_lines(path, *std::make_unique<ThreadPool>(1)) - (format.header ? 1 : 0);
  nlohmann::ordered_json memory;
  for (const bool timestamps : timed ? std::vector<bool>{false, true} : std::vector<bool>{false}) {
    const double columns = static_cast<double>(ratings) * (timestamps ? 20.0 : 12.0) / kMebi;
    const double peak = peak_mib_of([&] { read_dataset(path, options_of(0, timestamps, false)); });
    memory.push_back({{"timestamps", timestamps},
                      {"columns_mib", columns},
                      {"peak_mib", peak},
                      {"bound_mib", 1.5 * columns + 64.0}});
  }

  std::vector<std::unique_ptr<ThreadPool>> pools;
  std::vector<Measure> measures;
  std::int64_t scanned = 0;
  for (const int threads : {1, hardware_threads()}) {
    ThreadPool& pool = *pools.emplace_back(std::make_unique<ThreadPool>(threads));
    const auto add = [&](const std::string& name, const std::function<void()>& what) {
      measures.push_back({name, threads, what, {}});
    };
    add("line ends (the roof)", [&path, &pool] { count_lines(path, pool); });
    add("scanner alone", [&, &pool = pool] { scanned = scan(path, format, false, pool); });
    if (timed) {
      add("scanner alone, timestamps", [&, &pool = pool] { scan(path, format, true, pool); });
    }
    add("line ends and new memory", [&path, &pool, ratings] {
      count_lines(path, pool);
      touch(12 * ratings, pool);
    });
    add("read_dataset", [&path, threads] { read_dataset(path, options_of(threads, false, false)); });
    if (timed) {
      add("read_dataset, timestamps", [&path, threads] { read_dataset(path, options_of(threads, true, false)); });
    }
    add("first read, cache written", [&path, &cache, threads] {
      fs::remove(cache);
      read_dataset(path, options_of(threads, false, true));
    });
    add("second read, from the cache", [&path, threads] {
      if (!read_dataset(path, options_of(threads, false, true)).from_cache) {
        throw Error("the cache was not used");
      }
    });
  }
  double cache_bytes = 0.0;
  for (int round = 0; round <= arguments.rounds; ++round) {
    for (Measure& measure : measures) {
      const double took = seconds_of(measure.run);
      if (round > 0) {
        measure.seconds.push_back(took);  // the first round warms up
      }
    }
    cache_bytes = static_cast<double>(fs::file_size(cache));
  }
  fs::remove(cache);
  if (scanned < ratings) {
    fmt::print(stderr, "{} of {} rows are not for the scanner but for the slower parser\n", ratings - scanned, ratings);
  }

  nlohmann::ordered_json json;
  json["file"] = path;
  json["bytes"] = bytes;
  json["ratings"] = ratings;
  json["cache_bytes"] = cache_bytes;
  json["rounds"] = arguments.rounds;
  double roof = 0.0;
  for (const Measure& measure : measures) {
    const double took = median(measure.seconds);
    roof = measure.name.starts_with("line ends (") ? took : roof;
    const auto [fastest, slowest] = std::minmax_element(measure.seconds.begin(), measure.seconds.end());
    json["measures"].push_back({{"name", measure.name},
                                {"threads", measure.threads},
                                {"seconds", took},
                                {"fastest", *fastest},
                                {"slowest", *slowest},
                                {"gigabytes_per_second", bytes / took / 1e9},
                                {"ratings_per_second", static_cast<double>(ratings) / took},
                                {"of_roof", roof / took}});
  }
  json["memory"] = memory;
  if (arguments.json) {
    fmt::print("{}", json_text(json));
    return;
  }
  fmt::print("{}: {:.0f} MB, {} ratings; medians of {} rounds, which take turns\n\n", path, bytes / 1e6, ratings,
             arguments.rounds);
  fmt::print("{:<30} {:>7} {:>9} {:>17} {:>7} {:>12} {:>9}\n", "", "threads", "seconds", "fastest, slowest", "GB/s",
             "M ratings/s", "of roof");
  for (const auto& row : json["measures"]) {
    fmt::print("{:<30} {:>7} {:>9.3f} {:>8.3f} {:>8.3f} {:>7.2f} {:>12.1f} {:>7.0f} %\n",
               row["name"].get<std::string>(), row["threads"].get<int>(), row["seconds"].get<double>(),
               row["fastest"].get<double>(), row["slowest"].get<double>(), row["gigabytes_per_second"].get<double>(),
               row["ratings_per_second"].get<double>() / 1e6, 100.0 * row["of_roof"].get<double>());
  }
  fmt::print("\nThe cache has {:.0f} MB, {:.0f} % of the text.\n", cache_bytes / 1e6, 100.0 * cache_bytes / bytes);
  for (const auto& row : json["memory"]) {
    fmt::print(
        "Peak memory of read_dataset {} timestamps: {:.0f} MiB; the columns have {:.0f}, the bound (1.5 times "
        "that and 64) is {:.0f}\n",
        row["timestamps"].get<bool>() ? "with" : "without", row["peak_mib"].get<double>(),
        row["columns_mib"].get<double>(), row["bound_mib"].get<double>());
  }
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Measures reading a file of ratings, its cache and its memory; the file should fit the page cache.");
  app.add_option("file", arguments.path, "a plain file of ratings, such as ml-20m/ratings.csv")->required();
  app.add_option("--rounds", arguments.rounds, "of which medians are taken")->check(CLI::Range(1, 1000));
  app.add_flag("--json", arguments.json, "as JSON");
  CLI11_PARSE(app, argc, argv);
  try {
    run(arguments);
    return 0;
  } catch (const curate::InputError& error) {
    fmt::print(stderr, "ingest_bench: {}\n", error.what());
    return 2;
  } catch (const curate::Error& error) {
    fmt::print(stderr, "ingest_bench: {}\n", error.what());
    return 1;
  }
}
