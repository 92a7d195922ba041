#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

/// Runs the source of CUDA kernels on the CPU, one fiber a thread, so that machines without a GPU execute them in the
/// tests: see kernels/README.md. `include/` stands in for the toolkit's headers; this header is what tests use besides.
namespace curate::emulator {

/// Which thread runs next wherever a GPU leaves that open.
enum class Schedule : std::uint8_t {
  forward,    ///< threads and blocks in order, in turns
  reverse,    ///< the last thread and the last block first
  random,     ///< any thread, blocks in any order; may stop a thread at an atomic or a load past the L1 cache
  run_ahead,  ///< a warp, picked at random, goes as far as it can before another one runs
  resident,   ///< several blocks at a time, any thread of any of them, stopped as in `random`
};

struct Options {
  Schedule schedule = Schedule::forward;
  std::uint64_t seed = 1;
  bool eager = false;       ///< stream operations run when they are enqueued; else at the next call that blocks
  int resident_blocks = 4;  ///< of the schedule `resident`
};

/// "forward", "reverse", "random", "run-ahead" or "resident", then any of ":SEED" and ",eager". Throws
/// std::invalid_argument.
Options parse_options(const std::string& text);
std::string name_of(Schedule schedule);

/// The options of streams created from here on.
void set_options(const Options& options);

/// What the device reports as its memory; allocations beyond it fail. 16 GiB unless set, here or by
/// CURATE_EMULATOR_MEMORY_MIB.
void set_memory(std::size_t bytes);

/// What went wrong in the last kernel that failed: kernel, block, thread, and the fault. Empty if none has.
std::string last_report();

/// Since the process began.
struct Counters {
  std::int64_t launches = 0;
  std::int64_t threads = 0;
  std::int64_t switches = 0;
};
Counters counters();

/// Bytes that kernels moved by loads, stores and atomics that go by a name: a kernel that uses these alone for what
/// lies in device memory is counted to the byte.
struct Traffic {
  std::int64_t read_only = 0;  ///< by __ldg; of lanes that read the same address each counts
  std::int64_t read = 0;       ///< by __ldca and __ldcg
  std::int64_t written = 0;    ///< by __stwb
  std::int64_t reduced = 0;    ///< by atomicAdd
};
/// Since the process began.
Traffic traffic();

/// The call of the runtime, or of a library on it, that comes after `after` others fails once with cudaErrorUnknown;
/// below 0: none. Calls that give something back always succeed.
void fail_call(std::int64_t after);
/// The call that failed since, or nothing.
std::string failed_call();

/// What is there of cuBLASLt, whose stand-in the emulator has: include/cublasLt.h.
struct CublasLtOptions {
  int major = 13;                ///< the library's version; 0: there is none
  std::string missing_function;  ///< one that the library lacks
  bool algorithms = true;        ///< the heuristic finds one
  bool bias_gradients = true;    ///< also for products whose epilogue is BGRADA or BGRADB
  bool masks = true;             ///< also for those whose epilogue writes or reads the mask of a relu
  bool knows_masks = true;       ///< their attributes are known to the library
};
void set_cublaslt(const CublasLtOptions& options);
/// Products of it that were enqueued since the process began.
std::int64_t cublaslt_products();
/// What a loader finds; nullptr: nothing.
void* open_library(const std::string& name);
void* find_symbol(void* library, const std::string& name);

/// Streams, events, graphs, and handles and descriptors of cuBLASLt that exist.
std::int64_t handles_in_use();
/// Bytes and allocations of device memory in use.
std::size_t bytes_in_use();
std::size_t allocations_in_use();

}  // namespace curate::emulator
