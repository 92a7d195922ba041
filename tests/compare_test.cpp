#include "tests/support/compare.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace curate::test {
namespace {

using Comparison = std::function<testing::AssertionResult(const std::vector<float>&, const std::vector<float>&)>;

/// All modes, as lenient as they get: what they reject here they reject always.
std::vector<std::pair<std::string, Comparison>> lenient_modes() {
  return {
      {"all_close",
       [](const auto& got, const auto& reference) {
         return all_close(got, reference, {1e30, 1e3}, "seed 42");
       }},
      {"dot_close",
       [](const auto& got, const auto& reference) {
         return dot_close(got, reference, std::vector<double>(reference.size(), 1e30), {1000}, "seed 42");
       }},
      {"gradient_close",
       [](const auto& got, const auto& reference) { return gradient_close(got, reference, 1e30, "seed 42"); }},
      {"bits_equal", [](const auto& got, const auto& reference) { return bits_equal(got, reference, "seed 42"); }},
  };
}

bool mentions(const testing::AssertionResult& result, const std::string& text) {
  return std::string(result.message()).find(text) != std::string::npos;
}

TEST(Compare, every_mode_accepts_what_is_equal) {
  for (const auto& [name, compare] : lenient_modes()) {
    EXPECT_TRUE(compare({1.0F, -2.0F, 0.0F}, {1.0F, -2.0F, 0.0F})) << name;
  }
}

TEST(Compare, every_mode_rejects_nan_and_infinity_on_either_side_or_both) {
  for (const auto& [name, compare] : lenient_modes()) {
    for (const float bad : {kNan, kInfinity, -kInfinity}) {
      EXPECT_FALSE(compare({1.0F, bad}, {1.0F, 2.0F})) << name;
      EXPECT_FALSE(compare({1.0F, 2.0F}, {1.0F, bad})) << name;
      EXPECT_FALSE(compare({1.0F, bad}, {1.0F, bad})) << name;
    }
    EXPECT_FALSE(compare({kInfinity}, {-kInfinity})) << name;
  }
}

TEST(Compare, every_mode_rejects_other_sizes) {
  for (const auto& [name, compare] : lenient_modes()) {
    EXPECT_FALSE(compare({1.0F}, {1.0F, 1.0F})) << name;
    EXPECT_FALSE(compare({1.0F, 1.0F}, {1.0F})) << name;
    EXPECT_FALSE(compare({}, {1.0F})) << name;
    EXPECT_FALSE(compare({1.0F}, {})) << name;
  }
}

TEST(Compare, every_mode_rejects_a_comparison_of_nothing) {
  for (const auto& [name, compare] : lenient_modes()) {
    EXPECT_FALSE(compare({}, {})) << name;
  }
}

TEST(Compare, every_mode_finds_one_bad_among_many_wherever_it_is) {
  const std::vector<float> reference(1000, 1.0F);
  for (const std::size_t place : {0U, 1U, 500U, 998U, 999U}) {
    std::vector<float> got = reference;
    got[place] = 1.01F;
    const std::string where = "[" + std::to_string(place) + "]";
    for (const auto& result :
         {all_close(got, reference, {0.0, 1e-3}, "seed 42"),
          dot_close(got, reference, std::vector<double>(1000, 1.0), {16}, "seed 42"),
          gradient_close(got, reference, 1e-3, "seed 42"), bits_equal(got, reference, "seed 42")}) {
      EXPECT_FALSE(result);
      EXPECT_TRUE(mentions(result, where)) << result.message();
      EXPECT_TRUE(mentions(result, "1 of 1000")) << result.message();
    }
  }
}

TEST(Compare, message_has_label_worst_index_both_values_and_count) {
  const std::vector<float> reference = {1.0F, 2.0F, 4.0F, 8.0F};
  const std::vector<float> got = {1.5F, 2.0F, 6.5F, 8.25F};
  for (const auto& result :
       {all_close(got, reference, {0.125, 0.0}, "dim 4 seed 42"),
        gradient_close(got, reference, 0.125 / 8.0, "dim 4 seed 42"), bits_equal(got, reference, "dim 4 seed 42")}) {
    ASSERT_FALSE(result);
    EXPECT_TRUE(mentions(result, "dim 4 seed 42")) << result.message();
    EXPECT_TRUE(mentions(result, "3 of 4")) << result.message();
    EXPECT_TRUE(mentions(result, "worst at [2]: got 6.5, reference 4")) << result.message();
  }
}

TEST(Compare, nan_is_the_worst) {
  const auto result = all_close(std::vector<float>{9.0F, kNan, 9.0F}, std::vector<float>{1.0F, 1.0F, 1.0F}, {}, "");
  EXPECT_TRUE(mentions(result, "[1]")) << result.message();
}

TEST(Compare, all_close_adds_absolute_and_relative) {
  const std::vector<double> reference = {100.0};
  EXPECT_TRUE(all_close(std::vector<double>{100.0 + 1.5}, reference, {0.5, 0.01}, ""));
  EXPECT_TRUE(all_close(std::vector<double>{100.0 - 1.5}, reference, {0.5, 0.01}, ""));
  EXPECT_FALSE(all_close(std::vector<double>{100.0 + 1.6}, reference, {0.5, 0.01}, ""));
  // The error is unsigned: too low is as wrong as too high.
  EXPECT_FALSE(all_close(std::vector<double>{100.0 - 1.6}, reference, {0.5, 0.01}, ""));
  EXPECT_FALSE(all_close(std::vector<double>{-100.0}, reference, {0.5, 0.01}, ""));
  // A negative reference must not turn the bound negative, nor a huge result widen it.
  EXPECT_TRUE(all_close(std::vector<double>{-101.0}, std::vector<double>{-100.0}, {0.5, 0.01}, ""));
  EXPECT_FALSE(all_close(std::vector<double>{1e9}, reference, {0.5, 0.01}, ""));
}

TEST(Compare, all_close_without_tolerance_is_equality) {
  EXPECT_TRUE(all_close(std::vector<float>{0.1F}, std::vector<float>{0.1F}, {}, ""));
  EXPECT_FALSE(all_close(std::vector<float>{0.1F}, std::vector<double>{0.1}, {}, ""));
}

TEST(Compare, dot_close_scales_with_length_and_magnitude) {
  constexpr double kUnit = 0x1.0p-24;
  const std::vector<double> reference = {0.0, 0.0};
  const std::vector<double> magnitudes = {1.0, 10.0};
  EXPECT_TRUE(dot_close(std::vector<double>{64 * kUnit, 640 * kUnit}, reference, magnitudes, {64, 1.0}, ""));
  EXPECT_FALSE(dot_close(std::vector<double>{65 * kUnit, 0.0}, reference, magnitudes, {64, 1.0}, ""));
  EXPECT_FALSE(dot_close(std::vector<double>{0.0, 650 * kUnit}, reference, magnitudes, {64, 1.0}, ""));
  EXPECT_TRUE(dot_close(std::vector<double>{65 * kUnit, 650 * kUnit}, reference, magnitudes, {64, 2.0}, ""));
  EXPECT_TRUE(dot_close(std::vector<double>{65 * kUnit, 650 * kUnit}, reference, magnitudes, {65, 1.0}, ""));
}

TEST(Compare, dot_close_rejects_magnitudes_that_do_not_fit) {
  const std::vector<float> one = {1.0F};
  EXPECT_FALSE(dot_close(one, one, {}, {4}, ""));
  EXPECT_FALSE(dot_close(one, one, {1.0, 1.0}, {4}, ""));
  EXPECT_FALSE(dot_close(one, one, {static_cast<double>(kInfinity)}, {4}, ""));
  EXPECT_FALSE(dot_close(one, one, {static_cast<double>(kNan)}, {4}, ""));
}

TEST(Compare, gradient_close_takes_the_largest_gradient_as_its_scale) {
  const std::vector<double> reference = {-100.0, 1e-9, 3.0};
  EXPECT_TRUE(gradient_close(std::vector<double>{-100.0, 0.5, 3.0}, reference, 0.01, ""));
  EXPECT_FALSE(gradient_close(std::vector<double>{-100.0, 1.5, 3.0}, reference, 0.01, ""));
  EXPECT_FALSE(gradient_close(std::vector<double>{100.0, 0.0, 3.0}, reference, 0.01, ""));
}

TEST(Compare, gradient_close_admits_only_zeros_where_the_reference_is_zero) {
  EXPECT_TRUE(gradient_close(std::vector<float>{0.0F, 0.0F}, std::vector<float>{0.0F, 0.0F}, 0.01, ""));
  EXPECT_FALSE(gradient_close(std::vector<float>{0.0F, 1e-30F}, std::vector<float>{0.0F, 0.0F}, 0.01, ""));
}

TEST(Compare, bits_equal_sees_the_sign_of_zero_and_the_last_bit) {
  EXPECT_FALSE(bits_equal(std::vector<float>{0.0F}, std::vector<float>{-0.0F}, ""));
  EXPECT_FALSE(bits_equal(std::vector<float>{1.0F}, std::vector<float>{0x1.000002p0F}, ""));
  EXPECT_FALSE(bits_equal(std::vector<double>{1.0}, std::vector<double>{0x1.0000000000001p0}, ""));
  EXPECT_FALSE(bits_equal(std::vector<std::int32_t>{7, 8}, std::vector<std::int32_t>{7, 9}, ""));
  EXPECT_TRUE(bits_equal(std::vector<std::int32_t>{7, -8}, std::vector<std::int32_t>{7, -8}, ""));
}

}  // namespace
}  // namespace curate::test
