#include "benchmark/benchmark.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "benchmark/roof.h"
#include "curate/error.h"
#include "device/cpu/gemm.h"
#include "device/device.h"
#include "device/step_state.h"
#include "report/benchmark_report.h"
#include "support/machine.h"

namespace curate {
namespace {

using Names = std::vector<std::string>;

void expect_refused(const std::function<void()>& what, const std::string& part) {
  try {
    what();
    ADD_FAILURE() << "not refused: " << part;
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(BenchmarkLists, AreParsed) {
  EXPECT_EQ(parse_devices("cpu"), Names{"cpu"});
  EXPECT_EQ(parse_devices("cuda,cpu"), (Names{"cuda", "cpu"}));
  EXPECT_EQ(parse_models("mf,mlp"), (std::vector<ModelKind>{ModelKind::mf, ModelKind::mlp}));
  EXPECT_EQ(parse_dims("1,1024,32"), (std::vector<std::int32_t>{1, 1024, 32}));
}

TEST(BenchmarkLists, RefuseWhatIsNotThere) {
  expect_refused([] { parse_devices("cpu,gpu"); }, "'gpu' is not one of cpu, cuda");
  expect_refused([] { parse_devices(""); }, "`device`");
  expect_refused([] { parse_devices("cpu,"); }, "`device`");
  expect_refused([] { parse_devices("cpu,cpu"); }, "twice");
  expect_refused([] { parse_models("svd"); }, "'svd' is not one of mf, mlp");
  for (const char* list : {"", "0", "-1", "1025", "32,", ",32", "3.5", "32 ,64", "99999999999", "x"}) {
    expect_refused([&] { parse_dims(list); }, "`dim`");
  }
  expect_refused([] { parse_dims("32,032"); }, "twice");
}

TEST(BenchmarkDevices, AbsentOnesSayWhy) {
  const std::vector<BenchmarkDevice> devices = find_devices({"cpu", "cuda-emulated"}, 1);
  EXPECT_EQ(devices[0].kind, "cpu");
  EXPECT_EQ(devices[0].absent, "");
  EXPECT_EQ(devices[1].kind, "emulated");
  expect_refused([] { find_devices({"cpu"}, -1); }, "`threads`");
  if (!why_no_cuda().empty()) {
    EXPECT_EQ(find_devices({"cuda", "cpu"}, 1)[0].absent, why_no_cuda());
    expect_refused([] { find_devices({"cuda"}, 1); }, why_no_cuda());
  }
}

TEST(BenchmarkRows, AreAllCombinationsOfWhatIsHere) {
  BenchmarkOptions options;
  options.models = {ModelKind::mf, ModelKind::mlp};
  options.dims = {8, 16};
  options.epochs = 3;
  const std::vector<BenchmarkRow> rows =
      benchmark_rows(options, {{"cpu", "cpu", "", "", make_device("cpu", 1)}, {"cuda", "gpu", "", "none here"}});
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[1].model(), "mf");
  EXPECT_EQ(rows[1].dim(), 16);
  EXPECT_EQ(rows[1].unit, "bytes");
  EXPECT_EQ(rows[2].unit, "flops");
  EXPECT_EQ(rows[2].options.epochs, 3);
  EXPECT_EQ(rows[2].options.validation, kBenchmarkHeldOut);
  options.epochs = 1;
  expect_refused([&] { benchmark_rows(options, {}); }, "`epochs`");
  options.epochs = std::nullopt;
  options.rounds = 0;
  expect_refused([&] { benchmark_rows(options, {}); }, "`rounds`");
  options.rounds = 1;
  options.target_rmse = 0.0;
  expect_refused([&] { benchmark_rows(options, {}); }, "`target_rmse`");
}

TEST(BenchmarkSpread, MedianAndRange) {
  const Spread odd = spread_of({3.0, 1.0, 10.0});
  EXPECT_EQ(odd.median, 3.0);
  EXPECT_EQ(odd.least, 1.0);
  EXPECT_EQ(odd.most, 10.0);
  EXPECT_EQ(spread_of({4.0, 1.0}).median, 2.5);
  EXPECT_EQ(spread_of({7.0}).median, 7.0);
}

TEST(BenchmarkTarget, IsTheWorstOfTheBest) {
  const std::vector<CurvePoint> quick = {{1.0, 0.9}, {2.0, 0.85}, {3.0, 0.86}};
  const std::vector<CurvePoint> slow = {{2.0, 0.88}, {4.0, 0.84}, {6.0, 0.8}};
  const double target = default_target({quick, slow});
  EXPECT_EQ(target, 0.85);
  EXPECT_EQ(seconds_to(quick, target), 2.0);
  EXPECT_EQ(seconds_to(slow, target), 4.0);
  EXPECT_EQ(seconds_to(quick, 0.5), std::nullopt);
}

EpochRecord epoch(double seconds, double rmse) {
  EpochRecord record;
  record.seconds = seconds;
  record.validation_rmse = rmse;
  return record;
}

TEST(BenchmarkCurve, IsTheMedianOfTheRounds) {
  const std::vector<CurvePoint> curve = curve_of(
      {{epoch(1.0, 0.9), epoch(1.0, 0.8)}, {epoch(5.0, 0.9), epoch(2.0, 0.8)}, {epoch(2.0, 0.91), epoch(2.5, 0.7)}});
  ASSERT_EQ(curve.size(), 2U);
  EXPECT_EQ(curve[0].seconds, 2.0);
  EXPECT_EQ(curve[1].seconds, 4.5);
  EXPECT_EQ(curve[0].rmse, 0.9);
  EXPECT_EQ(curve[1].rmse, 0.8);
}

TEST(BenchmarkWork, IsCountedAsStated) {
  EXPECT_EQ(mf_bytes_per_rating(32, true), 8.0 * 32 + 8 + 4);
  EXPECT_EQ(mf_bytes_per_rating(32, false), 8.0 * 32 + 4);
  EXPECT_EQ(mf_bytes_per_rating(32, true, EmbeddingPrecision::f16), 4.0 * 32 + 8 + 4);
  TrainOptions options;
  options.model = ModelKind::mlp;
  options.user_dim = 3;
  options.item_dim = 5;
  options.layers = {7, 2};
  EXPECT_EQ(mlp_flops_per_rating(resolve(options)), 6.0 * (8 * 7 + 7 * 2 + 2 * 1));
}

TEST(ItemRowProbe, MovesEveryRowAsOftenAsItIsRated) {
  Column<std::int32_t> items;
  std::vector<int> times(11, 0);
  for (std::int32_t k = 0; k < 60; ++k) {
    const std::int32_t item = k * k % 10;  // item 10 has none
    items.push_back(item);
    ++times[static_cast<std::size_t>(item)];
  }
  for (const int threads : {1, 3}) {
    for (const std::int32_t groups : {1, 2, 5, 20}) {
      for (const std::int32_t dim : {1, 7, 16, 32, 64, 128}) {
        ThreadPool pool(threads);
        ItemRowProbe probe(items, 11, dim, groups, pool);
        EXPECT_EQ(probe.ratings(), 60);
        EXPECT_EQ(probe.bytes(), 60.0 * (8.0 * dim + 4.0));
        EXPECT_GT(probe.run(), 0.0);
        for (std::int32_t item = 0; item < 11; ++item) {
          EXPECT_FLOAT_EQ(probe.value(item),
                          static_cast<float>(1.0 - std::pow(0.5, times[static_cast<std::size_t>(item)])))
              << item;
        }
      }
    }
  }
}

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Whether the best of some rates that `roof` gives is `work` over the least time that `pass` takes. The two take
/// turns, until they agree or have had many: other programs may have the machine meanwhile.
testing::AssertionResult is_rate_of(const std::function<double()>& roof, double work,
                                    const std::function<void()>& pass) {
  constexpr int kFewest = 5;
  constexpr int kMost = 60;
  double best_rate = 0.0;
  double least_seconds = seconds_of(pass);
  for (int turn = 1; turn <= kMost; ++turn) {
    best_rate = std::max(best_rate, roof());
    least_seconds = std::min(least_seconds, seconds_of(pass));
    const double ratio = best_rate * least_seconds / work;
    if (turn >= kFewest && ratio > 0.7 && ratio < 1.4) {
      return testing::AssertionSuccess();
    }
  }
  return testing::AssertionFailure() << best_rate << " a second, measured here " << work / least_seconds;
}

// Catches: work that is counted twice or by half, threads that are not counted, a clock that stops before the end.
TEST(Roofs, OfProductsAreWhatTheEngineReaches) {
  constexpr std::int64_t kSize = 256;
  ThreadPool pool(2);
  const std::vector<float> in(kSize * kSize, 0.5F);
  std::vector<std::vector<float>> outs(2, std::vector<float>(kSize * kSize));
  const auto pass = [&] {
    pool.run(2, [&](std::int64_t thread) {
      cpu::gemm(outs[static_cast<std::size_t>(thread)].data(), kSize, {in.data(), kSize}, {in.data(), kSize}, kSize,
                kSize, kSize, 0.0F);
    });
  };
  cpu::use_one_blas_thread();
  pass();
  EXPECT_TRUE(is_rate_of([&] { return gemm_flops_per_second(pool, kSize); }, 2 * 2.0 * kSize * kSize * kSize, pass));
}

// On a device whose operations run when it is waited for: a roof that does not wait is far too high.
TEST(Roofs, OfADeviceAreWorkOverTheTimeThatItTakes) {
  constexpr std::int64_t kSize = 256;
  constexpr std::int64_t kBytes = std::int64_t{4} << 20U;
  constexpr auto kFloats = kBytes / static_cast<std::int64_t>(sizeof(float));
  const auto device = make_device("cpu-deferred", 2);
  const auto zeros = [&](std::int64_t floats) {
    Buffer buffer = device->allocate_array<float>(floats);
    device->zero(buffer.view(DType::f32, floats));
    return buffer;
  };
  const Buffer out = zeros(kSize * kSize);
  const Buffer in = zeros(kSize * kSize);
  const Buffer weight = zeros(kSize * kSize);
  const Buffer bias = zeros(kSize);
  StepState all;
  all.num_ratings = all.batch_size = all.batch_count = kSize;
  const Buffer state = device->allocate_array<StepState>(1);
  device->upload(state.view(DType::step_state, 1), std::span<const StepState>(&all, 1));
  const auto square = [](const Buffer& buffer) { return buffer.view(DType::f32, kSize, kSize); };
  EXPECT_TRUE(is_rate_of([&] { return dense_flops_per_second(*device, kSize); }, 2.0 * kSize * kSize * kSize,
                         [&] {
                           device->enqueue(ops::DenseForward{{square(out), square(in)},
                                                             {square(weight), bias.view(DType::f32, kSize)},
                                                             {},
                                                             state.view(DType::step_state, 1)});
                           device->synchronize();
                         }));
  const Buffer from = zeros(kFloats);
  const Buffer to = zeros(kFloats);
  EXPECT_TRUE(is_rate_of([&] { return copy_bytes_per_second(*device, kBytes); }, 2.0 * kBytes,
                         [&] {
                           device->copy(to.view(DType::f32, kFloats), from.view(DType::f32, kFloats));
                           device->synchronize();
                         }));
}

TEST(Machine, PeakOfMemoryCanBeginAnew) {
  const std::int64_t before = peak_memory_bytes();
  EXPECT_GT(before, 0);
  { const std::vector<char> large(std::size_t{64} << 20U, 'x'); }
  EXPECT_GT(peak_memory_bytes(), before + (std::int64_t{32} << 20U));
  if (!reset_peak_memory()) {
    GTEST_SKIP() << "this system does not let the peak begin anew";
  }
#if !defined(__SANITIZE_ADDRESS__)  // which keeps freed memory for a while
  EXPECT_LT(peak_memory_bytes(), before + (std::int64_t{32} << 20U));
#endif
}

class BenchmarkRun : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    SyntheticOptions synthetic;
    synthetic.users = 80;
    synthetic.items = 50;
    synthetic.ratings = 2000;
    dataset_ = new Dataset(generate_dataset(synthetic).dataset);
  }
  static void TearDownTestSuite() { delete dataset_; }

  static BenchmarkOptions options() {
    BenchmarkOptions options;
    options.devices = {"cpu", "cuda"};
    options.models = {ModelKind::mf, ModelKind::mlp};
    options.dims = {4, 8};
    options.epochs = 3;
    options.rounds = 2;
    options.threads = 1;
    return options;
  }
  static std::vector<BenchmarkDevice> devices() {
    return {{"cpu", "cpu", "CPU, 1 thread", "", make_device("cpu", 1)}, {"cuda", "gpu", "", "none <here>"}};
  }
  static BenchmarkData data() {
    BenchmarkData data;
    data.source = "made & up";
    data.ratings = dataset_->ratings.size();
    return data;
  }

  static Dataset* dataset_;
};
Dataset* BenchmarkRun::dataset_ = nullptr;

TEST_F(BenchmarkRun, MeasuresEveryConfiguration) {
  std::vector<double> done;
  std::vector<std::string> phases;
  const BenchmarkResult result = run_benchmark(options(), devices(), *dataset_, [&](const BenchmarkProgress& at) {
    done.push_back(at.done);
    phases.push_back(at.phase);
    EXPECT_GE(at.round, 1);
    EXPECT_LE(at.round, 2);
  });
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_LE(done.back(), 1.0);
  EXPECT_EQ(phases.front(), "measuring the roof");
  ASSERT_EQ(result.rows.size(), 4U);
  for (const BenchmarkRow& row : result.rows) {
    ASSERT_EQ(row.rounds.size(), 2U);
    EXPECT_EQ(row.rounds[0].size(), 3U);
    EXPECT_EQ(row.curve.size(), 3U);
    EXPECT_GT(row.ratings_per_second.median, 0.0);
    EXPECT_LE(row.ratings_per_second.least, row.ratings_per_second.median);
    EXPECT_GE(row.ratings_per_second.most, row.ratings_per_second.median);
    EXPECT_GT(row.epoch_seconds, 0.0);
    EXPECT_GT(row.first_epoch_seconds, 0.0);
    EXPECT_GT(row.roof.ratings_per_second, 0.0);
    EXPECT_EQ(row.roof.samples.size(), 6U);
    EXPECT_GT(row.device_bytes, 0);
    EXPECT_GT(row.peak_memory, row.device_bytes);
    EXPECT_TRUE(row.seconds_to_target.has_value());
    EXPECT_FALSE(row.over_cpu.has_value());
    // 90 % of the ratings.
    EXPECT_NEAR(row.rounds[0][1].ratings_per_second * row.rounds[0][1].seconds, 1800.0, 1.0);
  }
  EXPECT_EQ(result.rows[0].roof.measure, "item rows");
  EXPECT_EQ(result.rows[0].roof.groups, 1);
  EXPECT_EQ(result.rows[2].roof.measure, "gemm");
}

TEST_F(BenchmarkRun, ATargetCanBeMissed) {
  BenchmarkOptions missed = options();
  missed.models = {ModelKind::mf};
  missed.target_rmse = 0.01;
  const BenchmarkResult result = run_benchmark(missed, devices(), *dataset_, {});
  EXPECT_EQ(result.rows[0].target_rmse, 0.01);
  EXPECT_FALSE(result.rows[0].seconds_to_target.has_value());
  EXPECT_NE(benchmark_tables(result).find("not reached"), std::string::npos);
  EXPECT_TRUE(benchmark_json(missed, data(), result)["configurations"][0]["seconds_to_target"].is_null());
}

TEST_F(BenchmarkRun, NeedsRatings) {
  Dataset few = *dataset_;
  few.ratings = select(few.ratings, {0, 1, 2});
  expect_refused([&] { run_benchmark(options(), devices(), few, {}); }, "too few");
}

TEST_F(BenchmarkRun, IsReported) {
  BenchmarkResult result = run_benchmark(options(), devices(), *dataset_, {});
  const std::string table = benchmark_tables(result);
  std::istringstream lines(table);
  std::size_t rows = 0;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100U) << line;
    rows += line.rfind("cpu    m", 0) == 0 ? 1 : 0;
    EXPECT_TRUE(line.empty() || line.back() != ' ') << line;
  }
  EXPECT_EQ(rows, 8U) << table;  // four in each of two tables
  EXPECT_NE(table.find("cuda   absent: none <here>"), std::string::npos);
  EXPECT_EQ(table.find("x CPU"), std::string::npos);

  const nlohmann::ordered_json json = benchmark_json(options(), data(), result);
  EXPECT_EQ(json["configurations"].size(), 4U);
  EXPECT_EQ(json["devices"][1]["present"], false);

  const PlotPage page = benchmark_plot(options(), data(), result);
  ASSERT_EQ(page.panels.size(), 4U);
  const BarPanel& speed = std::get<BarPanel>(page.panels[0]);
  ASSERT_EQ(speed.series.size(), 1U);
  EXPECT_EQ(speed.series[0].values[1], result.rows[1].ratings_per_second.median);
  EXPECT_EQ(speed.series[0].marks[1], result.rows[1].roof.ratings_per_second);
  EXPECT_EQ(std::get<LinePanel>(page.panels[3]).series.size(), 2U);

  // As if there were a GPU.
  BenchmarkRow gpu = result.rows[0];
  gpu.device = "cuda";
  gpu.over_cpu = 12.3;
  result.rows.push_back(gpu);
  const std::string with_gpu = benchmark_tables(result);
  EXPECT_NE(with_gpu.find("x CPU"), std::string::npos);
  EXPECT_NE(with_gpu.find("  12.3\n"), std::string::npos);
}

}  // namespace
}  // namespace curate
