// Reading plain, gzip and zipped files: what comes out, what is refused and how, damage, lies, and files that change.

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "curate/error.h"
#include "data/archive.h"
#include "data/byte_source.h"

namespace curate {
namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;
using Names = std::vector<std::string>;

constexpr int kGzipBits = 15 + 16;
constexpr int kRawBits = -15;

std::string deflated(const std::string& content, int bits) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string result(deflateBound(&stream, content.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

std::string gzipped(const std::string& content) {
  return deflated(content, kGzipBits);
}

/// `bytes` of a number, the lowest first.
std::string little_endian(std::uint64_t value, int bytes) {
  std::string result;
  for (int k = 0; k < bytes; ++k) {
    result += static_cast<char>(value >> (8 * k) & 0xFFU);
  }
  return result;
}

/// A member as an archive shows it. What is set beyond name and content are lies, or special cases.
struct Member {
  std::string name;
  std::string content = "content";
  bool compress = true;
  std::optional<std::uint32_t> size = {};
  std::optional<std::uint32_t> checksum = {};
  std::optional<std::uint16_t> method = {};
  std::uint16_t flags = 0;
  std::string extra = {};
};

constexpr std::uint16_t kEncrypted = 1;
constexpr std::uint16_t kUtf8 = 1U << 11U;

std::string make_zip(const std::vector<Member>& members, const std::string& comment = "") {
  std::string archive;
  std::string directory;
  for (const Member& member : members) {
    const std::string data = member.compress ? deflated(member.content, kRawBits) : member.content;
    const auto checksum = static_cast<std::uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(member.content.data()), static_cast<uInt>(member.content.size())));
    const std::string common =
        little_endian(20, 2) + little_endian(member.flags, 2) +
        little_endian(member.method.value_or(member.compress ? 8 : 0), 2) + little_endian(0x58215821, 4) +
        little_endian(member.checksum.value_or(checksum), 4) + little_endian(data.size(), 4) +
        little_endian(member.size.value_or(static_cast<std::uint32_t>(member.content.size())), 4) +
        little_endian(member.name.size(), 2) + little_endian(member.extra.size(), 2);
    directory += "PK\x01\x02" + little_endian(20, 2) + common + std::string(10, '\0') +
                 little_endian(archive.size(), 4) + member.name + member.extra;
    archive += "PK\x03\x04" + common + member.name + member.extra + data;
  }
  const std::string count = little_endian(members.size(), 2);
  const std::string end = "PK\x05\x06" + std::string(4, '\0') + count + count + little_endian(directory.size(), 4) +
                          little_endian(archive.size(), 4) + little_endian(comment.size(), 2) + comment;
  return archive + directory + end;
}

/// Lines of ratings, at least `size` bytes.
std::string some_ratings(std::size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string text = "userId,movieId,rating,timestamp\n";
  while (text.size() < size) {
    text += fmt::format("{},{},{},{}\n", random() % 1000, random() % 5000, 0.5 * static_cast<double>(1 + random() % 10),
                        1000000000 + random() % 500000000);
  }
  return text;
}

std::string read_in_pieces(ByteSource& source, std::size_t piece) {
  std::string content;
  std::string buffer(piece, '\0');
  std::int64_t consumed = 0;
  while (true) {
    const std::size_t got = source.read(buffer);
    content.append(buffer, 0, got);
    EXPECT_GE(source.consumed(), consumed);
    consumed = source.consumed();
    if (got < piece) {
      EXPECT_EQ(source.read(buffer), 0U);
      return content;
    }
  }
}

std::string read_rest(ByteSource& source) {
  return read_in_pieces(source, std::size_t{256} << 10);
}

class ArchiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "curate_archive_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    descriptors_ = open_descriptors();
  }
  void TearDown() override {
    EXPECT_EQ(open_descriptors(), descriptors_) << "descriptors were left open";
    fs::remove_all(folder_);
  }

  static std::ptrdiff_t open_descriptors() {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::string write(const std::string& name, const std::string& content) const {
    fs::remove(path(name));  // some file systems are slow to overwrite
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }

  std::string write_zip(const std::vector<Member>& members) const { return write("set.zip", make_zip(members)); }

  /// The message of the InputError that `action` throws, which must be one printable line.
  template <typename Action>
  static std::string message_of(const Action& action) {
    try {
      action();
    } catch (const InputError& error) {
      const std::string message = error.what();
      EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](char c) { return c >= 0x20 && c < 0x7f; })) << message;
      return message;
    }
    ADD_FAILURE() << "no InputError";
    return "";
  }

  /// `action` fails with "NAME: ...what...; ...remedy...".
  template <typename Action>
  static void expect_refused(const std::string& name, const std::string& what, const std::string& remedy,
                             const Action& action) {
    const std::string message = message_of(action);
    EXPECT_EQ(message.substr(0, name.size() + 2), name + ": ") << message;
    const std::size_t found = message.find(what, std::min(name.size() + 2, message.size()));
    ASSERT_NE(found, std::string::npos) << message << "\nlacks: " << what;
    const std::size_t semicolon = message.find("; ", found + what.size());
    ASSERT_NE(semicolon, std::string::npos) << message;
    EXPECT_NE(message.find(remedy, semicolon), std::string::npos) << message << "\nlacks: " << remedy;
  }

  fs::path folder_;
  std::ptrdiff_t descriptors_ = 0;
};

// Plain files and gzip.

TEST_F(ArchiveTest, ReadsPlainFilesInAnyPieces) {
  const std::string content = some_ratings(100000);
  const std::string file = write("ratings.csv", content);
  for (const std::size_t piece : {1U, 7U, 4096U, 99999U, 1000000U}) {
    const auto source = open_file(file);
    EXPECT_EQ(source->name(), file);
    EXPECT_EQ(source->size(), static_cast<std::int64_t>(content.size()));
    EXPECT_EQ(source->consumed(), 0);
    EXPECT_EQ(read_in_pieces(*source, piece), content);
    EXPECT_EQ(source->consumed(), source->total());
    EXPECT_EQ(source->total(), static_cast<std::int64_t>(content.size()));
  }
  const auto source = open_file(file);
  EXPECT_EQ(source->read({}), 0U);
  EXPECT_EQ(read_rest(*source), content);
}

TEST_F(ArchiveTest, ReadsFilesThatExactlyFillTheBuffer) {
  const std::string content(4096, 'x');
  std::string buffer(4096, '\0');
  for (const std::string& bytes : {content, gzipped(content)}) {
    const auto source = open_file(write("a", bytes));
    EXPECT_EQ(source->read(buffer), 4096U);
    EXPECT_EQ(buffer, content);
    EXPECT_EQ(source->read(buffer), 0U);
  }
}

TEST_F(ArchiveTest, ReadsEmptyAndTinyFiles) {
  for (const std::string& content : {""s, "a"s, "\x1F"s, "\x1F\x8C"s, "PK"s, "PK\x03"s}) {
    const auto source = open_file(write("a.csv", content));
    EXPECT_EQ(source->size(), static_cast<std::int64_t>(content.size()));
    EXPECT_EQ(read_rest(*source), content);
  }
  EXPECT_EQ(read_rest(*open_file(write("a.csv", gzipped("")))), "");
}

TEST_F(ArchiveTest, InflatesGzipWhateverItsName) {
  const std::string content = some_ratings(300000);
  const std::string compressed = gzipped(content);
  for (const std::string name : {"ratings.csv.gz", "ratings.csv", "ratings", "ratings.zip"}) {
    const std::string file = write(name, compressed);
    for (const std::size_t piece : {1U, 7U, 4096U, 1000000U}) {
      const auto source = open_file(file);
      EXPECT_EQ(source->name(), file);
      EXPECT_EQ(source->size(), std::nullopt);
      EXPECT_EQ(read_in_pieces(*source, piece), content);
      EXPECT_EQ(source->total(), static_cast<std::int64_t>(compressed.size()));
      EXPECT_EQ(source->consumed(), source->total());
    }
  }
}

TEST_F(ArchiveTest, InflatesGzipMembersInARow) {
  // More input than one buffer of it, so that members begin anywhere in one.
  std::string content;
  std::string compressed = gzipped("");
  for (unsigned k = 0; k < 300; ++k) {
    const std::string part = some_ratings(k % 7 == 0 ? 0 : 10000, k);
    content += part;
    compressed += gzipped(part) + (k % 50 == 0 ? gzipped("") : "");
  }
  ASSERT_GT(compressed.size(), std::size_t{512} << 10);
  EXPECT_EQ(read_rest(*open_file(write("a.gz", compressed))), content);
  EXPECT_EQ(read_in_pieces(*open_file(write("a.gz", compressed)), 97), content);
  EXPECT_EQ(read_rest(*open_file(write("a.gz", compressed + std::string(600000, '\0')))), content);
  for (const std::string& garbage : {"x"s, "1,2,3\n"s, "\0\0\0\0x"s, std::string(600000, '\0') + 'x', "PK\x03\x04"s}) {
    expect_refused(path("a.gz"), "other bytes follow the gzip data", "download it again",
                   [&] { read_rest(*open_file(write("a.gz", compressed + garbage))); });
  }
  expect_refused(path("a.gz"), "the gzip data is cut off", "download it again",
                 [&] { read_rest(*open_file(write("a.gz", compressed + "\x1F"))); });
  expect_refused(path("a.gz"), "the gzip data is damaged", "download it again",
                 [&] { read_rest(*open_file(write("a.gz", compressed + "\x1F\x8C"))); });
}

TEST_F(ArchiveTest, InflatesGzipWithAllItsHeaderFields) {
  z_stream stream{};
  ASSERT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, kGzipBits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string name = "ratings.csv";
  gz_header header{};
  header.text = 1;
  header.name = reinterpret_cast<Bytef*>(name.data());
  header.comment = reinterpret_cast<Bytef*>(name.data());
  header.extra = reinterpret_cast<Bytef*>(name.data());
  header.extra_len = 11;
  header.hcrc = 1;
  ASSERT_EQ(deflateSetHeader(&stream, &header), Z_OK);
  std::string compressed(1000, '\0');
  std::string content = "1,2,3\n";
  stream.next_in = reinterpret_cast<Bytef*>(content.data());
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_out = static_cast<uInt>(compressed.size());
  ASSERT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  compressed.resize(stream.total_out);
  deflateEnd(&stream);
  EXPECT_EQ(read_rest(*open_file(write("a.gz", compressed))), content);
}

TEST_F(ArchiveTest, RefusesGzipCutAnywhere) {
  const std::string content = some_ratings(4000);
  const std::string compressed = gzipped(content) + gzipped(content);
  for (std::size_t size = 2; size < compressed.size(); size += size < 30 ? 1 : 7) {
    const std::string file = write("a.gz", compressed.substr(0, size));
    if (size == compressed.size() / 2) {
      continue;  // the first member is whole
    }
    expect_refused(file, "the gzip data is cut off", "download it again", [&] { read_rest(*open_file(file)); });
  }
}

TEST_F(ArchiveTest, RefusesDamagedGzip) {
  const std::string content = some_ratings(4000);
  const std::string compressed = gzipped(content);
  std::size_t refused = 0;
  for (std::size_t at = 2; at < compressed.size(); ++at) {
    std::string damaged = compressed;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
    const std::string file = write("a.gz", damaged);
    try {
      // Some bits do not matter: those of the time, or of codes that are not used.
      EXPECT_EQ(read_rest(*open_file(file)), content);
    } catch (const InputError& error) {
      ++refused;
      EXPECT_NE(std::string(error.what()).find("; download it again"), std::string::npos) << error.what();
    }
  }
  EXPECT_GT(refused, compressed.size() - 20);
}

TEST_F(ArchiveTest, StopsGzipThatInflatesToTooMuch) {
  const std::string bomb = gzipped(std::string(std::size_t{80} << 20, '\0'));
  ASSERT_LT(bomb.size(), std::size_t{100} << 10);
  for (const std::string& content : {bomb, gzipped(std::string(std::size_t{60} << 20, 'a')) + bomb}) {
    const std::string file = write("a.gz", content);
    const auto source = open_file(file);
    std::string buffer(std::size_t{1} << 20, '\0');
    std::int64_t came = 0;
    expect_refused(file, "this unpacks to more than 1000 times its size", "check where it comes from", [&] {
      while (const std::size_t got = source->read(buffer)) {
        came += static_cast<std::int64_t>(got);
      }
    });
    EXPECT_LE(came, kInflateRatioFrom);
  }
  // Small ones may be as dense as they like.
  EXPECT_EQ(read_rest(*open_file(write("a.gz", gzipped(std::string(1 << 20, 'x'))))), std::string(1 << 20, 'x'));
}

TEST_F(ArchiveTest, GivesNoMoreThanTheCallerAllows) {
  const std::string content = some_ratings(100000);
  const auto size = static_cast<std::int64_t>(content.size());
  const std::vector<std::string> files = {write("a.csv", content), write("a.gz", gzipped(content))};
  for (const std::string& file : files) {
    EXPECT_EQ(read_rest(*open_file(file, size)), content);
    expect_refused(file, fmt::format("more than {} bytes", size - 1), "check that it is the right one",
                   [&] { read_rest(*open_file(file, size - 1)); });
    EXPECT_EQ(read_all(*open_file(file), size), content);
    EXPECT_EQ(read_all(*open_file(file), kUnlimited), content);
    for (const std::int64_t limit : {std::int64_t{0}, std::int64_t{1}, size - 1}) {
      expect_refused(file, fmt::format("more than {} bytes", limit), "check that it is the right one",
                     [&] { read_all(*open_file(file), limit); });
    }
  }
  EXPECT_EQ(read_all(*open_file(write("empty", "")), 0), "");
  const std::string file = write_zip({{"a.csv", content}});
  const auto tree = open_tree(file);
  EXPECT_EQ(tree->read_all("a.csv", size), content);
  expect_refused(file + ": a.csv", fmt::format("more than {} bytes", size - 1), "check that it is the right one",
                 [&] { tree->open("a.csv", size - 1); });
  expect_refused(file + ": a.csv", "more than 9 bytes", "check that it is the right one",
                 [&] { tree->read_all("a.csv", 9); });
}

TEST_F(ArchiveTest, ReadsAllOfLargeFiles) {
  const std::string content = some_ratings(std::size_t{5} << 20);
  EXPECT_EQ(read_all(*open_file(write("a.csv", content)), kUnlimited), content);
  EXPECT_EQ(read_all(*open_file(write("a.gz", gzipped(content))), kUnlimited), content);
}

// Zip archives.

TEST_F(ArchiveTest, ReadsArchivesWithAndWithoutATopFolder) {
  const std::string ratings = some_ratings(300000);
  const std::string movies = "movieId,title,genres\n1,A,B\n";
  for (const std::string top : {"", "ml-20m/"}) {
    for (const bool compress : {true, false}) {
      SCOPED_TRACE(top + (compress ? " deflated" : " stored"));
      std::vector<Member> members = {{top + "ratings.csv", ratings, compress},
                                     {top + "movies.csv", movies, compress},
                                     {top + "empty.csv", "", compress}};
      if (!top.empty()) {
        members.insert(members.begin(), {top, "", false});
      }
      const std::string file = write("ml-20m.zip", make_zip(members, "a comment"));
      const auto tree = open_tree(file);
      EXPECT_EQ(tree->path(), file);
      EXPECT_EQ(tree->names(), (std::vector<std::string>{"empty.csv", "movies.csv", "ratings.csv"}));
      EXPECT_TRUE(tree->has("ratings.csv"));
      EXPECT_FALSE(tree->has("ratings.dat"));
      EXPECT_FALSE(tree->has("ml-20m"));
      EXPECT_FALSE(tree->has("ml-20m/ratings.csv"));
      EXPECT_EQ(tree->name_of("ratings.csv"), file + ": " + top + "ratings.csv");
      EXPECT_EQ(tree->read_all("movies.csv", 1000), movies);
      EXPECT_EQ(tree->read_all("empty.csv", 0), "");
      for (const std::size_t piece : {1U, 4096U, static_cast<unsigned>(ratings.size()), 1000000U}) {
        const auto source = tree->open("ratings.csv");
        EXPECT_EQ(source->name(), file + ": " + top + "ratings.csv");
        EXPECT_EQ(source->size(), static_cast<std::int64_t>(ratings.size()));
        EXPECT_EQ(source->consumed(), 0);
        EXPECT_EQ(read_in_pieces(*source, piece), ratings);
        EXPECT_EQ(source->consumed(), source->total());
        EXPECT_GT(source->total(), 0);
      }
      expect_refused(file + ": " + top + "u.data", "no such file in the archive", "check the name",
                     [&] { tree->open("u.data"); });
    }
  }
}

TEST_F(ArchiveTest, LeavesFoldersInOnlyWhereTheyTellMembersApart) {
  const auto names_in = [&](const std::vector<std::string>& names) {
    std::vector<Member> members;
    for (const std::string& name : names) {
      members.push_back({name, name.ends_with('/') ? "" : "x", false});
    }
    return open_tree(write_zip(members))->names();
  };
  EXPECT_EQ(names_in({"a/x", "a/b/y"}), (Names{"b/y", "x"}));
  EXPECT_EQ(names_in({"a/b/x", "a/b/y"}), (Names{"b/x", "b/y"}));
  EXPECT_EQ(names_in({"a/x", "b/y"}), (Names{"a/x", "b/y"}));
  EXPECT_EQ(names_in({"a/x", "ab/y"}), (Names{"a/x", "ab/y"}));
  EXPECT_EQ(names_in({"a/x", "y"}), (Names{"a/x", "y"}));
  EXPECT_EQ(names_in({"a/x", "b/"}), (Names{"x"}));
  EXPECT_EQ(names_in({"a/x", "__MACOSX/a/._x", "a/.DS_Store", ".DS_Store"}), (Names{"x"}));
  EXPECT_EQ(names_in({"a/", "a/"}), Names{});
  EXPECT_EQ(names_in({}), Names{});
  EXPECT_EQ(names_in({"a\xC3\xA9"}), (Names{"a\xC3\xA9"}));
  EXPECT_EQ(names_in({"a\x82"}), (Names{"a\xC3\xA9"}));  // code page 437
}

TEST_F(ArchiveTest, ReadsManySourcesOfOneArchiveAtOnce) {
  std::vector<Member> members;
  for (unsigned k = 0; k < 4; ++k) {
    members.push_back({fmt::format("set/{}.csv", k), some_ratings(500000, k), k % 2 == 0});
  }
  auto tree = open_tree(write_zip(members));
  std::vector<std::string> contents(8);
  std::vector<std::thread> threads;
  for (std::size_t k = 0; k < contents.size(); ++k) {
    threads.emplace_back([&, k] { contents[k] = tree->read_all(fmt::format("{}.csv", k % 4), kUnlimited); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (std::size_t k = 0; k < contents.size(); ++k) {
    EXPECT_EQ(contents[k], members[k % 4].content);
  }
  // Alternately on one thread, after the tree has gone.
  const auto a = tree->open("0.csv");
  const auto b = tree->open("1.csv");
  const auto again = tree->open("0.csv");
  tree.reset();
  std::string buffer(1000, '\0');
  EXPECT_EQ(a->read(buffer), 1000U);
  EXPECT_EQ(buffer, members[0].content.substr(0, 1000));
  EXPECT_EQ(b->read(buffer), 1000U);
  EXPECT_EQ(buffer, members[1].content.substr(0, 1000));
  EXPECT_EQ(read_rest(*again), members[0].content);
  EXPECT_EQ(read_rest(*a), members[0].content.substr(1000));
  EXPECT_EQ(read_rest(*b), members[1].content.substr(1000));
}

TEST_F(ArchiveTest, RefusesArchivesCutAnywhere) {
  const std::string content = some_ratings(4000);
  const std::string archive = make_zip({{"set/ratings.csv", content}, {"set/movies.csv", content, false}});
  for (std::size_t size = 4; size < archive.size(); size += 50) {
    const std::string file = write("a.zip", archive.substr(0, size));
    expect_refused(file, "the zip archive is cut off or damaged", "download it again", [&] { open_tree(file); });
  }
}

TEST_F(ArchiveTest, NeverGivesDamagedContent) {
  const std::string content = some_ratings(4000);
  const std::string archive = make_zip({{"set/ratings.csv", content}, {"set/movies.csv", content, false}});
  std::mt19937 random(3);
  int refused = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string damaged = archive;
    for (int k = 0; k <= round % 3; ++k) {
      // The directory is small and worth more damage than its share.
      const std::size_t from = round % 2 == 0 ? 4 : archive.size() - 150;
      damaged[from + random() % (archive.size() - from)] = static_cast<char>(random());
    }
    const std::string file = write("a.zip", damaged);
    try {
      const auto tree = open_tree(file);
      for (const std::string& name : tree->names()) {
        EXPECT_EQ(tree->read_all(name, kUnlimited), content);
      }
    } catch (const InputError& error) {
      ++refused;
      EXPECT_EQ(std::string(error.what()).substr(0, file.size() + 2), file + ": ");
    }
  }
  EXPECT_GT(refused, 2000);
}

TEST_F(ArchiveTest, ChecksumsSurface) {
  const std::string content = some_ratings(100000);
  for (const bool compress : {true, false}) {
    for (const std::string& text : {content, ""s}) {
      if (text.empty() && !compress) {
        continue;  // nothing to check
      }
      const std::string file = write_zip({{"a.csv", text, compress, {}, 12345}});
      const auto tree = open_tree(file);
      expect_refused(file + ": a.csv", "the checksum does not match", "download it again",
                     [&] { read_rest(*tree->open("a.csv")); });
      // With the last byte, not after it: a caller that knows the size may stop there.
      expect_refused(file + ": a.csv", "the checksum does not match", "download it again", [&] {
        const auto source = tree->open("a.csv");
        std::string buffer(std::max<std::size_t>(text.size(), 1), '\0');
        source->read(buffer);
      });
    }
  }
  std::string archive = make_zip({{"a.csv", content, false}});
  archive[50000] ^= 1;
  const std::string file = write("a.zip", archive);
  expect_refused(file + ": a.csv", "the checksum does not match", "download it again",
                 [&] { open_tree(file)->read_all("a.csv", kUnlimited); });
}

TEST_F(ArchiveTest, RefusesDeclaredSizesThatAreNotTrue) {
  const std::string content = some_ratings(100000);
  for (const bool compress : {true, false}) {
    for (const std::uint32_t size : {0U, 1U, 99999U, 1000000U}) {
      SCOPED_TRACE(size);
      const std::string file = write_zip({{"a.csv", content, compress, size}});
      expect_refused(file + ": a.csv", "", "download it again",
                     [&] { open_tree(file)->read_all("a.csv", kUnlimited); });
      expect_refused(file + ": a.csv", "", "download it again",
                     [&] { read_in_pieces(*open_tree(file)->open("a.csv"), 1); });
    }
  }
  // Whatever follows is stopped where the declared size is passed, not at the end.
  const std::string file = write_zip({{"a.csv", std::string(std::size_t{20} << 20, 'a'), true, 1000}});
  const auto source = open_tree(file)->open("a.csv");
  std::string buffer(5000, '\0');
  expect_refused(file + ": a.csv", "more bytes come out instead of 1000", "download it again",
                 [&] { source->read(buffer); });
  EXPECT_LE(source->consumed(), 5000);
}

TEST_F(ArchiveTest, RefusesArchivesThatUnpackToTooMuch) {
  const std::string file = write_zip({{"a.csv", std::string(std::size_t{80} << 20, '\0')},
                                      {"lie.csv", "1,2,3\n", true, 0xFFFFFFFEU},
                                      {"dense.csv", std::string(1 << 20, 'x')}});
  const auto tree = open_tree(file);
  for (const std::string name : {"a.csv", "lie.csv"}) {
    expect_refused(file + ": " + name, "this unpacks to more than 1000 times its size", "check where it comes from",
                   [&] { tree->open(name); });
  }
  EXPECT_EQ(tree->read_all("dense.csv", kUnlimited), std::string(1 << 20, 'x'));
}

TEST_F(ArchiveTest, RefusesNamesThatLeadOutOfTheArchive) {
  for (const std::string& name : {"../ratings.csv"s, "a/../../ratings.csv"s, "/etc/ratings.csv"s, "a\\ratings.csv"s,
                                  "..\\ratings.csv"s, "C:/ratings.csv"s, "c:ratings.csv"s, ".."s, "."s,
                                  "./ratings.csv"s, "a//ratings.csv"s, "/"s, "a//"s, "../"s, ""s, "__MACOSX/../x"s}) {
    SCOPED_TRACE(name);
    for (const std::uint16_t flags : {std::uint16_t{0}, kUtf8}) {
      const std::string file = write_zip({{"a.csv"}, {name, "1,2,3\n", true, {}, {}, {}, flags}, {"z"}});
      expect_refused(file, fmt::format("a name in the archive, \"{}\", ", name), "do not trust this archive",
                     [&] { open_tree(file); });
    }
  }
  // A NUL does not hide what follows it.
  for (const std::string& name : {"ratings.csv\0.exe"s, "ratings.csv\0"s, "\0ratings.csv"s, "\0"s}) {
    const auto tree = open_tree(write_zip({{name}}));
    EXPECT_FALSE(tree->has("ratings.csv"));
    EXPECT_EQ(tree->names().size(), 1U);
  }
  const std::string file = write_zip({{"a\n/../x"}});
  expect_refused(file, "a name in the archive, \"a\\x0a/../x\", ", "do not trust this archive",
                 [&] { open_tree(file); });
  // What is absolute without the folder that all are in.
  expect_refused(write_zip({{"set/a"}, {"set/C:x"}}), "a name in the archive, \"set/C:x\", is an absolute path",
                 "do not trust this archive", [&] { open_tree(path("set.zip")); });
  EXPECT_EQ(open_tree(write_zip({{"a..b/..c/d..", "x"}}))->names(), std::vector<std::string>{"..c/d.."});
}

TEST_F(ArchiveTest, LooksForNothingOutsideTheTree) {
  fs::create_directory(folder_ / "set");
  write("secret", "x");
  write("set/ratings.csv", "1,2,3\n");
  for (const std::string& tree_path : {path("set"), write_zip({{"set/ratings.csv"}})}) {
    const auto tree = open_tree(tree_path);
    for (const std::string& name : {"../secret"s, path("secret"), ".."s, "."s, ""s, "/"s, "./ratings.csv"s,
                                    "x/../ratings.csv"s, "a\\b"s, "ratings.csv\0x"s, "ratings.csv/"s}) {
      SCOPED_TRACE(name);
      for (const auto& action : std::vector<std::function<void()>>{[&] { tree->has(name); }, [&] { tree->open(name); },
                                                                   [&] { tree->read_all(name, 100); }}) {
        expect_refused(tree_path, "the name \"", "name a file below this folder or archive", action);
      }
    }
  }
}

TEST_F(ArchiveTest, RefusesTheSameNameTwice) {
  for (const std::string top : {"", "set/"}) {
    const std::string file =
        write_zip({{top + "ratings.csv", "1,2,3\n"}, {"b", "x"}, {top + "ratings.csv", "1,2,4\n"}});
    expect_refused(file, fmt::format("the archive has \"{}ratings.csv\" more than once", top), "pack it anew",
                   [&] { open_tree(file); });
  }
}

TEST_F(ArchiveTest, RefusesEncryptedMembersButReadsTheOthers) {
  const std::string aes =
      little_endian(0x9901, 2) + little_endian(7, 2) + little_endian(2, 2) + "AE\x03" + little_endian(8, 2);
  const std::string file = write_zip({{"old.csv", std::string(100, 'x'), true, {}, {}, {}, kEncrypted},
                                      {"aes.csv", std::string(100, 'x'), true, {}, {}, 99, kEncrypted, aes},
                                      {"plain.csv", "1,2,3\n"}});
  const auto tree = open_tree(file);
  for (const std::string name : {"old.csv", "aes.csv"}) {
    EXPECT_TRUE(tree->has(name));
    expect_refused(file + ": " + name, "this is encrypted", "unpack it with its password", [&] { tree->open(name); });
  }
  EXPECT_EQ(tree->read_all("plain.csv", 100), "1,2,3\n");
}

TEST_F(ArchiveTest, RefusesOtherMethodsAndArchivesWithinArchives) {
  const std::string inner = make_zip({{"ratings.csv", "1,2,3\n"}});
  const std::string file = write_zip({{"a.csv", "x", true, {}, {}, 9},
                                      {"b.csv", "x", true, {}, {}, 1234},
                                      {"inner.zip", inner},
                                      {"stored.zip", inner, false}});
  const auto tree = open_tree(file);
  expect_refused(file + ": a.csv", "compressed by a method that is not supported (number 9)", "unpack it",
                 [&] { tree->open("a.csv"); });
  expect_refused(file + ": b.csv", "compressed by a method that is not supported (number 1234)", "unpack it",
                 [&] { tree->open("b.csv"); });
  for (const std::string name : {"inner.zip", "stored.zip"}) {
    expect_refused(file + ": " + name, "this is a zip archive within a zip archive", "unpack the outer one",
                   [&] { tree->read_all(name, kUnlimited); });
  }
  expect_refused(file, "this is a zip archive where a file of text is needed", "unpack it and name what comes out",
                 [&] { open_file(file); });
  EXPECT_TRUE(open_tree(write("a.zip", make_zip({})))->names().empty());
}

TEST_F(ArchiveTest, ReadsMembersBeyondFourGigabytes) {
  // Laid out as by hand: a sparse file, whose first member is a hole of 5 GiB.
  const std::uint64_t hole = std::uint64_t{5} << 30;
  const std::string content = some_ratings(100000);
  const std::string data = deflated(content, kRawBits);
  const auto checksum = crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size()));
  const std::string max32 = little_endian(0xFFFFFFFFU, 4);
  const auto header = [&](int method, std::uint64_t crc, const std::string& sizes, std::size_t name,
                          std::size_t extra) {
    return little_endian(45, 2) + little_endian(0, 2) + little_endian(static_cast<std::uint64_t>(method), 2) +
           little_endian(0, 4) + little_endian(crc, 4) + sizes + little_endian(name, 2) + little_endian(extra, 2);
  };
  const std::string hole_extra =
      little_endian(1, 2) + little_endian(16, 2) + little_endian(hole, 8) + little_endian(hole, 8);
  const std::string hole_header = header(0, 0, max32 + max32, 4, hole_extra.size());
  const std::string data_sizes = little_endian(data.size(), 4) + little_endian(content.size(), 4);
  const std::string start = "PK\x03\x04" + hole_header + "hole" + hole_extra;
  const std::uint64_t data_at = start.size() + hole;
  const std::string member = "PK\x03\x04" + header(8, checksum, data_sizes, 11, 0) + "ratings.csv" + data;
  const std::string at_extra = little_endian(1, 2) + little_endian(8, 2) + little_endian(data_at, 8);
  const std::string directory = "PK\x01\x02" + little_endian(45, 2) + hole_header + std::string(14, '\0') + "hole" +
                                hole_extra + "PK\x01\x02" + little_endian(45, 2) +
                                header(8, checksum, data_sizes, 11, at_extra.size()) + std::string(10, '\0') + max32 +
                                "ratings.csv" + at_extra;
  const std::uint64_t directory_at = data_at + member.size();
  const std::string end64 = "PK\x06\x06" + little_endian(44, 8) + little_endian(45, 2) + little_endian(45, 2) +
                            little_endian(0, 8) + little_endian(2, 8) + little_endian(2, 8) +
                            little_endian(directory.size(), 8) + little_endian(directory_at, 8);
  const std::string locator =
      "PK\x06\x07" + little_endian(0, 4) + little_endian(directory_at + directory.size(), 8) + little_endian(1, 4);
  const std::string end = "PK\x05\x06" + std::string(4, '\0') + little_endian(2, 2) + little_endian(2, 2) +
                          little_endian(directory.size(), 4) + max32 + little_endian(0, 2);
  const std::string file = path("large.zip");
  {
    std::ofstream out(file, std::ios::binary);
    out << start;
    out.seekp(static_cast<std::streamoff>(data_at));
    out << member << directory << end64 << locator << end;
    if (!out.flush()) {
      GTEST_SKIP() << "no sparse files of 5 GiB here";
    }
  }
  const auto tree = open_tree(file);
  EXPECT_EQ(tree->read_all("ratings.csv", kUnlimited), content);
  const auto source = tree->open("hole");
  EXPECT_EQ(source->size(), static_cast<std::int64_t>(hole));
  std::string buffer(1000, 'x');
  EXPECT_EQ(source->read(buffer), 1000U);
  EXPECT_EQ(buffer, std::string(1000, '\0'));
  const InputFile raw(file);
  EXPECT_EQ(raw.read_at(static_cast<std::int64_t>(data_at), std::span(buffer).first(4)), 4U);
  EXPECT_EQ(buffer.substr(0, 4), "PK\x03\x04");
}

// Folders.

TEST_F(ArchiveTest, ReadsFoldersAlike) {
  fs::create_directories(folder_ / "set" / "sub");
  write("set/ratings.csv", "1,2,3\n");
  write("set/movies.csv", gzipped("1,A,B\n"));
  write("set/sub/x.csv", "x");
  write("set/inner.zip", make_zip({{"ratings.csv"}}));
  fs::create_symlink("ratings.csv", folder_ / "set" / "link.csv");
  fs::create_symlink("nothing", folder_ / "set" / "dangling.csv");
  const auto tree = open_tree(path("set"));
  EXPECT_EQ(tree->path(), path("set"));
  EXPECT_EQ(tree->names(), (std::vector<std::string>{"inner.zip", "link.csv", "movies.csv", "ratings.csv"}));
  EXPECT_TRUE(tree->has("ratings.csv"));
  EXPECT_TRUE(tree->has("link.csv"));
  EXPECT_TRUE(tree->has("sub/x.csv"));
  EXPECT_FALSE(tree->has("sub"));
  EXPECT_FALSE(tree->has("dangling.csv"));
  EXPECT_FALSE(tree->has("ratings.csv/x"));
  EXPECT_FALSE(tree->has("ratings.dat"));
  EXPECT_EQ(tree->name_of("ratings.csv"), path("set/ratings.csv"));
  EXPECT_EQ(tree->open("ratings.csv")->name(), path("set/ratings.csv"));
  EXPECT_EQ(tree->read_all("ratings.csv", 100), "1,2,3\n");
  EXPECT_EQ(tree->read_all("movies.csv", 100), "1,A,B\n");
  expect_refused(path("set/ratings.csv"), "more than 5 bytes", "check", [&] { tree->read_all("ratings.csv", 5); });
  expect_refused(path("set/ratings.dat"), "no such file or folder", "check the path",
                 [&] { tree->open("ratings.dat"); });
  expect_refused(path("set/sub"), "this is a folder", "name a file in it", [&] { tree->open("sub"); });
  expect_refused(path("set/inner.zip"), "this is a zip archive", "unpack it", [&] { tree->open("inner.zip"); });
  EXPECT_TRUE(open_tree(path("set/sub") + "/")->has("x.csv"));
}

// What paths lead to.

TEST_F(ArchiveTest, TellsWhatAPathLeadsTo) {
  const std::string archive = make_zip({{"ratings.csv"}});
  EXPECT_EQ(path_kind(folder_.string()), PathKind::folder);
  EXPECT_EQ(path_kind(write("a.zip", archive)), PathKind::zip);
  EXPECT_EQ(path_kind(write("a.csv", archive)), PathKind::zip);
  EXPECT_EQ(path_kind(write("empty.zip", make_zip({}))), PathKind::zip);
  EXPECT_EQ(path_kind(write("a.gz", gzipped("x"))), PathKind::gzip);
  EXPECT_EQ(path_kind(write("a.txt", gzipped("x"))), PathKind::gzip);
  EXPECT_EQ(path_kind(write("a.zip", gzipped("x"))), PathKind::gzip);
  EXPECT_EQ(path_kind(write("a.csv", "1,2,3\n")), PathKind::file);
  EXPECT_EQ(path_kind(write("a.csv", "")), PathKind::file);
  EXPECT_EQ(path_kind(write("a.csv", "<html>")), PathKind::file);
  EXPECT_EQ(path_kind(write("unpacked.csv.gz", "1,2,3\n")), PathKind::file);
  EXPECT_EQ(path_kind(write("zip", "1,2,3\n")), PathKind::file);
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(path_kind(path("pipe")), PathKind::pipe);
  fs::create_symlink("a.gz", folder_ / "link");
  EXPECT_EQ(path_kind(path("link")), PathKind::gzip);
}

TEST_F(ArchiveTest, TellsFailedDownloads) {
  for (const std::string page : {"<!DOCTYPE html>\n<html>", "\n  <html><head>", "\xEF\xBB\xBF<?xml version='1.0'?>"}) {
    for (const std::string name : {"a.zip", "A.ZIP", "a.csv.gz"}) {
      const std::string file = write(name, page);
      const auto what = fmt::format("this is a web page instead of {}", name == "a.csv.gz" ? "gzip" : "a zip archive");
      expect_refused(file, what, "download it again", [&] { path_kind(file); });
      expect_refused(file, what, "download it again", [&] { open_tree(file); });
      expect_refused(file, what, "download it again", [&] { open_file(file); });
    }
  }
  for (const std::string name : {"a.zip", "a.gz"}) {
    const std::string file = write(name, "");
    expect_refused(file, "the file is empty instead of", "download it again", [&] { path_kind(file); });
  }
  for (const std::string content : {"1,2,3\n", "PK", "PK\x03", "  \n"}) {
    const std::string file = write("a.zip", content);
    expect_refused(file, "this is no zip archive, though its name says so", "download it again",
                   [&] { path_kind(file); });
  }
}

TEST_F(ArchiveTest, RefusesWhatCannotBeRead) {
  const auto expect_all_refused = [&](const std::string& file, const std::string& what, const std::string& remedy) {
    SCOPED_TRACE(file);
    expect_refused(file, what, remedy, [&] { path_kind(file); });
    expect_refused(file, what, remedy, [&] { open_file(file); });
    expect_refused(file, what, remedy, [&] { open_tree(file); });
  };
  expect_all_refused(path("missing"), "no such file or folder", "check the path");
  expect_all_refused(path("missing.zip"), "no such file or folder", "check the path");
  expect_all_refused(write("file", "x") + "/x", "no such file or folder", "check the path");
  expect_all_refused("", "no such file or folder", "check the path");
  expect_all_refused("/dev/null", "this is a device or a socket", "name a file");
  expect_all_refused("/dev/zero", "this is a device or a socket", "name a file");
  expect_all_refused(path(std::string(300, 'x')), "cannot read: ", "check that it is a file that you may read");
  fs::create_symlink("loop", folder_ / "loop");
  expect_all_refused(path("loop"), "cannot read: ", "check that it is a file that you may read");
  expect_refused(folder_.string(), "this is a folder", "name a file in it", [&] { open_file(folder_.string()); });
  expect_refused(path("file"), "the path has a NUL in it", "check the path", [&] { open_file(path("file") + "\0x"s); });
  expect_refused(path("file"), "neither a folder nor a zip archive", "name one of these",
                 [&] { open_tree(path("file")); });

  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string socket_path = path("socket");
  ASSERT_LT(socket_path.size(), sizeof(address.sun_path));
  std::copy(socket_path.begin(), socket_path.end(), address.sun_path);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  expect_all_refused(socket_path, "this is a device or a socket", "name a file");
  ::close(socket);
}

TEST_F(ArchiveTest, RefusesWhatMayNotBeRead) {
  const std::string file = write("ratings.csv", "1,2,3\n");
  const std::string archive = write_zip({{"ratings.csv"}});
  fs::create_directory(folder_ / "set");
  write("set/ratings.csv", "1,2,3\n");
  fs::permissions(folder_, fs::perms::all);
  for (const std::string& closed : {file, archive, path("set")}) {
    fs::permissions(closed, fs::perms::none);
  }
  // Permissions do not bind root.
  const uid_t user = ::geteuid();
  constexpr uid_t kNobody = 65534;
  if (user == 0 && ::seteuid(kNobody) != 0) {
    GTEST_SKIP() << "root that cannot become another user";
  }
  constexpr auto kWhat = "cannot read: Permission denied";
  constexpr auto kRemedy = "check that it is a file that you may read";
  expect_refused(file, kWhat, kRemedy, [&] { path_kind(file); });
  expect_refused(file, kWhat, kRemedy, [&] { open_file(file); });
  expect_refused(archive, kWhat, kRemedy, [&] { open_tree(archive); });
  const auto tree = open_tree(path("set"));
  expect_refused(path("set"), "cannot list this folder: Permission denied", "check its permissions",
                 [&] { tree->names(); });
  expect_refused(path("set/ratings.csv"), kWhat, "check its permissions", [&] { tree->has("ratings.csv"); });
  expect_refused(path("set/ratings.csv"), kWhat, kRemedy, [&] { tree->open("ratings.csv"); });
  ASSERT_EQ(::seteuid(user), 0);
  fs::permissions(path("set"), fs::perms::owner_all);
}

TEST_F(ArchiveTest, StreamsPipes) {
  const std::string pipe = path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string content = some_ratings(300000);
  const auto read_through = [&](const std::string& bytes, std::int64_t max_bytes = kUnlimited) {
    // A reader that gives up must not end the test.
    ::signal(SIGPIPE, SIG_IGN);
    std::thread writer([&] {
      std::ofstream out(pipe, std::ios::binary);
      // In pieces, so that reads come up short.
      for (std::size_t at = 0; at < bytes.size(); at += 50001) {
        out.write(bytes.data() + at, static_cast<std::streamsize>(std::min<std::size_t>(50001, bytes.size() - at)));
        out.flush();
      }
    });
    struct Join {
      std::thread& thread;
      ~Join() { thread.join(); }
    } join{writer};
    const auto source = open_file(pipe, max_bytes);
    EXPECT_EQ(source->name(), pipe);
    EXPECT_EQ(source->size(), std::nullopt);
    EXPECT_EQ(source->total(), 0);
    const std::string result = read_in_pieces(*source, 10001);
    EXPECT_EQ(source->consumed(), static_cast<std::int64_t>(bytes.size()));
    return result;
  };
  EXPECT_EQ(read_through(content), content);
  EXPECT_EQ(read_through(gzipped(content)), content);
  for (const std::string& tiny : {""s, "a"s, "abc"s, "abcd"s}) {
    EXPECT_EQ(read_through(tiny), tiny);
  }
  // What counts is what comes out.
  EXPECT_EQ(read_through(gzipped("abc") + std::string(1000, '\0'), 3), "abc");
  expect_refused(pipe, "the gzip data is cut off", "download it again",
                 [&] { read_through(gzipped(content).substr(0, 1000)); });
  expect_refused(pipe, "more than 1000 bytes", "check", [&] { read_through(content, 1000); });
  expect_refused(pipe, "a zip archive cannot be read through a pipe", "name the archive itself",
                 [&] { read_through(make_zip({{"ratings.csv"}})); });
  expect_refused(pipe, "neither a folder nor a zip archive", "name one of these", [&] { open_tree(pipe); });
}

// Files that change.

TEST_F(ArchiveTest, TellsFilesThatShrink) {
  const std::string content = some_ratings(1000000);
  constexpr auto kRemedy = "start again when nothing writes to it";
  std::string buffer(1000, '\0');
  for (const bool compress : {false, true}) {
    const std::string bytes = compress ? gzipped(content) : content;
    const std::string file = write("a", bytes);
    const auto source = open_file(file);
    EXPECT_EQ(source->read(buffer), 1000U);
    EXPECT_EQ(buffer, content.substr(0, 1000));
    fs::resize_file(file, bytes.size() - 1000);
    expect_refused(file,
                   fmt::format("shrank while it was read: it had {} bytes and ends after {} now", bytes.size(),
                               bytes.size() - 1000),
                   kRemedy, [&] { read_rest(*source); });
    fs::resize_file(file, 0);
    expect_refused(file, "and ends after", kRemedy, [&] { read_rest(*source); });
  }
  for (const bool compress : {false, true}) {
    const std::string file = write_zip({{"a.csv", content, compress}});
    const auto tree = open_tree(file);
    const auto source = tree->open("a.csv");
    EXPECT_EQ(source->read(buffer), 1000U);
    fs::resize_file(file, 100000);
    expect_refused(file, "shrank while it was read", kRemedy, [&] { read_rest(*source); });
    expect_refused(file, "shrank while it was read", kRemedy, [&] { tree->open("a.csv"); });
  }
}

TEST_F(ArchiveTest, ReadsFilesThatGrowToTheSizeTheyHad) {
  const std::string content = some_ratings(100000);
  std::string buffer(1000, '\0');
  for (const bool compress : {false, true}) {
    const std::string file = write("a", compress ? gzipped(content) : content);
    const auto source = open_file(file);
    EXPECT_EQ(source->read(buffer), 1000U);
    std::ofstream(file, std::ios::binary | std::ios::app) << "more";
    EXPECT_EQ(buffer + read_rest(*source), content);
  }
}

TEST_F(ArchiveTest, ReadsTheArchiveThatWasOpened) {
  const std::string content = some_ratings(100000);
  const std::string file = write_zip({{"a.csv", content}});
  const auto tree = open_tree(file);
  std::string other = make_zip({{"a.csv", "another"}});
  fs::rename(write("other.zip", other), file);
  EXPECT_EQ(tree->read_all("a.csv", kUnlimited), content);
  EXPECT_EQ(open_tree(file)->read_all("a.csv", kUnlimited), "another");
  fs::remove(file);
  EXPECT_EQ(tree->read_all("a.csv", kUnlimited), content);
}

}  // namespace
}  // namespace curate
