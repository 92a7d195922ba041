#include "tests/support/compare.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <iomanip>
#include <limits>
#include <sstream>

namespace curate::test {
namespace {

std::string exact(double value) {
  std::ostringstream text;
  text << std::setprecision(std::numeric_limits<double>::max_digits10) << value;
  return text.str();
}

testing::AssertionResult fail_on_sizes(std::size_t got, std::size_t reference, const std::string& what,
                                       const std::string& label) {
  return testing::AssertionFailure() << label << ": " << what << " sizes differ: got " << got << ", reference "
                                     << reference;
}

testing::AssertionResult fail_on_nothing(const std::string& label) {
  return testing::AssertionFailure() << label << ": nothing to compare, both sides are empty";
}

/// Counts the elements that a comparison rejects and remembers the worst of them.
class Rejections {
 public:
  void add(std::size_t index, double excess) {
    if (count_ == 0 || excess > worst_excess_) {
      worst_ = index;
      worst_excess_ = excess;
    }
    ++count_;
  }
  std::size_t count() const { return count_; }
  std::size_t worst() const { return worst_; }

 private:
  std::size_t count_ = 0;
  std::size_t worst_ = 0;
  double worst_excess_ = 0.0;
};

testing::AssertionResult within(const std::vector<double>& got, const std::vector<double>& reference,
                                const std::vector<double>& bounds, const std::string& mode, const std::string& label) {
  Rejections rejections;
  for (std::size_t i = 0; i < got.size(); ++i) {
    // A bound that is not finite would admit anything.
    const bool finite = std::isfinite(got[i]) && std::isfinite(reference[i]) && std::isfinite(bounds[i]);
    const double difference = std::abs(got[i] - reference[i]);
    if (!finite) {
      rejections.add(i, std::numeric_limits<double>::infinity());
    } else if (!(difference <= bounds[i])) {
      rejections.add(i, difference - bounds[i]);
    }
  }
  if (rejections.count() == 0) {
    return testing::AssertionSuccess();
  }
  const std::size_t worst = rejections.worst();
  return testing::AssertionFailure() << label << ": " << rejections.count() << " of " << got.size()
                                     << " elements fail (" << mode << "), worst at [" << worst << "]: got "
                                     << exact(got[worst]) << ", reference " << exact(reference[worst])
                                     << ", difference " << exact(std::abs(got[worst] - reference[worst])) << ", bound "
                                     << exact(bounds[worst]);
}

template <typename T, typename Bits>
testing::AssertionResult same_bits(const std::vector<T>& got, const std::vector<T>& reference,
                                   const std::string& label) {
  if (got.size() != reference.size()) {
    return fail_on_sizes(got.size(), reference.size(), "result", label);
  }
  if (got.empty()) {
    return fail_on_nothing(label);
  }
  Rejections rejections;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto a = static_cast<double>(got[i]);
    const auto b = static_cast<double>(reference[i]);
    if (!std::isfinite(a) || !std::isfinite(b)) {
      rejections.add(i, std::numeric_limits<double>::infinity());
    } else if (std::bit_cast<Bits>(got[i]) != std::bit_cast<Bits>(reference[i])) {
      rejections.add(i, std::abs(a - b));
    }
  }
  if (rejections.count() == 0) {
    return testing::AssertionSuccess();
  }
  const std::size_t worst = rejections.worst();
  std::ostringstream bits;
  bits << std::hex << "0x" << std::bit_cast<Bits>(got[worst]) << " and 0x" << std::bit_cast<Bits>(reference[worst]);
  return testing::AssertionFailure() << label << ": " << rejections.count() << " of " << got.size()
                                     << " elements fail (bit-exact), worst at [" << worst << "]: got "
                                     << exact(static_cast<double>(got[worst])) << ", reference "
                                     << exact(static_cast<double>(reference[worst])) << ", bits " << bits.str();
}

}  // namespace

namespace detail {

testing::AssertionResult all_close(const std::vector<double>& got, const std::vector<double>& reference,
                                   Tolerance tolerance, const std::string& label) {
  if (got.size() != reference.size()) {
    return fail_on_sizes(got.size(), reference.size(), "result", label);
  }
  if (got.empty()) {
    return fail_on_nothing(label);
  }
  std::vector<double> bounds;
  bounds.reserve(got.size());
  for (const double value : reference) {
    bounds.push_back(tolerance.absolute + tolerance.relative * std::abs(value));
  }
  return within(got, reference, bounds, "atol " + exact(tolerance.absolute) + ", rtol " + exact(tolerance.relative),
                label);
}

testing::AssertionResult dot_close(const std::vector<double>& got, const std::vector<double>& reference,
                                   const std::vector<double>& magnitudes, DotBound bound, const std::string& label) {
  if (got.size() != reference.size()) {
    return fail_on_sizes(got.size(), reference.size(), "result", label);
  }
  if (magnitudes.size() != reference.size()) {
    return fail_on_sizes(magnitudes.size(), reference.size(), "magnitude", label);
  }
  if (got.empty()) {
    return fail_on_nothing(label);
  }
  std::vector<double> bounds;
  bounds.reserve(got.size());
  for (const double magnitude : magnitudes) {
    bounds.push_back(bound.c * static_cast<double>(bound.length) * 0x1.0p-24 * magnitude);
  }
  return within(got, reference, bounds, "dot of length " + std::to_string(bound.length) + ", c " + exact(bound.c),
                label);
}

testing::AssertionResult gradient_close(const std::vector<double>& got, const std::vector<double>& reference,
                                        double relative, const std::string& label) {
  if (got.size() != reference.size()) {
    return fail_on_sizes(got.size(), reference.size(), "result", label);
  }
  if (got.empty()) {
    return fail_on_nothing(label);
  }
  double largest = 0.0;
  for (const double value : reference) {
    largest = std::max(largest, std::abs(value));
  }
  return within(got, reference, std::vector<double>(got.size(), relative * largest),
                "rtol " + exact(relative) + " of max " + exact(largest), label);
}

}  // namespace detail

testing::AssertionResult bits_equal(const std::vector<float>& got, const std::vector<float>& reference,
                                    const std::string& label) {
  return same_bits<float, std::uint32_t>(got, reference, label);
}

testing::AssertionResult bits_equal(const std::vector<double>& got, const std::vector<double>& reference,
                                    const std::string& label) {
  return same_bits<double, std::uint64_t>(got, reference, label);
}

testing::AssertionResult bits_equal(const std::vector<std::int32_t>& got, const std::vector<std::int32_t>& reference,
                                    const std::string& label) {
  return same_bits<std::int32_t, std::uint32_t>(got, reference, label);
}

}  // namespace curate::test
