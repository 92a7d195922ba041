#include "tests/fuzz/support.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

// Freed memory is kept for a while by default, 256 MiB of it; allocations that no small input justifies are findings.
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=16:max_allocation_size_mb=512";
}

extern "C" const char* __ubsan_default_options() {
  return "print_stacktrace=1";
}

namespace curate::fuzz {
namespace {

namespace fs = std::filesystem;

class ScratchFolder {
 public:
  ScratchFolder() {
    const char* const given = std::getenv("TMPDIR");
    std::string pattern = std::string(given != nullptr ? given : "/dev/shm") + "/curate_fuzz_XXXXXX";
    check(::mkdtemp(pattern.data()) != nullptr, "no scratch folder: " + pattern);
    path_ = pattern;
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

void check(bool condition, const std::string& what) {
  if (!condition) {
    std::fprintf(stderr, "finding: %s\n", what.c_str());
    std::abort();
  }
}

void check_message(const std::string& message) {
  const bool printable = std::none_of(message.begin(), message.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
  check(!message.empty() && printable, "a message that is not one plain line: " + message);
}

bool is_utf8(std::string_view text) {
  constexpr std::uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at++]);
    const int follow = lead < 0x80 ? 0 : lead < 0xC0 ? -1 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF8 ? 3 : -1;
    if (follow < 0) {
      return false;
    }
    std::uint32_t point = follow == 0 ? lead : lead & (0x3FU >> static_cast<unsigned>(follow));
    for (int k = 0; k < follow; ++k) {
      if (at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U) {
        return false;
      }
      point = point << 6U | (static_cast<unsigned char>(text[at++]) & 0x3FU);
    }
    if (point < kLeast[follow] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) {
      return false;
    }
  }
  return true;
}

const std::string& scratch_folder() {
  static const ScratchFolder kFolder;
  return kFolder.path();
}

ScratchFile::ScratchFile(const std::string& name)
    : path_(scratch_folder() + "/" + name), fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
  check(fd_ >= 0, "cannot create " + path_);
}

ScratchFile::~ScratchFile() {
  ::close(fd_);
}

void ScratchFile::write(std::string_view content) const {
  shrink(0);
  check(::pwrite(fd_, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()),
        "cannot write " + path_);
}

void ScratchFile::shrink(std::size_t size) const {
  check(::ftruncate(fd_, static_cast<off_t>(size)) == 0, "cannot cut " + path_);
}

std::uint8_t Input::byte() {
  const std::string_view one = take(1);
  return one.empty() ? 0 : static_cast<std::uint8_t>(one.front());
}

std::uint16_t Input::two_bytes() {
  const std::uint8_t low = byte();
  return static_cast<std::uint16_t>(low | byte() << 8U);
}

std::string_view Input::take(std::size_t size) {
  const std::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(taken.size());
  return taken;
}

}  // namespace curate::fuzz
