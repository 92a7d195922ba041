// bench/gpu_probe on the emulated GPU: its kernels compute what they claim, in every schedule, and move the bytes that
// are reported; its lines say what could not be measured.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bench/gpu_probe/probe_kernels.h"
#include "bench/gpu_probe/probes.h"
#include "curate/error.h"
#include "data/movielens_shape.h"
#include "support/philox.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/engine.h"
#include "tests/support/devices.h"
#include "tests/support/failing_calls.h"

namespace curate::probe {
namespace {

using Words = std::vector<std::uint32_t>;

class ProbeKernels : public testing::TestWithParam<std::string> {
 protected:
  ProbeKernels() : gpu_(GetParam()) {}

  template <typename T>
  std::unique_ptr<Scratch<T>> on_device(const std::vector<T>& values) {
    auto scratch = std::make_unique<Scratch<T>>(gpu_.stream(), static_cast<std::int64_t>(values.size()));
    gpu_.upload(scratch->data(), values);
    return scratch;
  }

  Gpu gpu_;
};
INSTANTIATE_TEST_SUITE_P(devices, ProbeKernels, testing::ValuesIn(test::emulated_test_devices("ProbeKernels")),
                         test::device_test_name);

float half_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 0x1F;
  const int fraction = bits & 0x3FF;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, exponent - 25);
  return static_cast<float>((bits & 0x8000) != 0 ? -magnitude : magnitude);
}

/// A table's elements, from the words that it lies in.
std::vector<float> values_in(const Words& words, DType element) {
  std::vector<float> values;
  for (const std::uint32_t word : words) {
    if (element == DType::f32) {
      values.push_back(std::bit_cast<float>(word));
    } else {
      values.push_back(half_value(static_cast<std::uint16_t>(word)));
      values.push_back(half_value(static_cast<std::uint16_t>(word >> 16U)));
    }
  }
  return values;
}

/// All that visit_rows can do with a row.
std::vector<Visit> all_visits() {
  std::vector<Visit> all;
  for (const DType element : {DType::f32, DType::f16}) {
    for (const bool read : {true, false}) {
      for (const Reduction reduction : {Reduction::none, Reduction::vector, Reduction::scalar}) {
        for (const int in_flight : {1, 2, 4}) {
          if (read || reduction != Reduction::none) {
            all.push_back({element, read, reduction, in_flight});
          }
        }
      }
    }
  }
  return all;
}

// Catches: rows or columns left out or taken twice, updates lost, signs and changes of columns mixed up, sums that
// leave words out, bytes that are counted and not moved, or moved and not counted.
TEST_P(ProbeKernels, visits_read_and_change_every_row_as_often_as_the_index_has_it) {
  constexpr std::int64_t kRows = 5;
  constexpr std::int64_t kVisits = 608;  // more than the grid takes at once
  Words index;
  std::vector<float> net(kRows, 0.0F);
  Words counts(kRows, 0);
  for (std::uint64_t n = 0; n < kVisits; ++n) {
    const std::uint32_t random = philox(5, n, 0, RandomPurpose::shuffle).word[0];
    const std::uint32_t row = random % 7 < 3 ? 2 : random % kRows;  // one of them more often
    const bool subtract = random >> 16U & 1U;
    index.push_back(subtract ? row | kSubtract : row);
    net[row] += subtract ? -1.0F : 1.0F;
    ++counts[row];
  }
  const auto device_index = on_device(index);
  for (const Visit& visit : all_visits()) {
    const std::string label = std::string(name_of(visit.element)) + (visit.read ? " read" : "") + ", reduction " +
                              std::to_string(static_cast<int>(visit.reduction)) + ", in flight " +
                              std::to_string(visit.in_flight);
    const std::int64_t words = kRows * kColumns * static_cast<std::int64_t>(size_of(visit.element)) / 4;
    const Scratch<std::uint32_t> table(gpu_.stream(), words);
    constexpr std::int64_t kBlocks = 2;
    constexpr std::int64_t kThreads = 256 * kBlocks;
    const Scratch<std::uint32_t> sums(gpu_.stream(), kThreads);
    fill_random(gpu_.stream(), table.data(), visit.element, kRows * kColumns, 3);
    const Words before = gpu_.download(table.data(), words);
    const emulator::Traffic start = emulator::traffic();
    visit_rows(gpu_.stream(), visit, table.data(), device_index->data(), kVisits, sums.data(), kBlocks);
    gpu_.synchronize();
    const emulator::Traffic end = emulator::traffic();
    EXPECT_EQ(end.read_only - start.read_only + end.read - start.read + end.reduced - start.reduced,
              bytes_of(visit, kVisits))
        << label;
    EXPECT_EQ(end.written - start.written, 4 * kThreads) << label;

    std::vector<float> expected = values_in(before, visit.element);
    if (visit.reduction != Reduction::none) {
      for (std::size_t e = 0; e < expected.size(); ++e) {
        expected[e] += net[e / kColumns] * (e % 2 == 0 ? kEvenChange : kOddChange);
      }
    }
    EXPECT_EQ(values_in(gpu_.download(table.data(), words), visit.element), expected) << label;
    if (visit.read && visit.reduction == Reduction::none) {
      std::uint32_t sum = 0;
      for (std::size_t w = 0; w < before.size(); ++w) {
        sum += counts[w * kRows / before.size()] * before[w];
      }
      const Words got = gpu_.download(sums.data(), kThreads);
      EXPECT_EQ(std::accumulate(got.begin(), got.end(), 0U), sum) << label;
    }
  }
}

TEST_P(ProbeKernels, random_elements_are_those_of_philox) {
  constexpr std::int64_t kCount = 1030;  // of which the last four are not whole
  const Scratch<std::uint32_t> data(gpu_.stream(), kCount);
  const auto word = [](std::int64_t i) {
    return philox(9, static_cast<std::uint64_t>(i / 4), 0, RandomPurpose::shuffle).word[i % 4];
  };
  fill_words(gpu_.stream(), data.data(), kCount, 9);
  const Words words = gpu_.download(data.data(), kCount);
  for (const DType element : {DType::f32, DType::f16, DType::bf16}) {
    fill_random(gpu_.stream(), data.data(), element, kCount, 9);
    const std::int64_t used = kCount * static_cast<std::int64_t>(size_of(element)) / 4;
    const Words got = gpu_.download(data.data(), used);
    std::vector<float> values;
    if (element == DType::bf16) {
      for (const std::uint32_t pair : got) {
        values.push_back(std::bit_cast<float>(pair << 16U));
        values.push_back(std::bit_cast<float>(pair & 0xFFFF0000U));
      }
    } else {
      values = values_in(got, element);
    }
    ASSERT_EQ(std::ssize(values), kCount);
    for (std::int64_t i = 0; i < kCount; ++i) {
      EXPECT_EQ(words[static_cast<std::size_t>(i)], word(i)) << i;
      const float expected = static_cast<float>(static_cast<int>(word(i) % 1024) - 512) / 1024.0F;
      const float rounding = element == DType::bf16 ? 0x1p-8F * std::abs(expected) : 0.0F;
      EXPECT_NEAR(values[static_cast<std::size_t>(i)], expected, rounding) << name_of(element) << " " << i;
    }
  }
}

// Catches: words left out where the grid does not divide their number.
TEST_P(ProbeKernels, streams_read_or_copy_every_word_once) {
  constexpr std::int64_t kBlocks = 2;
  for (const std::int64_t words : {1, 511, 4096 + 77}) {
    const Scratch<std::uint32_t> from(gpu_.stream(), 4 * words);
    const Scratch<std::uint32_t> to(gpu_.stream(), 4 * words);
    const Scratch<std::uint32_t> sums(gpu_.stream(), 256 * kBlocks);
    fill_words(gpu_.stream(), from.data(), 4 * words, 4);
    const Words expected = gpu_.download(from.data(), 4 * words);
    const emulator::Traffic start = emulator::traffic();
    stream_words(gpu_.stream(), nullptr, from.data(), words, sums.data(), kBlocks);
    stream_words(gpu_.stream(), to.data(), from.data(), words, sums.data(), kBlocks);
    const Words got = gpu_.download(sums.data(), 256 * kBlocks);
    EXPECT_EQ(std::accumulate(got.begin(), got.end(), 0U), std::accumulate(expected.begin(), expected.end(), 0U));
    EXPECT_EQ(gpu_.download(to.data(), 4 * words), expected);
    const emulator::Traffic end = emulator::traffic();
    EXPECT_EQ(end.read - start.read, 2 * 16 * words);
    EXPECT_EQ(end.written - start.written, 16 * words + 4 * 256 * kBlocks);
  }
}

TEST_P(ProbeKernels, chains_are_walked_step_by_step) {
  const Words next = {3, 0, 1, 4, 2};
  const auto device_next = on_device(next);
  const auto position = on_device(Words{1});
  chase(gpu_.stream(), device_next->data(), position->data(), 7);
  std::uint32_t at = 1;
  for (int step = 0; step < 7; ++step) {
    at = next[at];
  }
  EXPECT_EQ(gpu_.download(position->data(), 1).front(), at);

  std::vector<float> lanes(32);
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    lanes[lane] = static_cast<float>(lane * lane);
  }
  const auto values = on_device(lanes);
  butterfly(gpu_.stream(), values->data(), 3);
  EXPECT_EQ(gpu_.download(values->data(), 32),
            std::vector<float>(32, std::accumulate(lanes.begin(), lanes.end(), 0.0F) / 32.0F));
}

// ------------------------------------------------------------------------------------------------------- popularity

// Catches: a shape that is not that of ML-20M; changes of a row that do not cancel out, so that 16 bits round them.
TEST(ProbePopularity, is_that_of_ml_20m_and_changes_cancel_out) {
  constexpr std::int64_t kRows = 26744;
  constexpr std::int64_t kVisits = std::int64_t{1} << 20;
  const std::vector<double> wanted = popularity_by_rank(movielens_shape("ml-20m", 1.0));
  const double all = std::accumulate(wanted.begin(), wanted.end(), 0.0);
  const double top = std::accumulate(wanted.begin(), wanted.begin() + 512, 0.0) / all;
  EXPECT_NEAR(top, 0.5, 0.1) << "of ML-20M's ratings about half are of 512 items";
  for (const bool uniform : {false, true}) {
    const Popularity popularity = draw_popularity(kRows, kVisits, uniform);
    ASSERT_EQ(std::ssize(popularity.index), kVisits);
    std::vector<std::int64_t> counts(kRows, 0);
    std::vector<std::int32_t> net(kRows, 0);
    std::vector<std::int32_t> most(kRows, 0);
    for (const std::uint32_t visit : popularity.index) {
      const std::uint32_t row = visit & ~kSubtract;
      ASSERT_LT(row, kRows);
      ++counts[row];
      net[row] += (visit & kSubtract) != 0 ? -1 : 1;
      most[row] = std::max(most[row], std::abs(net[row]));
    }
    EXPECT_EQ(net, popularity.net);
    EXPECT_LE(*std::max_element(most.begin(), most.end()), 1);
    std::sort(counts.begin(), counts.end(), std::greater<>());
    const double share = static_cast<double>(std::accumulate(counts.begin(), counts.begin() + 512, std::int64_t{0})) /
                         static_cast<double>(kVisits);
    EXPECT_NEAR(popularity.top_share, share, 1e-12);
    EXPECT_NEAR(share, uniform ? 512.0 / kRows : top, uniform ? 0.01 : 0.005);
  }
}

// ----------------------------------------------------------------------------------------------------------- report

/// A report whose lines are kept.
struct Lines {
  std::vector<Json> all;
  Report report;

  explicit Lines(double seconds = 1e5) : report(seconds, [this](const Json& line) { all.push_back(line); }) {}

  std::int64_t with(const char* key) const {
    return std::count_if(all.begin(), all.end(), [key](const Json& line) { return line.contains(key); });
  }
};

TEST(ProbeReport, goes_on_after_an_error_and_not_after_a_lost_device) {
  Lines lines;
  const auto fine = [] { return Json{{"us", 1.5}}; };
  const auto fails = []() -> Json { throw DeviceError("no room"); };
  const auto works = [] { return true; };
  lines.report.measure({{"probe", "a"}}, fine, works);
  lines.report.measure({{"probe", "b"}}, fails, works);
  lines.report.measure(
      {{"probe", "c"}},
      []() -> Json {
        throw WrongFigures{{{"us", 2.5}}, "not so"};
      },
      works);
  lines.report.measure(
      {{"probe", "d"}}, []() -> Json { throw Cut(); }, works);
  lines.report.measure({{"probe", "e"}}, fine, works);
  lines.report.measure({{"probe", "f"}}, fails, []() -> bool { throw DeviceError("lost"); });
  lines.report.measure({{"probe", "g"}}, fine, works);
  const std::vector<Json> expected = {{{"probe", "a"}, {"us", 1.5}},
                                      {{"probe", "b"}, {"error", "no room"}},
                                      {{"probe", "c"}, {"us", 2.5}, {"error", "not so"}},
                                      {{"probe", "d"}, {"cut", true}},
                                      {{"probe", "e"}, {"us", 1.5}},
                                      {{"probe", "f"}, {"error", "no room"}},
                                      {{"probe", "g"}, {"cut", true}}};
  EXPECT_EQ(lines.all, expected);
  EXPECT_EQ(lines.report.measured(), 2);
}

TEST(ProbeReport, measures_nothing_once_time_is_over) {
  Lines lines(0.02);
  lines.report.measure(
      {{"probe", "a"}},
      [] {
        return Json{{"us", 1.0}};
      },
      [] { return true; });
  std::this_thread::sleep_for(std::chrono::milliseconds(25));
  lines.report.measure(
      {{"probe", "b"}},
      [] {
        return Json{{"us", 1.0}};
      },
      [] { return true; });
  EXPECT_EQ(lines.all.back(), (Json{{"probe", "b"}, {"cut", true}}));
  EXPECT_EQ(lines.report.measured(), 1);
}

// ----------------------------------------------------------------------------------------------------------- probes

Json without_figures(const Json& line) {
  Json config;
  for (const auto& [key, value] : line.items()) {
    if (std::set<std::string>{"probe", "element", "read", "reduction", "popularity", "in_flight", "warps", "how", "of",
                              "rows", "columns", "visits", "batch", "steps", "nodes", "launches", "buffer_bytes"}
            .contains(key)) {
      config[key] = value;
    }
  }
  return config;
}

// A failure anywhere: no exception leaves the probe, every configuration has its one line, a stream that is lost ends
// the rest, and nothing is left on the device.
TEST(ProbeMemory, every_configuration_has_a_line_whatever_fails) {
  emulator::add_emulated_engine();
  std::vector<Json> configs;
  std::set<std::string> failed;
  for (const std::int64_t call : {-1, 0, 2, 9, 12, 13, 14, 15, 16}) {
    Lines lines;
    std::string failed_call;
    {
      const Gpu gpu("cuda-emulated");
      emulator::fail_call(call);
      probe_memory(lines.report, gpu, true);
      failed_call = emulator::failed_call();
      emulator::fail_call(-1);
    }
    std::vector<Json> got;
    for (const Json& line : lines.all) {
      got.push_back(without_figures(line));
    }
    if (call < 0) {
      configs = got;
      EXPECT_EQ(lines.with("error") + lines.with("cut"), 0);
      EXPECT_EQ(configs.size(), 50U);
    } else if (!failed_call.empty()) {
      failed.insert(failed_call);
      EXPECT_EQ(lines.with("error"), 1) << failed_call << ", call " << call;
      // Where the stream goes on, so does the probe.
      EXPECT_EQ(lines.with("cut") > 0, failed_call.ends_with("Synchronize") && !lines.all.back().contains("error"))
          << failed_call << ", call " << call;
    }
    EXPECT_EQ(got, configs) << failed_call << ", call " << call;
    EXPECT_EQ(emulator::allocations_in_use(), 0U) << failed_call << ", call " << call;
    EXPECT_EQ(emulator::handles_in_use(), 0) << failed_call << ", call " << call;
  }
  EXPECT_GT(failed.size(), 3U) << "too few kinds of calls failed to say much";
}

ProductsRequest small_products() {
  ProductsRequest request;
  request.batch = 32;
  request.widths = {72, 64, 68, 1};
  request.precisions = {ProductPrecision::bf16, ProductPrecision::tf32, ProductPrecision::f32};
  return request;
}

std::vector<Json> measure_products(const emulator::CublasLtOptions& library) {
  emulator::add_emulated_engine();
  Lines lines;
  emulator::set_cublaslt(library);
  {
    const Gpu gpu("cuda-emulated");
    probe_products(lines.report, gpu, small_products());
  }
  emulator::set_cublaslt({});
  EXPECT_EQ(emulator::allocations_in_use(), 0U);
  EXPECT_EQ(emulator::handles_in_use(), 0);
  return lines.all;
}

TEST(ProbeProducts, what_the_library_lacks_is_a_line_that_says_so) {
  emulator::CublasLtOptions options;
  options.masks = false;
  std::map<std::string, int> lines;
  for (const Json& line : measure_products(options)) {
    if (line.contains("skipped")) {
      EXPECT_EQ(line["outputs"], 1);
      continue;
    }
    const std::string epilogue = line["epilogue"];
    const bool masked = epilogue == "add_bias_relu_mask" || epilogue == "apply_mask";
    EXPECT_EQ(line.contains("error"), masked) << line;
    EXPECT_EQ(line.contains("us"), !masked) << line;
    ++lines[epilogue];
  }
  // Two layers: forward masked in bf16 and the second's input gradient; all once more without their epilogues.
  const std::map<std::string, int> expected = {
      {"add_bias", 4}, {"add_bias_relu_mask", 2}, {"apply_mask", 1}, {"none", 5 + 13}, {"sum_of_first", 6}};
  EXPECT_EQ(lines, expected);
}

TEST(ProbeProducts, without_the_library_one_line_says_so) {
  emulator::CublasLtOptions options;
  options.major = 0;
  const std::vector<Json> lines = measure_products(options);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_TRUE(lines[0].contains("error")) << lines[0];
}

// ------------------------------------------------------------------------------------------------------- arguments

TEST(ProbeArguments, option_sets_may_have_commas_in_values) {
  const TrainOptions options =
      parse_options("model=mlp,layers=100,50,lr=0.25,biases=false,seed=7,activations=relu,tanh");
  EXPECT_EQ(options.model, ModelKind::mlp);
  EXPECT_EQ(options.layers, (std::vector<std::int32_t>{100, 50}));
  EXPECT_EQ(options.learning_rate, 0.25);
  EXPECT_FALSE(options.biases);
  EXPECT_EQ(options.seed, 7U);
  EXPECT_EQ(options.activations, (std::vector<ActivationKind>{ActivationKind::relu, ActivationKind::tanh}));
  EXPECT_EQ(parse_options("sgd_kernel=lanes=8,ahead=1,dim=16").sgd_kernel, (MfKernelOptions{8, 1}));
  EXPECT_EQ(parse_options("sgd_kernel=lanes=8,ahead=1,dim=16").dim, 16);
  for (const char* const bad : {"nonsense", "batch=many", "bach=4", "optimizer=adam,bach=4", "biases=yes", "dim=1.5"}) {
    EXPECT_THROW(parse_options(bad), InputError) << bad;
  }
}

TEST(ProbeArguments, ways_are_those_of_the_kernel) {
  EXPECT_FALSE(parse_way("default").plan.deterministic);
  EXPECT_TRUE(parse_way("deterministic").plan.deterministic);
  const Way both = parse_way("lanes=8+ahead=4");
  EXPECT_EQ(both.plan.kernel.lanes, 8);
  EXPECT_EQ(both.plan.kernel.ahead, 4);
  EXPECT_TRUE(parse_way("reductions=scalar").plan.kernel.scalar_reductions);
  for (const char* const bad : {"", "fast", "lanes=3", "lanes=8+", "hot"}) {
    EXPECT_THROW(parse_way(bad), InputError) << bad;
  }
}

// ------------------------------------------------------------------------------------------------ Device::seconds_of

// Catches: results of calls on events that nobody looks at, and events that a failure leaves behind.
TEST(ProbeTimer, every_call_that_fails_is_named_and_leaves_nothing_behind) {
  emulator::add_emulated_engine();
  test::fail_every_call([](const std::function<void()>& from_here) {
    const auto device = make_device("cuda-emulated");
    const Buffer buffer = device->allocate_array<float>(4);
    device->synchronize();
    from_here();
    device->seconds_of([&] { device->zero(buffer.view(DType::f32, 4)); });
  });
}

}  // namespace
}  // namespace curate::probe
