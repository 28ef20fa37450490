#include "metrics/entropic_force.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tests/metrics/find_figure.h"

namespace thermograd::metrics {
namespace {

constexpr Optimizer kSgd{.kind = Optimizer::Kind::kSgd, .momentum = 0, .nesterov = false};

// Two microbatches with gradients 1 and 3: mean 2, sample variance 2, unbiased |G|^2 = 3.
ParameterGradient TwoMicrobatches() {
  ParameterGradient gradient;
  gradient.sums = {.microbatches = 2,
                   .sum_squared_norm = 10,
                   .applied_squared_norm = 4,
                   .applied_microbatches = 2};
  gradient.learning_rate = 0.1;
  return gradient;
}

EntropicStep StepOf(std::vector<ParameterGradient> parameters) {
  return {
      .microbatch_size = 5, .learning_rate = 0.1, .loss = 1.0, .parameters = std::move(parameters)};
}

EntropicForces OneParameter(size_t window_steps, Optimizer optimizer = kSgd,
                            bool gradient_after_update = false) {
  return EntropicForces({{.name = "w", .group = "", .elements = 4}}, optimizer, window_steps,
                        gradient_after_update);
}

TEST(EntropicForces, EstimatesOfTwoMicrobatches) {
  EntropicForces forces = OneParameter(4);
  Figures figures;
  forces.AddStep(StepOf({TwoMicrobatches()}), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_second_moment"), 5);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_covariance_trace"), 2);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_mean_squared_norm"), 3);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_noise_scale_samples"), 5 * 2 / 3.0);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_batch_samples"), 5 * 2);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_learning_rate"), 0.1);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_parameter_gradient_signal_to_noise"), 1.5);
  // The step applies the mean gradient, 2: S = 4 / 4, of which the noise is 2 / 2 / 4.
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropy_term"), 1);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropy_signal_term"), 0.75);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropy_noise_term"), 0.25);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_loss"), 1.1);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_share_ratio"), 0.1 / 1.1);
  // T = eta tr Sigma / (2 P) with Sigma of the mean of two microbatches.
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_temperature"), 0.1 * 1 / 8);
}

TEST(EntropicForces, TheReducedGradientStandsForAllMicrobatches) {
  // One rank's two microbatches, and the mean of eight.
  ParameterGradient gradient = TwoMicrobatches();
  gradient.sums.applied_squared_norm = 3.25;
  gradient.sums.applied_microbatches = 8;
  EntropicForces forces = OneParameter(1);
  Figures figures;
  forces.AddStep(StepOf({gradient}), &figures);
  // (B |g_B|^2 - b |g_b|^2) / (B - b) and (|g_b|^2 - |g_B|^2) / (1/b - 1/B) with b = 5, B = 40.
  const double signal = (40 * 3.25 - 5 * 5.0) / 35;
  const double noise = (5.0 - 3.25) / (1 / 5.0 - 1 / 40.0);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_mean_squared_norm"), signal);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_noise_scale_samples"), noise / signal);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_batch_samples"), 40);
}

TEST(EntropicForces, RatiosAreRatiosOfWindowSums) {
  EntropicForces forces = OneParameter(2);
  ParameterGradient forgotten = TwoMicrobatches();
  forgotten.sums.sum_squared_norm = 1000;
  ParameterGradient noisy = TwoMicrobatches();
  noisy.sums.sum_squared_norm = 20;  // tr = 2 (20 / 2 - 5) = 10, |G|^2 = 0
  noisy.sums.applied_squared_norm = 5;
  Figures figures;
  forces.AddStep(StepOf({forgotten}), &figures);
  forces.AddStep(StepOf({TwoMicrobatches()}), &figures);
  figures.clear();
  forces.AddStep(StepOf({noisy}), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_gradient_noise_scale_samples"), 5 * (2 + 10) / 3.0);
}

TEST(EntropicForces, IntervalOfTheNoiseScaleByTheDeltaMethod) {
  EntropicForces forces = OneParameter(8);
  ParameterGradient other = TwoMicrobatches();
  other.sums.sum_squared_norm = 12;
  other.sums.applied_squared_norm = 5;  // tr = 2, |G|^2 = 4
  Figures figures;
  forces.AddStep(StepOf({TwoMicrobatches()}), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_gradient_noise_scale_upper_samples"),
            Undefined::kTooFewSamples);
  figures.clear();
  forces.AddStep(StepOf({other}), &figures);
  // Pairs (10, 3) and (10, 4).
  const double ratio = 20 / 7.0;
  const double variance = (std::pow(10 - 3 * ratio, 2) + std::pow(10 - 4 * ratio, 2)) / 2;
  const double half_width = 1.959964 * std::sqrt(variance) / 3.5;
  EXPECT_NEAR(Value(figures, "thermograd_gradient_noise_scale_lower_samples"), ratio - half_width,
              1e-12);
  EXPECT_NEAR(Value(figures, "thermograd_gradient_noise_scale_upper_samples"), ratio + half_width,
              1e-12);
}

TEST(EntropicForces, OneMicrobatchHasNoVariance) {
  ParameterGradient gradient;
  gradient.sums = {.microbatches = 1,
                   .sum_squared_norm = 4,
                   .applied_squared_norm = 4,
                   .applied_microbatches = 1};
  gradient.learning_rate = 0.1;
  EntropicForces forces = OneParameter(1);
  Figures figures;
  forces.AddStep(StepOf({gradient}), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_gradient_noise_scale_samples"),
            Undefined::kTooFewMicrobatches);
  EXPECT_EQ(Reason(figures, "thermograd_entropy_noise_term"), Undefined::kTooFewMicrobatches);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropy_term"), 1);
}

TEST(EntropicForces, DecayNeedsTheWeights) {
  ParameterGradient gradient = TwoMicrobatches();
  gradient.weight_decay = 0.5;
  EntropicForces forces = OneParameter(1);
  Figures figures;
  forces.AddStep(StepOf({gradient}), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_entropic_loss"), Undefined::kMissingTensor);
  gradient.weight_squared_norm = 4;
  figures.clear();
  forces.AddStep(StepOf({gradient}), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_loss"), 2.1);
}

TEST(EntropicForces, GroupsHaveTheirOwnLearningRates) {
  EntropicForces forces({{.name = "a", .group = "fast", .elements = 4},
                         {.name = "b", .group = "slow", .elements = 4}},
                        kSgd, 1, false);
  ParameterGradient fast = TwoMicrobatches();
  ParameterGradient slow = TwoMicrobatches();
  slow.learning_rate = 0.01;
  Figures figures;
  forces.AddStep(StepOf({fast, slow}), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_loss"), 1 + 0.1 * 1 + 0.01 * 1);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_group_temperature"), 0.1 * 1 / 8);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_temperature"), (0.1 + 0.01) / 16);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_equipartition_index_ratio"), 1);
}

TEST(EntropicForces, EquipartitionFallsToOneGroup) {
  EntropicForces forces(
      {{.name = "a", .group = "", .elements = 4}, {.name = "b", .group = "", .elements = 4}}, kSgd,
      1, false);
  ParameterGradient silent = TwoMicrobatches();
  silent.sums.sum_squared_norm = silent.sums.applied_squared_norm = 0;
  Figures figures;
  forces.AddStep(StepOf({TwoMicrobatches(), silent}), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_equipartition_index_ratio"), 0.5);
}

TEST(EntropicForces, MomentumMovesByItsEffectiveLearningRate) {
  EntropicForces forces =
      OneParameter(1, {.kind = Optimizer::Kind::kMomentum, .momentum = 0.5, .nesterov = false});
  Figures figures;
  forces.AddStep(StepOf({TwoMicrobatches()}), &figures);
  // eta / (1 - mu) = 0.2; the signal counts (1 + mu) / (1 - mu) = 3 times.
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_loss"), 1 + 0.2 / 4 * (3 * 3 + 1));
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_temperature"), 0.2 * 1 / 8);
}

TEST(EntropicForces, AGeneralOptimizerNeedsItsPreconditioner) {
  EntropicForces forces =
      OneParameter(1, {.kind = Optimizer::Kind::kOther, .momentum = 0.9, .nesterov = false});
  ParameterGradient gradient = TwoMicrobatches();
  gradient.gradient_dot_update = -1;
  Figures figures;
  forces.AddStep(StepOf({gradient}), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_entropic_loss"), Undefined::kOptimizerNotCovered);
  gradient.preconditioned_squared_norm = 2;
  figures.clear();
  forces.AddStep(StepOf({gradient}), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_loss"), 1.5);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropy_term"), 5);
}

TEST(EntropicForces, WithoutMemoryTheUpdateIsThePreconditionedGradient) {
  EntropicForces forces =
      OneParameter(1, {.kind = Optimizer::Kind::kOther, .momentum = 0, .nesterov = false});
  ParameterGradient gradient = TwoMicrobatches();
  gradient.gradient_dot_update = -2;
  Figures figures;
  forces.AddStep(StepOf({gradient}), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_entropic_loss"), 1.5);
}

TEST(EntropicForces, CurvatureAlongTheUpdate) {
  EntropicForces forces = OneParameter(1, kSgd, true);
  Figures figures;
  forces.AddStep(StepOf({TwoMicrobatches()}), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_directional_curvature"), Undefined::kMissingTensor);
  ParameterGradient gradient = TwoMicrobatches();
  gradient.gradient_change_dot_update = 6;
  gradient.update_squared_norm = 0.5;
  figures.clear();
  forces.AddStep(StepOf({gradient}), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_directional_curvature"), 12);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_directional_stability"), 1.2);
}

TEST(EntropicForces, ARunWithoutParametersHasItsLoss) {
  EntropicForces forces({}, kSgd, 1, false);
  Figures figures;
  forces.AddStep(StepOf({}), &figures);
  ASSERT_EQ(figures.size(), 1u);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_loss"), 1);
}

TEST(EntropicForces, AnUnusableParameterWithholdsTheRun) {
  EntropicForces forces(
      {{.name = "a", .group = "", .elements = 4}, {.name = "b", .group = "", .elements = 4}}, kSgd,
      1, false);
  ParameterGradient broken;
  broken.undefined = Undefined::kNonFiniteInput;
  Figures figures;
  forces.AddStep(StepOf({TwoMicrobatches(), broken}), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_parameter_gradient_second_moment"), 5);
  for (const char* name : {"thermograd_gradient_second_moment", "thermograd_entropic_loss",
                           "thermograd_equipartition_index_ratio"}) {
    EXPECT_EQ(Reason(figures, name), Undefined::kNonFiniteInput) << name;
  }
}

}  // namespace
}  // namespace thermograd::metrics
