#include "data/write_movielens_like.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <string_view>

#include "data/rating_lines.h"
#include "data/write_layouts.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

constexpr std::int64_t kRatingsPerPiece = 1 << 17;
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
  explicit Worker(const RatingTexts& texts) : lines(texts) {}

  UserRatings ratings;
  RatingLines lines;
  std::vector<std::int64_t> ratings_of_item;
  std::vector<std::int64_t> histogram;
};

class RatingsWriter {
 public:
  RatingsWriter(const MovielensLike& like, const RatingTexts& texts, const GenerateProgress& progress)
      : like_(like),
        texts_(texts),
        progress_(progress),
        first_users_(cut_in_pieces(like)),
        squared_errors_(first_users_.size() - 1) {}

  /// Returns the size of the file in bytes.
  std::int64_t write(OutputFolder& folder, std::string_view name, int threads) {
    return write_in_pieces(folder, std::string(name), static_cast<std::int64_t>(squared_errors_.size()),
                           threads > 0 ? threads : hardware_threads(),
                           [&](std::int64_t piece, OrderedFile& file) { write_piece(piece, file); });
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
  void write_piece(std::int64_t piece, OrderedFile& file) {
    const auto index = static_cast<std::size_t>(piece);
    std::unique_ptr<Worker> worker = take_worker();
    worker->lines.clear();
    if (piece == 0) {
      worker->lines.append(texts_.header());
    }
    const std::vector<float>& values = like_.grid().values();
    const std::int32_t end = first_users_[index + 1];
    for (std::int32_t user = first_users_[index]; user < end; ++user) {
      UserRatings& ratings = worker->ratings;
      like_.draw_user(user, ratings);
      squared_errors_[index] += ratings.squared_error;
      for (std::size_t k = 0; k < ratings.items.size(); ++k) {
        ++worker->ratings_of_item[static_cast<std::size_t>(ratings.items[k])];
        ++worker->histogram[ratings.stars[k]];
        worker->lines.append_rating(user, ratings.items[k], values[ratings.stars[k]], ratings.times[k]);
      }
    }
    file.write(piece, worker->lines.text());
    put_back(std::move(worker), like_.first_rating(end) - like_.first_rating(first_users_[index]));
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
    auto worker = std::make_unique<Worker>(texts_);
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
  const RatingTexts& texts_;
  const GenerateProgress& progress_;
  std::vector<std::int32_t> first_users_;
  std::vector<double> squared_errors_;  ///< by piece, so that their sum does not depend on the threads
  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> idle_;
  std::int64_t done_ = 0;
};

/// Items and users without ratings, their dense ids those of `like`.
Dataset without_ratings(const MovielensLike& like) {
  Dataset dataset;
  for (std::int32_t item = 0; item < like.shape().items; ++item) {
    dataset.items.find_or_add(like.raw_item(item));
    dataset.item_info.push_back(like.item_info(item));
  }
  for (std::int32_t user = 0; user < like.shape().users; ++user) {
    dataset.users.find_or_add(user + 1);
  }
  return dataset;
}

}  // namespace

MovielensLikeReport write_movielens_like(const MovielensLike& like, OutputFolder& folder, int threads,
                                         const GenerateProgress& progress) {
  MovielensLikeReport report;
  const Dataset ids = without_ratings(like);
  const std::string layout(like.shape().layout);
  write_side_files(ids, like.user_table(), layout, ListedItems::known, folder);
  // The ratings last: they are what makes the folder a data set.
  const RatingsFile file = ratings_file_of(layout);
  const RatingTexts texts(file.format, true, ids.users, ids.items);
  RatingsWriter writer(like, texts, progress);
  report.bytes = writer.write(folder, file.name, threads);
  writer.fill(report);
  report.files = folder.staged();
  return report;
}

}  // namespace curate
