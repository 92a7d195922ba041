#include "support/normal_quantile.h"

#include <array>
#include <cmath>

namespace curate {
namespace {

template <std::size_t count>
double polynomial(const std::array<double, count>& coefficients, double x) {
  double sum = 0.0;
  for (const double coefficient : coefficients) {
    sum = sum * x + coefficient;
  }
  return sum;
}

}  // namespace

double normal_quantile(double probability) {
  constexpr std::array<double, 6> kA = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                                        1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  constexpr std::array<double, 6> kB = {-5.447609879822406e+01, 1.615858368580409e+02,  -1.556989798598866e+02,
                                        6.680131188771972e+01,  -1.328068155288572e+01, 1.0};
  constexpr std::array<double, 6> kC = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                                        -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  constexpr std::array<double, 5> kD = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                                        3.754408661907416e+00, 1.0};
  constexpr double kTail = 0.02425;
  const double tail = probability < 0.5 ? probability : 1.0 - probability;
  if (tail < kTail) {
    const double q = std::sqrt(-2.0 * std::log(tail));
    const double x = polynomial(kC, q) / polynomial(kD, q);
    return probability < 0.5 ? x : -x;
  }
  const double q = probability - 0.5;
  return q * polynomial(kA, q * q) / polynomial(kB, q * q);
}

NormalTable::NormalTable() : quantiles_(kCells + 1, 0.0F) {
  for (std::uint32_t cell = 1; cell < kCells; ++cell) {
    quantiles_[cell] = static_cast<float>(normal_quantile(static_cast<double>(cell) / kCells));
  }
}

}  // namespace curate
