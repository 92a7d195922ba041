// Plain files, gzip and pipes against zlib called by hand; with limits, in pieces of any size, and while the file
// shrinks. Input: the file, and a last byte that chooses how it is read.

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "data/byte_source.h"
#include "tests/fuzz/support.h"

namespace curate::fuzz {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kPipeHolds = 60000;
constexpr std::size_t kMostBytes = std::size_t{4} << 20;

/// All members of a gzip file, or nothing where it is damaged, cut off or inflates to more than kMostBytes.
std::optional<std::string> gunzip(std::string_view bytes) {
  std::string content;
  while (true) {
    z_stream stream{};
    check(inflateInit2(&stream, MAX_WBITS + 16) == Z_OK, "zlib");
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    int status = Z_OK;
    while (status == Z_OK && content.size() <= kMostBytes) {
      std::string piece(4096, '\0');
      stream.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream.avail_out = static_cast<uInt>(piece.size());
      status = inflate(&stream, Z_NO_FLUSH);
      content.append(piece, 0, piece.size() - stream.avail_out);
    }
    const std::size_t rest = stream.avail_in;
    inflateEnd(&stream);
    if (status != Z_STREAM_END || content.size() > kMostBytes) {
      return std::nullopt;
    }
    bytes.remove_prefix(bytes.size() - rest);
    if (!bytes.starts_with('\x1F')) {
      break;
    }
  }
  const bool padding = std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; });
  return padding ? std::optional(content) : std::nullopt;
}

std::optional<std::string> expected_content(std::string_view bytes, bool named_gzip, bool pipe) {
  if (bytes.starts_with("PK\x03\x04"sv) || bytes.starts_with("PK\x05\x06"sv) || bytes.starts_with("PK\x07\x08"sv)) {
    return std::nullopt;
  }
  if (bytes.starts_with("\x1F\x8B"sv)) {
    return gunzip(bytes);
  }
  if (named_gzip && !pipe) {
    std::string_view start = bytes;
    start.remove_prefix(start.starts_with("\xEF\xBB\xBF"sv) ? 3 : 0);
    start.remove_prefix(std::min(start.find_first_not_of(" \t\r\n"), start.size()));
    // Looked for in the first bytes alone.
    if (bytes.empty() || (start.starts_with('<') && start.data() < bytes.data() + 512)) {
      return std::nullopt;
    }
  }
  return std::string(bytes);
}

/// A pipe that holds all of its content and has no writer any more.
class FullPipe {
 public:
  explicit FullPipe(std::string_view content) {
    check(::pipe(ends_) == 0, "no pipe");
    check(::write(ends_[1], content.data(), content.size()) == static_cast<ssize_t>(content.size()), "a full pipe");
    ::close(ends_[1]);
  }
  FullPipe(const FullPipe&) = delete;
  FullPipe& operator=(const FullPipe&) = delete;
  ~FullPipe() { ::close(ends_[0]); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(ends_[0]); }

 private:
  int ends_[2] = {-1, -1};
};

std::string read_in_pieces(ByteSource& source, std::size_t piece, const ScratchFile* shrinking, std::size_t shrunk) {
  std::string content;
  std::string buffer(piece, '\0');
  std::int64_t consumed = source.consumed();
  while (true) {
    const std::size_t got = source.read(buffer);
    content.append(buffer, 0, got);
    check(source.consumed() >= consumed, "progress goes backwards");
    consumed = source.consumed();
    if (got < piece) {
      break;
    }
    if (shrinking != nullptr) {
      shrinking->shrink(shrunk);
    }
  }
  check(source.read(buffer) == 0, "bytes after the end");
  check(source.total() == 0 || source.consumed() == source.total(), "an end that is not at the end");
  return content;
}

void test(std::string_view bytes, std::uint8_t flags) {
  static const ScratchFile kPlain("ratings.csv");
  static const ScratchFile kGzip("ratings.csv.gz");
  const bool named_gzip = (flags & 1U) != 0;
  const bool shrinks = (flags & 2U) != 0;
  const bool pipe = (flags & 4U) != 0 && bytes.size() < kPipeHolds;
  const std::size_t piece = (flags & 8U) != 0 ? 5 : 1000;
  const ScratchFile& file = named_gzip ? kGzip : kPlain;
  file.write(bytes);
  const std::optional<std::string> expected = expected_content(bytes, named_gzip, pipe);
  // How much is allowed: any, a little, or just what there is, less one in the last case.
  const auto size = static_cast<std::int64_t>(expected ? expected->size() : 0);
  const unsigned limits = flags >> 4U & 3U;
  const auto limit = limits == 0   ? static_cast<std::int64_t>(kMostBytes)
                     : limits == 1 ? std::int64_t{100}
                     : limits == 2 ? size
                                   : std::max<std::int64_t>(size - 1, 0);
  std::string content;
  const bool refused = refusal_of([&] {
                         std::optional<FullPipe> full;
                         if (pipe) {
                           full.emplace(bytes);
                         }
                         const auto source = open_file(full ? full->path() : file.path(), limit);
                         const bool shrinks_now = shrinks && !pipe;
                         content = read_in_pieces(*source, piece, shrinks_now ? &file : nullptr, bytes.size() / 2);
                       }).has_value();
  const bool allowed = expected && size <= limit;
  check(refused || (allowed && content == *expected), "what cannot be read was read, or other bytes came out");
  check(!refused || !allowed || (shrinks && !pipe), "what can be read was refused");

  file.write(bytes);
  std::string whole;
  const bool whole_refused = refusal_of([&] { whole = read_all(*open_file(file.path()), limit); }).has_value();
  const std::optional<std::string> of_file = expected_content(bytes, named_gzip, false);
  const bool of_file_allowed = of_file && static_cast<std::int64_t>(of_file->size()) <= limit;
  check(whole_refused != of_file_allowed, "read_all refuses what can be read, or the other way round");
  check(whole_refused || whole == *of_file, "read_all gives other bytes");
}

}  // namespace
}  // namespace curate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size == 0 ? 0 : size - 1);
  curate::fuzz::test(bytes, size == 0 ? std::uint8_t{0} : data[size - 1]);
  return 0;
}
