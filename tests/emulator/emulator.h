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
  random,     ///< any thread, blocks in any order; may stop a thread at an atomic, a load past L1, a __stwb
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

/// The machine that the runtime tells of.
struct MachineOptions {
  int gpus = 1;                   ///< a kernel goes into a stream of the current one alone
  bool pools = true;              ///< the GPUs say that they have stream-ordered memory
  bool async_allocations = true;  ///< and they do have it
};
void set_machine(const MachineOptions& machine);

/// Bytes of freed memory that the pool of stream-ordered memory keeps from other programs.
std::size_t pooled_bytes();

/// The launch of that kernel that comes after `after` others of it breaks the process's context, as an address out of
/// range does on a GPU: whoever waits next learns of it, but not which kernel it was, and every call from then on
/// fails. CURATE_EMULATOR_FAULT=KERNEL[:AFTER] does the same.
void break_context(const std::string& kernel, std::int64_t after = 0);
/// A new context.
void mend_context();

/// Launches of that kernel do nothing from here on, as on a GPU whose driver has no code for it; "": all do something.
void skip_launches(const std::string& kernel);

/// What went wrong in the last kernel that failed: kernel, block, thread, and the fault. Empty if none has.
std::string last_report();

/// Since the process began.
struct Counters {
  std::int64_t launches = 0;
  std::int64_t threads = 0;
  std::int64_t switches = 0;
};
Counters counters();
/// Launches and threads of the kernel of that name.
Counters counters_of(const std::string& kernel);

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
  int found = 3;                 ///< algorithms that the heuristic finds
  bool splits = true;            ///< algorithms take a split of the depth by the caller
  int splitting = -1;            ///< the algorithm found that splits the depth by itself, into 16 parts
  int multiprocessors = 3;       ///< by which the library counts waves
  // Of products with that epilogue alone, where it is not 0 (cublasLtEpilogue_t); the heuristic finds one algorithm for
  // the others:
  int only_epilogue = 0;
  int heuristic_status = 0;   ///< what the heuristic returns instead (cublasStatus_t)
  int matmul_status = 0;      ///< what the product returns instead
  int wrong = 0;              ///< algorithms, the first ones found, that leave out the last term of a sum
  int tail_of = 0;            ///< all algorithms leave out terms past the last multiple of this
  bool mask_of_zero = false;  ///< the bit of a sum of 0 is on in the mask of a relu
};
void set_cublaslt(const CublasLtOptions& options);
/// Products of it that were enqueued since the process began.
std::int64_t cublaslt_products();

/// What is there of cuBLAS, include/cublas_v2.h. Without cuBLASLt there is none.
struct CublasOptions {
  bool present = true;
  std::string missing_function = {};  ///< one that the library lacks
  int status = 0;                     ///< what products return instead (cublasStatus_t)
  int tail_of = 0;                    ///< products leave out terms past the last multiple of this
};
void set_cublas(const CublasOptions& options);
/// Products of it that were enqueued since the process began.
std::int64_t cublas_products();

/// What a loader finds; nullptr: nothing.
void* open_library(const std::string& name);
void* find_symbol(void* library, const std::string& name);

/// Streams, events, graphs, and handles and descriptors of cuBLASLt and cuBLAS that exist.
std::int64_t handles_in_use();
/// Bytes and allocations of device memory in use.
std::size_t bytes_in_use();
std::size_t allocations_in_use();
/// The most bytes in use since the process began, or since the reset.
std::size_t most_bytes_in_use();
void reset_most_bytes_in_use();

}  // namespace curate::emulator
