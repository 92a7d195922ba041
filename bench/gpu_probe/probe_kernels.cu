#include "bench/gpu_probe/probe_kernels.h"

#include <stdexcept>
#include <type_traits>

#include "kernels/half.cuh"
#include "kernels/launch.h"
#include "kernels/rows.cuh"
#include "kernels/warp_reduce.cuh"
#include "support/philox.h"

namespace curate::probe {
namespace {

using cuda::Bf16;
using cuda::F16;
using cuda::global_thread;
using cuda::grid_threads;
using cuda::kBlockThreads;
using cuda::kWholeWarp;

/// Blocks that a multiprocessor has room for, at the least: as many as the probes have there at once.
constexpr int kResidentBlocks = 5;

__device__ std::uint32_t sum_of(const uint4& word) {
  return word.x + word.y + word.z + word.w;
}

/// What 16 bytes of a row change by when they are visited, as words.
template <typename T>
__device__ uint4 change_of(bool subtract) {
  if constexpr (sizeof(T) == 4) {
    const unsigned sign = subtract ? 0x80000000U : 0U;
    const unsigned even = __float_as_uint(kEvenChange) ^ sign;
    const unsigned odd = __float_as_uint(kOddChange) ^ sign;
    return make_uint4(even, odd, even, odd);
  } else {
    const unsigned sign = subtract ? 0x80008000U : 0U;
    const T pair[2] = {cuda::to_nearest<T>(kEvenChange), cuda::to_nearest<T>(kOddChange)};
    const unsigned both = cuda::pair_of(pair) ^ sign;
    return make_uint4(both, both, both, both);
  }
}

template <bool kScalar>
__device__ void reduce(float* to, const uint4& word) {
  const cuda::Pack<4> change = {
      {__uint_as_float(word.x), __uint_as_float(word.y), __uint_as_float(word.z), __uint_as_float(word.w)}};
  if constexpr (kScalar) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      cuda::reduce_add(to + i, change.value[i]);
    }
  } else {
    cuda::reduce_add(to, change);
  }
}

template <bool kScalar>
__device__ void reduce(F16* to, const uint4& word) {
  if constexpr (kScalar) {
    cuda::reduce_add_pair(to, word.x);
    cuda::reduce_add_pair(to + 2, word.y);
    cuda::reduce_add_pair(to + 4, word.z);
    cuda::reduce_add_pair(to + 6, word.w);
  } else {
    const unsigned words[4] = {word.x, word.y, word.z, word.w};
    cuda::RoundedPack<F16, 8> change;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      change.value[i] = {static_cast<std::uint16_t>(words[i / 2] >> (i % 2 * 16) & 0xFFFFU)};
    }
    cuda::reduce_add(to, change);
  }
}

/// For every visit j, of row r = index[j] without kSubtract: kRead: the words of table[r, :] are added to the thread's
/// sum; kReduction: table[r, c] += or -= the change of its column. table [rows, kColumns] of T, index [visits] u32,
/// sums [threads of the grid] u32. A group of lanes has a row, 16 bytes a lane, read past the L1 cache; the groups of a
/// warp go through its 32 visits side by side, kInFlight rows of each on their way at once. With both a change waits
/// for what was read, as in per-rating SGD: `mask` is 0, which the compiler does not know. 4 bytes of index a visit,
/// its row read and reduced. The table does not depend on the schedule while all its sums are exact; what is read
/// beside reductions does.
template <typename T, bool kRead, Reduction kReduction, int kInFlight>
__global__ void __launch_bounds__(kBlockThreads, kResidentBlocks)
    visit_rows_kernel(T* table, const std::uint32_t* index, std::int64_t visits, std::uint32_t mask,
                      std::uint32_t* sums) {
  constexpr int kWarp = 32;
  constexpr int kElements = 16 / static_cast<int>(sizeof(T));
  constexpr int kLanes = static_cast<int>(kColumns) / kElements;
  constexpr int kGroups = kWarp / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int group = lane / kLanes;
  T* const column = table + lane % kLanes * kElements;
  std::uint32_t sum = 0;
  for (std::int64_t base = global_thread() / kWarp * kWarp; base < visits; base += grid_threads()) {
    const std::uint32_t own = __ldg(index + base + lane);
#pragma unroll 1
    for (int k = 0; k < kWarp; k += kGroups * kInFlight) {
      T* row[kInFlight];
      bool subtract[kInFlight];
      uint4 word[kInFlight];
#pragma unroll
      for (int a = 0; a < kInFlight; ++a) {
        const std::uint32_t visit = __shfl_sync(kWholeWarp, own, k + a * kGroups + group);
        row[a] = column + static_cast<std::int64_t>(visit & ~kSubtract) * kColumns;
        subtract[a] = (visit & kSubtract) != 0;
        word[a] = make_uint4(0, 0, 0, 0);
        if constexpr (kRead) {
          word[a] = __ldcg(reinterpret_cast<const uint4*>(row[a]));
        }
      }
#pragma unroll
      for (int a = 0; a < kInFlight; ++a) {
        if constexpr (kRead) {
          sum += sum_of(word[a]);
        }
        if constexpr (kReduction != Reduction::none) {
          uint4 change = change_of<T>(subtract[a]);
          if constexpr (kRead) {
            change.x ^= word[a].x & mask;
            change.y ^= word[a].y & mask;
            change.z ^= word[a].z & mask;
            change.w ^= word[a].w & mask;
          }
          reduce<kReduction == Reduction::scalar>(row[a], change);
        }
      }
    }
  }
  __stwb(sums + global_thread(), sum);
}

/// data[i] = (10 bits of Philox - 512) / 1024, rounded to the nearest that T has. data [count]. One thread for four
/// neighbours. sizeof(T) bytes an element. Deterministic.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) fill_random_kernel(T* data, std::int64_t count, std::uint64_t seed) {
  const std::int64_t first = 4 * global_thread();
  const PhiloxWords random = philox(seed, static_cast<std::uint64_t>(first / 4), 0, RandomPurpose::shuffle);
  for (int i = 0; i < 4 && first + i < count; ++i) {
    const float value = (static_cast<float>(random.word[i] & 1023U) - 512.0F) * 0x1p-10F;
    if constexpr (sizeof(T) == 4) {
      data[first + i] = value;
    } else {
      data[first + i] = cuda::to_nearest<T>(value);
    }
  }
}

/// data[i] = a word of Philox. data [count]. One thread for four neighbours. 4 bytes an element. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    fill_words_kernel(std::uint32_t* data, std::int64_t count, std::uint64_t seed) {
  const std::int64_t first = 4 * global_thread();
  const PhiloxWords random = philox(seed, static_cast<std::uint64_t>(first / 4), 0, RandomPurpose::shuffle);
  for (int i = 0; i < 4 && first + i < count; ++i) {
    data[first + i] = random.word[i];
  }
}

/// kCopy: to[i] = from[i]; else a thread's words are added to its sum. from, to [words] of 16 bytes, sums [threads of
/// the grid] u32. Neighbouring threads take neighbouring words, four of them at once. 16 bytes a word, 32 to copy it.
/// Deterministic.
template <bool kCopy>
__global__ void __launch_bounds__(kBlockThreads, kResidentBlocks)
    stream_words_kernel(uint4* to, const uint4* from, std::int64_t words, std::uint32_t* sums) {
  constexpr int kAtOnce = 4;
  const std::int64_t threads = grid_threads();
  std::uint32_t sum = 0;
  for (std::int64_t i = global_thread(); i < words; i += kAtOnce * threads) {
    uint4 word[kAtOnce];
#pragma unroll
    for (int a = 0; a < kAtOnce; ++a) {
      word[a] = i + a * threads < words ? __ldcg(from + i + a * threads) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int a = 0; a < kAtOnce; ++a) {
      if constexpr (kCopy) {
        if (i + a * threads < words) {
          __stwb(to + i + a * threads, word[a]);
        }
      } else {
        sum += sum_of(word[a]);
      }
    }
  }
  if constexpr (!kCopy) {
    __stwb(sums + global_thread(), sum);
  }
}

/// *position = next[next[... *position]], `steps` times, past the L1 cache. next [n] u32 in [0, n), position [1]. One
/// thread. 4 bytes a step. Deterministic.
__global__ void chase_kernel(const std::uint32_t* next, std::uint32_t* position, std::int64_t steps) {
  std::uint32_t at = *position;
  for (std::int64_t step = 0; step < steps; ++step) {
    at = __ldcg(next + at);
  }
  *position = at;
}

/// values[:] = their mean, `rounds` times. values [32] f32, one for each lane of one warp. Deterministic.
__global__ void butterfly_kernel(float* values, std::int64_t rounds) {
  float value = values[threadIdx.x];
  for (std::int64_t round = 0; round < rounds; ++round) {
    value = cuda::warp_sum(value) * (1.0F / 32.0F);
  }
  values[threadIdx.x] = value;
}

__global__ void do_nothing_kernel() {}

using Sums = std::uint32_t*;
template <typename T>
using VisitKernel = void (*)(T*, const std::uint32_t*, std::int64_t, std::uint32_t, Sums);

template <typename T, bool kRead, Reduction kReduction>
VisitKernel<T> kernel_of(int in_flight) {
  switch (in_flight) {
    case 1:
      return visit_rows_kernel<T, kRead, kReduction, 1>;
    case 2:
      return visit_rows_kernel<T, kRead, kReduction, 2>;
    case 4:
      return visit_rows_kernel<T, kRead, kReduction, 4>;
    default:
      throw std::logic_error("visit_rows: so many rows in flight are not there");
  }
}

template <typename T>
VisitKernel<T> kernel_of(const Visit& visit) {
  switch (visit.reduction) {
    case Reduction::vector:
      return visit.read ? kernel_of<T, true, Reduction::vector>(visit.in_flight)
                        : kernel_of<T, false, Reduction::vector>(visit.in_flight);
    case Reduction::scalar:
      return visit.read ? kernel_of<T, true, Reduction::scalar>(visit.in_flight)
                        : kernel_of<T, false, Reduction::scalar>(visit.in_flight);
    default:
      return kernel_of<T, true, Reduction::none>(visit.in_flight);
  }
}

constexpr std::int64_t kFilledByThread = 4;

template <typename T>
void fill(cudaStream_t stream, void* data, std::int64_t count, std::uint64_t seed) {
  cuda::launch("fill_random", stream, cuda::one_thread_each(cuda::divide_up(count, kFilledByThread)),
               fill_random_kernel<T>, static_cast<T*>(data), count, seed);
}

}  // namespace

std::int64_t bytes_of(const Visit& visit, std::int64_t visits) {
  const auto row = kColumns * static_cast<std::int64_t>(size_of(visit.element));
  const std::int64_t times = (visit.read ? 1 : 0) + (visit.reduction != Reduction::none ? 1 : 0);
  return visits * (static_cast<std::int64_t>(sizeof(std::uint32_t)) + times * row);
}

void visit_rows(cudaStream_t stream, const Visit& visit, void* table, const std::uint32_t* index, std::int64_t visits,
                std::uint32_t* sums, std::int64_t blocks) {
  const auto run = [&](auto element) {
    using T = decltype(element);
    cuda::launch("visit_rows", stream, {blocks}, kernel_of<T>(visit), static_cast<T*>(table), index, visits,
                 std::uint32_t{0}, sums);
  };
  if (visit.element == DType::f16) {
    run(F16());
  } else {
    run(float());
  }
}

void fill_random(cudaStream_t stream, void* data, DType element, std::int64_t count, std::uint64_t seed) {
  cuda::with_element(element, [&](auto value) { fill<decltype(value)>(stream, data, count, seed); });
}

void fill_words(cudaStream_t stream, std::uint32_t* data, std::int64_t count, std::uint64_t seed) {
  cuda::launch("fill_words", stream, cuda::one_thread_each(cuda::divide_up(count, kFilledByThread)), fill_words_kernel,
               data, count, seed);
}

void stream_words(cudaStream_t stream, void* to, const void* from, std::int64_t words, std::uint32_t* sums,
                  std::int64_t blocks) {
  cuda::launch("stream_words", stream, {blocks}, to == nullptr ? stream_words_kernel<false> : stream_words_kernel<true>,
               static_cast<uint4*>(to), static_cast<const uint4*>(from), words, sums);
}

void chase(cudaStream_t stream, const std::uint32_t* next, std::uint32_t* position, std::int64_t steps) {
  cuda::launch("chase", stream, {1, 1}, chase_kernel, next, position, steps);
}

void butterfly(cudaStream_t stream, float* values, std::int64_t rounds) {
  cuda::launch("butterfly", stream, {1, 32}, butterfly_kernel, values, rounds);
}

void do_nothing(cudaStream_t stream) {
  cuda::launch("do_nothing", stream, {1, 32}, do_nothing_kernel);
}

}  // namespace curate::probe
