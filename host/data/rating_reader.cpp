#include "data/rating_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <future>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "curate/error.h"
#include "data/chunk_parser.h"
#include "data/delimited_text.h"
#include "data/piece_sizes.h"
#include "data/rating_table.h"

namespace curate {
namespace {

constexpr std::size_t kChunkBytes = kSmallPieces ? 96 : std::size_t{1} << 20U;
constexpr std::size_t kHeadBytes = kSmallPieces ? 160 : kChunkBytes;
// Step of the search, past the end of a chunk, for the end of its last line.
constexpr std::size_t kTailBytes = kSmallPieces ? 16 : std::size_t{4} << 10U;
constexpr std::size_t kMostLineBytes = kSmallPieces ? 1024 : std::size_t{16} << 20U;

constexpr const char* kReading = "reading";
constexpr const char* kLongLineRemedy = "check that it is a text file of ratings with a line end after each";

std::string long_line() {
  return fmt::format("a line of more than {} MiB", kMostLineBytes >> 20U);
}

void reserve(RatingTable& table, std::size_t rows, bool timestamps) {
  table.users.reserve(rows);
  table.items.reserve(rows);
  table.ratings.reserve(rows);
  table.timestamps.reserve(timestamps ? rows : 0);
}

/// No text of so many bytes has more rows.
std::size_t most_rows(const DelimitedFormat& format, bool timed, std::int64_t bytes) {
  // A character in each field that is read (others may be empty), the separators, the line end.
  const std::size_t shortest = (timed ? 4 : 3) + format.fields;
  return static_cast<std::size_t>(bytes) / shortest + 2;
}

/// The lines of a plain file that start in [begin, end), in a buffer that is used again and again.
class ChunkBuffer {
 public:
  /// Throws RowError, its offset counted from `begin`, for a line without end.
  std::string_view read(const InputFile& file, std::int64_t begin, std::int64_t end, bool first) {
    // From one byte earlier: is `begin` the start of a line? The first chunk's always is.
    from_ = first ? begin : begin - 1;
    const std::int64_t from = from_;
    const auto wanted =
        static_cast<std::size_t>(std::min(end + static_cast<std::int64_t>(kTailBytes), file.size()) - from);
    std::size_t size = fill(file, from, 0, wanted);
    const std::size_t own_end = static_cast<std::size_t>(end - from);
    // The line that holds the byte before `end` goes to its end.
    std::size_t stop = own_end >= size ? size : find_line_end(own_end - 1, size);
    while (stop == kNone && from + static_cast<std::int64_t>(size) < file.size()) {
      if (size - own_end > kMostLineBytes) {
        throw RowError{own_end - (first ? 0 : 1), long_line(), kLongLineRemedy};
      }
      const std::size_t searched = size;
      const auto left = static_cast<std::size_t>(file.size() - from) - size;
      size += fill(file, from + static_cast<std::int64_t>(size), size, std::min(left, size));
      stop = find_line_end(searched, size);
    }
    stop = stop == kNone ? size : stop;
    std::size_t start = 0;
    if (!first) {
      start = find_line_end(0, stop);
      start = start == kNone ? stop : start;
    }
    return {data() + start, stop - start};
  }

  /// Offset in the file of what read() returned.
  std::int64_t offset_of(std::string_view text) const { return from_ + (text.data() - data()); }

 private:
  static constexpr std::size_t kNone = std::string_view::npos;

  const char* data() const { return buffer_.data(); }

  /// Behind the first line end at or after `from`.
  std::size_t find_line_end(std::size_t from, std::size_t size) const {
    const void* newline = from < size ? std::memchr(data() + from, '\n', size - from) : nullptr;
    return newline == nullptr ? kNone : static_cast<std::size_t>(static_cast<const char*>(newline) - data()) + 1;
  }

  std::size_t fill(const InputFile& file, std::int64_t offset, std::size_t at, std::size_t count) {
    buffer_.make_room(at + count);
    return file.read_at(offset, {buffer_.data() + at, count});
  }

  ScanBuffer buffer_;
  std::int64_t from_ = 0;  ///< offset of the first byte in the buffer
};

/// A wrong row and its offset in the file.
struct PlacedError {
  RowError error;
  std::int64_t offset = 0;
};

/// Line of an offset in a plain file, by counting.
std::int64_t line_in_file(const InputFile& file, std::int64_t offset) {
  std::vector<char> buffer(kChunkBytes);
  std::int64_t line = 1;
  for (std::int64_t at = 0; at < offset;) {
    const auto wanted = static_cast<std::size_t>(std::min(offset - at, static_cast<std::int64_t>(buffer.size())));
    const std::size_t got = file.read_at(at, std::span<char>(buffer).first(wanted));
    if (got == 0) {
      break;
    }
    line += std::count(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(got), '\n');
    at += static_cast<std::int64_t>(got);
  }
  return line;
}

/// Copies text to the start of a buffer and returns its length.
std::size_t put(std::string_view text, ScanBuffer& buffer) {
  buffer.make_room(text.size());
  return text.copy(buffer.data(), text.size());
}

/// Reads a plain file on all threads. Chunks are parsed side by side. A chunk waits for those before it with numbering
/// its ids and placing its rows. The pool starts chunks in order, so that some thread is always at work on the one that
/// is waited for.
class FileReader {
 public:
  FileReader(const InputFile& file, const DelimitedFormat& format, const ReadOptions& options, IdMap& users,
             IdMap& items)
      : file_(file),
        format_(format),
        options_(options),
        users_(users),
        items_(items),
        timed_(options.timestamps && format.timestamp != kNoColumn),
        body_(static_cast<std::int64_t>(format.body)) {}

  /// Throws InputError for the first line that is wrong.
  RatingTable read(const std::string& name, ThreadPool& pool) {
    // Room for the most rows that there could be: memory that is not written costs nothing.
    resize_rows(table_, most_rows(format_, timed_, file_.size() - body_), timed_);
    const auto chunk_bytes = static_cast<std::int64_t>(kChunkBytes);
    pool.run((file_.size() - body_ + chunk_bytes - 1) / chunk_bytes, [&](std::int64_t chunk) { read_chunk(chunk); });
    if (error_) {
      try {
        std::rethrow_exception(error_);
      } catch (const PlacedError& bad) {
        throw_input_error(name, line_in_file(file_, bad.offset), bad.error.what, bad.error.remedy);
      }
    }
    resize_rows(table_, rows_, timed_);
    if (options_.progress) {
      options_.progress(kReading, file_.size(), file_.size());
    }
    return std::move(table_);
  }

 private:
  struct Worker {
    explicit Worker(FileReader& reader)
        : parser(reader.format_, reader.options_, reader.timed_, reader.known_users_, reader.known_items_) {}
    ChunkParser parser;
    ChunkBuffer buffer;
  };

  std::int64_t begin_of(std::int64_t chunk) const {
    return std::min(body_ + chunk * static_cast<std::int64_t>(kChunkBytes), file_.size());
  }

  void read_chunk(std::int64_t chunk) {
    std::unique_ptr<Worker> worker = take_worker();
    if (!worker) {
      return;
    }
    const std::exception_ptr failed = parse(chunk, *worker);
    const std::optional<std::size_t> first_row = take_turn(chunk, worker->parser, failed);
    if (!first_row) {
      return;
    }
    worker->parser.store(table_, *first_row);
    {
      const std::lock_guard lock(mutex_);
      idle_.push_back(std::move(worker));
    }
    if (options_.progress && std::this_thread::get_id() == caller_) {
      options_.progress(kReading, begin_of(chunk + 1), file_.size());
    }
  }

  /// Null after an error.
  std::unique_ptr<Worker> take_worker() {
    {
      const std::lock_guard lock(mutex_);
      if (error_) {
        return nullptr;
      }
      if (!idle_.empty()) {
        std::unique_ptr<Worker> worker = std::move(idle_.back());
        idle_.pop_back();
        return worker;
      }
    }
    return std::make_unique<Worker>(*this);
  }

  /// Returns what went wrong, if anything did.
  std::exception_ptr parse(std::int64_t chunk, Worker& worker) const {
    std::int64_t offset = begin_of(chunk);
    try {
      const std::string_view text = worker.buffer.read(file_, offset, begin_of(chunk + 1), chunk == 0);
      offset = worker.buffer.offset_of(text);
      // The last line may have begun before the last chunk.
      worker.parser.parse(text, offset + static_cast<std::int64_t>(text.size()) == file_.size());
      return nullptr;
    } catch (const RowError& bad) {
      return std::make_exception_ptr(PlacedError{bad, offset + static_cast<std::int64_t>(bad.offset)});
    } catch (...) {
      return std::current_exception();
    }
  }

  /// Waits until the chunks before are placed, then numbers the ids that this one brings. Returns where its rows go, or
  /// nothing after an error, this chunk's or an earlier one's.
  std::optional<std::size_t> take_turn(std::int64_t chunk, ChunkParser& parser, std::exception_ptr failed) {
    std::unique_lock lock(mutex_);
    turns_.wait(lock, [&] { return turn_ == chunk || error_; });
    if (error_) {
      return std::nullopt;
    }
    if (!failed) {
      try {
        parser.resolve(users_, items_);
      } catch (...) {
        failed = std::current_exception();
      }
    }
    error_ = failed;
    const std::size_t first_row = rows_;
    rows_ += parser.rows();
    ++turn_;
    turns_.notify_all();
    return error_ ? std::nullopt : std::optional(first_row);
  }

  const InputFile& file_;
  const DelimitedFormat& format_;
  const ReadOptions& options_;
  IdMap& users_;
  IdMap& items_;
  const bool timed_;
  const std::int64_t body_;
  const std::thread::id caller_ = std::this_thread::get_id();
  RatingTable table_;  ///< a chunk's rows are written by its thread alone
  KnownIds known_users_;
  KnownIds known_items_;

  std::mutex mutex_;  ///< of all that follows
  std::condition_variable turns_;
  std::vector<std::unique_ptr<Worker>> idle_;
  std::int64_t turn_ = 0;  ///< the chunk that is placed next
  std::size_t rows_ = 0;
  std::exception_ptr error_;  ///< of the first chunk that had one
};

}  // namespace

RatingText::RatingText(const std::string& path) : name_(path) {
  if (path_kind(path) == PathKind::file) {
    file_ = std::make_unique<InputFile>(path);
    if (file_->size() == 0) {
      // Some files of size 0 have content all the same (/proc), or cannot be read.
      file_.reset();
      head_ = read_text(path);
      whole_head_ = true;
      return;
    }
    head_.resize(static_cast<std::size_t>(std::min(file_->size(), static_cast<std::int64_t>(kHeadBytes))));
    head_.resize(file_->read_at(0, head_));
    whole_head_ = static_cast<std::int64_t>(head_.size()) == file_->size();
    return;
  }
  open_stream(open_file(path));
}

RatingText::RatingText(const FileTree& tree, const std::string& name) : name_(tree.name_of(name)) {
  open_stream(tree.open(name));
}

void RatingText::open_stream(std::unique_ptr<ByteSource> source) {
  source_ = std::move(source);
  name_ = source_->name();
  head_.resize(kHeadBytes);
  head_.resize(source_->read(head_));
  whole_head_ = head_.size() < kHeadBytes;
}

DelimitedFormat RatingText::detect(DelimitedContent content) {
  return detect_format(head_, name_, content);
}

RatingTable RatingText::read(const DelimitedFormat& format, const ReadOptions& options, IdMap& users, IdMap& items,
                             ThreadPool& pool) {
  RatingTable table =
      file_ ? read_file(format, options, users, items, pool) : read_stream(format, options, users, items);
  if (table.size() == 0) {
    throw_input_error(name_, line_number(head_, format.body == 0 ? 0 : format.body - 1), "nothing follows the header",
                      "add lines of data below it");
  }
  return table;
}

void RatingText::for_each_block(const DelimitedFormat& format,
                                const std::function<void(std::string_view lines, std::int64_t first)>& use) {
  std::string text = head_.substr(format.body);
  std::int64_t first = line_number(head_, format.body);
  auto offset = static_cast<std::int64_t>(head_.size());
  bool ended = whole_head_;
  while (true) {
    const std::size_t last_newline = text.rfind('\n');
    const std::size_t whole = ended ? text.size() : last_newline == std::string::npos ? 0 : last_newline + 1;
    const std::string_view lines = std::string_view(text).substr(0, whole);
    if (!lines.empty()) {
      use(lines, first);
    }
    if (ended) {
      return;
    }
    first += std::count(lines.begin(), lines.end(), '\n');
    text.erase(0, whole);
    const std::size_t rest = text.size();
    text.resize(rest + kChunkBytes);
    const std::span<char> room(text.data() + rest, kChunkBytes);
    const std::size_t got = file_ ? file_->read_at(offset, room) : source_->read(room);
    offset += static_cast<std::int64_t>(got);
    text.resize(rest + got);
    ended = got < kChunkBytes;
  }
}

RatingTable RatingText::read_file(const DelimitedFormat& format, const ReadOptions& options, IdMap& users, IdMap& items,
                                  ThreadPool& pool) const {
  return FileReader(*file_, format, options, users, items).read(name_, pool);
}

RatingTable RatingText::read_stream(const DelimitedFormat& format, const ReadOptions& options, IdMap& users,
                                    IdMap& items) {
  const bool timed = options.timestamps && format.timestamp != kNoColumn;
  RatingTable table;
  std::size_t rows = 0;
  if (source_) {
    // Of compressed files the size of the text is a guess: if it falls short the columns grow.
    constexpr std::int64_t kUsualRatio = 6;
    reserve(table, most_rows(format, timed, source_->size().value_or(kUsualRatio * source_->total())), timed);
  }
  KnownIds known_users;
  KnownIds known_items;
  ChunkParser parser(format, options, timed, known_users, known_items);
  std::int64_t lines = line_number(head_, format.body);
  // Two buffers: one is parsed while the other is filled. Each starts with the line that the other one cut off.
  ScanBuffer current;
  std::size_t size = put(std::string_view(head_).substr(format.body), current);
  bool ended = whole_head_;
  while (true) {
    const std::string_view text(current.data(), size);
    const std::size_t last_newline = text.rfind('\n');
    const std::size_t whole = ended ? size : last_newline == std::string_view::npos ? 0 : last_newline + 1;
    const std::string_view rest = text.substr(whole);
    if (rest.size() > kMostLineBytes) {
      throw_input_error(name_, lines + std::count(text.begin(), text.end(), '\n'), long_line(), kLongLineRemedy);
    }
    ScanBuffer next;
    std::future<std::size_t> filled;
    if (!ended) {
      next.make_room(rest.size() + kChunkBytes);
      const std::span<char> room(next.data() + put(rest, next), kChunkBytes);
      filled = std::async(std::launch::async, [this, room] { return source_->read(room); });
    }
    if (whole > 0) {
      try {
        parser.parse(text.substr(0, whole), ended);
      } catch (const RowError& error) {
        throw_input_error(name_, lines + line_number(text, error.offset) - 1, error.what, error.remedy);
      }
      parser.resolve(users, items);
      resize_rows(table, rows + parser.rows(), timed);
      parser.store(table, rows);
      rows += parser.rows();
      lines += std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(whole), '\n');
    }
    if (ended) {
      return table;
    }
    const std::size_t got = filled.get();
    if (options.progress) {
      options.progress(kReading, source_->consumed(), source_->total());
    }
    ended = got < kChunkBytes;
    size = rest.size() + got;
    current = std::move(next);
  }
}

}  // namespace curate
