#include "metrics/cka.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/metrics/random_samples.h"

namespace thermograd::metrics {
namespace {

struct Side {
  explicit Side(const std::vector<double>& x, size_t n)
      : gram(statistics::CentredGram(x, n, x.size() / n)), view{&gram, 0} {
    view.hsic = statistics::HsicOf(gram, gram).biased;
  }
  statistics::Gram gram;
  CkaSide view;
};

Calibration Calibrate(const Side& x, const Side& y, size_t permutations) {
  return CalibrateMaximumCka({&x.view, 1}, {&y.view, 1}, permutations);
}

TEST(CalibrateMaximumCka, GivesUnrelatedLayersNothing) {
  const size_t n = 40, p = 400;
  const Calibration chance = Calibrate(Side(Random(n * p, 1), n), Side(Random(n * p, 2), n), 199);
  // The raw figure misleads.
  EXPECT_GT(std::get<double>(chance.maximum), 0.8);
  EXPECT_LT(std::get<double>(chance.calibrated), 0.01);
  EXPECT_GT(std::get<double>(chance.p_value), 0.01);
}

TEST(CalibrateMaximumCka, GivesTheSameLayerOneAndTheSmallestPValue) {
  const size_t n = 30, p = 3;
  const Side x(Random(n * p, 1), n);
  const Calibration same = Calibrate(x, x, 99);
  EXPECT_NEAR(std::get<double>(same.calibrated), 1, 1e-12);
  EXPECT_EQ(std::get<double>(same.p_value), 0.01);
}

// Under the null hypothesis p is uniform: about one in ten is below 0.1.
TEST(CalibrateMaximumCka, KeepsTheLevelOfTheTest) {
  const size_t n = 12, p = 2;
  int below = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Side x(Random(n * p, 2 * seed), n);
    const Side y(Random(n * p, 2 * seed + 1), n);
    if (std::get<double>(Calibrate(x, y, 39).p_value) <= 0.1) ++below;
  }
  EXPECT_GE(below, 8);
  EXPECT_LE(below, 35);
}

// With many pairs the largest is large by chance: each pair's own quantile would be passed.
TEST(CalibrateMaximumCka, TakesTheMaximumInsideThePermutations) {
  const size_t n = 20;
  std::vector<Side> sides;
  for (unsigned seed = 0; seed < 12; ++seed) sides.emplace_back(Random(n, seed), n);
  std::vector<CkaSide> x, y;
  for (size_t i = 0; i < 6; ++i) {
    sides[i].view.gram = &sides[i].gram;
    sides[i + 6].view.gram = &sides[i + 6].gram;
    x.push_back(sides[i].view);
    y.push_back(sides[i + 6].view);
  }
  const Calibration all = CalibrateMaximumCka(x, y, 199);
  double smallest_p = 1;
  double largest = 0;
  for (const CkaSide& a : x) {
    for (const CkaSide& b : y) {
      const Calibration one = CalibrateMaximumCka({&a, 1}, {&b, 1}, 199);
      smallest_p = std::min(smallest_p, std::get<double>(one.p_value));
      largest = std::max(largest, std::get<double>(one.maximum));
    }
  }
  EXPECT_DOUBLE_EQ(std::get<double>(all.maximum), largest);
  EXPECT_LT(smallest_p, 0.05);
  EXPECT_GT(std::get<double>(all.p_value), 0.05);
}

TEST(CalibrateMaximumCka, SaysWhyItIsUndefined) {
  const Side few(Random(6, 1), 3);
  EXPECT_EQ(std::get<Undefined>(Calibrate(few, few, 99).p_value), Undefined::kTooFewSamples);
  const Side x(Random(10, 1), 10);
  const Side constant(std::vector<double>(10, 0.1), 10);
  EXPECT_EQ(std::get<Undefined>(Calibrate(x, constant, 99).calibrated),
            Undefined::kZeroDenominator);
  EXPECT_EQ(std::get<Undefined>(Calibrate(x, x, 18).p_value), Undefined::kTooFewSamples);
}

}  // namespace
}  // namespace thermograd::metrics
