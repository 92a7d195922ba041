#include <cuda_runtime.h>
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <optional>
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
#define CURATE_MAY_FAIL(call)                              \
  if (::curate::emulator::fails_now(call)) {               \
    return ::curate::emulator::remember(cudaErrorUnknown); \
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
  explicit Stream(const Options& options) : options_(options) {}

  const Options& options() const { return options_; }
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
      if (error_ != cudaSuccess && operation.name != kFree) {
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
    return error_;
  }

  /// As if an operation had failed: what waits never runs, and so never touches memory of the host.
  void fail(cudaError_t error) { error_ = error; }

  void begin_capture() { capture_ = std::make_shared<std::vector<Operation>>(); }
  std::shared_ptr<std::vector<Operation>> end_capture() { return std::exchange(capture_, nullptr); }

 private:
  Options options_;
  std::deque<Operation> queue_;
  std::shared_ptr<std::vector<Operation>> capture_;
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
  if (config.stream == nullptr) {
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
                                            launch_log().add(launch.kernel, options.schedule);
                                            return run_grid(launch, options);
                                          }}));
}

cudaError_t enqueue_host(cudaStream_t stream, const char* name, std::function<std::string()> work) {
  CURATE_MAY_FAIL(name);
  return remember(stream->enqueue({name, std::move(work)}));
}

}  // namespace curate::emulator

using curate::emulator::Operation;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorUnknown:
      return "cudaErrorUnknown";
  }
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
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  CURATE_MAY_FAIL("cudaSetDevice");
  return device == 0 ? cudaSuccess : curate::emulator::remember(cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int /*device*/) {
  CURATE_MAY_FAIL("cudaGetDeviceProperties");
  *properties = {};
  std::strncpy(properties->name, "emulated GPU", sizeof(properties->name) - 1);
  properties->totalGlobalMem = curate::emulator::memory_capacity();
  properties->major = 9;
  // Few, so that grids which are cut to the size of the device are cut in tests too.
  properties->multiProcessorCount = 3;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->sharedMemPerBlockOptin = curate::emulator::kMostShared;
  properties->l2CacheSize = 50 << 20;
  properties->memoryPoolsSupported = 1;
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
  *stream = new curate::emulator::Stream(curate::emulator::options_of_new_streams);
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
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t /*pool*/, cudaMemPoolAttr /*attribute*/, void* /*value*/) {
  CURATE_MAY_FAIL("cudaMemPoolSetAttribute");
  return cudaSuccess;
}

cudaError_t cudaMallocAsync(void** address, std::size_t bytes, cudaStream_t stream) {
  CURATE_MAY_FAIL("cudaMallocAsync");
  if (stream->capturing()) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  *address = curate::emulator::allocate_memory(bytes);
  return *address == nullptr ? curate::emulator::remember(cudaErrorMemoryAllocation) : cudaSuccess;
}
cudaError_t cudaFreeAsync(void* address, cudaStream_t stream) {
  if (stream->capturing()) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  return curate::emulator::remember(
      stream->enqueue({curate::emulator::kFree, [address] { return curate::emulator::free_memory(address); }}));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t row_bytes, std::size_t rows, cudaMemcpyKind kind, cudaStream_t stream) {
  CURATE_MAY_FAIL("cudaMemcpy2DAsync");
  if (stream->capturing() && kind != cudaMemcpyDeviceToDevice) {
    return curate::emulator::remember(cudaErrorStreamCaptureUnsupported);
  }
  if (rows > 1 && (to_pitch < row_bytes || from_pitch < row_bytes)) {
    return curate::emulator::remember(cudaErrorInvalidValue);
  }
  return curate::emulator::remember(
      stream->enqueue({"memcpy", [=]() -> std::string {
                         if (rows == 0 || row_bytes == 0) {
                           return "";
                         }
                         const auto fits = [&](const void* address, std::size_t pitch) {
                           return curate::emulator::is_device_memory(address, (rows - 1) * pitch + row_bytes);
                         };
                         if ((kind != cudaMemcpyHostToDevice && !fits(from, from_pitch)) ||
                             (kind != cudaMemcpyDeviceToHost && !fits(to, to_pitch))) {
                           return "a copy leaves the allocation of its device memory";
                         }
                         for (std::size_t row = 0; row < rows; ++row) {
                           std::memcpy(static_cast<std::byte*>(to) + row * to_pitch,
                                       static_cast<const std::byte*>(from) + row * from_pitch, row_bytes);
                         }
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
  CURATE_MAY_FAIL("cudaStreamEndCapture");
  ++curate::emulator::live_handles;
  *graph = new curate::emulator::GraphOperations{std::move(operations)};
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
