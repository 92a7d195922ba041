#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/device.h"

namespace curate::probe {

// What gpu_probe measures of a GPU's memory. Kernels return checksums: 32-bit sums of all words that they read, which
// do not depend on the order, so that nothing is optimised away and every result can be checked.

/// Elements of a row of the tables that visit_rows() goes through.
constexpr std::int64_t kColumns = 128;

/// In an element of an index: the row, and whether its change is subtracted.
constexpr std::uint32_t kSubtract = 0x80000000U;

/// What a visit adds to the elements of a row (or subtracts): an even column's change, an odd column's.
constexpr float kEvenChange = 0x1p-10F;
constexpr float kOddChange = 0x1p-9F;

enum class Reduction : std::uint8_t {
  none,
  vector,  ///< 16 bytes in one instruction from sm_90 on
  scalar,  ///< 4 bytes in one instruction: an f32, or two f16
};

/// What happens to a row when it is visited.
struct Visit {
  DType element = DType::f32;  ///< f32 or f16
  bool read = true;
  Reduction reduction = Reduction::none;
  int in_flight = 1;  ///< rows that a group of lanes asks for before it uses the first: 1, 2 or 4
};

/// Bytes of `visits` visits: the index, and each row once for reading and once for reducing.
std::int64_t bytes_of(const Visit& visit, std::int64_t visits);

/// Visits rows of table [rows, kColumns]. index [visits] u32, rows with or without kSubtract; visits is a multiple
/// of 32. sums [kBlockThreads * blocks] u32 gets every thread's sum of the words that it read.
void visit_rows(cudaStream_t stream, const Visit& visit, void* table, const std::uint32_t* index, std::int64_t visits,
                std::uint32_t* sums, std::int64_t blocks);

/// data [count] of f32, f16 or bf16 becomes random multiples of 2^-10 (bf16: rounded to the nearest) in [-1/2, 1/2).
void fill_random(cudaStream_t stream, void* data, DType element, std::int64_t count, std::uint64_t seed);
/// data [count] becomes random words.
void fill_words(cudaStream_t stream, std::uint32_t* data, std::int64_t count, std::uint64_t seed);

/// from [words of 16 bytes] is read once, and to, where it is not null, becomes a copy. sums as in visit_rows; with a
/// copy it is not written.
void stream_words(cudaStream_t stream, void* to, const void* from, std::int64_t words, std::uint32_t* sums,
                  std::int64_t blocks);

/// position [1] = where `steps` steps of at = next[at] lead from *position. One thread.
void chase(cudaStream_t stream, const std::uint32_t* next, std::uint32_t* position, std::int64_t steps);

/// values [32] f32: each of `rounds` rounds replaces all of them by their mean, in five steps of a shuffle and an
/// addition and one multiplication. One warp.
void butterfly(cudaStream_t stream, float* values, std::int64_t rounds);

/// A kernel of one warp that does nothing.
void do_nothing(cudaStream_t stream);

}  // namespace curate::probe
