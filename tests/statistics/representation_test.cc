#include "statistics/representation.h"

#include <cmath>
#include <numbers>
#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"

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
  const Gram k = CentredGram(x, n, 1);
  EXPECT_NEAR(UnbiasedHsic(k, CentredGram(y, n, 1)), HsicByDefinition(x, y, n), 1e-13);
  EXPECT_NEAR(UnbiasedHsic(k, k), HsicByDefinition(x, x, n), 1e-13);
}

// The figure in the documentation of pytorch/ignite's HSIC, whose bandwidth is the median; it is
// computed in fp32 there.
TEST(CentredRbfGram, HasTheHsicOfPytorchIgnite) {
  std::vector<double> x(50);
  std::vector<double> y(50);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<double>(i);
    y[i] = std::sin(x[i] * std::numbers::pi * 2 / 50);
  }
  const std::optional<Gram> k = CentredRbfGram(x, 10, 5, 1);
  const std::optional<Gram> l = CentredRbfGram(y, 10, 5, 1);
  ASSERT_TRUE(k && l);
  EXPECT_NEAR(UnbiasedHsic(*k, *l), 0.0922664999961853, 1e-6);
}

TEST(CentredRbfGram, HasNoBandwidthWhereMostSamplesAreTheSame) {
  std::vector<double> x(10, 0.1);
  x[0] = 1;
  EXPECT_FALSE(CentredRbfGram(x, 10, 1, 0.5));
}

TEST(CentredDistanceRanks, AverageTies) {
  // Distances 1 (0-1), 2 (0-2), 1 (1-2): the two equal ones share the first two ranks.
  const std::vector<double> x = {0, 1, 2};
  EXPECT_THAT(CentredDistanceRanks(x, 3, 1), testing::ElementsAre(-0.5, 1, -0.5));
}

TEST(Permutations, AreAFixedSequenceOfAllSamples) {
  Permutations first(5);
  Permutations second(5);
  std::set<std::vector<uint32_t>> seen;
  for (int i = 0; i < 1000; ++i) {
    const auto order = first.Next();
    const std::vector<uint32_t> copy(order.begin(), order.end());
    EXPECT_THAT(copy, testing::UnorderedElementsAre(0, 1, 2, 3, 4));
    EXPECT_THAT(second.Next(), testing::ElementsAreArray(copy));
    seen.insert(copy);
  }
  EXPECT_EQ(seen.size(), 120u);
}

}  // namespace
}  // namespace thermograd::statistics
