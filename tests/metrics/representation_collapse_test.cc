#include "metrics/representation_collapse.h"

#include <vector>

#include "gtest/gtest.h"
#include "statistics/representation_spectrum.h"
#include "tests/metrics/find_figure.h"
#include "tests/metrics/random_samples.h"

namespace thermograd::metrics {
namespace {

TEST(Collapse, CountsEqualDirections) {
  // Four points at the corners of a square: two equal eigenvalues, whatever the space they lie in.
  const std::vector<double> square = {1, 1, 0, 1, -1, 0, -1, 1, 0, -1, -1, 0};
  for (const double scale : {1.0, 1e20, 1e-20}) {
    std::vector<double> x = square;
    for (double& value : x) value *= scale;
    Figures figures;
    AppendCollapseFigures(x, 4, 3, {}, &figures);
    EXPECT_NEAR(Value(figures, "thermograd_effective_rank"), 2, 1e-12);
    EXPECT_NEAR(Value(figures, "thermograd_representation_participation_dimensions"), 2, 1e-12);
    EXPECT_NEAR(Value(figures, "thermograd_representation_stable_rank"), 2, 1e-12);
    // Each corner has two neighbours at a right angle and one opposite.
    EXPECT_NEAR(Value(figures, "thermograd_representation_mean_cosine_ratio"), -1.0 / 3, 1e-12);
  }
}

TEST(Collapse, FollowsTheFormulas) {
  const std::vector<double> eigenvalues = {1, 3};
  EXPECT_NEAR(std::get<double>(EffectiveRank(eigenvalues)), 1.754765, 1e-6);
  EXPECT_DOUBLE_EQ(std::get<double>(ParticipationRatio(eigenvalues)), 1.6);
  EXPECT_DOUBLE_EQ(std::get<double>(StableRank(eigenvalues)), 4.0 / 3);
}

TEST(Collapse, MeanCosineIsThatOverAllPairs) {
  const std::vector<double> x = {1, 0, 1, 1, 0, 2};
  const double half = std::sqrt(0.5);
  EXPECT_NEAR(std::get<double>(MeanCosine(x, 3, 2)), (half + 0 + half) / 3, 1e-15);
}

TEST(Collapse, SaysWhyItIsUndefined) {
  Figures figures;
  AppendCollapseFigures(std::vector<double>(6, 0.1), 3, 2, {}, &figures);
  for (const char* name :
       {"thermograd_effective_rank", "thermograd_representation_participation_dimensions",
        "thermograd_representation_stable_rank"}) {
    EXPECT_EQ(Reason(figures, name), Undefined::kZeroDenominator) << name;
  }
  EXPECT_NEAR(Value(figures, "thermograd_representation_mean_cosine_ratio"), 1, 1e-15);
  EXPECT_EQ(std::get<Undefined>(MeanCosine(std::vector<double>{1, 0}, 2, 1)),
            Undefined::kZeroDenominator);
  figures.clear();
  AppendCollapseFigures(std::vector<double>{1, 2}, 1, 2, {}, &figures);
  EXPECT_EQ(Reason(figures, "thermograd_effective_rank"), Undefined::kTooFewSamples);
}

}  // namespace
}  // namespace thermograd::metrics
