#include "fiber.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace curate::emulator {
namespace {

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constexpr std::size_t kGuard = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStack = std::size_t{256} << 10U;
#else
constexpr std::size_t kStack = std::size_t{64} << 10U;
#endif

/// Of the thread that resumes fibers, and the fiber that it resumed.
thread_local fcontext_t caller = nullptr;
thread_local void (*first_function)() = nullptr;

// AddressSanitizer wants to know of every change of stacks.
#if defined(__SANITIZE_ADDRESS__)
thread_local const void* caller_stack = nullptr;
thread_local std::size_t caller_stack_bytes = 0;

void before_switch(void** own, const void* stack, std::size_t bytes) {
  __sanitizer_start_switch_fiber(own, stack, bytes);
}
void after_switch_into_fiber(void* own) {
  __sanitizer_finish_switch_fiber(own, &caller_stack, &caller_stack_bytes);
}
void after_switch_back(void* own) {
  __sanitizer_finish_switch_fiber(own, nullptr, nullptr);
}
void before_switch_back(void** own) {
  __sanitizer_start_switch_fiber(own, caller_stack, caller_stack_bytes);
}
void forget_stack(void* stack, std::size_t bytes) {
  __asan_unpoison_memory_region(stack, bytes);
}
#else
void before_switch(void** /*own*/, const void* /*stack*/, std::size_t /*bytes*/) {}
void after_switch_into_fiber(void* /*own*/) {}
void after_switch_back(void* /*own*/) {}
void before_switch_back(void** /*own*/) {}
void forget_stack(void* /*stack*/, std::size_t /*bytes*/) {}
#endif

std::byte* stack_of(void* memory) {
  return static_cast<std::byte*>(memory) + kGuard;
}

}  // namespace

Fiber::Fiber() {
  memory_ =
      ::mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory_ == MAP_FAILED || ::mprotect(memory_, kGuard, PROT_NONE) != 0) {
    throw std::bad_alloc();
  }
}

Fiber::~Fiber() {
  forget_stack(stack_of(memory_), kStack);  // what gets the addresses next must not meet the frames' poison
  ::munmap(memory_, kGuard + kStack);
}

void Fiber::enter(transfer_t transfer) {
  after_switch_into_fiber(nullptr);
  caller = transfer.fctx;
  first_function();
  std::abort();  // the function is endless
}

void Fiber::resume(void (*entry)()) {
  std::byte* const stack = stack_of(memory_);
  if (context_ == nullptr) {
    forget_stack(stack, kStack);
    context_ = make_fcontext(stack + kStack, kStack, &Fiber::enter);
    first_function = entry;
  }
  void* own = nullptr;
  before_switch(&own, stack, kStack);
  const transfer_t transfer = jump_fcontext(context_, nullptr);
  after_switch_back(own);
  // abandon() may have been called from a stack that is not the fiber's; then reset() follows.
  context_ = transfer.fctx;
}

void Fiber::suspend() {
  void* own = nullptr;
  before_switch_back(&own);
  const transfer_t transfer = jump_fcontext(caller, nullptr);
  after_switch_into_fiber(own);
  caller = transfer.fctx;
}

__attribute__((no_sanitize("address"))) void Fiber::abandon() {
  before_switch_back(nullptr);
  jump_fcontext(caller, nullptr);
  std::abort();
}

bool Fiber::overflowed_by(const void* address) const {
  const auto* const at = static_cast<const std::byte*>(address);
  return at >= static_cast<std::byte*>(memory_) && at < stack_of(memory_);
}

}  // namespace curate::emulator
