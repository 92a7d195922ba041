#include "data/write_movielens_like.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <string_view>

#include "data/write_layouts.h"
#include "support/ordered_file.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

constexpr std::int64_t kRatingsPerPiece = 1 << 17;
constexpr std::size_t kLongestLine = 64;

struct LineFormat {
  std::string_view file;
  std::string_view separator;
  std::string_view header;
  bool one_decimal;  ///< 4.0 instead of 4
};

LineFormat line_format(std::string_view layout) {
  if (layout == "ml-csv") {
    return {"ratings.csv", ",", "userId,movieId,rating,timestamp\n", true};
  }
  return {"ratings.dat", "::", "", false};
}

/// A short text that is copied as a whole, whatever its length.
struct ShortText {
  std::array<char, 15> characters{};
  std::uint8_t size = 0;

  ShortText() = default;
  explicit ShortText(const std::string& text) : size(static_cast<std::uint8_t>(text.size())) {
    text.copy(characters.data(), characters.size());
  }
};

char* append(char* out, const ShortText& text) {
  std::memcpy(out, text.characters.data(), text.characters.size());
  return out + text.size;
}

constexpr std::array<char, 200> kDigitPairs = [] {
  std::array<char, 200> pairs{};
  for (std::size_t k = 0; k < 100; ++k) {
    pairs[2 * k] = static_cast<char>('0' + k / 10);
    pairs[2 * k + 1] = static_cast<char>('0' + k % 10);
  }
  return pairs;
}();

/// Decimal digits of a time of nine or ten.
char* append_time(char* out, std::int64_t time) {
  auto left = static_cast<std::uint64_t>(time);
  std::array<char, 10> digits{};
  for (std::size_t at = 10; at > 0; at -= 2) {
    std::memcpy(&digits[at - 2], &kDigitPairs[2 * (left % 100)], 2);
    left /= 100;
  }
  const std::size_t skip = digits[0] == '0' ? 1 : 0;
  std::memcpy(out, digits.data() + skip, 10 - skip);
  return out + 10 - skip;
}

/// The texts that lines consist of.
class LineTexts {
 public:
  LineTexts(const MovielensLike& like, const LineFormat& format) : separator_(format.separator) {
    for (std::int32_t item = 0; item < like.shape().items; ++item) {
      items_.emplace_back(std::to_string(like.raw_item(item)) + separator_);
    }
    for (const float value : like.grid().values()) {
      const int halves = static_cast<int>(2.0F * value);
      const std::string_view decimal = halves % 2 == 1 ? ".5" : format.one_decimal ? ".0" : "";
      stars_.emplace_back(std::to_string(halves / 2) + std::string(decimal) + separator_);
    }
  }

  char* append_lines(char* out, std::int32_t user, const UserRatings& ratings) const {
    const ShortText start(std::to_string(user + 1) + separator_);
    for (std::size_t k = 0; k < ratings.items.size(); ++k) {
      out = append(out, start);
      out = append(out, items_[static_cast<std::size_t>(ratings.items[k])]);
      out = append(out, stars_[ratings.stars[k]]);
      out = append_time(out, ratings.times[k]);
      *out++ = '\n';
    }
    return out;
  }

 private:
  std::string separator_;
  std::vector<ShortText> items_;
  std::vector<ShortText> stars_;
};

/// First users of pieces of about equally many ratings, and the end. Pieces depend on the data set alone.
std::vector<std::int32_t> cut_in_pieces(const MovielensLike& like) {
  std::vector<std::int32_t> first_users = {0};
  for (std::int32_t user = 1; user < like.shape().users; ++user) {
    if (like.first_rating(user) - like.first_rating(first_users.back()) >= kRatingsPerPiece) {
      first_users.push_back(user);
    }
  }
  first_users.push_back(like.shape().users);
  return first_users;
}

/// What one thread works with and counts.
struct Worker {
  UserRatings ratings;
  std::vector<char> text;
  std::vector<std::int64_t> ratings_of_item;
  std::vector<std::int64_t> histogram;
};

class RatingsWriter {
 public:
  RatingsWriter(const MovielensLike& like, const LineFormat& format, OrderedFile& file,
                const GenerateProgress& progress)
      : like_(like), format_(format), texts_(like, format), file_(file), progress_(progress) {}

  void write(int threads) {
    first_users_ = cut_in_pieces(like_);
    squared_errors_.resize(first_users_.size() - 1);
    ThreadPool pool(threads > 0 ? threads : hardware_threads());
    // The pool hands out pieces in order, so that those before are done or under way, as OrderedFile needs.
    pool.run(static_cast<std::int64_t>(squared_errors_.size()), [&](std::int64_t piece) {
      try {
        file_.check();
        write_piece(piece);
      } catch (...) {
        file_.give_up(std::current_exception());
        throw;
      }
    });
  }

  void fill(MovielensLikeReport& report) const {
    const auto& values = like_.grid().values();
    report.ratings = like_.shape().ratings;
    report.histogram.assign(values.size(), 0);
    std::vector<std::int64_t> of_item(static_cast<std::size_t>(like_.shape().items), 0);
    const auto add = [](std::vector<std::int64_t>& sums, const std::vector<std::int64_t>& more) {
      std::transform(sums.begin(), sums.end(), more.begin(), sums.begin(), std::plus<>());
    };
    for (const std::unique_ptr<Worker>& worker : idle_) {
      add(of_item, worker->ratings_of_item);
      add(report.histogram, worker->histogram);
    }
    double sum = 0.0;
    for (std::size_t k = 0; k < values.size(); ++k) {
      sum += static_cast<double>(values[k]) * static_cast<double>(report.histogram[k]);
    }
    const auto ratings = static_cast<double>(report.ratings);
    report.mean = sum / ratings;
    report.best_rmse = std::sqrt(std::accumulate(squared_errors_.begin(), squared_errors_.end(), 0.0) / ratings);
    report.most_active = like_.shape().most_active;
    report.most_rated = *std::max_element(of_item.begin(), of_item.end());
  }

 private:
  void write_piece(std::int64_t piece) {
    const auto index = static_cast<std::size_t>(piece);
    std::unique_ptr<Worker> worker = take_worker();
    const std::int32_t begin = first_users_[index];
    const std::int32_t end = first_users_[index + 1];
    const std::int64_t ratings = like_.first_rating(end) - like_.first_rating(begin);
    const std::size_t room = format_.header.size() + static_cast<std::size_t>(ratings + 1) * kLongestLine;
    if (worker->text.size() < room) {
      worker->text.resize(room);
    }
    char* out = worker->text.data();
    if (piece == 0) {
      out += format_.header.copy(out, format_.header.size());
    }
    for (std::int32_t user = begin; user < end; ++user) {
      like_.draw_user(user, worker->ratings);
      squared_errors_[index] += worker->ratings.squared_error;
      for (std::size_t k = 0; k < worker->ratings.items.size(); ++k) {
        ++worker->ratings_of_item[static_cast<std::size_t>(worker->ratings.items[k])];
        ++worker->histogram[worker->ratings.stars[k]];
      }
      out = texts_.append_lines(out, user, worker->ratings);
    }
    file_.write(piece, {worker->text.data(), static_cast<std::size_t>(out - worker->text.data())});
    put_back(std::move(worker), ratings);
  }

  std::unique_ptr<Worker> take_worker() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Worker> worker = std::move(idle_.back());
        idle_.pop_back();
        return worker;
      }
    }
    auto worker = std::make_unique<Worker>();
    worker->ratings_of_item.resize(static_cast<std::size_t>(like_.shape().items));
    worker->histogram.resize(like_.grid().values().size());
    return worker;
  }

  void put_back(std::unique_ptr<Worker> worker, std::int64_t ratings) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(worker));
    done_ += ratings;
    if (progress_) {
      progress_(done_, like_.shape().ratings);
    }
  }

  const MovielensLike& like_;
  const LineFormat& format_;
  LineTexts texts_;
  OrderedFile& file_;
  const GenerateProgress& progress_;
  std::vector<std::int32_t> first_users_;
  std::vector<double> squared_errors_;  ///< by piece, so that their sum does not depend on the threads
  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> idle_;
  std::int64_t done_ = 0;
};

/// Items and users without ratings, as write_side_files takes them.
Dataset without_ratings(const MovielensLike& like) {
  Dataset dataset;
  for (std::int32_t item = 0; item < like.shape().items; ++item) {
    dataset.items.find_or_add(like.raw_item(item));
    dataset.item_info.push_back(like.item_info(item));
  }
  if (like.shape().user_file) {
    for (std::int32_t user = 0; user < like.shape().users; ++user) {
      dataset.users.find_or_add(user + 1);
    }
  }
  return dataset;
}

}  // namespace

MovielensLikeReport write_movielens_like(const MovielensLike& like, OutputFolder& folder, int threads,
                                         const GenerateProgress& progress) {
  MovielensLikeReport report;
  write_side_files(without_ratings(like), like.user_table(), std::string(like.shape().layout), folder);
  // The ratings last: they are what makes the folder a data set.
  const LineFormat format = line_format(like.shape().layout);
  const std::string name(format.file);
  OrderedFile file(folder.stage(name), folder.label(name));
  RatingsWriter writer(like, format, file, progress);
  writer.write(threads);
  report.bytes = file.bytes();
  file.close();
  writer.fill(report);
  report.files = folder.staged();
  return report;
}

}  // namespace curate
