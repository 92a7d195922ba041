#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <type_traits>
#include <utility>

#include "bench/gpu_probe/probe_kernels.h"
#include "bench/gpu_probe/probes.h"
#include "benchmark/benchmark.h"
#include "data/movielens_shape.h"
#include "kernels/context.h"
#include "kernels/copy_rows.h"
#include "support/alias_table.h"
#include "support/philox.h"

namespace curate::probe {
namespace {

using Words = std::vector<std::uint32_t>;

/// How much is done. By default as much as an epoch of ML-20M has to do with, or more than the L2 cache holds.
struct Sizes {
  std::int64_t items = 26744;
  std::int64_t users = 138493;
  std::int64_t visits = std::int64_t{1} << 22;
  std::int64_t gathers = std::int64_t{1} << 20;
  std::int64_t stream_bytes = std::int64_t{1} << 30;
  std::int64_t l2_bytes = std::int64_t{4} << 20;
  std::int64_t hbm_bytes = std::int64_t{512} << 20;
  std::int64_t flush_bytes = std::int64_t{256} << 20;
  std::int64_t hbm_steps = 4096;
  std::int64_t rounds = 20000;
  int launches = 1000;
  int first_warmup = 200;  ///< until the clock is up
  int block_share = 1;     ///< of the blocks that a GPU has room for
};

Sizes small_sizes() {
  Sizes sizes;
  sizes.items = 40;
  sizes.users = 50;
  sizes.visits = 256;
  sizes.gathers = 64;
  sizes.stream_bytes = std::int64_t{16} << 10;
  sizes.l2_bytes = std::int64_t{4} << 10;
  sizes.hbm_bytes = std::int64_t{16} << 10;
  sizes.flush_bytes = std::int64_t{4} << 10;
  sizes.hbm_steps = 16;
  sizes.rounds = 10;
  sizes.launches = 10;
  sizes.first_warmup = 3;
  sizes.block_share = 8;
  return sizes;
}

constexpr int kWarmup = 3;
constexpr int kRepeats = 11;
constexpr std::int64_t kBlockWarps = 8;
constexpr std::int64_t kBlockThreads = 32 * kBlockWarps;
constexpr std::int64_t kMostWarps = 40;   ///< of a multiprocessor, as the kernels have room for
constexpr std::int64_t kFewerWarps = 32;  ///< as many as mf_sgd_epoch has
/// Words from one step of a chase to the next: two lines of the cache, so that none brings the next.
constexpr std::int64_t kStride = 64;

std::uint32_t sum_of(const Words& words) {
  return std::accumulate(words.begin(), words.end(), std::uint32_t{0});
}

/// [rows] sums of the words of each row. words [rows, columns].
Words row_sums(const Words& words, std::int64_t columns) {
  Words sums;
  for (auto at = words.begin(); at != words.end(); at += columns) {
    sums.push_back(std::accumulate(at, at + columns, std::uint32_t{0}));
  }
  return sums;
}

Json rate(const std::vector<double>& seconds, std::int64_t bytes) {
  const Spread of = spread_of(seconds);
  return {{"bytes", bytes},
          {"us", 1e6 * of.median},
          {"us_min", 1e6 * of.least},
          {"us_max", 1e6 * of.most},
          {"gbps", 1e-9 * static_cast<double>(bytes) / of.median}};
}

/// Of one of `count` steps that were taken one after the other.
Json latency(const std::vector<double>& seconds, std::int64_t count, double unit, const char* name) {
  const Spread of = spread_of(seconds);
  const double scale = unit / static_cast<double>(count);
  const std::string key = name;
  return {{key, scale * of.median}, {key + "_min", scale * of.least}, {key + "_max", scale * of.most}};
}

void expect(bool right, Json figures, const std::string& problem) {
  if (!right) {
    throw WrongFigures{std::move(figures), problem};
  }
}

/// A cycle through all multiples of kStride below `words`, in random order: next[at] is where it goes on.
Words random_cycle(std::int64_t words) {
  std::vector<std::uint32_t> order(static_cast<std::size_t>(words / kStride));
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(1));
  Words next(static_cast<std::size_t>(words), 0U);
  for (std::size_t n = 0; n < order.size(); ++n) {
    next[order[n] * kStride] = order[(n + 1) % order.size()] * static_cast<std::uint32_t>(kStride);
  }
  return next;
}

class MemoryProbe {
 public:
  MemoryProbe(Report& report, const Gpu& gpu, const Sizes& sizes) : report_(report), gpu_(gpu), sizes_(sizes) {}

  void run() {
    rows();
    streams();
    gather();
    launches();
    latencies();
  }

 private:
  /// An index on the host and on the device.
  struct Index {
    Popularity host;
    std::unique_ptr<Scratch<std::uint32_t>> device;
  };

  void measure(const Json& config, const std::function<Json()>& run) {
    report_.measure(config, run, [this] { return gpu_.works(); });
  }

  std::vector<double> times_of(const std::function<void()>& enqueue) {
    return gpu_.times_of(enqueue, kWarmup, kRepeats);
  }

  std::int64_t blocks(std::int64_t warps) const {
    return gpu_.properties().multiProcessorCount * std::max<std::int64_t>(1, warps / kBlockWarps / sizes_.block_share);
  }

  const Index& index_of(bool uniform) {
    std::optional<Index>& index = uniform ? uniform_ : movielens_;
    if (!index) {
      Index made = {draw_popularity(sizes_.items, sizes_.visits, uniform),
                    std::make_unique<Scratch<std::uint32_t>>(gpu_.stream(), sizes_.visits)};
      gpu_.upload(made.device->data(), made.host.index);
      index = std::move(made);
    }
    return *index;
  }

  void rows() {
    using enum Reduction;
    for (const auto& [read, reduction] : {std::pair(true, vector), std::pair(true, none), std::pair(false, vector)}) {
      for (const std::int64_t warps : {kMostWarps, kFewerWarps}) {
        for (const bool uniform : {false, true}) {
          for (const int in_flight : {2, 1, 4}) {
            if (read || (in_flight == 2 && warps == kMostWarps)) {
              visit({DType::f32, read, reduction, in_flight}, uniform, warps);
            }
          }
        }
      }
    }
    const std::vector<Visit> others = {{DType::f16, true, vector, 2},  {DType::f16, false, vector, 2},
                                       {DType::f16, false, scalar, 2}, {DType::f32, false, scalar, 2},
                                       {DType::f16, true, none, 2},    {DType::f16, true, scalar, 2},
                                       {DType::f32, true, scalar, 2}};
    for (const Visit& way : others) {
      for (const bool uniform : {false, true}) {
        visit(way, uniform, kMostWarps);
      }
    }
  }

  void visit(const Visit& visit, bool uniform, std::int64_t warps) {
    constexpr const char* kReductions[] = {"none", "vector", "scalar"};
    const Json config = {{"probe", "rows"},
                         {"element", name_of(visit.element)},
                         {"read", visit.read},
                         {"reduction", kReductions[static_cast<int>(visit.reduction)]},
                         {"popularity", uniform ? "uniform" : "ml-20m"},
                         {"in_flight", visit.in_flight},
                         {"warps", warps},
                         {"rows", sizes_.items},
                         {"columns", kColumns},
                         {"visits", sizes_.visits}};
    measure(config, [&] {
      const Index& index = index_of(uniform);
      const std::int64_t elements = sizes_.items * kColumns;
      const Scratch<float> table(gpu_.stream(), elements);  // f16: of which half is used
      fill_random(gpu_.stream(), table.data(), visit.element, elements, 1);
      const std::vector<float> before = values_of(table.data(), visit.element, elements);
      const std::int64_t size = static_cast<std::int64_t>(size_of(visit.element));
      const Words words = gpu_.download(reinterpret_cast<const std::uint32_t*>(table.data()), elements * size / 4);
      const std::int64_t grid = blocks(warps);
      const Scratch<std::uint32_t> sums(gpu_.stream(), grid * kBlockThreads);
      const int warmup = std::exchange(warm_, true) ? kWarmup : sizes_.first_warmup;
      const auto seconds = gpu_.times_of(
          [&] {
            visit_rows(gpu_.stream(), visit, table.data(), index.device->data(), sizes_.visits, sums.data(), grid);
          },
          warmup, kRepeats);
      Json figures = rate(seconds, bytes_of(visit, sizes_.visits));
      figures["top_512_share"] = index.host.top_share;
      if (visit.reduction == Reduction::none) {
        expect(sum_of(gpu_.download(sums.data(), grid * kBlockThreads)) ==
                   sum_of_visits(index.host.index, row_sums(words, kColumns * size / 4)),
               figures, "what was read is not what the table holds");
      } else {
        expect(values_of(table.data(), visit.element, elements) == sums_after(before, index.host, warmup + kRepeats),
               figures, "the table is not what its reductions add up to");
      }
      return figures;
    });
  }

  /// rows: sums of the rows' words.
  static std::uint32_t sum_of_visits(const Words& index, const Words& rows) {
    std::uint32_t sum = 0;
    for (const std::uint32_t visit : index) {
      sum += rows[visit & ~kSubtract];
    }
    return sum;
  }

  std::vector<float> values_of(const float* table, DType element, std::int64_t elements) {
    if (element == DType::f32) {
      return gpu_.download(table, elements);
    }
    const Scratch<float> values(gpu_.stream(), elements);
    const auto view = [&](const void* data, DType dtype) {
      return MatrixView{nullptr, const_cast<void*>(data), elements / kColumns, kColumns, kColumns, dtype};
    };
    cuda::copy_rows(gpu_.stream(), view(values.data(), DType::f32), view(table, element));
    return gpu_.download(values.data(), elements);
  }

  static std::vector<float> sums_after(std::vector<float> table, const Popularity& popularity, int runs) {
    for (std::size_t e = 0; e < table.size(); ++e) {
      const float change = e % 2 == 0 ? kEvenChange : kOddChange;
      table[e] += change * static_cast<float>(runs * popularity.net[e / kColumns]);
    }
    return table;
  }

  void streams() {
    const std::int64_t words = sizes_.stream_bytes / 16;
    std::unique_ptr<Scratch<std::uint32_t>> from;
    std::unique_ptr<Scratch<std::uint32_t>> to;
    const std::int64_t grid = blocks(kMostWarps);
    const auto prepare = [&] {
      if (!to) {
        from = std::make_unique<Scratch<std::uint32_t>>(gpu_.stream(), 4 * words);
        to = std::make_unique<Scratch<std::uint32_t>>(gpu_.stream(), 4 * words);
        fill_words(gpu_.stream(), from->data(), 4 * words, 1);
      }
      fill_words(gpu_.stream(), to->data(), 4 * words, 2);
    };
    const auto checksum = [&](const std::uint32_t* data) {
      const Scratch<std::uint32_t> sums(gpu_.stream(), grid * kBlockThreads);
      stream_words(gpu_.stream(), nullptr, data, words, sums.data(), grid);
      return sum_of(gpu_.download(sums.data(), grid * kBlockThreads));
    };
    for (const char* const how : {"copy", "read", "memcpy"}) {
      const std::string name = how;
      measure({{"probe", "hbm"}, {"how", how}, {"buffer_bytes", sizes_.stream_bytes}}, [&] {
        prepare();
        const Scratch<std::uint32_t> sums(gpu_.stream(), grid * kBlockThreads);
        const auto seconds = times_of([&] {
          if (name == "memcpy") {
            CURATE_CUDA_CHECK(cudaMemcpyAsync(to->data(), from->data(), static_cast<std::size_t>(16 * words),
                                              cudaMemcpyDeviceToDevice, gpu_.stream()));
          } else {
            stream_words(gpu_.stream(), name == "copy" ? to->data() : nullptr, from->data(), words, sums.data(), grid);
          }
        });
        Json figures = rate(seconds, (name == "read" ? 1 : 2) * 16 * words);
        const std::uint32_t sum =
            name == "read" ? sum_of(gpu_.download(sums.data(), grid * kBlockThreads)) : checksum(to->data());
        expect(sum == checksum(from->data()), figures, "what arrived is not what was there");
        return figures;
      });
    }
  }

  void gather() {
    measure({{"probe", "gather_rows"}, {"rows", sizes_.users}, {"columns", kColumns}, {"batch", sizes_.gathers}}, [&] {
      std::vector<std::int32_t> index(static_cast<std::size_t>(sizes_.gathers));
      for (std::size_t n = 0; n < index.size(); ++n) {
        index[n] = static_cast<std::int32_t>(n % static_cast<std::size_t>(sizes_.users));
      }
      std::shuffle(index.begin(), index.end(), std::mt19937_64(1));
      const Scratch<float> table(gpu_.stream(), sizes_.users * kColumns);
      const Scratch<float> out(gpu_.stream(), sizes_.gathers * kColumns);
      const Scratch<std::int32_t> places(gpu_.stream(), sizes_.gathers);
      const Scratch<StepState> state(gpu_.stream(), 1);
      fill_random(gpu_.stream(), table.data(), DType::f32, sizes_.users * kColumns, 1);
      gpu_.upload(places.data(), index);
      StepState batch;
      batch.num_ratings = batch.batch_size = batch.batch_count = sizes_.gathers;
      gpu_.upload(state.data(), std::vector<StepState>{batch});
      const auto matrix = [](void* data, std::int64_t rows, std::int64_t cols, DType dtype) {
        return MatrixView{nullptr, data, rows, cols, cols, dtype};
      };
      const auto seconds = times_of([&] {
        cuda::Context context;
        context.stream = gpu_.stream();
        const ops::GatherRows rows{matrix(out.data(), sizes_.gathers, kColumns, DType::f32),
                                   matrix(table.data(), sizes_.users, kColumns, DType::f32),
                                   matrix(places.data(), sizes_.gathers, 1, DType::i32),
                                   matrix(state.data(), 1, 1, DType::step_state)};
        cuda::enqueue(rows, context);
      });
      Json figures = rate(seconds, sizes_.gathers * (4 + 2 * 4 * kColumns));
      const auto words = [&](const Scratch<float>& floats, std::int64_t rows) {
        return gpu_.download(reinterpret_cast<const std::uint32_t*>(floats.data()), rows * kColumns);
      };
      const Words from = row_sums(words(table, sizes_.users), kColumns);
      const Words to = row_sums(words(out, sizes_.gathers), kColumns);
      bool right = true;
      for (std::size_t n = 0; n < index.size(); ++n) {
        right = right && to[n] == from[static_cast<std::size_t>(index[n])];
      }
      expect(right, figures, "rows that were gathered are not those of the table");
      return figures;
    });
  }

  void launches() {
    measure({{"probe", "launch"}, {"how", "stream"}, {"launches", sizes_.launches}}, [&] {
      const auto seconds = times_of([&] {
        for (int n = 0; n < sizes_.launches; ++n) {
          do_nothing(gpu_.stream());
        }
      });
      return latency(seconds, sizes_.launches, 1e6, "us");
    });
    for (const int nodes : {sizes_.launches / 10, 1}) {
      const int replays = 10;
      measure({{"probe", "launch"}, {"how", "graph"}, {"nodes", nodes}, {"launches", nodes * replays}}, [&] {
        const OwnedGraph graph = graph_of(nodes);
        const auto seconds = times_of([&] {
          for (int n = 0; n < replays; ++n) {
            CURATE_CUDA_CHECK(cudaGraphLaunch(graph.get(), gpu_.stream()));
          }
        });
        return latency(seconds, std::int64_t{nodes} * replays, 1e6, "us");
      });
    }
  }

  struct DestroyGraph {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  using OwnedGraph = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, DestroyGraph>;

  /// Of kernels that do nothing.
  OwnedGraph graph_of(int nodes) {
    cudaGraph_t graph = nullptr;
    CURATE_CUDA_CHECK(cudaStreamBeginCapture(gpu_.stream(), cudaStreamCaptureModeThreadLocal));
    try {
      for (int n = 0; n < nodes; ++n) {
        do_nothing(gpu_.stream());
      }
    } catch (...) {
      cudaStreamEndCapture(gpu_.stream(), &graph);
      if (graph != nullptr) {
        cudaGraphDestroy(graph);
      }
      throw;
    }
    CURATE_CUDA_CHECK(cudaStreamEndCapture(gpu_.stream(), &graph));
    cudaGraphExec_t executable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    CURATE_CUDA_CHECK(error);
    return OwnedGraph(executable);
  }

  void latencies() {
    const std::int64_t l2_steps = sizes_.l2_bytes / 4 / kStride;
    chase_through("l2", sizes_.l2_bytes, l2_steps, false);
    chase_through("hbm", sizes_.hbm_bytes, sizes_.hbm_steps, true);
    measure({{"probe", "latency"}, {"of", "butterfly"}, {"steps", sizes_.rounds}}, [&] {
      const Scratch<float> values(gpu_.stream(), 32);
      std::vector<float> lanes(32);
      std::iota(lanes.begin(), lanes.end(), 0.0F);
      gpu_.upload(values.data(), lanes);
      Json figures =
          latency(times_of([&] { butterfly(gpu_.stream(), values.data(), sizes_.rounds); }), sizes_.rounds, 1e9, "ns");
      expect(gpu_.download(values.data(), 32) == std::vector<float>(32, 15.5F), figures, "the mean is another one");
      return figures;
    });
  }

  /// A chain of loads. `cold`: what the L2 cache holds is swept out before each, and no two go through the same lines.
  void chase_through(const char* name, std::int64_t bytes, std::int64_t steps, bool cold) {
    measure({{"probe", "latency"}, {"of", name}, {"buffer_bytes", bytes}, {"steps", steps}}, [&] {
      const std::int64_t words = bytes / 4;
      const Words cycle = random_cycle(words);
      const Scratch<std::uint32_t> next(gpu_.stream(), words);
      const Scratch<std::uint32_t> position(gpu_.stream(), 1);
      const Scratch<std::byte> swept(gpu_.stream(), cold ? sizes_.flush_bytes : 1);
      gpu_.upload(next.data(), cycle);
      gpu_.upload(position.data(), Words{0});
      std::vector<double> seconds;
      for (int run = 0; run < kWarmup + kRepeats; ++run) {
        if (cold) {
          CURATE_CUDA_CHECK(
              cudaMemsetAsync(swept.data(), run, static_cast<std::size_t>(sizes_.flush_bytes), gpu_.stream()));
        }
        const auto one = gpu_.times_of([&] { chase(gpu_.stream(), next.data(), position.data(), steps); }, 0, 1);
        if (run >= kWarmup) {
          seconds.push_back(one.front());
        }
      }
      Json figures = latency(seconds, steps, 1e9, "ns");
      std::uint32_t at = 0;
      for (std::int64_t step = 0; step < steps * (kWarmup + kRepeats); ++step) {
        at = cycle[at];
      }
      expect(gpu_.download(position.data(), 1).front() == at, figures, "the chain leads somewhere else");
      return figures;
    });
  }

  Report& report_;
  const Gpu& gpu_;
  Sizes sizes_;
  bool warm_ = false;
  std::optional<Index> movielens_;
  std::optional<Index> uniform_;
};

}  // namespace

Popularity draw_popularity(std::int64_t rows, std::int64_t visits, bool uniform) {
  const std::vector<double> of_rank = popularity_by_rank(movielens_shape("ml-20m", 1.0));
  std::vector<double> weights(static_cast<std::size_t>(rows), 1.0);
  for (std::size_t r = 0; !uniform && r < weights.size(); ++r) {
    weights[r] = of_rank[r * of_rank.size() / weights.size()];
  }
  // Rows that are visited often lie anywhere in the table, as popular items do.
  std::shuffle(weights.begin(), weights.end(), std::mt19937_64(1));
  const AliasTable draw(weights);
  Popularity popularity;
  popularity.index.resize(static_cast<std::size_t>(visits));
  popularity.net.resize(weights.size(), 0);
  std::vector<std::int64_t> counts(weights.size(), 0);
  for (std::size_t n = 0; n < popularity.index.size(); ++n) {
    const auto row = static_cast<std::uint32_t>(draw(philox(1, n, 0, RandomPurpose::shuffle).word[0]));
    // A row's changes cancel out by pairs, so that sums stay short enough to be exact in 16 bits.
    std::int32_t& net = popularity.net[row];
    popularity.index[n] = net == 0 ? row : row | kSubtract;
    net = 1 - net;
    ++counts[row];
  }
  constexpr std::size_t kTop = 512;
  std::sort(counts.begin(), counts.end(), std::greater<>());
  const auto end = counts.begin() + static_cast<std::ptrdiff_t>(std::min(kTop, counts.size()));
  popularity.top_share =
      static_cast<double>(std::accumulate(counts.begin(), end, std::int64_t{0})) / static_cast<double>(visits);
  return popularity;
}

void probe_memory(Report& report, const Gpu& gpu, bool small) {
  MemoryProbe(report, gpu, small ? small_sizes() : Sizes{}).run();
}

}  // namespace curate::probe
