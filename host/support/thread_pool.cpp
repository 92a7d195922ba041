#include "support/thread_pool.h"

#include <sched.h>

#include <algorithm>

namespace curate {

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this] { work(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) {
    worker.join();
  }
}

void ThreadPool::take_tasks() {
  std::unique_lock lock(mutex_);
  ++inside_;
  while (next_ < count_) {
    const std::int64_t index = next_++;
    lock.unlock();
    std::exception_ptr error;
    try {
      (*task_)(index);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && !error_) {
      error_ = error;
    }
    --unfinished_;
  }
  --inside_;
  if (unfinished_ == 0 && inside_ == 0) {
    done_.notify_all();
  }
}

void ThreadPool::work() {
  std::uint64_t seen = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return stop_ || round_ != seen; });
      if (stop_) {
        return;
      }
      seen = round_;
    }
    take_tasks();
  }
}

void ThreadPool::run(std::int64_t count, const std::function<void(std::int64_t)>& task) {
  if (workers_.empty() || count <= 1 || busy_.exchange(true)) {
    for (std::int64_t i = 0; i < count; ++i) {
      task(i);
    }
    return;
  }
  try {
    share(count, task);
  } catch (...) {
    busy_ = false;
    throw;
  }
  busy_ = false;
}

/// The caller and all workers together; the caller has set busy_.
void ThreadPool::share(std::int64_t count, const std::function<void(std::int64_t)>& task) {
  {
    const std::lock_guard lock(mutex_);
    task_ = &task;
    count_ = count;
    next_ = 0;
    unfinished_ = count;
    error_ = nullptr;
    ++round_;
  }
  start_.notify_all();
  take_tasks();
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return unfinished_ == 0 && inside_ == 0; });
  count_ = 0;
  task_ = nullptr;
  if (error_) {
    std::rethrow_exception(error_);
  }
}

void ThreadPool::parallel_for(std::int64_t count, std::int64_t grain,
                              const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t pieces = (count + grain - 1) / grain;
  run(pieces, [&](std::int64_t piece) { body(piece * grain, std::min(count, (piece + 1) * grain)); });
}

int hardware_threads() {
  // The cores this process may use: in a container fewer than the machine has.
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) {
    return std::max(1, CPU_COUNT(&set));
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace curate
