#include "report/progress.h"

#include <gtest/gtest.h>

#include <limits>

namespace curate {
namespace {

TEST(Progress, Grouped) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(20000263), "20,000,263");
  EXPECT_EQ(grouped(-100), "-100");
  EXPECT_EQ(grouped(-123456), "-123,456");
  EXPECT_EQ(grouped(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(Progress, ShortCount) {
  EXPECT_EQ(short_count(0), "0");
  EXPECT_EQ(short_count(999), "999");
  EXPECT_EQ(short_count(1000), "1.00 k");
  EXPECT_EQ(short_count(999600), "1.00 M");
  EXPECT_EQ(short_count(12345678), "12.3 M");
  EXPECT_EQ(short_count(637e6), "637 M");
}

TEST(Progress, ShortSeconds) {
  EXPECT_EQ(short_seconds(0.0854), "85 ms");
  EXPECT_EQ(short_seconds(0.9996), "1.0 s");
  EXPECT_EQ(short_seconds(3.24), "3.2 s");
  EXPECT_EQ(short_seconds(245.2), "4 min 05 s");
}

TEST(Progress, BarStaysWithinItsWidth) {
  EXPECT_EQ(progress_bar(0.0, 4), "[....]");
  EXPECT_EQ(progress_bar(0.5, 4), "[##..]");
  EXPECT_EQ(progress_bar(2.0, 4), "[####]");
  EXPECT_EQ(progress_bar(-1.0, 4), "[....]");
}

}  // namespace
}  // namespace curate
