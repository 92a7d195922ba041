#include "grid.h"

#include <fmt/format.h>
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>

#include "device_memory.h"
#include "fiber.h"

// What a kernel's thread sees of itself; every switch to a thread sets them.
uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace curate::emulator {

Access access_now;

namespace {

constexpr int kMostThreads = 1024;

std::string at(const Site& site) {
  const std::string_view path = site.file_name();
  return fmt::format("{}:{}", path.substr(path.rfind('/') + 1), site.line());
}

/// xorshift64* (Vigna 2016): schedules need speed and a seed, no more.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15U + 0x1234567U) {}
  std::uint32_t next() {
    state_ ^= state_ >> 12U;
    state_ ^= state_ << 25U;
    state_ ^= state_ >> 27U;
    return static_cast<std::uint32_t>((state_ * 0x2545F4914F6CDD1DU) >> 32U);
  }
  std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>((std::uint64_t{next()} * bound) >> 32U);
  }

 private:
  std::uint64_t state_;
};

/// The threads of a block that can run.
class Runnable {
 public:
  void fill(int count) {
    words_.fill(0);
    for (int thread = 0; thread < count; ++thread) {
      set(thread);
    }
  }
  void set(int thread) { words_[word(thread)] |= bit(thread); }
  void clear(int thread) { words_[word(thread)] &= ~bit(thread); }

  /// The first at `from` or after it, then from the beginning; -1 if there is none.
  int next(int from) const {
    const int found = next_in(from, kMostThreads);
    return found >= 0 ? found : next_in(0, from);
  }
  /// The last before `from`, then from the end.
  int previous(int from) const {
    const int found = last_in(0, from);
    return found >= 0 ? found : last_in(from, kMostThreads);
  }
  int next_in(int from, int to) const {
    for (int thread = from; thread < to; thread = (thread / 64 + 1) * 64) {
      const std::uint64_t left = words_[word(thread)] >> (static_cast<unsigned>(thread) % 64U);
      if (left != 0) {
        const int found = thread + std::countr_zero(left);
        return found < to ? found : -1;
      }
    }
    return -1;
  }

 private:
  static std::size_t word(int thread) { return static_cast<std::size_t>(thread) / 64; }
  static std::uint64_t bit(int thread) { return std::uint64_t{1} << (static_cast<unsigned>(thread) % 64U); }
  int last_in(int from, int to) const {
    for (int end = to; end > from; end = (end - 1) / 64 * 64) {
      const unsigned above = 63U - static_cast<unsigned>(end - 1) % 64U;
      const std::uint64_t left = words_[word(end - 1)] << above;
      if (left != 0) {
        const int found = end - 1 - std::countl_zero(left);
        return found >= from ? found : -1;
      }
    }
    return -1;
  }

  std::array<std::uint64_t, kMostThreads / 64> words_{};
};

/// Lanes that wait for each other.
struct Meet {
  const char* operation = "";
  Site site;
  std::uint32_t mask = 0;  ///< 0: free
  std::uint32_t arrived = 0;
  std::uint32_t left = 0;
  std::array<std::uint64_t, kWarpThreads> values{};
};

struct Warp {
  std::vector<Meet> meets;
  std::uint32_t done = 0;
  std::uint32_t syncs = 0;
};

struct Thread {
  uint3 index{};
  Fiber* fiber = nullptr;       ///< once it has begun
  const char* waits = nullptr;  ///< for what, if it does
  Site site;
  bool done = false;
};

struct Block {
  uint3 index{};
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  Runnable runnable;
  int last = 0;  ///< the thread that ran last
  int favourite = -1;
  int left = 0;     ///< threads that have not returned
  int waiting = 0;  ///< of them, at sync_block
  Site sync_site;
  std::uint32_t syncs = 0;
  std::vector<std::unique_ptr<SharedBlock>> shared;
  std::size_t shared_bytes = 0;
};

/// Unwinds the thread that fails.
struct Stopped {};

/// What a launch leaves behind for the next: stacks are expensive to make.
std::vector<std::unique_ptr<Fiber>>& all_fibers() {
  static std::vector<std::unique_ptr<Fiber>> fibers;
  return fibers;
}

Counters counted;
std::map<std::string, Counters> counted_by_kernel;

class Grid {
 public:
  Grid(const Launch& launch, const Options& options) : launch_(launch), options_(options), random_(options.seed) {}

  std::string run();

  void run_threads();
  void report(const std::string& problem) { report_ = fmt::format("{}: {}", where(), problem); }
  [[noreturn]] void fail(const std::string& problem);
  void sync(const Site& site);
  std::size_t meet(const char* operation, std::uint32_t mask, std::uint64_t value, const Site& site);
  void leave(std::size_t slot);
  Meet& meeting(std::size_t slot) { return warp().meets[slot]; }
  void preempt();
  SharedBlock& shared(const void* key, const char* name, std::size_t element_bytes, std::size_t count);
  SharedBlock& dynamic_shared(std::size_t element_bytes);
  void check_read(const SharedBlock& array, std::int64_t index);
  void check_write(const SharedBlock& array, std::int64_t index);
  int lane() const { return current_ % kWarpThreads; }
  bool running_thread() const { return block_ != nullptr; }
  std::string fault(const void* address, bool write) const;

 private:
  int block_threads() const { return static_cast<int>(launch_.block.x * launch_.block.y * launch_.block.z); }
  std::uint64_t grid_blocks() const { return std::uint64_t{launch_.grid.x} * launch_.grid.y * launch_.grid.z; }
  bool may_preempt() const { return options_.schedule == Schedule::random || options_.schedule == Schedule::resident; }
  std::size_t most_resident() const {
    return options_.schedule == Schedule::resident ? static_cast<std::size_t>(options_.resident_blocks) : 1;
  }

  std::uint64_t nth_block(std::uint64_t n) const;
  void start_block(Block& block, std::uint64_t number);
  int pick(Block& block);
  void enter(Block& block, int thread);
  void finish_thread();
  void wait(const char* what, const Site& site);
  Warp& warp() { return block_->warps[static_cast<std::size_t>(current_ / kWarpThreads)]; }
  Thread& thread() { return block_->threads[static_cast<std::size_t>(current_)]; }
  bool ordered(const Access& before) const;
  void note_access() { access_now = {static_cast<std::int16_t>(current_), block_->syncs, warp().syncs}; }
  std::string where() const;
  std::string describe_waiting(const Block& block) const;
  std::string race(const SharedBlock& array, std::int64_t index, const char* now, const char* then,
                   const Access& before) const;

  const Launch& launch_;
  const Options& options_;
  Random random_;
  std::uint64_t stride_ = 1;  ///< of the random order of blocks
  std::uint64_t started_ = 0;
  std::vector<std::unique_ptr<Block>> resident_;
  std::vector<std::unique_ptr<Block>> spare_;
  std::vector<Fiber*> idle_;
  Block* block_ = nullptr;
  int current_ = 0;
  std::string report_;
};

Grid* grid = nullptr;
std::string report_of_last_failure;

/// A fiber's life, through as many launches as there are.
void run_threads_of_grid() {
  for (;;) {
    grid->run_threads();
    Fiber::suspend();
  }
}

// ---- Faults

/// The processor stopped a kernel's thread. The handler cannot report from where it stands, so it lets the interrupted
/// code go on here, on a stack of its own, as if it had called this.
const void* fault_address = nullptr;
bool fault_writes = false;

__attribute__((noinline)) void note_fault() {
  grid->report(grid->fault(fault_address, fault_writes));
}

// Nothing can be unwound from here: it would begin in the middle of any instruction. What AddressSanitizer noted of a
// frame that never ends would be found by the next one on this stack.
[[noreturn]] __attribute__((no_sanitize("address"))) void report_fault() {
  note_fault();
  Fiber::abandon();
}

struct sigaction handler_before;

void on_fault(int signal, siginfo_t* info, void* context) {
  if (grid == nullptr || !grid->running_thread()) {
    ::sigaction(signal, &handler_before, nullptr);  // not ours: happens again, to whoever handled it before
    return;
  }
  fault_address = info->si_addr;
  auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
  alignas(16) static std::array<std::byte, std::size_t{64} << 10U> stack;
  std::byte* const top = stack.data() + stack.size() - 64;
#if defined(__x86_64__)
  fault_writes = (machine.gregs[REG_ERR] & 2) != 0;
  machine.gregs[REG_RSP] = reinterpret_cast<greg_t>(top) - 8;  // as after a call
  machine.gregs[REG_RIP] = reinterpret_cast<greg_t>(&report_fault);
#elif defined(__aarch64__)
  machine.sp = reinterpret_cast<std::uintptr_t>(top);
  machine.pc = reinterpret_cast<std::uintptr_t>(&report_fault);
#else
#error "the emulator knows x86-64 and aarch64"
#endif
}

void install_fault_handler() {
  thread_local bool has_stack = false;
  if (!has_stack) {
    has_stack = true;
    stack_t present{};
    if (::sigaltstack(nullptr, &present) == 0 && (present.ss_flags & SS_DISABLE) != 0) {
      thread_local std::array<std::byte, std::size_t{64} << 10U> stack;
      stack_t own{};
      own.ss_sp = stack.data();
      own.ss_size = stack.size();
      ::sigaltstack(&own, nullptr);
    }
  }
  struct sigaction action {};
  action.sa_sigaction = &on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  ::sigaction(SIGSEGV, &action, &handler_before);
}

// ---- Scheduling

std::string Grid::run() {
  for (const auto& fiber : all_fibers()) {
    idle_.push_back(fiber.get());
  }
  const std::uint64_t blocks = grid_blocks();
  if (options_.schedule == Schedule::random || options_.schedule == Schedule::resident) {
    stride_ = random_.next() % blocks | 1U;
    while (std::gcd(stride_, blocks) != 1) {
      stride_ += 2;
    }
  }
  for (Counters* const counters : {&counted, &counted_by_kernel[launch_.kernel]}) {
    ++counters->launches;
    counters->threads += static_cast<std::int64_t>(blocks) * block_threads();
  }
  while (report_.empty()) {
    while (resident_.size() < most_resident() && started_ < blocks) {
      if (spare_.empty()) {
        spare_.push_back(std::make_unique<Block>());
      }
      resident_.push_back(std::move(spare_.back()));
      spare_.pop_back();
      start_block(*resident_.back(), nth_block(started_++));
    }
    if (resident_.empty()) {
      break;
    }
    const std::size_t count = resident_.size();
    std::size_t slot = count == 1 ? 0 : random_.below(static_cast<std::uint32_t>(count));
    int next = -1;
    for (std::size_t tries = 0; tries < count && next < 0; ++tries) {
      slot = (slot + tries) % count;
      next = pick(*resident_[slot]);
    }
    if (next < 0) {
      report_ = fmt::format("kernel {}: no thread can go on: {}", launch_.kernel, describe_waiting(*resident_[0]));
      break;
    }
    Block& block = *resident_[slot];
    enter(block, next);
    Fiber*& fiber = thread().fiber;
    if (fiber == nullptr) {
      if (idle_.empty()) {
        all_fibers().push_back(std::make_unique<Fiber>());
        idle_.push_back(all_fibers().back().get());
      }
      fiber = idle_.back();
      idle_.pop_back();
    }
    ++counted.switches;
    fiber->resume(&run_threads_of_grid);
    block_ = nullptr;
    if (block.left == 0) {
      spare_.push_back(std::move(resident_[slot]));
      resident_.erase(resident_.begin() + static_cast<std::ptrdiff_t>(slot));
    }
  }
  if (!report_.empty()) {
    // Some threads stand in the middle of the kernel; their stacks begin anew.
    for (const auto& fiber : all_fibers()) {
      fiber->reset();
    }
  }
  return report_;
}

/// The thread that the fiber was given, then others that have not begun, as long as the schedule says so.
void Grid::run_threads() {
  Fiber* const self = thread().fiber;
  Block& block = *block_;
  for (;;) {
    bool stopped = false;
    try {
      launch_.thread();
      finish_thread();
    } catch (const Stopped&) {
      stopped = true;
    }
    if (stopped) {
      Fiber::suspend();  // for ever: run() sees the report and begins all stacks anew
    }
    const int next = block.left > 0 && most_resident() == 1 ? pick(block) : -1;
    if (next < 0 || block.threads[static_cast<std::size_t>(next)].fiber != nullptr) {
      idle_.push_back(self);
      return;
    }
    enter(block, next);
    thread().fiber = self;
  }
}

std::uint64_t Grid::nth_block(std::uint64_t n) const {
  const std::uint64_t blocks = grid_blocks();
  switch (options_.schedule) {
    case Schedule::reverse:
      return blocks - 1 - n;
    case Schedule::random:
    case Schedule::resident:
      return static_cast<std::uint64_t>((static_cast<unsigned __int128>(n) * stride_ + options_.seed) % blocks);
    case Schedule::forward:
    case Schedule::run_ahead:
      break;
  }
  return n;
}

void Grid::start_block(Block& block, std::uint64_t number) {
  const dim3& extent = launch_.block;
  const auto count = static_cast<std::size_t>(block_threads());
  block.index = {static_cast<unsigned>(number % launch_.grid.x),
                 static_cast<unsigned>(number / launch_.grid.x % launch_.grid.y),
                 static_cast<unsigned>(number / launch_.grid.x / launch_.grid.y)};
  if (block.threads.size() != count) {
    block.threads.resize(count);
    unsigned t = 0;
    for (Thread& thread : block.threads) {
      thread.index = {t % extent.x, t / extent.x % extent.y, t / extent.x / extent.y};
      ++t;
    }
    block.warps.resize((count + kWarpThreads - 1) / kWarpThreads);
  }
  for (Thread& thread : block.threads) {
    thread.fiber = nullptr;
    thread.waits = nullptr;
    thread.done = false;
  }
  for (Warp& warp : block.warps) {
    warp.meets.clear();
    warp.done = 0;
    warp.syncs = 0;
  }
  block.runnable.fill(static_cast<int>(count));
  block.last = options_.schedule == Schedule::reverse ? static_cast<int>(count) : -1;
  block.favourite = -1;
  block.left = static_cast<int>(count);
  block.waiting = 0;
  block.syncs = 0;
  block.shared.clear();
  block.shared_bytes = 0;
}

int Grid::pick(Block& block) {
  const int count = block_threads();
  switch (options_.schedule) {
    case Schedule::forward:
      return block.runnable.next(std::min(block.last + 1, count));
    case Schedule::reverse:
      return block.runnable.previous(std::max(block.last, 0));
    case Schedule::random:
    case Schedule::resident:
      return block.runnable.next(static_cast<int>(random_.below(static_cast<std::uint32_t>(count))));
    case Schedule::run_ahead:
      break;
  }
  const auto in_favourite = [&](int from) {
    return block.runnable.next_in(std::max(from, block.favourite), block.favourite + kWarpThreads);
  };
  int found = -1;
  if (block.favourite >= 0) {
    found = in_favourite(block.last + 1 < block.favourite + kWarpThreads ? block.last + 1 : block.favourite);
    found = found >= 0 ? found : in_favourite(block.favourite);
  }
  if (found < 0) {
    found = block.runnable.next(static_cast<int>(random_.below(static_cast<std::uint32_t>(count))));
    block.favourite = found / kWarpThreads * kWarpThreads;
  }
  return found;
}

void Grid::enter(Block& block, int next) {
  block_ = &block;
  current_ = next;
  block.last = next;
  threadIdx = block.threads[static_cast<std::size_t>(next)].index;
  blockIdx = block.index;
  note_access();
}

void Grid::finish_thread() {
  Thread& finished = thread();
  Warp& own = warp();
  finished.done = true;
  block_->runnable.clear(current_);
  --block_->left;
  const std::uint32_t bit = 1U << static_cast<unsigned>(lane());
  own.done |= bit;
  if (block_->waiting > 0) {
    fail(fmt::format("returns while others of its block wait at __syncthreads in {}", at(block_->sync_site)));
  }
  for (const Meet& meet : own.meets) {
    if ((meet.mask & bit) != 0 && (meet.left & bit) == 0 && (meet.arrived & bit) == 0) {
      fail(fmt::format("returns while lanes of its warp wait for it at {} in {}", meet.operation, at(meet.site)));
    }
  }
}

void Grid::wait(const char* what, const Site& site) {
  Thread& waiting = thread();
  waiting.waits = what;
  waiting.site = site;
  block_->runnable.clear(current_);
  Fiber::suspend();
  waiting.waits = nullptr;
}

void Grid::sync(const Site& site) {
  Block& block = *block_;
  if (block.left < block_threads()) {
    fail(fmt::format("waits at __syncthreads in {} that {} threads of its block never reach: they have returned",
                     at(site), block_threads() - block.left));
  }
  if (block.waiting > 0 &&
      (block.sync_site.line() != site.line() || std::strcmp(block.sync_site.file_name(), site.file_name()) != 0)) {
    fail(fmt::format("waits at __syncthreads in {}, others of its block at the one in {}", at(site),
                     at(block.sync_site)));
  }
  block.sync_site = site;
  if (++block.waiting < block_threads()) {
    wait("__syncthreads", site);
    return;
  }
  block.waiting = 0;
  ++block.syncs;
  block.runnable.fill(block_threads());
  note_access();
}

std::size_t Grid::meet(const char* operation, std::uint32_t mask, std::uint64_t value, const Site& site) {
  Warp& own = warp();
  const std::uint32_t bit = 1U << static_cast<unsigned>(lane());
  if ((mask & bit) == 0) {
    fail(
        fmt::format("calls {} in {} with the mask {:#010x}, which leaves its own lane out", operation, at(site), mask));
  }
  const int first = current_ - lane();
  const int lanes = std::min(kWarpThreads, block_threads() - first);
  const std::uint32_t there = lanes == kWarpThreads ? ~0U : (1U << static_cast<unsigned>(lanes)) - 1U;
  if ((mask & ~there) != 0 || (mask & own.done) != 0) {
    fail(fmt::format("calls {} in {} with the mask {:#010x}, whose lanes {:#010x} {}", operation, at(site), mask,
                     (mask & ~there) != 0 ? mask & ~there : mask & own.done,
                     (mask & ~there) != 0 ? "do not exist" : "have returned"));
  }
  std::size_t slot = own.meets.size();
  for (std::size_t n = 0; n < own.meets.size(); ++n) {
    const Meet& open = own.meets[n];
    if (open.mask == 0) {
      slot = std::min(slot, n);
    } else if (open.arrived != open.mask && (open.arrived & mask) != 0 && (open.mask & bit) != 0) {
      // Lanes that this one will wait for already wait for this one: at the same place, or for ever.
      if (open.mask != mask || std::strcmp(open.operation, operation) != 0 || open.site.line() != site.line()) {
        fail(fmt::format("calls {} in {} with the mask {:#010x}, lanes of its warp wait at {} in {} with {:#010x}",
                         operation, at(site), mask, open.operation, at(open.site), open.mask));
      }
      slot = n;
      break;
    }
  }
  if (slot == own.meets.size()) {
    own.meets.emplace_back();
  }
  {
    Meet& meet = own.meets[slot];
    if (meet.mask == 0) {
      meet.operation = operation;
      meet.site = site;
      meet.mask = mask;
      meet.arrived = 0;
      meet.left = 0;
    }
    meet.values[static_cast<std::size_t>(lane())] = value;
    meet.arrived |= bit;
    if (meet.arrived == mask) {
      ++own.syncs;
      note_access();
      for (std::uint32_t others = mask & ~bit; others != 0; others &= others - 1U) {
        block_->runnable.set(first + std::countr_zero(others));
      }
      return slot;
    }
  }
  wait(operation, site);
  return slot;
}

void Grid::leave(std::size_t slot) {
  Meet& meet = warp().meets[slot];
  meet.left |= 1U << static_cast<unsigned>(lane());
  if (meet.left == meet.mask) {
    meet.mask = 0;
  }
}

void Grid::preempt() {
  if (may_preempt() && (random_.next() & 3U) == 0) {
    Fiber::suspend();
  }
}

// ---- Shared memory

SharedBlock& Grid::shared(const void* key, const char* name, std::size_t element_bytes, std::size_t count) {
  for (const auto& array : block_->shared) {
    if (array->key == key) {
      return *array;
    }
  }
  auto array = std::make_unique<SharedBlock>();
  array->key = key;
  array->name = name;
  array->element_bytes = element_bytes;
  array->count = count;
  array->bytes.assign(element_bytes * count, std::byte{0xFF});
  array->shadows.resize(count);
  block_->shared_bytes += element_bytes * count;
  constexpr std::size_t kMostStatic = std::size_t{48} << 10U;
  if (block_->shared_bytes > kMostStatic && key != nullptr) {
    fail(fmt::format("declares {} bytes of shared memory, more than the {} that a block has without asking",
                     block_->shared_bytes, kMostStatic));
  }
  block_->shared.push_back(std::move(array));
  return *block_->shared.back();
}

SharedBlock& Grid::dynamic_shared(std::size_t element_bytes) {
  for (const auto& array : block_->shared) {
    if (array->key == nullptr) {
      if (array->element_bytes != element_bytes) {
        fail("takes its dynamic shared memory as two types");
      }
      return *array;
    }
  }
  return shared(nullptr, "dynamic", element_bytes, launch_.dynamic_shared / element_bytes);
}

/// Whether an access of that thread comes before what the calling thread does now, whatever the schedule.
bool Grid::ordered(const Access& before) const {
  return before.thread < 0 || plainly_ordered(before) ||
         (before.thread / kWarpThreads == current_ / kWarpThreads && before.warp_syncs != access_now.warp_syncs);
}

std::string Grid::race(const SharedBlock& array, std::int64_t index, const char* now, const char* then,
                       const Access& before) const {
  return fmt::format("{} shared {}[{}], which thread {} {} with no barrier between", now, array.name, index,
                     before.thread, then);
}

void Grid::check_read(const SharedBlock& array, std::int64_t index) {
  const Shadow& shadow = array.shadows[static_cast<std::size_t>(index)];
  if (shadow.writer.thread < 0) {
    fail(fmt::format("reads shared {}[{}], which nobody has written", array.name, index));
  }
  if (!ordered(shadow.writer)) {
    fail(race(array, index, "reads", "writes", shadow.writer));
  }
}

void Grid::check_write(const SharedBlock& array, std::int64_t index) {
  const Shadow& shadow = array.shadows[static_cast<std::size_t>(index)];
  if (!ordered(shadow.writer)) {
    fail(race(array, index, "writes", "writes too", shadow.writer));
  }
  for (const Access* reader : {&shadow.reader, &shadow.other_reader}) {
    if (!ordered(*reader)) {
      fail(race(array, index, "writes", "reads", *reader));
    }
  }
}

// ---- Reports

std::string Grid::where() const {
  const auto point = [](const uint3& index) { return fmt::format("({},{},{})", index.x, index.y, index.z); };
  return fmt::format("kernel {}, block {}, thread {}", launch_.kernel, point(block_->index),
                     point(block_->threads[static_cast<std::size_t>(current_)].index));
}

void Grid::fail(const std::string& problem) {
  report(problem);
  throw Stopped{};
}

std::string Grid::fault(const void* address, bool write) const {
  const char* const verb = write ? "writes" : "reads";
  for (const auto& fiber : all_fibers()) {
    if (fiber->overflowed_by(address)) {
      return "needs more stack than the emulator gives a thread";
    }
  }
  const std::string place = describe_address(address);
  return place.empty() ? fmt::format("{} address {}, which is no device memory", verb, address)
                       : fmt::format("{} {}", verb, place);
}

std::string Grid::describe_waiting(const Block& block) const {
  // Stretches of threads that wait at one place.
  std::string text = fmt::format("in block ({},{},{})", block.index.x, block.index.y, block.index.z);
  const auto same = [](const Thread& a, const Thread& b) {
    return a.done == b.done && a.waits == b.waits && (a.done || a.site.line() == b.site.line());
  };
  std::size_t first = 0;
  for (std::size_t t = 1; t <= block.threads.size(); ++t) {
    if (t < block.threads.size() && same(block.threads[first], block.threads[t])) {
      continue;
    }
    const Thread& thread = block.threads[first];
    text += fmt::format(
        "{} threads {} to {} {}", first == 0 ? "" : ",", first, t - 1,
        thread.done ? "have returned"
                    : fmt::format("wait at {} in {}", thread.waits == nullptr ? "?" : thread.waits, at(thread.site)));
    first = t;
  }
  return text;
}

std::mutex one_at_a_time;

}  // namespace

std::string run_grid(const Launch& launch, const Options& options) {
  const std::lock_guard lock(one_at_a_time);
  install_fault_handler();
  blockDim = launch.block;
  gridDim = launch.grid;
  Grid running(launch, options);
  grid = &running;
  std::string report = running.run();
  grid = nullptr;
  ::sigaction(SIGSEGV, &handler_before, nullptr);
  if (!report.empty()) {
    report_of_last_failure = report;
  }
  return report;
}

void fail(const std::string& problem) {
  grid->fail(problem);
}
void sync_block(const Site& site) {
  grid->sync(site);
}
void preempt() {
  grid->preempt();
}

Meeting::Meeting(const char* operation, std::uint32_t mask, std::uint64_t value, const Site& site)
    : operation_(operation), mask_(mask), lane_(grid->lane()), slot_(grid->meet(operation, mask, value, site)) {}

Meeting::~Meeting() {
  grid->leave(slot_);
}

std::uint64_t Meeting::value(int lane) const {
  if (lane < 0 || lane >= kWarpThreads || (mask_ >> static_cast<unsigned>(lane) & 1U) == 0) {
    fail(fmt::format("takes the value of lane {} in {}, which the mask {:#010x} leaves out", lane, operation_, mask_));
  }
  return grid->meeting(slot_).values[static_cast<std::size_t>(lane)];
}

SharedBlock& shared_block(const void* key, const char* name, std::size_t element_bytes, std::size_t count) {
  return grid->shared(key, name, element_bytes, count);
}
SharedBlock& dynamic_shared_block(std::size_t element_bytes) {
  return grid->dynamic_shared(element_bytes);
}
void fail_shared_index(const SharedBlock& block, std::int64_t index, const char* verb) {
  fail(fmt::format("{} shared {}[{}] of {} elements", verb, block.name, index, block.count));
}
void check_shared_read_closely(const SharedBlock& block, std::int64_t index) {
  grid->check_read(block, index);
}
void check_shared_write_closely(const SharedBlock& block, std::int64_t index) {
  grid->check_write(block, index);
}

std::string last_report() {
  return report_of_last_failure;
}
Counters counters() {
  return counted;
}
Counters counters_of(const std::string& kernel) {
  return counted_by_kernel[kernel];
}

Traffic traffic_now;

Traffic traffic() {
  return traffic_now;
}

}  // namespace curate::emulator
