#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace curate {

/// A new file, written piece by piece through a buffer. Without close() the file is unfinished.
class BufferedFile {
 public:
  /// `label` is what messages call the file. Throws Error if it cannot be created.
  BufferedFile(const std::string& path, std::string label);
  BufferedFile(const BufferedFile&) = delete;
  BufferedFile& operator=(const BufferedFile&) = delete;
  ~BufferedFile();

  void append(std::string_view text) {
    if (text.size() > buffer_.size() - filled_) {
      append_slowly(text);
      return;
    }
    text.copy(buffer_.data() + filled_, text.size());
    filled_ += text.size();
  }

  void append(char c) { append(std::string_view(&c, 1)); }

  /// Decimal; of a float the shortest that reads back the same.
  template <typename T>
  void append_number(T value) {
    if (buffer_.size() - filled_ < kLongestNumber) {
      flush();
    }
    char* const at = buffer_.data() + filled_;
    filled_ += static_cast<std::size_t>(std::to_chars(at, at + kLongestNumber, value).ptr - at);
  }

  /// Writes what is left and syncs. Throws Error naming the label and the reason.
  void close();

 private:
  static constexpr std::size_t kLongestNumber = 64;

  void append_slowly(std::string_view text);
  void flush();
  void write(std::string_view text);
  [[noreturn]] void fail() const;

  std::string label_;
  std::vector<char> buffer_;
  std::size_t filled_ = 0;
  int fd_;
};

}  // namespace curate
