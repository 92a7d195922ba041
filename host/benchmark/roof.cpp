#include "benchmark/roof.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>
#include <random>

#include "device/cpu/gemm.h"
#include "device/cpu/simd.h"
#include "device/step_state.h"
#include "models/rating_model.h"

namespace curate {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_of(const std::function<void()>& run) {
  const auto start = Clock::now();
  run();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Ratings: about as many as mf_sgd_kernel.h has under way.
constexpr std::int64_t kAhead = 16;

/// kDim: dim, if it is known.
template <std::size_t kDim>
[[gnu::always_inline]] inline void move(float* table, std::size_t dim, const std::int32_t* rows, std::int64_t count) {
  const std::size_t length = kDim > 0 ? kDim : dim;
  for (std::int64_t k = 0; k < count; ++k) {
    const float* const next = table + static_cast<std::size_t>(rows[k + kAhead]) * length;
    for (std::size_t c = 0; c < length; c += 16) {
      __builtin_prefetch(next + c, 1, 3);
    }
    float* const row = table + static_cast<std::size_t>(rows[k]) * length;
#pragma omp simd
    for (std::size_t c = 0; c < length; ++c) {
      row[c] = row[c] * 0.5F + 0.5F;
    }
  }
}

CURATE_SIMD_CLONES
void move_rows(float* table, std::size_t dim, const std::int32_t* rows, std::int64_t count) {
  switch (dim) {
    case 16:
      return move<16>(table, dim, rows, count);
    case 32:
      return move<32>(table, dim, rows, count);
    case 64:
      return move<64>(table, dim, rows, count);
    case 128:
      return move<128>(table, dim, rows, count);
    default:
      return move<0>(table, dim, rows, count);
  }
}

}  // namespace

double mf_bytes_per_rating(std::int32_t dim, bool biases, EmbeddingPrecision precision) {
  return (precision == EmbeddingPrecision::f32 ? 8.0 : 4.0) * static_cast<double>(dim) + (biases ? 8.0 : 0.0) + 4.0;
}

double mlp_flops_per_rating(const TrainOptions& resolved) {
  double products = 0.0;
  auto inputs = static_cast<double>(resolved.user_dim.value() + resolved.item_dim.value());
  for (const std::int64_t width : layer_widths(resolved)) {
    products += inputs * static_cast<double>(width);
    inputs = static_cast<double>(width);
  }
  return 3.0 * 2.0 * products;
}

ItemRowProbe::ItemRowProbe(const Column<std::int32_t>& items, std::int32_t num_items, std::int32_t dim,
                           std::int32_t groups, ThreadPool& pool)
    : pool_(pool),
      dim_(static_cast<std::size_t>(dim)),
      ratings_(std::min(static_cast<std::int64_t>(items.size()), kMostRatings)),
      row_of_item_(static_cast<std::size_t>(num_items)),
      first_row_(static_cast<std::size_t>(groups) + 1, 0),
      first_rating_(static_cast<std::size_t>(groups) + 1, 0),
      rows_(static_cast<std::size_t>(ratings_ + kAhead * groups)),
      tables_(static_cast<std::size_t>(num_items) * dim_) {
  std::vector<std::int64_t> counts(row_of_item_.size(), 0);
  for (std::int64_t k = 0; k < ratings_; ++k) {
    ++counts[static_cast<std::size_t>(items[static_cast<std::size_t>(k)])];
  }
  // By popularity, dealt like cards, back and forth.
  std::vector<std::int32_t> by_count(row_of_item_.size());
  std::iota(by_count.begin(), by_count.end(), 0);
  std::stable_sort(by_count.begin(), by_count.end(), [&](std::int32_t a, std::int32_t b) {
    return counts[static_cast<std::size_t>(a)] > counts[static_cast<std::size_t>(b)];
  });
  const auto num_groups = static_cast<std::size_t>(groups);
  std::vector<std::size_t> group_of(row_of_item_.size());
  for (std::size_t rank = 0; rank < by_count.size(); ++rank) {
    const std::size_t card = rank % num_groups;
    group_of[static_cast<std::size_t>(by_count[rank])] = rank / num_groups % 2 == 1 ? num_groups - 1 - card : card;
  }
  for (const std::int32_t ranked : by_count) {
    const auto item = static_cast<std::size_t>(ranked);
    row_of_item_[item] = static_cast<std::int32_t>(first_row_[group_of[item] + 1]++);
    first_rating_[group_of[item] + 1] += counts[item];
  }
  for (std::size_t g = 0; g < num_groups; ++g) {
    first_row_[g + 1] += first_row_[g];
    first_rating_[g + 1] += first_rating_[g] + kAhead;
  }
  // Every thread touches what it will work on first.
  pool_.run(groups, [&](std::int64_t group) {
    const auto g = static_cast<std::size_t>(group);
    std::int64_t at = first_rating_[g];
    for (std::int64_t k = 0; k < ratings_; ++k) {
      const auto item = static_cast<std::size_t>(items[static_cast<std::size_t>(k)]);
      if (group_of[item] == g) {
        rows_[static_cast<std::size_t>(at++)] = row_of_item_[item];
      }
    }
    std::shuffle(rows_.begin() + first_rating_[g], rows_.begin() + at, std::mt19937_64(g));
    std::fill_n(rows_.begin() + at, kAhead, 0);
    std::fill(tables_.begin() + first_row_[g] * dim, tables_.begin() + first_row_[g + 1] * dim, 0.0F);
  });
  for (std::size_t item = 0; item < group_of.size(); ++item) {
    row_of_item_[item] += static_cast<std::int32_t>(first_row_[group_of[item]]);
  }
}

double ItemRowProbe::bytes() const {
  return static_cast<double>(ratings_) * (8.0 * static_cast<double>(dim_) + 4.0);
}

double ItemRowProbe::run() {
  const auto groups = static_cast<std::int64_t>(first_row_.size()) - 1;
  return seconds_of([&] {
    pool_.run(groups, [&](std::int64_t group) {
      const auto g = static_cast<std::size_t>(group);
      move_rows(tables_.data() + static_cast<std::size_t>(first_row_[g]) * dim_, dim_,
                &rows_[static_cast<std::size_t>(first_rating_[g])], first_rating_[g + 1] - first_rating_[g] - kAhead);
    });
  });
}

float ItemRowProbe::value(std::int32_t item) const {
  return tables_[static_cast<std::size_t>(row_of_item_[static_cast<std::size_t>(item)]) * dim_];
}

double gemm_flops_per_second(ThreadPool& pool, std::int64_t size) {
  cpu::use_one_blas_thread();
  const auto elements = static_cast<std::size_t>(size * size);
  std::vector<std::vector<float>> outs(static_cast<std::size_t>(pool.threads()), std::vector<float>(elements));
  const std::vector<float> a(elements, 0.5F);
  const std::vector<float> b(elements, 0.25F);
  const auto pass = [&] {
    pool.run(pool.threads(), [&](std::int64_t thread) {
      cpu::gemm(outs[static_cast<std::size_t>(thread)].data(), size, {a.data(), size}, {b.data(), size}, size, size,
                size, 0.0F);
    });
  };
  pass();
  const double flops = 2.0 * static_cast<double>(size) * static_cast<double>(size) * static_cast<double>(size);
  return flops * static_cast<double>(pool.threads()) / seconds_of(pass);
}

double dense_flops_per_second(Device& device, std::int64_t size) {
  const Buffer out = device.allocate_array<float>(size * size);
  const Buffer in = device.allocate_array<float>(size * size);
  const Buffer weight = device.allocate_array<float>(size * size);
  const Buffer bias = device.allocate_array<float>(size);
  const Buffer state = device.allocate_array<StepState>(1);
  for (const Buffer* buffer : {&in, &weight, &bias}) {
    device.zero(buffer->view(DType::f32, static_cast<std::int64_t>(buffer->bytes() / sizeof(float))));
  }
  const StepState none;
  device.upload(state.view(DType::step_state, 1), std::span<const StepState>(&none, 1));
  device.enqueue(ops::BeginEpoch{state.view(DType::step_state, 1), {1, 0, size, size, {}}});
  const auto pass = [&] {
    device.enqueue(ops::DenseForward{{out.view(DType::f32, size, size), in.view(DType::f32, size, size)},
                                     {weight.view(DType::f32, size, size), bias.view(DType::f32, size)},
                                     {},
                                     state.view(DType::step_state, 1)});
    device.synchronize();
  };
  pass();
  return 2.0 * static_cast<double>(size) * static_cast<double>(size) * static_cast<double>(size) / seconds_of(pass);
}

double copy_bytes_per_second(Device& device, std::int64_t bytes) {
  const std::int64_t elements = bytes / static_cast<std::int64_t>(sizeof(float));
  const Buffer from = device.allocate_array<float>(elements);
  const Buffer to = device.allocate_array<float>(elements);
  device.zero(from.view(DType::f32, elements));
  const auto pass = [&] {
    device.copy(to.view(DType::f32, elements), from.view(DType::f32, elements));
    device.synchronize();
  };
  pass();
  return 2.0 * static_cast<double>(elements) * sizeof(float) / seconds_of(pass);
}

}  // namespace curate
