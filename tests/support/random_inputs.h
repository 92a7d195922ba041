#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/philox.h"

namespace curate::test {

/// Random host inputs. Every call draws from a fresh stream of its seed, so that a case is the same wherever it runs
/// and adding an input to a test changes none of those drawn before it.
class RandomInputs {
 public:
  explicit RandomInputs(std::uint64_t seed) : seed_(seed) {}

  std::uint64_t seed() const { return seed_; }

  /// [rows, cols] contiguous, uniform in [low, high).
  std::vector<float> matrix(std::int64_t rows, std::int64_t cols, float low = -1.0F, float high = 1.0F) {
    const std::vector<std::uint32_t> words = draw(rows * cols);
    std::vector<float> values;
    values.reserve(words.size());
    for (const std::uint32_t word : words) {
      values.push_back(low + (high - low) * uniform_float(word));
    }
    return values;
  }

  /// Uniform in [0, num_rows); the first and the last row occur wherever n allows, as ends are where code goes wrong.
  std::vector<std::int32_t> indices(std::int64_t n, std::int64_t num_rows) {
    const std::vector<std::uint32_t> words = draw(n);
    std::vector<std::int32_t> index;
    index.reserve(words.size());
    for (const std::uint32_t word : words) {
      index.push_back(static_cast<std::int32_t>(word % static_cast<std::uint64_t>(num_rows)));
    }
    put_ends(index, num_rows);
    return index;
  }

  /// About half of all are one hot row, the others fall towards small rows, like the popularity of films.
  std::vector<std::int32_t> skewed_indices(std::int64_t n, std::int64_t num_rows) {
    const std::vector<std::uint32_t> words = draw(n);
    std::vector<std::int32_t> index;
    index.reserve(words.size());
    for (const std::uint32_t word : words) {
      const float u = uniform_float(word);
      const auto cold = static_cast<std::int64_t>(u * u * static_cast<float>(num_rows));
      const std::int64_t row = word % 2U == 0U ? num_rows / 3 : std::min(cold, num_rows - 1);
      index.push_back(static_cast<std::int32_t>(row));
    }
    put_ends(index, num_rows);
    return index;
  }

  /// Half stars from 0.5 to 5.
  std::vector<float> ratings(std::int64_t n) {
    const std::vector<std::uint32_t> words = draw(n);
    std::vector<float> values;
    values.reserve(words.size());
    for (const std::uint32_t word : words) {
      values.push_back(0.5F * static_cast<float>(1U + word % 10U));
    }
    return values;
  }

 private:
  static void put_ends(std::vector<std::int32_t>& index, std::int64_t num_rows) {
    for (std::size_t i = 0; i < index.size(); ++i) {
      if (i % 9 == 4) {
        index[i] = static_cast<std::int32_t>(num_rows - 1);
      } else if (i % 9 == 7) {
        index[i] = 0;
      }
    }
  }

  std::vector<std::uint32_t> draw(std::int64_t count) {
    // A purpose that the engine does not use, so that no test feeds an operation its own random numbers.
    constexpr auto kTestInputs = static_cast<RandomPurpose>(0x7e57U);
    std::vector<std::uint32_t> words;
    words.reserve(static_cast<std::size_t>(count) + 3);
    const std::uint32_t stream = next_stream_++;
    for (std::uint64_t element = 0; words.size() < static_cast<std::size_t>(count); ++element) {
      const PhiloxWords four = philox(seed_, element, stream, kTestInputs);
      words.insert(words.end(), four.word, four.word + 4);
    }
    words.resize(static_cast<std::size_t>(count));
    return words;
  }

  std::uint64_t seed_;
  std::uint32_t next_stream_ = 0;
};

/// [rows, cols] contiguous as [rows, ld], the columns past cols filled with `padding`.
template <typename T>
std::vector<T> pad_rows(const std::vector<T>& values, std::int64_t rows, std::int64_t cols, std::int64_t ld,
                        T padding) {
  if (values.size() != static_cast<std::size_t>(rows * cols) || ld < cols) {
    throw std::logic_error("pad_rows: the test passes sizes that do not fit");
  }
  std::vector<T> padded(static_cast<std::size_t>(rows * ld), padding);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::copy_n(values.begin() + row * cols, cols, padded.begin() + row * ld);
  }
  return padded;
}

/// One batch of an epoch, in sizes worth testing.
struct BatchCase {
  std::uint64_t seed = 0;
  std::int64_t dim = 1;
  std::int64_t batch_size = 1;  ///< also the capacity of the batch's buffers
  std::int64_t batch = 0;
  std::int64_t num_ratings = 1;
  std::int64_t padding = 0;  ///< elements between the rows of padded matrices

  std::int64_t begin() const { return batch * batch_size; }
  std::int64_t count() const { return std::clamp<std::int64_t>(num_ratings - begin(), 0, batch_size); }

  std::string label() const {
    return "dim " + std::to_string(dim) + ", batch_size " + std::to_string(batch_size) + ", batch " +
           std::to_string(batch) + ", count " + std::to_string(count()) + ", padding " + std::to_string(padding) +
           ", seed " + std::to_string(seed);
  }
};

/// Epochs of two full batches and a short one. Batch 1 is full and does not begin at rating 0, batch 2 is short (so its
/// buffers are longer than its count), batch 3 is past the end.
inline BatchCase batch_case(std::uint64_t seed, std::int64_t dim, std::int64_t batch_size, std::int64_t batch,
                            std::int64_t padding) {
  return {seed, dim, batch_size, batch, 2 * batch_size + (batch_size + 1) / 2, padding};
}

/// One more than a multiple of 64 or of a kernel's 256 threads: where the last block has a single thread to run.
inline constexpr std::int64_t kSizesPastABlock[] = {65, 257, 513};

/// Dims around the widths of vectors and warps, and some that no vector divides; batches from one rating to more than
/// any block takes at once, and of one rating more than blocks take.
inline std::vector<BatchCase> batch_cases() {
  std::vector<BatchCase> cases;
  const auto add = [&cases](std::int64_t dim, std::int64_t batch_size) {
    const std::uint64_t seed = 1000 + cases.size();
    const std::int64_t padding = (cases.size() / 2) % 2 == 0 ? 0 : 5;
    cases.push_back(batch_case(seed, dim, batch_size, 1, padding));
    cases.push_back(batch_case(seed + 1, dim, batch_size, 2, 5 - padding));
  };
  for (const std::int64_t dim : {1, 2, 3, 7, 16, 17, 64, 100, 128}) {
    for (const std::int64_t batch_size : {1, 5, 32}) {
      add(dim, batch_size);
    }
  }
  for (const std::int64_t dim : {1, 3, 16, 17, 64}) {
    add(dim, 1000);
  }
  add(513, 32);
  // A thread to a row: of one element, and of one vector.
  for (const std::int64_t batch_size : kSizesPastABlock) {
    add(1, batch_size);
    cases.push_back(batch_case(1000 + cases.size(), 4, batch_size, 1, 0));
  }
  return cases;
}

/// Factors of a matrix factorization, or one batch of gathered rows, on the host. Empty biases are absent.
struct HostMf {
  std::int64_t users = 0;
  std::int64_t items = 0;
  std::int64_t dim = 0;
  std::vector<float> user;       ///< [users, dim]
  std::vector<float> item;       ///< [items, dim]
  std::vector<float> user_bias;  ///< [users] or empty
  std::vector<float> item_bias;  ///< [items] or empty
  float mean = 0.0F;
};

struct Biases {
  bool user = true;
  bool item = true;

  std::string label() const {
    return std::string(user ? ", user bias" : ", no user bias") + (item ? ", item bias" : ", no item bias");
  }
};

inline std::vector<Biases> all_biases() {
  return {{true, true}, {true, false}, {false, true}, {false, false}};
}

/// Predictions around 3.4 with a spread of about one star, whatever the dim.
inline HostMf random_mf(RandomInputs& inputs, std::int64_t users, std::int64_t items, std::int64_t dim, Biases biases) {
  const auto scale = static_cast<float>(std::sqrt(3.0 / std::sqrt(static_cast<double>(dim))));
  HostMf mf;
  mf.users = users;
  mf.items = items;
  mf.dim = dim;
  mf.user = inputs.matrix(users, dim, -scale, scale);
  mf.item = inputs.matrix(items, dim, -scale, scale);
  if (biases.user) {
    mf.user_bias = inputs.matrix(users, 1);
  }
  if (biases.item) {
    mf.item_bias = inputs.matrix(items, 1);
  }
  mf.mean = 3.4F;
  return mf;
}

}  // namespace curate::test
