#include "data/archive.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "support/printable.h"

namespace curate {
namespace {

using namespace std::string_view_literals;
namespace fs = std::filesystem;

constexpr std::string_view kUnpackRemedy = "unpack it and name what comes out";

/// What is wrong with a name as the path of a file below something, or nothing.
std::string_view fault_of_name(std::string_view name) {
  if (name.find('\0') != std::string_view::npos) {
    return "has a NUL in it";
  }
  if (name.find('\\') != std::string_view::npos) {
    return "has a backslash in it";
  }
  if (name.starts_with('/') || (name.size() >= 2 && name[1] == ':')) {
    return "is an absolute path";
  }
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t end = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") {
      return "has a part that is empty, `.` or `..`";
    }
    start = end + 1;
  }
  return {};
}

void check_name(std::string_view name, const std::string& tree) {
  const std::string_view fault = fault_of_name(name);
  if (!fault.empty()) {
    throw_source_error(tree, fmt::format("the name \"{}\" {}", printable(name), fault),
                       "name a file below this folder or archive");
  }
}

class Folder : public FileTree {
 public:
  explicit Folder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const override { return path_; }

  std::string name_of(const std::string& name) const override { return (fs::path(path_) / name).string(); }

  bool has(const std::string& name) const override {
    check_name(name, path_);
    std::error_code error;
    const fs::file_status status = fs::status(name_of(name), error);
    if (status.type() == fs::file_type::none) {
      throw_source_error(name_of(name), fmt::format("cannot read: {}", error.message()), "check its permissions");
    }
    return fs::exists(status) && !fs::is_directory(status);
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> result;
    std::error_code error;
    for (fs::directory_iterator entry(path_, error), end; !error && entry != end; entry.increment(error)) {
      std::error_code dangling;
      if (entry->is_regular_file(dangling)) {
        result.push_back(entry->path().filename().string());
      }
    }
    if (error) {
      throw_source_error(path_, fmt::format("cannot list this folder: {}", error.message()), "check its permissions");
    }
    std::sort(result.begin(), result.end());
    return result;
  }

  std::unique_ptr<ByteSource> open(const std::string& name, std::int64_t max_bytes) const override {
    check_name(name, path_);
    return open_file(name_of(name), max_bytes);
  }

 private:
  std::string path_;
};

struct Discard {
  void operator()(zip_t* zip) const { ::zip_discard(zip); }
  void operator()(zip_file_t* file) const { ::zip_fclose(file); }
  void operator()(zip_source_t* source) const { ::zip_source_free(source); }
};

/// libzip on an archive that others read at the same time. It has its own place in the file; the file is theirs, too.
class ZipReader {
 public:
  explicit ZipReader(std::shared_ptr<const InputFile> file) : file_(std::move(file)) {
    zip_error_t error;
    ::zip_error_init(&error);
    const std::unique_ptr<zip_error_t, decltype(&::zip_error_fini)> fini(&error, &::zip_error_fini);
    std::unique_ptr<zip_source_t, Discard> source(::zip_source_function_create(&ZipReader::call, this, &error));
    if (source != nullptr) {
      zip_.reset(::zip_open_from_source(source.get(), ZIP_RDONLY, &error));
    }
    if (zip_ == nullptr) {
      fail(error, file_->path());
    }
    static_cast<void>(source.release());  // zip_ has it now
  }
  ZipReader(const ZipReader&) = delete;
  ZipReader& operator=(const ZipReader&) = delete;
  ~ZipReader() {
    zip_.reset();
    ::zip_error_fini(&call_error_);
  }

  zip_t* get() const { return zip_.get(); }

  /// Throws what `error` says, or, if the file could not be read, what kept it from being read.
  [[noreturn]] void fail(zip_error_t& error, const std::string& name) const {
    if (failure_ != nullptr) {
      std::rethrow_exception(failure_);
    }
    const std::string_view text = ::zip_error_strerror(&error);
    switch (::zip_error_code_zip(&error)) {
      case ZIP_ER_MULTIDISK:
        throw_source_error(name, "this is one part of a split zip archive", kUnpackRemedy);
      case ZIP_ER_CRC:
        throw_source_error(name, "the checksum does not match: the zip archive is damaged", kDownloadRemedy);
      case ZIP_ER_NOPASSWD:
      case ZIP_ER_WRONGPASSWD:
      case ZIP_ER_ENCRNOTSUPP:
        throw_source_error(name, "this is encrypted", "unpack it with its password and name what comes out");
      case ZIP_ER_COMPNOTSUPP:
        throw_source_error(name, "this is compressed by a method that is not supported", kUnpackRemedy);
      default:
        throw_source_error(name, fmt::format("the zip archive is cut off or damaged ({})", text), kDownloadRemedy);
    }
  }

 private:
  static zip_int64_t call(void* self, void* data, zip_uint64_t length, zip_source_cmd_t command) noexcept {
    return static_cast<ZipReader*>(self)->serve(data, length, command);
  }

  zip_int64_t serve(void* data, zip_uint64_t length, zip_source_cmd_t command) noexcept {
    switch (command) {
      case ZIP_SOURCE_SUPPORTS:
        return ZIP_SOURCE_SUPPORTS_SEEKABLE;
      case ZIP_SOURCE_OPEN:
        offset_ = 0;
        return 0;
      case ZIP_SOURCE_CLOSE:
      case ZIP_SOURCE_FREE:
        return 0;
      case ZIP_SOURCE_READ:
        try {
          const std::size_t got = file_->read_at(offset_, {static_cast<char*>(data), static_cast<std::size_t>(length)});
          offset_ += static_cast<std::int64_t>(got);
          return static_cast<zip_int64_t>(got);
        } catch (...) {
          failure_ = std::current_exception();
          ::zip_error_set(&call_error_, ZIP_ER_READ, 0);
          return -1;
        }
      case ZIP_SOURCE_SEEK: {
        const zip_int64_t offset = ::zip_source_seek_compute_offset(
            static_cast<zip_uint64_t>(offset_), static_cast<zip_uint64_t>(file_->size()), data, length, &call_error_);
        if (offset < 0) {
          return -1;
        }
        offset_ = offset;
        return 0;
      }
      case ZIP_SOURCE_TELL:
        return offset_;
      case ZIP_SOURCE_STAT: {
        if (length < sizeof(zip_stat_t)) {
          ::zip_error_set(&call_error_, ZIP_ER_INVAL, 0);
          return -1;
        }
        auto* const stat = static_cast<zip_stat_t*>(data);
        ::zip_stat_init(stat);
        stat->size = static_cast<zip_uint64_t>(file_->size());
        stat->valid = ZIP_STAT_SIZE;
        return sizeof(zip_stat_t);
      }
      case ZIP_SOURCE_ERROR:
        return ::zip_error_to_data(&call_error_, data, length);
      default:
        ::zip_error_set(&call_error_, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
  }

  std::shared_ptr<const InputFile> file_;
  std::int64_t offset_ = 0;
  std::exception_ptr failure_;
  zip_error_t call_error_{};
  std::unique_ptr<zip_t, Discard> zip_;
};

class ZipSource : public ByteSource {
 public:
  ZipSource(std::shared_ptr<const InputFile> file, zip_uint64_t index, std::string name, std::int64_t max_bytes)
      : ByteSource(std::move(name)), archive_size_(file->size()), reader_(std::move(file)) {
    zip_stat_t stat;
    ::zip_stat_init(&stat);
    constexpr zip_uint64_t kNeeded =
        ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (::zip_stat_index(reader_.get(), index, 0, &stat) != 0 || (stat.valid & kNeeded) != kNeeded) {
      reader_.fail(*::zip_get_error(reader_.get()), this->name());
    }
    if (stat.encryption_method != ZIP_EM_NONE) {
      throw_source_error(this->name(), "this is encrypted", "unpack it with its password and name what comes out");
    }
    if (::zip_compression_method_supported(stat.comp_method, 0) == 0) {
      throw_source_error(
          this->name(),
          fmt::format("this is compressed by a method that is not supported (number {})", stat.comp_method),
          kUnpackRemedy);
    }
    // A member cannot have more packed bytes than the archive has, whatever it says.
    size_ = saturated(stat.size);
    check_inflated(size_, std::min(saturated(stat.comp_size), archive_size_), max_bytes, this->name());
    file_.reset(::zip_fopen_index(reader_.get(), index, 0));
    if (file_ == nullptr) {
      reader_.fail(*::zip_get_error(reader_.get()), this->name());
    }
  }

  std::size_t read(std::span<char> buffer) override {
    std::size_t filled = 0;
    while (filled < buffer.size() && !ended_) {
      filled += take(buffer.subspan(filled));
    }
    const bool is_first = filled > 0 && produced_ == static_cast<std::int64_t>(filled);
    if (is_first && std::string_view(buffer.data(), filled).starts_with("PK\x03\x04"sv)) {
      throw_source_error(name(), "this is a zip archive within a zip archive", "unpack the outer one");
    }
    if (produced_ == size_ && !ended_) {
      // libzip compares the checksum only when it is asked for what comes after the last byte.
      char beyond = 0;
      take({&beyond, 1});
    }
    return filled;
  }
  std::optional<std::int64_t> size() const override { return size_; }
  std::int64_t consumed() const override { return produced_; }
  std::int64_t total() const override { return size_; }

 private:
  static std::int64_t saturated(zip_uint64_t size) {
    return static_cast<std::int64_t>(std::min(size, static_cast<zip_uint64_t>(kUnlimited)));
  }

  std::size_t take(std::span<char> buffer) {
    const zip_int64_t got = ::zip_fread(file_.get(), buffer.data(), buffer.size());
    if (got < 0) {
      reader_.fail(*::zip_file_get_error(file_.get()), name());
    }
    produced_ += got;
    ended_ = got == 0;
    if (produced_ > size_ || (ended_ && produced_ < size_)) {
      throw_source_error(name(),
                         fmt::format("the zip archive is damaged: {} bytes come out instead of {}",
                                     ended_ ? fmt::format("{}", produced_) : "more", size_),
                         kDownloadRemedy);
    }
    return static_cast<std::size_t>(got);
  }

  std::int64_t archive_size_;
  ZipReader reader_;
  std::unique_ptr<zip_file_t, Discard> file_;  // goes before its archive
  std::int64_t size_ = 0;
  std::int64_t produced_ = 0;
  bool ended_ = false;
};

class ZipArchive : public FileTree {
 public:
  explicit ZipArchive(const std::string& path) : file_(std::make_shared<const InputFile>(path)) {
    const ZipReader reader(file_);
    const zip_int64_t count = ::zip_get_num_entries(reader.get(), 0);
    for (zip_uint64_t index = 0; index < static_cast<zip_uint64_t>(std::max<zip_int64_t>(count, 0)); ++index) {
      add(reader, index);
    }
    drop_what_macos_adds();
    strip_top_folder();
  }

  const std::string& path() const override { return file_->path(); }

  std::string name_of(const std::string& name) const override {
    return fmt::format("{}: {}", path(), printable(top_folder_ + name));
  }

  bool has(const std::string& name) const override {
    check_name(name, path());
    return members_.contains(name);
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> result;
    for (const auto& [name, index] : members_) {
      result.push_back(name);
    }
    return result;
  }

  std::unique_ptr<ByteSource> open(const std::string& name, std::int64_t max_bytes) const override {
    check_name(name, path());
    const auto found = members_.find(name);
    if (found == members_.end()) {
      throw_source_error(name_of(name), "no such file in the archive", "check the name");
    }
    return std::make_unique<ZipSource>(file_, found->second, name_of(name), max_bytes);
  }

 private:
  void add(const ZipReader& reader, zip_uint64_t index) {
    // In UTF-8, with a space where the archive has a NUL: such a name is never taken for another.
    const char* const given = ::zip_get_name(reader.get(), index, ZIP_FL_ENC_GUESS);
    const std::string name = given != nullptr ? given : "";
    const bool is_folder = name.ends_with('/');
    const std::string_view bare = is_folder ? std::string_view(name).substr(0, name.size() - 1) : name;
    check_member(bare, name);
    if (!is_folder && !members_.emplace(name, index).second) {
      throw_source_error(path(), fmt::format("the archive has \"{}\" more than once", printable(name)),
                         "pack it anew with one of them");
    }
  }

  /// `name`: as the archive spells it.
  void check_member(std::string_view below, const std::string& name) const {
    const std::string_view fault = fault_of_name(below);
    if (!fault.empty()) {
      throw_source_error(path(), fmt::format("a name in the archive, \"{}\", {}", printable(name), fault),
                         "do not trust this archive, or pack it anew with plain names");
    }
  }

  void drop_what_macos_adds() {
    std::erase_if(members_, [](const auto& member) {
      const std::string_view name = member.first;
      return name.starts_with("__MACOSX/") || name == ".DS_Store" || name.ends_with("/.DS_Store");
    });
  }

  /// Names are without the folder that all of them are in, if there is one.
  void strip_top_folder() {
    if (members_.empty()) {
      return;
    }
    const std::string& first = members_.begin()->first;
    const std::string folder = first.substr(0, first.find('/') + 1);
    if (folder.empty() || !std::all_of(members_.begin(), members_.end(),
                                       [&](const auto& member) { return member.first.starts_with(folder); })) {
      return;
    }
    std::map<std::string, zip_uint64_t> stripped;
    for (const auto& [name, index] : members_) {
      // set/C:x has become absolute.
      check_member(name.substr(folder.size()), name);
      stripped.emplace(name.substr(folder.size()), index);
    }
    members_ = std::move(stripped);
    top_folder_ = folder;
  }

  std::shared_ptr<const InputFile> file_;
  std::map<std::string, zip_uint64_t> members_;  ///< index by name
  std::string top_folder_;                       ///< with a slash behind it, or empty
};

}  // namespace

std::string FileTree::read_all(const std::string& name, std::int64_t max_bytes) const {
  return curate::read_all(*open(name, max_bytes), max_bytes);
}

std::unique_ptr<FileTree> open_tree(const std::string& path) {
  switch (path_kind(path)) {
    case PathKind::folder:
      return std::make_unique<Folder>(path);
    case PathKind::zip:
      return std::make_unique<ZipArchive>(path);
    case PathKind::gzip:
    case PathKind::file:
    case PathKind::pipe:
      break;
  }
  throw_source_error(path, "neither a folder nor a zip archive", "name one of these");
}

}  // namespace curate
