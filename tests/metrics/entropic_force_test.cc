#include "metrics/entropic_force.h"

#include "gtest/gtest.h"
#include "tests/metrics/find_figure.h"

namespace thermograd::metrics {
namespace {

// Two microbatches with gradients 1 and 3: mean 2, sample variance 2, unbiased |G|^2 = 3.
RunStep TwoMicrobatches() {
  RunStep step;
  step.gradient = {.sums = {.microbatches = 2, .sum_squared_norm = 10, .squared_norm_of_sum = 16},
                   .microbatch_size = 5};
  step.learning_rate = 0.1;
  step.loss = 1.0;
  return step;
}

TEST(EntropicForce, EstimatesOfTwoMicrobatches) {
  statistics::Window<RunStep> window(4);
  window.Push(TwoMicrobatches());
  Figures figures;
  AppendRunFigures(window, &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_second_moment"), 5);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_covariance_trace"), 2);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_mean_squared_norm"), 3);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_noise_scale_samples"), 5 * 2 / 3.0);
  // The step applies the mean gradient, 2: S = 4 / 4.
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropy_term"), 1);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_loss"), 1.1);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_share_ratio"), 0.1 / 1.1);
}

TEST(EntropicForce, RatiosAreRatiosOfWindowSums) {
  statistics::Window<RunStep> window(2);
  RunStep forgotten = TwoMicrobatches();
  forgotten.gradient.sums.sum_squared_norm = 1000;
  window.Push(forgotten);
  window.Push(TwoMicrobatches());
  RunStep noisy = TwoMicrobatches();
  noisy.gradient.sums = {.microbatches = 2, .sum_squared_norm = 20, .squared_norm_of_sum = 20};
  window.Push(noisy);  // tr = 10, |G|^2 = 0
  Figures figures;
  AppendRunFigures(window, &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_noise_scale_samples"), 5 * (2 + 10) / 3.0);
}

TEST(EntropicForce, OneMicrobatchHasNoVariance) {
  statistics::Window<RunStep> window(1);
  RunStep step = TwoMicrobatches();
  step.gradient.sums = {.microbatches = 1, .sum_squared_norm = 4, .squared_norm_of_sum = 4};
  window.Push(step);
  Figures figures;
  AppendRunFigures(window, &figures);
  EXPECT_EQ(Reason(figures, "thermograd_gradient_noise_scale_samples"),
            Undefined::kTooFewMicrobatches);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropy_term"), 1);
}

TEST(EntropicForce, DecayNeedsTheWeights) {
  RunStep step = TwoMicrobatches();
  step.weight_decay = 0.5;
  statistics::Window<RunStep> without(1);
  without.Push(step);
  Figures figures;
  AppendRunFigures(without, &figures);
  EXPECT_EQ(Reason(figures, "thermograd_entropic_loss"), Undefined::kMissingTensor);
  step.weight_squared_norm = 4;
  statistics::Window<RunStep> with(1);
  with.Push(step);
  figures.clear();
  AppendRunFigures(with, &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_loss"), 2.1);
}

}  // namespace
}  // namespace thermograd::metrics
