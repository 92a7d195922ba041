#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace curate {

/// A fixed set of threads that work through numbered tasks. The caller works too, so a pool of one thread has none of
/// its own.
class ThreadPool {
 public:
  /// `threads` >= 1.
  explicit ThreadPool(int threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// task(0) .. task(count - 1), each once, in any order on any thread; returns when all are done. The first exception
  /// is rethrown, and may leave tasks undone. Any thread may call it, a task too: while the pool works for one caller,
  /// another one works through its tasks alone.
  void run(std::int64_t count, const std::function<void(std::int64_t)>& task);

  /// Calls body(begin, end) for pieces of [0, count) of `grain` each (the last may be shorter). The pieces depend on
  /// `grain` alone, so that sums made piece by piece are the same for every number of threads.
  void parallel_for(std::int64_t count, std::int64_t grain,
                    const std::function<void(std::int64_t, std::int64_t)>& body);

 private:
  void work();
  void take_tasks();
  void share(std::int64_t count, const std::function<void(std::int64_t)>& task);

  std::atomic<bool> busy_ = false;  ///< a caller has the workers
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  const std::function<void(std::int64_t)>* task_ = nullptr;
  std::int64_t count_ = 0;
  std::int64_t next_ = 0;
  std::int64_t unfinished_ = 0;
  int inside_ = 0;  ///< threads that may still look at task_
  std::uint64_t round_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
};

/// Usable cores, at least 1.
int hardware_threads();

}  // namespace curate
