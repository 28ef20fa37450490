#include "statistics/gradient.h"

#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::statistics {
namespace {

using kernels::Elements;

TEST(GradientAccumulator, SumsOverMicrobatchesAndUndoesTheLossScale) {
  GradientAccumulator accumulator(2, 2, SumUse::kVector, 0.5);
  const std::vector<float> first = {2, 4};
  const std::vector<float> second = {6, -4};
  accumulator.Add(Elements::Of(std::span(first).first(1)), 0);
  EXPECT_EQ(accumulator.next_element(), 1u);
  accumulator.Add(Elements::Of(std::span(first).last(1)), 1);
  EXPECT_EQ(accumulator.microbatch(), 1u);
  EXPECT_FALSE(accumulator.complete());
  accumulator.Add(Elements::Of(second), 0);
  ASSERT_TRUE(accumulator.complete());
  const GradientSums sums = accumulator.Sums();
  EXPECT_EQ(sums.sum_squared_norm, (1 + 4) + (9 + 4));
  EXPECT_EQ(sums.applied_squared_norm, 4);
  EXPECT_EQ(sums.applied_microbatches, 2);
  EXPECT_EQ(accumulator.Mean(), (std::vector<double>{2, 0}));
}

TEST(GradientAccumulator, OneMicrobatchNeedsNoVector) {
  GradientAccumulator accumulator(3, 1, SumUse::kNorm, 1);
  const std::vector<double> gradient = {1, 2, 2};
  accumulator.Add(Elements::Of(gradient), 0);
  EXPECT_EQ(accumulator.Sums().applied_squared_norm, 9);
}

// What is asked of the sum decides what is kept, not what the norms are.
TEST(GradientAccumulator, EveryUseHasTheSameNorms) {
  constexpr size_t kElements = 100;
  constexpr uint64_t kMicrobatches = 4;
  GradientAccumulator none(kElements, kMicrobatches, SumUse::kNone, 0.5);
  GradientAccumulator norm(kElements, kMicrobatches, SumUse::kNorm, 0.5);
  GradientAccumulator vector(kElements, kMicrobatches, SumUse::kVector, 0.5);
  std::vector<double> sum(kElements);
  for (uint64_t m = 0; m < kMicrobatches; ++m) {
    std::vector<float> gradient(kElements);
    for (size_t i = 0; i < kElements; ++i) {
      gradient[i] = static_cast<float>(i % 7) - 2.0f * static_cast<float>(m);
      sum[i] += static_cast<double>(gradient[i]);
    }
    for (GradientAccumulator* accumulator : {&none, &norm, &vector}) {
      accumulator->Add(Elements::Of(std::span(gradient).first(37)), 0);
      accumulator->Add(Elements::Of(std::span(gradient).last(63)), 37);
    }
  }
  double expected = 0;
  for (double& element : sum) {
    element *= 0.5 / kMicrobatches;
    expected += element * element;
  }
  EXPECT_EQ(norm.Sums().applied_squared_norm, expected);
  EXPECT_EQ(vector.Sums().applied_squared_norm, expected);
  EXPECT_EQ(none.Sums().sum_squared_norm, norm.Sums().sum_squared_norm);
  EXPECT_EQ(none.Sums().sum_squared_norm, vector.Sums().sum_squared_norm);
  EXPECT_EQ(vector.Mean(), sum);
  EXPECT_TRUE(norm.Mean().empty());
}

TEST(GradientAccumulator, GivesBackTheMemoryThatItWasLent) {
  double memory[2];
  double* given_back = nullptr;
  {
    GradientAccumulator accumulator(
        2, 1, SumUse::kVector, 1,
        VectorMemory(memory, [&](double* vector) { given_back = vector; }));
    accumulator.Add(Elements::Of(std::vector<float>{3, 4}), 0);
    EXPECT_EQ(memory[1], 4);
  }
  EXPECT_EQ(given_back, memory);
}

TEST(GradientAccumulator, CountsNonFiniteOverAllMicrobatches) {
  GradientAccumulator accumulator(1, 2, SumUse::kNorm, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  accumulator.Add(Elements::Of(std::span(&nan, 1)), 0);
  accumulator.Add(Elements::Of(std::span(&infinity, 1)), 0);
  EXPECT_EQ(accumulator.non_finite().nans, 1u);
  EXPECT_EQ(accumulator.non_finite().infinities, 1u);
}

TEST(GradientAccumulator, RanksAddMicrobatches) {
  GradientAccumulator whole(2, 3, SumUse::kVector, 1);
  GradientAccumulator first(2, 1, SumUse::kVector, 1);
  GradientAccumulator second(2, 2, SumUse::kVector, 0.5);  // its loss was scaled by 2
  for (const auto& [x, y] : {std::pair{1.0, 2.0}, {3.0, -1.0}, {0.5, 4.0}}) {
    whole.Add(Elements::Of(std::vector<double>{x, y}), 0);
  }
  first.Add(Elements::Of(std::vector<double>{1, 2}), 0);
  second.Add(Elements::Of(std::vector<double>{6, -2}), 0);
  second.Add(Elements::Of(std::vector<double>{1, 8}), 0);
  first.MergeMicrobatches(second);
  EXPECT_EQ(first.Sums().microbatches, 3u);
  EXPECT_DOUBLE_EQ(first.Sums().sum_squared_norm, whole.Sums().sum_squared_norm);
  EXPECT_DOUBLE_EQ(first.Sums().applied_squared_norm, whole.Sums().applied_squared_norm);
  EXPECT_EQ(first.Mean(), whole.Mean());
}

TEST(GradientSums, PartsOfTheParametersAdd) {
  GradientSums whole{.microbatches = 2,
                     .sum_squared_norm = 1,
                     .applied_squared_norm = 2,
                     .applied_microbatches = 2};
  whole.MergeParameters({.microbatches = 2,
                         .sum_squared_norm = 10,
                         .applied_squared_norm = 20,
                         .applied_microbatches = 2});
  EXPECT_EQ(whole.sum_squared_norm, 11);
  EXPECT_EQ(whole.applied_squared_norm, 22);
  EXPECT_EQ(whole.microbatches, 2u);
}

}  // namespace
}  // namespace thermograd::statistics
