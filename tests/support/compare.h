#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace curate::test {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every comparison below fails on a size mismatch, on any NaN or infinity on either side (equal bits do not excuse it:
// two results that are both garbage must not agree), and on two empty inputs, because then nothing was compared. A
// failure prints the label, so put into it whatever is needed to run the case again: sizes and seed.

/// Per element: |got - reference| <= absolute + relative * |reference|.
struct Tolerance {
  double absolute = 0.0;
  double relative = 0.0;
};

/// Bound for sums of `length` products in f32, added in any order: c * length * 2^-24 * sum |a_i b_i|.
struct DotBound {
  std::int64_t length = 0;
  double c = 2.0;
};

/// Exact widening, so that one implementation serves all element types.
template <typename T>
std::vector<double> widen(const std::vector<T>& values) {
  return std::vector<double>(values.begin(), values.end());
}

namespace detail {
testing::AssertionResult all_close(const std::vector<double>& got, const std::vector<double>& reference,
                                   Tolerance tolerance, const std::string& label);
testing::AssertionResult dot_close(const std::vector<double>& got, const std::vector<double>& reference,
                                   const std::vector<double>& magnitudes, DotBound bound, const std::string& label);
testing::AssertionResult gradient_close(const std::vector<double>& got, const std::vector<double>& reference,
                                        double relative, const std::string& label);
}  // namespace detail

template <typename Got, typename Reference>
testing::AssertionResult all_close(const std::vector<Got>& got, const std::vector<Reference>& reference,
                                   Tolerance tolerance, const std::string& label) {
  return detail::all_close(widen(got), widen(reference), tolerance, label);
}

/// `magnitudes` holds sum |a_i b_i| of every element.
template <typename Got, typename Reference>
testing::AssertionResult dot_close(const std::vector<Got>& got, const std::vector<Reference>& reference,
                                   const std::vector<double>& magnitudes, DotBound bound, const std::string& label) {
  return detail::dot_close(widen(got), widen(reference), magnitudes, bound, label);
}

/// max |got - reference| <= relative * max |reference|. A reference of zeros admits zeros only.
template <typename Got, typename Reference>
testing::AssertionResult gradient_close(const std::vector<Got>& got, const std::vector<Reference>& reference,
                                        double relative, const std::string& label) {
  return detail::gradient_close(widen(got), widen(reference), relative, label);
}

/// The same bits: 0 and -0 differ.
testing::AssertionResult bits_equal(const std::vector<float>& got, const std::vector<float>& reference,
                                    const std::string& label);
testing::AssertionResult bits_equal(const std::vector<double>& got, const std::vector<double>& reference,
                                    const std::string& label);
testing::AssertionResult bits_equal(const std::vector<std::int32_t>& got, const std::vector<std::int32_t>& reference,
                                    const std::string& label);

}  // namespace curate::test
