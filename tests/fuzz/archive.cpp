// Zip archives from bytes: names that stay within, members that are what their archive says, twice the same; also while
// the file shrinks. Input: the archive, and a last byte that chooses how it is read.

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/archive.h"
#include "tests/fuzz/support.h"

namespace curate::fuzz {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 20;

bool stays_within(const std::string& name) {
  const std::string slashed = "/" + name + "/";
  return !name.empty() && name.find_first_of(std::string_view("\\\0", 2)) == std::string::npos &&
         slashed.find("//") == std::string::npos && slashed.find("/./") == std::string::npos &&
         slashed.find("/../") == std::string::npos;
}

std::string read_in_pieces(ByteSource& source, std::size_t piece) {
  std::string content;
  std::string buffer(piece, '\0');
  std::int64_t consumed = source.consumed();
  while (const std::size_t got = source.read(buffer)) {
    content.append(buffer, 0, got);
    check(source.consumed() >= consumed && source.consumed() <= source.total(), "progress goes backwards or too far");
    consumed = source.consumed();
  }
  check(static_cast<std::int64_t>(content.size()) == source.size(), "another number of bytes than declared");
  return content;
}

void test(std::string_view bytes, std::uint8_t flags) {
  static const ScratchFile kFile("set.csv");
  const bool shrinks = (flags & 1U) != 0;
  const std::size_t piece = (flags & 2U) != 0 ? 7 : 4096;
  kFile.write(bytes);
  std::unique_ptr<FileTree> tree;
  if (refusal_of([&] { tree = open_tree(kFile.path()); })) {
    return;
  }
  const std::vector<std::string> names = tree->names();
  check(std::is_sorted(names.begin(), names.end()) && std::adjacent_find(names.begin(), names.end()) == names.end(),
        "names that are not sorted or not distinct");
  for (std::size_t k = 0; k < std::min<std::size_t>(names.size(), 8); ++k) {
    const std::string& name = names[k];
    check(stays_within(name), "a name that leads out: " + name);
    check(tree->has(name), "a name that is not there");
    check_message(tree->name_of(name));
    std::string content;
    const bool refused = refusal_of([&] { content = tree->read_all(name, kMostBytes); }).has_value();
    if (shrinks && k == 0) {
      kFile.shrink(bytes.size() / 2);
    }
    std::string again;
    const bool refused_again = refusal_of([&] {
                                 const auto source = tree->open(name, kMostBytes);
                                 again = read_in_pieces(*source, piece);
                               }).has_value();
    check(refused_again == refused || (shrinks && refused_again), "read, then refused, or the other way round");
    check(refused_again || again == content, "another content at the second reading");
  }
  for (const std::string name : {"../set.csv", "/etc/passwd", "", "a//b"}) {
    check(refusal_of([&] { tree->has(name); }).has_value(), "a look outside the tree");
    check(refusal_of([&] { tree->open(name); }).has_value(), "a look outside the tree");
  }
}

}  // namespace
}  // namespace curate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size == 0 ? 0 : size - 1);
  curate::fuzz::test(bytes, size == 0 ? std::uint8_t{0} : data[size - 1]);
  return 0;
}
