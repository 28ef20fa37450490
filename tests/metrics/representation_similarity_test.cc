#include "metrics/representation_similarity.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::metrics {
namespace {

std::vector<double> Random(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> x(count);
  for (double& value : x) value = normal(generator);
  return x;
}

TEST(Cka, IsOneForARotatedAndScaledCopy) {
  const size_t n = 20;
  const std::vector<double> x = Random(n * 2, 1);
  std::vector<double> y(x.size());
  const double c = std::cos(0.3), s = std::sin(0.3);
  for (const double scale : {1.0, 1e-20, 1e20}) {
    for (size_t i = 0; i < n; ++i) {
      y[2 * i] = scale * (c * x[2 * i] - s * x[2 * i + 1]) + 5 * scale;
      y[2 * i + 1] = scale * (s * x[2 * i] + c * x[2 * i + 1]);
    }
    const auto k = statistics::CentredGram(x, n, 2);
    const auto l = statistics::CentredGram(y, n, 2);
    EXPECT_NEAR(std::get<double>(BiasedCka(k, l)), 1, 1e-12);
    EXPECT_NEAR(std::get<double>(UnbiasedCka(k, l)), 1, 1e-12);
  }
}

TEST(Cka, BiasGrowsWithFeaturesAndTheUnbiasedFormHasNone) {
  const size_t n = 40, p = 400;
  const auto k = statistics::CentredGram(Random(n * p, 1), n, p);
  const auto l = statistics::CentredGram(Random(n * p, 2), n, p);
  EXPECT_GT(std::get<double>(BiasedCka(k, l)), 0.8);
  EXPECT_LT(std::fabs(std::get<double>(UnbiasedCka(k, l))), 0.1);
}

TEST(Cka, SaysWhyItIsUndefined) {
  const auto constant = statistics::CentredGram(std::vector<double>(10, 3.0), 5, 2);
  const auto other = statistics::CentredGram(Random(10, 1), 5, 2);
  EXPECT_EQ(std::get<Undefined>(BiasedCka(constant, other)), Undefined::kZeroDenominator);
  const auto few = statistics::CentredGram(Random(6, 1), 3, 2);
  EXPECT_EQ(std::get<Undefined>(UnbiasedCka(few, few)), Undefined::kTooFewSamples);
}

TEST(EffectiveRank, CountsEqualDirections) {
  // Four points at the corners of a square: two equal eigenvalues, whatever the space they lie in.
  const std::vector<double> square = {1, 1, 0, 1, -1, 0, -1, 1, 0, -1, -1, 0};
  EXPECT_NEAR(std::get<double>(EffectiveRank(square, 4, 3)), 2, 1e-12);
  const std::vector<double> line = {1, 2, 2, 4, 3, 6};
  EXPECT_NEAR(std::get<double>(EffectiveRank(line, 3, 2)), 1, 1e-9);
}

}  // namespace
}  // namespace thermograd::metrics
