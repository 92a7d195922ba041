#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <vector>

#include "emulator.h"

namespace curate::emulator {

using Site = std::source_location;

struct Launch {
  const char* kernel = "";  ///< its name, for reports
  std::function<void()> thread;
  dim3 grid;
  dim3 block;
  std::size_t dynamic_shared = 0;
};

/// Runs all threads of a grid; what went wrong, or nothing. One grid at a time.
std::string run_grid(const Launch& launch, const Options& options);

// What the functions of include/cuda_runtime.h are made of; to be called by a kernel's thread only.

/// Ends the launch: the report names kernel, block and thread before `problem`.
[[noreturn]] void fail(const std::string& problem);

/// Waits for all threads of the block.
void sync_block(const Site& site);

constexpr int kWarpThreads = 32;

/// Lanes of a warp that meet: each leaves a value and goes on when all of the mask have. One operation at one place of
/// the source, or it is an error.
class Meeting {
 public:
  Meeting(const char* operation, std::uint32_t mask, std::uint64_t value, const Site& site);
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;
  ~Meeting();

  int lane() const { return lane_; }
  std::uint32_t mask() const { return mask_; }
  /// What that lane left; an error where it takes no part.
  std::uint64_t value(int lane) const;

 private:
  const char* operation_;
  std::uint32_t mask_;
  int lane_;
  std::size_t slot_;
};

/// Where the schedule may stop a thread: an atomic, or a load that another block's write can change.
void preempt();

/// For traffic().
extern Traffic traffic_now;

/// Who touched an element of shared memory last, to find accesses that no barrier orders.
struct Access {
  std::int16_t thread = -1;
  std::uint32_t block_syncs = 0;
  std::uint32_t warp_syncs = 0;
};
struct Shadow {
  Access writer;
  Access reader;
  Access other_reader;  ///< the last one in another warp than `reader`
};

/// One array of a block's shared memory.
struct SharedBlock {
  const void* key = nullptr;
  const char* name = "";
  std::size_t element_bytes = 0;
  std::size_t count = 0;
  std::vector<std::byte> bytes;
  std::vector<Shadow> shadows;
};

/// The calling thread's block's array of that key, made by the first thread that asks.
SharedBlock& shared_block(const void* key, const char* name, std::size_t element_bytes, std::size_t count);
/// The same for the launch's dynamic shared memory.
SharedBlock& dynamic_shared_block(std::size_t element_bytes);

/// What the calling thread's accesses are noted as.
extern Access access_now;

// Called for every access: what is wrong, if anything, is looked at elsewhere.
[[noreturn]] void fail_shared_index(const SharedBlock& block, std::int64_t index, const char* verb);
void check_shared_read_closely(const SharedBlock& block, std::int64_t index);
void check_shared_write_closely(const SharedBlock& block, std::int64_t index);

/// Whether a barrier of the block, or the program's order, puts that access before the calling thread's.
inline bool plainly_ordered(const Access& before) {
  return before.block_syncs != access_now.block_syncs || before.thread == access_now.thread;
}

inline void check_shared_atomic(const SharedBlock& block, std::int64_t index) {
  if (static_cast<std::uint64_t>(index) >= block.count) {
    fail_shared_index(block, index, "updates");
  }
  const Shadow& shadow = block.shadows[static_cast<std::size_t>(index)];
  if (shadow.writer.thread < 0 || !plainly_ordered(shadow.writer)) {
    check_shared_read_closely(block, index);
  }
}

inline void check_shared_read(SharedBlock& block, std::int64_t index) {
  if (static_cast<std::uint64_t>(index) >= block.count) {
    fail_shared_index(block, index, "reads");
  }
  Shadow& shadow = block.shadows[static_cast<std::size_t>(index)];
  if (shadow.writer.thread < 0 || !plainly_ordered(shadow.writer)) {
    check_shared_read_closely(block, index);
  }
  if (shadow.reader.thread >= 0 && shadow.reader.thread / kWarpThreads != access_now.thread / kWarpThreads) {
    shadow.other_reader = shadow.reader;
  }
  shadow.reader = access_now;
}

inline void check_shared_write(SharedBlock& block, std::int64_t index) {
  if (static_cast<std::uint64_t>(index) >= block.count) {
    fail_shared_index(block, index, "writes");
  }
  Shadow& shadow = block.shadows[static_cast<std::size_t>(index)];
  if (!plainly_ordered(shadow.writer) || !plainly_ordered(shadow.reader) || !plainly_ordered(shadow.other_reader)) {
    check_shared_write_closely(block, index);
  }
  shadow = {access_now, {}, {}};
}

}  // namespace curate::emulator
