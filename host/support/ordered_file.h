#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <string_view>

namespace curate {

/// A new file of numbered pieces, which several threads write at once: each piece goes where the one before it ends.
/// Without close() the file is unfinished.
class OrderedFile {
 public:
  /// `label` is what messages call the file. Throws Error if it cannot be created.
  OrderedFile(const std::string& path, std::string label);
  OrderedFile(const OrderedFile&) = delete;
  OrderedFile& operator=(const OrderedFile&) = delete;
  ~OrderedFile();

  /// Writes piece `number`; every number from 0 on has to come once. Waits until the pieces before have their places,
  /// so other threads have to be writing them. Throws Error naming the label and the reason.
  void write(std::int64_t number, std::string_view text);

  /// For a thread that failed and will not write its piece: write() and check() throw the same in all threads.
  void give_up(std::exception_ptr reason);
  void check();

  std::int64_t bytes() const { return end_; }

  /// Syncs. Throws Error.
  void close();

 private:
  void write_at(std::int64_t offset, std::string_view text);
  [[noreturn]] void fail() const;

  std::string label_;
  int fd_;
  std::mutex mutex_;
  std::condition_variable placed_;
  std::int64_t next_ = 0;
  std::int64_t end_ = 0;
  std::exception_ptr given_up_;
};

}  // namespace curate
