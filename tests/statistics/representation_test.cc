#include "statistics/representation.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::statistics {
namespace {

std::vector<double> Random(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> x(count);
  for (double& value : x) value = normal(generator);
  return x;
}

// HSIC_1 by its definition, an average over all quadruples of distinct samples (Song et al. 2012,
// eq. 5), of uncentred linear kernels: centring must not change it.
double HsicByDefinition(const std::vector<double>& x, const std::vector<double>& y, size_t n) {
  double sum = 0;
  double count = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      for (size_t q = 0; q < n; ++q) {
        for (size_t r = 0; r < n; ++r) {
          if (i == j || i == q || i == r || j == q || j == r || q == r) continue;
          sum += x[i] * x[j] * (y[i] * y[j] + y[q] * y[r] - 2 * y[i] * y[q]);
          ++count;
        }
      }
    }
  }
  return sum / count;
}

TEST(UnbiasedHsic, IsTheAverageOverDistinctSamples) {
  const size_t n = 7;
  const std::vector<double> x = Random(n, 1);
  const std::vector<double> y = Random(n, 2);
  const HsicSums sums = UnbiasedHsic(CentredGram(x, n, 1), CentredGram(y, n, 1));
  EXPECT_NEAR(sums.xy, HsicByDefinition(x, y, n), 1e-13);
  EXPECT_NEAR(sums.xx, HsicByDefinition(x, x, n), 1e-13);
}

}  // namespace
}  // namespace thermograd::statistics
