#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "device_memory.h"
#include "emulator.h"

namespace curate::emulator {

struct Operation {
  const char* name;
  std::function<std::string()> run;  ///< returns what went wrong
};

struct GraphOperations {
  std::shared_ptr<std::vector<Operation>> operations;
};

/// What an event was last recorded as. The stream may get there after the event is gone.
struct Event {
  using Time = std::optional<std::chrono::steady_clock::time_point>;

  Stream* stream = nullptr;    ///< nullptr: never recorded
  std::shared_ptr<Time> time;  ///< nothing until the stream gets there
};

namespace {

constexpr const char* kFree = "free";

Options options_of_new_streams;
const char* next_kernel = "unnamed";
cudaError_t last_error = cudaSuccess;
std::string last_message;

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) {
    last_error = error;
  }
  return error;
}

/// fail_call()'s countdown and what it met.
std::int64_t calls_left = -1;
const char* failed = "";

/// For the start of a function of the runtime.
#define CURATE_MAY_FAIL(call)                                               \
  if (::curate::emulator::context_error != cudaSuccess) {                   \
    return ::curate::emulator::remember(::curate::emulator::context_error); \
  }                                                                         \
  if (::curate::emulator::fails_now(call)) {                                \
    return ::curate::emulator::remember(cudaErrorUnknown);                  \
  }

MachineOptions machine;
thread_local int current_gpu = 0;
std::uint64_t pool_keeps = 0;
std::size_t pooled = 0;

/// What every call returns once the context is broken.
cudaError_t context_error = cudaSuccess;

/// The launch that breaks it.
struct Fault {
  std::string kernel;
  std::int64_t after = 0;
};
Fault& fault() {
  static Fault fault = [] {
    const char* const text = std::getenv("CURATE_EMULATOR_FAULT");
    const std::string named = text == nullptr ? "" : text;
    const std::size_t colon = named.find(':');
    return Fault{named.substr(0, colon), colon == std::string::npos ? 0 : std::atoll(named.c_str() + colon + 1)};
  }();
  return fault;
}
std::string& skipped_kernel() {
  static std::string kernel;
  return kernel;
}
bool breaks_context(const char* kernel) {
  return fault().kernel == kernel && fault().after-- == 0;
}

std::int64_t live_handles = 0;  ///< streams, events, graphs, and what count_handles() was told

/// How often each kernel ran under each schedule; written where CURATE_EMULATOR_LOG says, when the process ends.
class LaunchLog {
 public:
  void add(const char* kernel, Schedule schedule) { ++launches_[{kernel, name_of(schedule)}]; }
  ~LaunchLog() {
    const char* const path = std::getenv("CURATE_EMULATOR_LOG");
    if (path == nullptr || launches_.empty()) {
      return;
    }
    // One write, so that the lines of processes that end together do not mix.
    std::string text;
    for (const auto& [key, count] : launches_) {
      text += fmt::format("{}\t{}\t{}\n", key.first, key.second, count);
    }
    if (std::FILE* const file = std::fopen(path, "a")) {
      std::setvbuf(file, nullptr, _IOFBF, text.size() + 1);
      std::fwrite(text.data(), 1, text.size(), file);
      std::fclose(file);
    }
  }

 private:
  std::map<std::pair<std::string, std::string>, std::int64_t> launches_;
};

LaunchLog& launch_log() {
  static LaunchLog log;
  return log;
}

/// Of a block: without asking, and at most.
constexpr std::size_t kPlainShared = std::size_t{48} << 10U;
constexpr std::size_t kMostShared = std::size_t{227} << 10U;

/// What kernels asked for.
std::map<const void*, std::size_t>& allowed_shared() {
  static std::map<const void*, std::size_t> allowed;
  return allowed;
}

}  // namespace

/// Operations in order. They run when somebody waits for them, as late as a GPU may run them, or at once.
class Stream {
 public:
  Stream(const Options& options, int gpu) : options_(options), gpu_(gpu) { all().insert(this); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { all().erase(this); }

  const Options& options() const { return options_; }
  int gpu() const { return gpu_; }

  static std::set<Stream*>& all() {
    static std::set<Stream*> streams;
    return streams;
  }
  bool capturing() const { return capture_ != nullptr; }

  cudaError_t enqueue(Operation operation) {
    if (capture_ != nullptr) {
      capture_->push_back(std::move(operation));
      return cudaSuccess;
    }
    queue_.push_back(std::move(operation));
    return options_.eager ? synchronize() : cudaSuccess;
  }

  cudaError_t enqueue_all(const std::vector<Operation>& operations) {
    queue_.insert(queue_.end(), operations.begin(), operations.end());
    return options_.eager ? synchronize() : cudaSuccess;
  }

  /// An error stays, and nothing runs after it, as with a GPU's context.
  cudaError_t synchronize() {
    while (!queue_.empty()) {
      const Operation operation = std::move(queue_.front());
      queue_.pop_front();
      if ((error_ != cudaSuccess || context_error != cudaSuccess) && operation.name != kFree) {
        continue;
      }
      const std::string problem = operation.run();
      if (!problem.empty()) {
        last_message = problem;
        const bool address =
            problem.find("device memory") != std::string::npos || problem.find("allocation of") != std::string::npos;
        error_ = address ? cudaErrorIllegalAddress : cudaErrorLaunchFailure;
      }
    }
    return context_error != cudaSuccess ? context_error : error_;
  }

  /// As if an operation had failed: what waits never runs, and so never touches memory of the host.
  void fail(cudaError_t error) { error_ = error; }

  void begin_capture() { capture_ = std::make_shared<std::vector<Operation>>(); }
  /// Nothing comes of it.
  void spoil_capture() { spoilt_ = true; }
  bool spoilt() { return std::exchange(spoilt_, false); }
  std::shared_ptr<std::vector<Operation>> end_capture() { return std::exchange(capture_, nullptr); }

 private:
  Options options_;
  int gpu_;
  std::deque<Operation> queue_;
  std::shared_ptr<std::vector<Operation>> capture_;
  bool spoilt_ = false;
  cudaError_t error_ = cudaSuccess;
};

std::string name_of(Schedule schedule) {
  switch (schedule) {
    case Schedule::forward:
      return "forward";
    case Schedule::reverse:
      return "reverse";
    case Schedule::random:
      return "random";
    case Schedule::run_ahead:
      return "run-ahead";
    case Schedule::resident:
      return "resident";
  }
  return "unknown";
}

Options parse_options(const std::string& text) {
  Options options;
  std::string rest = text;
  const auto refuse = [&text] {
    throw std::invalid_argument(fmt::format(
        "'{}' is no schedule: forward, reverse, random, run-ahead or resident, then :SEED, then ,eager", text));
  };
  if (const std::size_t comma = rest.find(','); comma != std::string::npos) {
    if (rest.substr(comma + 1) != "eager") {
      refuse();
    }
    options.eager = true;
    rest.resize(comma);
  }
  if (const std::size_t colon = rest.find(':'); colon != std::string::npos) {
    const std::string number = rest.substr(colon + 1);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), options.seed);
    if (error != std::errc() || end != number.data() + number.size()) {
      refuse();
    }
    rest.resize(colon);
  }
  for (const Schedule schedule :
       {Schedule::forward, Schedule::reverse, Schedule::random, Schedule::run_ahead, Schedule::resident}) {
    if (rest == name_of(schedule)) {
      options.schedule = schedule;
      return options;
    }
  }
  refuse();
  return options;
}

void set_machine(const MachineOptions& told) {
  machine = told;
  current_gpu = 0;
}

std::size_t pooled_bytes() {
  return pooled;
}

void break_context(const std::string& kernel, std::int64_t after) {
  fault() = {kernel, after};
}
void skip_launches(const std::string& kernel) {
  skipped_kernel() = kernel;
}
void mend_context() {
  fault() = {};
  context_error = cudaSuccess;
}

void set_options(const Options& options) {
  options_of_new_streams = options;
}

void fail_call(std::int64_t after) {
  calls_left = after;
  failed = "";
}
std::string failed_call() {
  return failed;
}
std::int64_t handles_in_use() {
  return live_handles;
}

void count_handles(std::int64_t change) {
  live_handles += change;
}

bool fails_now(const char* call) {
  if (calls_left < 0 || calls_left-- > 0) {
    return false;
  }
  failed = call;
  return true;
}

void name_next_launch(const char* name) {
  next_kernel = name;
}

cudaError_t allow_dynamic_shared(const void* kernel, int bytes) {
  CURATE_MAY_FAIL("cudaFuncSetAttribute");
  if (bytes < 0 || static_cast<std::size_t>(bytes) > kMostShared) {
    return remember(cudaErrorInvalidValue);
  }
  allowed_shared()[kernel] = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}

cudaError_t enqueue_launch(const cudaLaunchConfig_t& config, const void* kernel_address, std::function<void()> thread) {
  CURATE_MAY_FAIL("cudaLaunchKernelEx");
  constexpr unsigned kMostThreads = 1024;
  constexpr unsigned kMostBlocksX = 0x7FFFFFFF;
  constexpr unsigned kMostBlocksYz = 65535;
  const dim3& grid = config.gridDim;
  const dim3& block = config.blockDim;
  const char* const kernel = std::exchange(next_kernel, "unnamed");
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (config.stream == nullptr || config.stream->gpu() != current_gpu) {
    return remember(cudaErrorInvalidResourceHandle);
  }
  if (threads == 0 || threads > kMostThreads || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > kMostBlocksX || grid.y > kMostBlocksYz || grid.z > kMostBlocksYz ||
      config.dynamicSmemBytes > kMostShared) {
    return remember(cudaErrorInvalidConfiguration);
  }
  if (config.dynamicSmemBytes > kPlainShared) {
    const auto allowed = allowed_shared().find(kernel_address);
    if (allowed == allowed_shared().end() || allowed->second < config.dynamicSmemBytes) {
      return remember(cudaErrorInvalidValue);
    }
  }
  const Options options = config.stream->options();
  Launch launch{kernel, std::move(thread), grid, block, config.dynamicSmemBytes};
  return remember(config.stream->enqueue({kernel, [launch, options] {
                                            if (breaks_context(launch.kernel)) {
                                              last_message = "an illegal memory access was encountered";
                                              context_error = cudaErrorIllegalAddress;
                                              return std::string();
                                            }
                                            if (skipped_kernel() == launch.kernel) {
                                              return std::string();
                                            }
                                            launch_log().add(launch.kernel, options.schedule);
                                            return run_grid(launch, options);
                                          }}));
}

bool outside_capture(cudaStream_t stream) {
  if (stream->capturing()) {
    stream->spoil_capture();
    remember(cudaErrorStreamCaptureUnsupported);
    return false;
  }
  return true;
}

cudaError_t enqueue_host(cudaStream_t stream, const char* name, std::function<std::string()> work) {
  CURATE_MAY_FAIL(name);
  return remember(stream->enqueue({name, std::move(work)}));
}

}  // namespace curate::emulator

using curate::emulator::Operation;

const char* cudaGetErrorName(cudaError_t error) {
#define CURATE_NAME(name) \
  case name:              \
    return #name;
  switch (error) {
    CURATE_NAME(cudaSuccess)
    CURATE_NAME(cudaErrorInvalidValue)
    CURATE_NAME(cudaErrorMemoryAllocation)
    CURATE_NAME(cudaErrorInvalidConfiguration)
    CURATE_NAME(cudaErrorInsufficientDriver)
    CURATE_NAME(cudaErrorNoDevice)
    CURATE_NAME(cudaErrorInvalidDevice)
    CURATE_NAME(cudaErrorECCUncorrectable)
    CURATE_NAME(cudaErrorInvalidResourceHandle)
    CURATE_NAME(cudaErrorNotReady)
    CURATE_NAME(cudaErrorIllegalAddress)
    CURATE_NAME(cudaErrorLaunchTimeout)
    CURATE_NAME(cudaErrorAssert)
    CURATE_NAME(cudaErrorHardwareStackError)
    CURATE_NAME(cudaErrorIllegalInstruction)
    CURATE_NAME(cudaErrorMisalignedAddress)
    CURATE_NAME(cudaErrorInvalidAddressSpace)
    CURATE_NAME(cudaErrorInvalidPc)
    CURATE_NAME(cudaErrorLaunchFailure)
    CURATE_NAME(cudaErrorNotSupported)
    CURATE_NAME(cudaErrorStreamCaptureUnsupported)
    CURATE_NAME(cudaErrorStreamCaptureInvalidated)
    CURATE_NAME(cudaErrorUnknown)
  }
#undef CURATE_NAME
  return "unknown error";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
      return curate::emulator::last_message.c_str();  // more than a GPU would say
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    default:
      return cudaGetErrorName(error);
  }
}

cudaError_t cudaGetLastError() {
  return std::exchange(curate::emulator::last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  return curate::emulator::last_error;
}

cudaError_t cudaGetDeviceCount(int* count) {
  CURATE_MAY_FAIL("cudaGetDeviceCount");
  *count = curate::emulator::machine.gpus;
  return cudaSuccess;
}
/// Choosing what is chosen does not fail.
cudaError_t cudaSetDevice(int device) {
  static thread_local bool chosen = false;
  if (device == curate::emulator::current_gpu && std::exchange(chosen, true)) {
    return curate::emulator::remember(curate::emulator::context_error);
  }
  CURATE_MAY_FAIL("cudaSetDevice");
  if (device < 0 || device >= curate::emulator::machine.gpus) {
    return curate::emulator::remember(cudaErrorInvalidDevice);
  }
  curate::emulator::current_gpu = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  CURATE_MAY_FAIL("cudaGetDevice");
  *device = curate::emulator::current_gpu;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  CURATE_MAY_FAIL("cudaDeviceGetAttribute");
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess) {
    return error;
  }
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrMemoryPoolsSupported:
      *value = properties.memoryPoolsSupported;
      return cudaSuccess;
  }
  return curate::emulator::remember(cudaErrorInvalidValue);
}
/// As with a GPU, a broken context shows here. It is called to give something back.
cudaError_t cudaDeviceSynchronize() {
  cudaError_t first = curate::emulator::context_error;
  for (curate::emulator::Stream* const stream : curate::emulator::Stream::all()) {
    const cudaError_t error = stream->capturing() ? cudaErrorStreamCaptureUnsupported : stream->synchronize();
    first = first == cudaSuccess ? error : first;
  }
  return curate::emulator::remember(first);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  CURATE_MAY_FAIL("cudaGetDeviceProperties");
  if (device < 0 || device >= curate::emulator::machine.gpus) {
    return curate::emulator::remember(cudaErrorInvalidDevice);
  }
  *properties = {};
  const std::string name = device == 0 ? "emulated GPU" : fmt::format("emulated GPU {}", device);
  std::strncpy(properties->name, name.c_str(), sizeof(properties->name) - 1);
  properties->totalGlobalMem = curate::emulator::memory_capacity();
  properties->major = 9;
  // Few, so that grids which are cut to the size of the device are cut in tests too.
  properties->multiProcessorCount = 3;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->sharedMemPerBlockOptin = curate::emulator::kMostShared;
  properties->l2CacheSize = 50 << 20;
  properties->memoryPoolsSupported = curate::emulator::machine.pools ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  CURATE_MAY_FAIL("cudaDriverGetVersion");
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  CURATE_MAY_FAIL("cudaRuntimeGetVersion");
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  CURATE_MAY_FAIL("cudaMemGetInfo");
  *total = curate::emulator::memory_capacity();
  *free = *total - curate::emulator::bytes_in_use();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  CURATE_MAY_FAIL("cudaStreamCreateWithFlags");
  ++curate::emulator::live_handles;
  *stream = new curate::emulator::Stream(curate::emulator::options_of_new_streams, curate::emulator::current_gpu);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const cudaError_t error = stream->synchronize();
  --curate::emulator::live_handles;
  delete stream;
  return curate::emulator::remember(error);
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (curate::emulator::fails_now("cudaStreamSynchronize")) {
    stream->fail(cudaErrorUnknown);
  }
  if (stream->capturing()) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  return curate::emulator::remember(stream->synchronize());
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  CURATE_MAY_FAIL("cudaEventCreate");
  ++curate::emulator::live_handles;
  *event = new curate::emulator::Event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  CURATE_MAY_FAIL("cudaEventRecord");
  if (stream->capturing()) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  event->stream = stream;
  event->time = std::make_shared<curate::emulator::Event::Time>();
  return curate::emulator::remember(stream->enqueue({"event", [time = event->time]() -> std::string {
                                                       *time = std::chrono::steady_clock::now();
                                                       return "";
                                                     }}));
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->stream == nullptr) {
    return cudaSuccess;  // as the runtime has it for one that was never recorded
  }
  if (curate::emulator::fails_now("cudaEventSynchronize")) {
    event->stream->fail(cudaErrorUnknown);
  }
  if (event->stream->capturing()) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  return curate::emulator::remember(event->stream->synchronize());
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  CURATE_MAY_FAIL("cudaEventElapsedTime");
  if (start->stream == nullptr || end->stream == nullptr) {
    return curate::emulator::remember(cudaErrorInvalidResourceHandle);
  }
  if (!*start->time || !*end->time) {
    return curate::emulator::remember(cudaErrorNotReady);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(**end->time - **start->time).count();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  --curate::emulator::live_handles;
  delete event;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int /*device*/) {
  CURATE_MAY_FAIL("cudaDeviceGetDefaultMemPool");
  static int only = 0;
  *pool = &only;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t /*pool*/, cudaMemPoolAttr /*attribute*/, void* value) {
  const std::uint64_t keeps = *static_cast<std::uint64_t*>(value);
  if (keeps > curate::emulator::pool_keeps) {  // to keep less gives something back
    CURATE_MAY_FAIL("cudaMemPoolSetAttribute");
  }
  curate::emulator::pool_keeps = keeps;
  return cudaSuccess;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t /*pool*/, cudaMemPoolAttr /*attribute*/, void* value) {
  CURATE_MAY_FAIL("cudaMemPoolGetAttribute");
  *static_cast<std::uint64_t*>(value) = curate::emulator::pool_keeps;
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t /*pool*/, std::size_t keep) {
  curate::emulator::pooled = std::min(curate::emulator::pooled, keep);
  return cudaSuccess;
}

cudaError_t cudaMallocAsync(void** address, std::size_t bytes, cudaStream_t stream) {
  CURATE_MAY_FAIL("cudaMallocAsync");
  if (stream->capturing()) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  if (!curate::emulator::machine.pools || !curate::emulator::machine.async_allocations) {
    return curate::emulator::remember(cudaErrorNotSupported);
  }
  *address = curate::emulator::allocate_memory(bytes);
  if (*address == nullptr) {
    return curate::emulator::remember(cudaErrorMemoryAllocation);
  }
  curate::emulator::pooled -= std::min(curate::emulator::pooled, bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* address, cudaStream_t stream) {
  if (stream->capturing()) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  if (!curate::emulator::machine.pools || !curate::emulator::machine.async_allocations) {
    return curate::emulator::remember(cudaErrorNotSupported);
  }
  return curate::emulator::remember(stream->enqueue({curate::emulator::kFree, [address] {
                                                       const std::size_t before = curate::emulator::bytes_in_use();
                                                       std::string problem = curate::emulator::free_memory(address);
                                                       const std::size_t freed =
                                                           before - curate::emulator::bytes_in_use();
                                                       curate::emulator::pooled +=
                                                           curate::emulator::pool_keeps > 0 ? freed : 0;
                                                       return problem;
                                                     }}));
}
cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  CURATE_MAY_FAIL("cudaMalloc");
  for (const curate::emulator::Stream* const stream : curate::emulator::Stream::all()) {
    if (stream->capturing()) {
      return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
    }
  }
  *address = curate::emulator::allocate_memory(bytes);
  return *address == nullptr ? curate::emulator::remember(cudaErrorMemoryAllocation) : cudaSuccess;
}
/// Gives the memory back at once: whoever has enqueued a use of it has to wait first.
cudaError_t cudaFree(void* address) {
  for (const curate::emulator::Stream* const stream : curate::emulator::Stream::all()) {
    if (stream->capturing()) {
      return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
    }
  }
  if (address == nullptr) {
    return cudaSuccess;
  }
  return curate::emulator::remember(curate::emulator::free_memory(address).empty() ? cudaSuccess
                                                                                   : cudaErrorInvalidValue);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  CURATE_MAY_FAIL("cudaMemcpyAsync");
  if (stream->capturing() && kind != cudaMemcpyDeviceToDevice) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  return curate::emulator::remember(
      stream->enqueue({"memcpy", [=]() -> std::string {
                         if (bytes == 0) {
                           return "";
                         }
                         if ((kind != cudaMemcpyHostToDevice && !curate::emulator::is_device_memory(from, bytes)) ||
                             (kind != cudaMemcpyDeviceToHost && !curate::emulator::is_device_memory(to, bytes))) {
                           return "a copy leaves the allocation of its device memory";
                         }
                         std::memcpy(to, from, bytes);
                         return "";
                       }}));
}
cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes, cudaStream_t stream) {
  CURATE_MAY_FAIL("cudaMemsetAsync");
  return curate::emulator::remember(stream->enqueue({"memset", [=]() -> std::string {
                                                       if (bytes == 0) {
                                                         return "";
                                                       }
                                                       if (!curate::emulator::is_device_memory(to, bytes)) {
                                                         return "a memset leaves the allocation of its device memory";
                                                       }
                                                       std::memset(to, byte, bytes);
                                                       return "";
                                                     }}));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode /*mode*/) {
  CURATE_MAY_FAIL("cudaStreamBeginCapture");
  if (stream->capturing()) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  stream->begin_capture();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->capturing()) {
    return curate::emulator::remember(cudaErrorInvalidValue);
  }
  // A failure ends the capture all the same.
  auto operations = stream->end_capture();
  if (stream->spoilt()) {
    *graph = nullptr;
    return curate::emulator::remember(cudaErrorStreamCaptureInvalidated);
  }
  CURATE_MAY_FAIL("cudaStreamEndCapture");
  ++curate::emulator::live_handles;
  *graph = new curate::emulator::GraphOperations{std::move(operations)};
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  CURATE_MAY_FAIL("cudaStreamIsCapturing");
  *status = stream->capturing() ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long /*flags*/) {
  CURATE_MAY_FAIL("cudaGraphInstantiate");
  ++curate::emulator::live_handles;
  *executable = new curate::emulator::GraphOperations{graph->operations};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  CURATE_MAY_FAIL("cudaGraphLaunch");
  if (stream->capturing()) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  return curate::emulator::remember(stream->enqueue_all(*executable->operations));
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  --curate::emulator::live_handles;
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  --curate::emulator::live_handles;
  delete graph;
  return cudaSuccess;
}
