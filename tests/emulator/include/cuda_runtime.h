#pragma once

// The toolkit's header of this name, for the emulator: what the project's kernels and their host code use of the CUDA
// runtime, under the toolkit's names. Functions of the device are called by threads of emulated grids only.

#include <vector_types.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/emulator/grid.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

// ---- The device's side

extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
inline constexpr int warpSize = 32;

inline void __syncthreads(const std::source_location& site = std::source_location::current()) {
  curate::emulator::sync_block(site);
}

inline void __syncwarp(unsigned mask = ~0U, const std::source_location& site = std::source_location::current()) {
  const curate::emulator::Meeting meeting("__syncwarp", mask, 0, site);
}

namespace curate::emulator {

template <typename T>
std::uint64_t to_bits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "shuffles move 4 or 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <typename T>
T from_bits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

/// The value of `source(lane)`, or the own one where that is outside of the lane's section of `width` lanes.
template <typename T, typename Source>
T shuffle(const char* operation, unsigned mask, T value, int width, const Site& site, Source source) {
  if (width < 1 || width > kWarpThreads || (width & (width - 1)) != 0) {
    fail("shuffles with a width that is no power of two up to 32");
  }
  const Meeting meeting(operation, mask, to_bits(value), site);
  const int from = source(meeting.lane());
  return from < 0 ? value : from_bits<T>(meeting.value(from));
}

}  // namespace curate::emulator

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              const std::source_location& site = std::source_location::current()) {
  return curate::emulator::shuffle("__shfl_sync", mask, value, width, site,
                                   [=](int lane) { return lane / width * width + (source & (width - 1)); });
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  const std::source_location& site = std::source_location::current()) {
  return curate::emulator::shuffle("__shfl_xor_sync", mask, value, width, site, [=](int lane) {
    const int from = lane ^ bits;
    return from < lane / width * width + width ? from : -1;
  });
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   const std::source_location& site = std::source_location::current()) {
  return curate::emulator::shuffle("__shfl_down_sync", mask, value, width, site, [=](int lane) {
    const int from = lane + static_cast<int>(delta);
    return from < lane / width * width + width ? from : -1;
  });
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 const std::source_location& site = std::source_location::current()) {
  return curate::emulator::shuffle("__shfl_up_sync", mask, value, width, site, [=](int lane) {
    const int from = lane - static_cast<int>(delta);
    return from >= lane / width * width ? from : -1;
  });
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              const std::source_location& site = std::source_location::current()) {
  const curate::emulator::Meeting meeting("__ballot_sync", mask, predicate != 0 ? 1U : 0U, site);
  unsigned votes = 0;
  for (unsigned left = mask; left != 0; left &= left - 1U) {
    const int lane = std::countr_zero(left);
    votes |= static_cast<unsigned>(meeting.value(lane)) << static_cast<unsigned>(lane);
  }
  return votes;
}
inline int __any_sync(unsigned mask, int predicate,
                      const std::source_location& site = std::source_location::current()) {
  return __ballot_sync(mask, predicate, site) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      const std::source_location& site = std::source_location::current()) {
  return __ballot_sync(mask, predicate, site) == mask ? 1 : 0;
}

// One fiber runs at a time, so memory is always in order; the schedule may change threads before what goes
// by a name: an atomic, a load past the L1 cache, a plain store.
inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
T atomicAdd(T* address, T value) {
  curate::emulator::preempt();
  curate::emulator::traffic_now.reduced += static_cast<std::int64_t>(sizeof(T));
  const T before = *address;
  *address = before + value;
  return before;
}
template <typename T>
T atomicMax(T* address, T value) {
  curate::emulator::preempt();
  const T before = *address;
  *address = std::max(before, value);
  return before;
}
template <typename T>
T atomicExch(T* address, T value) {
  curate::emulator::preempt();
  const T before = *address;
  *address = value;
  return before;
}

inline unsigned __float_as_uint(float value) {
  return std::bit_cast<unsigned>(value);
}
inline float __uint_as_float(unsigned bits) {
  return std::bit_cast<float>(bits);
}
/// Approximate there.
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float rsqrtf(float x) {
  return 1.0F / std::sqrt(x);
}
/// A load that the L1 cache does not serve: another block may have written meanwhile.
template <typename T>
T __ldcg(const T* address) {
  curate::emulator::preempt();
  curate::emulator::traffic_now.read += static_cast<std::int64_t>(sizeof(T));
  return *address;
}
/// A load of what no thread of the grid writes.
template <typename T>
T __ldg(const T* address) {
  curate::emulator::traffic_now.read_only += static_cast<std::int64_t>(sizeof(T));
  return *address;
}
/// A plain load.
template <typename T>
T __ldca(const T* address) {
  curate::emulator::traffic_now.read += static_cast<std::int64_t>(sizeof(T));
  return *address;
}
/// A plain store. The schedule may change threads before it: what the value was made of may be old by then.
template <typename T>
void __stwb(T* address, T value) {
  curate::emulator::preempt();
  curate::emulator::traffic_now.written += static_cast<std::int64_t>(sizeof(T));
  *address = value;
}

inline int __popc(unsigned value) {
  return std::popcount(value);
}
inline int __ffs(int value) {
  return value == 0 ? 0 : std::countr_zero(static_cast<unsigned>(value)) + 1;
}
inline int __clz(int value) {
  return std::countl_zero(static_cast<unsigned>(value));
}

// ---- The host's side

#define CUDART_VERSION 13000

enum cudaError {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorECCUncorrectable = 214,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchTimeout = 702,
  cudaErrorAssert = 710,
  cudaErrorHardwareStackError = 714,
  cudaErrorIllegalInstruction = 715,
  cudaErrorMisalignedAddress = 716,
  cudaErrorInvalidAddressSpace = 717,
  cudaErrorInvalidPc = 718,
  cudaErrorLaunchFailure = 719,
  cudaErrorNotSupported = 801,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorUnknown = 999,
};
using cudaError_t = cudaError;

const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();

struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem;
  int major;
  int minor;
  int multiProcessorCount;
  int maxThreadsPerMultiProcessor;
  std::size_t sharedMemPerBlockOptin;
  int l2CacheSize;
  int memoryPoolsSupported;
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrMemoryPoolsSupported = 115 };
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);

namespace curate::emulator {
class Stream;
struct GraphOperations;
struct Event;
}  // namespace curate::emulator
using cudaStream_t = curate::emulator::Stream*;
using cudaEvent_t = curate::emulator::Event*;
using cudaGraph_t = curate::emulator::GraphOperations*;
using cudaGraphExec_t = curate::emulator::GraphOperations*;
inline constexpr unsigned cudaStreamNonBlocking = 1;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);

/// Events take the time when the stream gets to them. Not inside a capture.
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);
cudaError_t cudaEventDestroy(cudaEvent_t event);

using cudaMemPool_t = int*;
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, std::size_t keep);
cudaError_t cudaMalloc(void** address, std::size_t bytes);
cudaError_t cudaFree(void* address);
cudaError_t cudaMallocAsync(void** address, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* address, cudaStream_t stream);

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
// No cudaMemcpy2D: of a column it copies rows of four bytes one after the other (kernels/copy_rows.cu is for that).
cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes, cudaStream_t stream);

enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal = 0, cudaStreamCaptureModeThreadLocal = 1 };
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);

struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

namespace curate::emulator {
/// The name under which the next launch is reported.
void name_next_launch(const char* name);
cudaError_t enqueue_launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> thread);
/// The dynamic shared memory that a kernel may ask for from here on.
cudaError_t allow_dynamic_shared(const void* kernel, int bytes);
/// For the stand-ins of the toolkit's libraries: something that the device does in stream order. It may fail() with
/// its return value, empty for success.
cudaError_t enqueue_host(cudaStream_t stream, const char* name, std::function<std::string()> work);
/// For the stand-ins: something that a capture does not take, such as memory for a kernel that was never loaded: false,
/// and the capture is void, where one runs.
bool outside_capture(cudaStream_t stream);
/// Whether fail_call() chose this call, which every function of a stand-in asks first.
bool fails_now(const char* call);
/// For handles_in_use().
void count_handles(std::int64_t change);
}  // namespace curate::emulator

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

/// Of machine code that there is none of here: versions are 10 * major + minor.
struct cudaFuncAttributes {
  int ptxVersion;
  int binaryVersion;
};
template <typename... Parameters>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (* /*kernel*/)(Parameters...)) {
  if (curate::emulator::fails_now("cudaFuncGetAttributes")) {
    return cudaErrorUnknown;
  }
  *attributes = {90, 90};
  return cudaSuccess;
}

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute /*attribute*/, int bytes) {
  return curate::emulator::allow_dynamic_shared(reinterpret_cast<const void*>(kernel), bytes);
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  return curate::emulator::enqueue_launch(
      *config, reinterpret_cast<const void*>(kernel),
      [kernel, values = std::tuple<std::decay_t<Parameters>...>(std::forward<Arguments>(arguments)...)] {
        std::apply(kernel, values);
      });
}
