#include "metrics/canonical_alignment.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/metrics/random_samples.h"

namespace thermograd::metrics {
namespace {

TEST(SecondMomentCosine, IsTheCosineOfTheMatrices) {
  // A'A = diag(1, 4), B'B = diag(9, 0).
  const std::vector<double> a = {1, 0, 0, 2};
  const std::vector<double> b = {3, 0};
  EXPECT_NEAR(std::get<double>(SecondMomentCosine({a, 2}, {b, 1}, 2)), 1 / std::sqrt(17), 1e-15);
}

TEST(SecondMomentCosine, IsOneForTheSameAtAnyScaleAndNumberOfRows) {
  constexpr size_t kRows = 200, kColumns = 3;
  const std::vector<double> a = Random(kRows * kColumns, 1);
  std::vector<double> twice = a;
  twice.insert(twice.end(), a.begin(), a.end());
  for (double& value : twice) value *= 1e120;
  EXPECT_NEAR(std::get<double>(SecondMomentCosine({a, kRows}, {twice, 2 * kRows}, kColumns)), 1,
              1e-14);
}

TEST(SecondMomentCosine, IsUndefinedForZeros) {
  const std::vector<double> a = {1, 2};
  const std::vector<double> zero = {0, 0};
  EXPECT_EQ(std::get<Undefined>(SecondMomentCosine({a, 1}, {zero, 1}, 2)),
            Undefined::kZeroDenominator);
}

}  // namespace
}  // namespace thermograd::metrics
