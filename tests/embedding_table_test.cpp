#include "models/embedding_table.h"

#include <gtest/gtest.h>

#include <numeric>

#include "models/parameters.h"

namespace curate {
namespace {

TEST(EmbeddingTable, EmbeddingAndBiasShareARowWithoutTouching) {
  const auto device = make_device("cpu");
  for (const std::int64_t dim : {1, 3, 4, 7, 64}) {
    const EmbeddingTable table(*device, 5, dim, true);
    std::vector<float> values(static_cast<std::size_t>(5 * dim));
    std::iota(values.begin(), values.end(), 1.0F);
    const std::vector<float> biases = {-1, -2, -3, -4, -5};
    upload_matrix(table.embedding(), values);
    upload_matrix(table.bias(), biases);
    EXPECT_EQ(download_matrix(table.embedding()), values);
    EXPECT_EQ(download_matrix(table.bias()), biases);
    // 16-byte rows, for vector loads.
    EXPECT_EQ(table.embedding().ld % 4, 0);
    EXPECT_EQ(table.embedding().ld, table.bias().ld);
  }
}

TEST(EmbeddingTable, NoBiasIsAnAbsentView) {
  const auto device = make_device("cpu");
  EXPECT_TRUE(EmbeddingTable(*device, 5, 3, false).bias().empty());
}

}  // namespace
}  // namespace curate
