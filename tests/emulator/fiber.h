#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

namespace curate::emulator {

/// A stack with a guard page, on which an endless function runs in turns with whoever resumes it.
class Fiber {
 public:
  Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  /// Runs until the fiber suspends. The first time, and after reset(), `entry` begins.
  void resume(void (*entry)());
  /// Back to where the running fiber was resumed.
  static void suspend();
  /// Back there for the last time: whatever is on the stack is forgotten.
  [[noreturn]] static void abandon();

  void reset() { context_ = nullptr; }
  bool overflowed_by(const void* address) const;

 private:
  static void enter(boost::context::detail::transfer_t transfer);

  void* memory_ = nullptr;
  boost::context::detail::fcontext_t context_ = nullptr;
};

}  // namespace curate::emulator
