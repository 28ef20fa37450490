#include "statistics/gradient.h"

#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::statistics {
namespace {

TEST(GradientAccumulator, SumsOverMicrobatchesAndUndoesTheLossScale) {
  GradientAccumulator accumulator(2, 2, true, 0.5);
  const std::vector<float> first = {2, 4};
  const std::vector<float> second = {6, -4};
  accumulator.Add(std::span(first).first(1), 0);
  EXPECT_EQ(accumulator.next_element(), 1u);
  accumulator.Add(std::span(first).last(1), 1);
  EXPECT_EQ(accumulator.microbatch(), 1u);
  EXPECT_FALSE(accumulator.complete());
  accumulator.Add(second, 0);
  ASSERT_TRUE(accumulator.complete());
  const GradientSums sums = accumulator.Sums();
  EXPECT_EQ(sums.sum_squared_norm, (1 + 4) + (9 + 4));
  EXPECT_EQ(sums.squared_norm_of_sum, 16);
  EXPECT_EQ(accumulator.Mean(), (std::vector<double>{2, 0}));
}

TEST(GradientAccumulator, OneMicrobatchNeedsNoVector) {
  GradientAccumulator accumulator(3, 1, false, 1);
  const std::vector<double> gradient = {1, 2, 2};
  accumulator.Add(gradient, 0);
  EXPECT_EQ(accumulator.Sums().squared_norm_of_sum, 9);
}

TEST(GradientAccumulator, CountsNonFiniteOverAllMicrobatches) {
  GradientAccumulator accumulator(1, 2, false, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  accumulator.Add(std::span(&nan, 1), 0);
  accumulator.Add(std::span(&infinity, 1), 0);
  EXPECT_EQ(accumulator.non_finite().nans, 1u);
  EXPECT_EQ(accumulator.non_finite().infinities, 1u);
}

TEST(GradientSums, PartsOfTheParametersAdd) {
  GradientSums whole{.microbatches = 2, .sum_squared_norm = 1, .squared_norm_of_sum = 2};
  whole.MergeParameters({.microbatches = 2, .sum_squared_norm = 10, .squared_norm_of_sum = 20});
  EXPECT_EQ(whole.sum_squared_norm, 11);
  EXPECT_EQ(whole.squared_norm_of_sum, 22);
  EXPECT_EQ(whole.microbatches, 2u);
}

}  // namespace
}  // namespace thermograd::statistics
