#include "data/rating_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <future>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>

#include "curate/error.h"
#include "data/chunk_ids.h"
#include "data/delimited_text.h"
#include "data/piece_sizes.h"
#include "data/row_parser.h"
#include "data/row_scanner.h"

namespace curate {
namespace {

constexpr std::size_t kChunkBytes = kSmallPieces ? 96 : std::size_t{1} << 20U;
constexpr std::size_t kHeadBytes = kSmallPieces ? 160 : kChunkBytes;
// Step of the search, past the end of a chunk, for the end of its last line.
constexpr std::size_t kTailBytes = kSmallPieces ? 16 : std::size_t{4} << 10U;
constexpr std::size_t kMostLineBytes = kSmallPieces ? 1024 : std::size_t{16} << 20U;
// The most lines that go to the slow parser at once while the fast one reads none.
constexpr std::size_t kMostSlowLines = 256;

constexpr const char* kReading = "reading";
constexpr const char* kLongLineRemedy = "check that it is a text file of ratings with a line end after each";

std::pair<float, float> accepted_range(const ReadOptions& options) {
  // Finite ones, unless the caller says more.
  return options.rating_range.value_or(
      std::pair(std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()));
}

std::string long_line() {
  return fmt::format("a line of more than {} MiB", kMostLineBytes >> 20U);
}

/// One thread's working memory: parses chunks into columns.
class ChunkParser {
 public:
  ChunkParser(const DelimitedFormat& format, const ReadOptions& options, bool timestamps, KnownIds& known_users,
              KnownIds& known_items)
      : format_(format),
        range_(options.rating_range),
        timed_(timestamps),
        scanner_(format, accepted_range(options), timestamps),
        user_ids_(known_users),
        item_ids_(known_items) {}

  /// Whole lines; kSlack bytes before and behind them may be read. Throws RowError.
  void parse(std::string_view text, bool last) {
    user_ids_.clear();
    item_ids_.clear();
    rows_ = 0;
    const char* at = text.data();
    const char* const end = text.data() + text.size();
    std::size_t slow_lines = 1;
    while (at < end) {
      const std::size_t count = scanner_.scan(at, end, block_);
      if (count > 0) {
        add(text, block_.users.data(), block_.items.data(), block_.ratings.data(), block_.timestamps.data(), count);
        slow_lines = 1;
        if (count == RowBlock::kCapacity || at == end) {
          continue;
        }
      }
      // An odd line, or the last of a text that does not end in one.
      const auto begin = static_cast<std::size_t>(at - text.data());
      std::size_t next = begin;
      for (std::size_t line = 0; line < slow_lines && next < text.size(); ++line) {
        next_line(text, next);
      }
      slow_.users.clear();
      slow_.items.clear();
      slow_.ratings.clear();
      slow_.timestamps.clear();
      RowParser(text, format_, range_, last, slow_).parse(begin, next);
      add(text, slow_.users.data(), slow_.items.data(), slow_.ratings.data(), slow_.timestamps.data(),
          slow_.users.size());
      at = text.data() + next;
      slow_lines = count > 0 ? 1 : std::min(2 * slow_lines, kMostSlowLines);
    }
  }

  std::size_t rows() const { return rows_; }

  /// Numbers the ids that are new; chunk by chunk, one thread at a time.
  void resolve(IdMap& users, IdMap& items) {
    user_ids_.resolve(users);
    item_ids_.resolve(items);
  }

  /// What parse() found, after resolve().
  void store(RatingTable& table, std::size_t first_row) const {
    user_ids_.finish(users_.data(), rows_, table.users.data() + first_row);
    item_ids_.finish(items_.data(), rows_, table.items.data() + first_row);
    std::copy_n(ratings_.begin(), rows_, table.ratings.data() + first_row);
    if (timed_) {
      std::copy_n(timestamps_.begin(), rows_, table.timestamps.data() + first_row);
    }
  }

 private:
  void add(std::string_view text, const std::int64_t* users, const std::int64_t* items, const float* ratings,
           const std::int64_t* timestamps, std::size_t count) {
    if (rows_ + count > users_.size()) {
      const std::size_t size = std::max<std::size_t>(1U << 15U, 2 * (rows_ + count));
      users_.resize(size);
      items_.resize(size);
      ratings_.resize(size);
      timestamps_.resize(timed_ ? size : 0);
    }
    if (format_.user_text) {
      user_ids_.map_texts(text, users, count, users_.data() + rows_);
    } else {
      user_ids_.map(users, count, users_.data() + rows_);
    }
    if (format_.item_text) {
      item_ids_.map_texts(text, items, count, items_.data() + rows_);
    } else {
      item_ids_.map(items, count, items_.data() + rows_);
    }
    std::copy_n(ratings, count, ratings_.data() + rows_);
    if (timed_) {
      std::copy_n(timestamps, count, timestamps_.data() + rows_);
    }
    rows_ += count;
  }

  const DelimitedFormat& format_;
  std::optional<std::pair<float, float>> range_;
  bool timed_;
  RowScanner scanner_;
  RowBlock block_{};
  RawRatings slow_;
  ChunkIds user_ids_;
  ChunkIds item_ids_;
  std::size_t rows_ = 0;
  Column<std::int32_t> users_;
  Column<std::int32_t> items_;
  Column<float> ratings_;
  Column<std::int64_t> timestamps_;
};

void resize(RatingTable& table, std::size_t rows, bool timestamps) {
  table.users.resize(rows);
  table.items.resize(rows);
  table.ratings.resize(rows);
  table.timestamps.resize(timestamps ? rows : 0);
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

  const char* data() const { return buffer_.data() + RowScanner::kSlack; }

  /// Behind the first line end at or after `from`.
  std::size_t find_line_end(std::size_t from, std::size_t size) const {
    const void* newline = from < size ? std::memchr(data() + from, '\n', size - from) : nullptr;
    return newline == nullptr ? kNone : static_cast<std::size_t>(static_cast<const char*>(newline) - data()) + 1;
  }

  std::size_t fill(const InputFile& file, std::int64_t offset, std::size_t at, std::size_t count) {
    if (buffer_.size() < at + count + 2 * RowScanner::kSlack) {
      buffer_.resize(at + count + 2 * RowScanner::kSlack);
    }
    return file.read_at(offset, std::span<char>(buffer_).subspan(RowScanner::kSlack + at, count));
  }

  std::vector<char> buffer_;
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

RatingTable RatingText::read_file(const DelimitedFormat& format, const ReadOptions& options, IdMap& users, IdMap& items,
                                  ThreadPool& pool) const {
  const auto body = static_cast<std::int64_t>(format.body);
  const std::int64_t count =
      (file_->size() - body + static_cast<std::int64_t>(kChunkBytes) - 1) / static_cast<std::int64_t>(kChunkBytes);
  const bool timed = options.timestamps && format.timestamp != kNoColumn;
  // Room for the most rows that there could be: memory that is not written costs nothing.
  RatingTable table;
  resize(table, most_rows(format, timed, file_->size() - body), timed);
  KnownIds known_users;
  KnownIds known_items;

  struct Worker {
    Worker(const DelimitedFormat& format, const ReadOptions& options, bool timed, KnownIds& users, KnownIds& items)
        : parser(format, options, timed, users, items) {}
    ChunkParser parser;
    ChunkBuffer buffer;
  };
  std::mutex mutex;  // of all that follows
  std::vector<std::unique_ptr<Worker>> idle;
  // Chunks are parsed side by side. A chunk waits for those before it with numbering its ids and placing its rows. The
  // pool starts chunks in order, so that some thread is always at work on the one that is waited for.
  std::condition_variable turns;
  std::int64_t turn = 0;
  std::size_t rows = 0;
  std::exception_ptr error;  // of the first chunk that had one
  const std::thread::id caller = std::this_thread::get_id();

  const auto parse = [&](std::int64_t c, Worker& worker) -> std::exception_ptr {
    const std::int64_t begin = body + c * static_cast<std::int64_t>(kChunkBytes);
    const std::int64_t end = std::min(begin + static_cast<std::int64_t>(kChunkBytes), file_->size());
    std::int64_t offset = begin;
    try {
      const std::string_view text = worker.buffer.read(*file_, begin, end, c == 0);
      offset = worker.buffer.offset_of(text);
      // The last line may have begun before the last chunk.
      worker.parser.parse(text, offset + static_cast<std::int64_t>(text.size()) == file_->size());
      return nullptr;
    } catch (const RowError& bad) {
      return std::make_exception_ptr(PlacedError{bad, offset + static_cast<std::int64_t>(bad.offset)});
    } catch (...) {
      return std::current_exception();
    }
  };
  pool.run(count, [&](std::int64_t c) {
    std::unique_ptr<Worker> worker;
    {
      const std::lock_guard lock(mutex);
      if (error) {
        return;
      }
      if (!idle.empty()) {
        worker = std::move(idle.back());
        idle.pop_back();
      }
    }
    if (!worker) {
      worker = std::make_unique<Worker>(format, options, timed, known_users, known_items);
    }
    std::exception_ptr failed = parse(c, *worker);
    std::size_t first_row = 0;
    {
      std::unique_lock lock(mutex);
      turns.wait(lock, [&] { return turn == c || error; });
      if (error) {
        return;
      }
      if (!failed) {
        try {
          worker->parser.resolve(users, items);
        } catch (...) {
          failed = std::current_exception();
        }
      }
      error = failed;
      first_row = rows;
      rows += worker->parser.rows();
      ++turn;
      turns.notify_all();
      if (error) {
        return;
      }
    }
    worker->parser.store(table, first_row);
    {
      const std::lock_guard lock(mutex);
      idle.push_back(std::move(worker));
    }
    if (options.progress && std::this_thread::get_id() == caller) {
      options.progress(kReading, std::min(body + (c + 1) * static_cast<std::int64_t>(kChunkBytes), file_->size()),
                       file_->size());
    }
  });
  if (error) {
    try {
      std::rethrow_exception(error);
    } catch (const PlacedError& bad) {
      throw_input_error(name_, line_in_file(*file_, bad.offset), bad.error.what, bad.error.remedy);
    }
  }
  resize(table, rows, timed);
  if (options.progress) {
    options.progress(kReading, file_->size(), file_->size());
  }
  return table;
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
  constexpr std::size_t kSlack = RowScanner::kSlack;
  // Two buffers: one is parsed while the other is filled. Each starts with the line that the other one cut off.
  std::vector<char> current(kSlack + head_.size() + kSlack);
  std::copy(head_.begin() + static_cast<std::ptrdiff_t>(format.body), head_.end(), current.begin() + kSlack);
  std::size_t size = head_.size() - format.body;
  std::int64_t lines = line_number(head_, format.body);
  bool ended = whole_head_;
  while (true) {
    const std::string_view text(current.data() + kSlack, size);
    const std::size_t last_newline = text.rfind('\n');
    const std::size_t whole = ended ? size : last_newline == std::string_view::npos ? 0 : last_newline + 1;
    const std::string_view rest = text.substr(whole);
    if (rest.size() > kMostLineBytes) {
      throw_input_error(name_, lines + std::count(text.begin(), text.end(), '\n'), long_line(), kLongLineRemedy);
    }
    std::vector<char> next;
    std::future<std::size_t> filled;
    if (!ended) {
      next.resize(kSlack + rest.size() + kChunkBytes + kSlack);
      std::copy(rest.begin(), rest.end(), next.begin() + kSlack);
      const std::span<char> room = std::span<char>(next).subspan(kSlack + rest.size(), kChunkBytes);
      filled = std::async(std::launch::async, [this, room] { return source_->read(room); });
    }
    if (whole > 0) {
      try {
        parser.parse(text.substr(0, whole), ended);
      } catch (const RowError& error) {
        throw_input_error(name_, lines + line_number(text, error.offset) - 1, error.what, error.remedy);
      }
      parser.resolve(users, items);
      resize(table, rows + parser.rows(), timed);
      parser.store(table, rows);
      rows += parser.rows();
      lines += std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(whole), '\n');
    }
    if (ended) {
      break;
    }
    const std::size_t got = filled.get();
    if (options.progress) {
      options.progress(kReading, source_->consumed(), source_->total());
    }
    ended = got < kChunkBytes;
    size = rest.size() + got;
    current = std::move(next);
  }
  return table;
}

}  // namespace curate
