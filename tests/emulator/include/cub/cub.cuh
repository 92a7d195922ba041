#pragma once

// CUB's header of this name, for the emulator: the two calls of every function (one for the size of the temporary
// memory, one that works), checked as CUB would need them, and plain algorithms behind them.

#include <cuda_runtime.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "tests/emulator/device_memory.h"

namespace cub {

struct DeviceRadixSort {
  template <typename Key, typename Value>
  static cudaError_t SortPairs(void* temporary, std::size_t& temporary_bytes, const Key* keys_in, Key* keys_out,
                               const Value* values_in, Value* values_out, std::int64_t count, int begin_bit = 0,
                               int end_bit = sizeof(Key) * 8, cudaStream_t stream = nullptr) {
    const std::size_t need = static_cast<std::size_t>(count) * (sizeof(Key) + sizeof(Value)) + 1;
    if (temporary == nullptr) {
      temporary_bytes = need;
      return cudaSuccess;
    }
    if (temporary_bytes < need) {
      return cudaErrorInvalidValue;
    }
    return curate::emulator::enqueue_host(stream, "SortPairs", [=]() -> std::string {
      const auto elements = static_cast<std::size_t>(count);
      const auto fits = [&](const void* address, std::size_t bytes) {
        return elements == 0 || curate::emulator::is_device_memory(address, bytes);
      };
      if (!fits(keys_in, elements * sizeof(Key)) || !fits(keys_out, elements * sizeof(Key)) ||
          !fits(values_in, elements * sizeof(Value)) || !fits(values_out, elements * sizeof(Value)) ||
          !fits(temporary, need)) {
        return "SortPairs: an array leaves the allocation of its device memory";
      }
      // Another sort than radix sort would take the temporary memory for granted.
      std::memset(temporary, 0xFF, need);
      const int bits = end_bit - begin_bit;
      const Key mask = bits >= static_cast<int>(sizeof(Key) * 8) ? ~Key{0} : static_cast<Key>((Key{1} << bits) - 1);
      std::vector<std::int64_t> order(elements);
      std::iota(order.begin(), order.end(), std::int64_t{0});
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return ((keys_in[a] >> begin_bit) & mask) < ((keys_in[b] >> begin_bit) & mask);
      });
      std::vector<Key> keys;
      std::vector<Value> values;
      for (const std::int64_t from : order) {
        keys.push_back(keys_in[from]);
        values.push_back(values_in[from]);
      }
      std::copy(keys.begin(), keys.end(), keys_out);
      std::copy(values.begin(), values.end(), values_out);
      return "";
    });
  }
};

struct DeviceScan {
  template <typename In, typename Out>
  static cudaError_t InclusiveSum(void* temporary, std::size_t& temporary_bytes, const In* in, Out* out,
                                  std::int64_t count, cudaStream_t stream = nullptr) {
    constexpr std::size_t kNeed = 512;
    if (temporary == nullptr) {
      temporary_bytes = kNeed;
      return cudaSuccess;
    }
    if (temporary_bytes < kNeed) {
      return cudaErrorInvalidValue;
    }
    return curate::emulator::enqueue_host(stream, "InclusiveSum", [=]() -> std::string {
      const auto elements = static_cast<std::size_t>(count);
      if (elements > 0 && (!curate::emulator::is_device_memory(in, elements * sizeof(In)) ||
                           !curate::emulator::is_device_memory(out, elements * sizeof(Out)) ||
                           !curate::emulator::is_device_memory(temporary, kNeed))) {
        return "InclusiveSum: an array leaves the allocation of its device memory";
      }
      Out sum = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        sum = static_cast<Out>(sum + static_cast<Out>(in[i]));
        out[i] = sum;
      }
      return "";
    });
  }
};

}  // namespace cub
