#include "metrics/symmetry_breaking.h"

#include "gtest/gtest.h"
#include "tests/metrics/find_figure.h"

namespace thermograd::metrics {
namespace {

// One neuron of scalars u, w with gradients that obey g_u u = g_w w.
statistics::RescalingSums Scalars(double u, double w, double g_u, double g_w) {
  return {.first = {{g_u * g_u}, {u * u}, {g_u * u}}, .second = {{g_w * g_w}, {w * w}, {g_w * w}}};
}

TEST(RescalingSymmetry, PredictsTheDriftOfSgdWithDecay) {
  const double eta = 0.1;
  const double gamma = 0.01;
  const double u = 2, w = 1, g_u = 0.5, g_w = 1;
  RescalingSymmetry symmetry("s", false, true, 8);
  Figures figures;
  symmetry.AddStep({7, eta, gamma}, Scalars(u, w, g_u, g_w), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge_drift"), Undefined::kNoEarlierStep);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_charge"), 3);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_residual_ratio"), 0);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_gradient_balance_ratio"), -0.6);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_entropic_force"), eta / 2 * (0.25 - 1));
  figures.clear();
  const double next_u = u - eta * (g_u + gamma * u);
  const double next_w = w - eta * (g_w + gamma * w);
  symmetry.AddStep({8, eta, gamma}, Scalars(next_u, next_w, g_u, g_w), &figures);
  const double drift = next_u * next_u - next_w * next_w - 3;
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_charge_drift"), drift, 1e-15);
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_charge_drift_predicted"), drift, 1e-15);
  EXPECT_LT(Value(figures, "thermograd_symmetry_charge_drift_error_ratio"), 1e-12);
}

TEST(RescalingSymmetry, ASkippedStepBreaksTheChain) {
  RescalingSymmetry symmetry("s", false, true, 8);
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, Scalars(1, 1, 1, 1), &figures);
  symmetry.SkipStep(Undefined::kNonFiniteInput, &figures);
  figures.clear();
  symmetry.AddStep({3, 0.1, 0}, Scalars(1, 1, 1, 1), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge_drift"), Undefined::kNoEarlierStep);
}

TEST(RescalingSymmetry, OtherOptimisersAreNotPredicted) {
  RescalingSymmetry symmetry("s", false, false, 8);
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, Scalars(1, 1, 1, 1), &figures);
  figures.clear();
  symmetry.AddStep({2, 0.1, 0}, Scalars(2, 1, 1, 1), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_charge_drift"), 3);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge_drift_predicted"),
            Undefined::kOptimizerNotCovered);
}

TEST(RescalingSymmetry, AFalseSymmetryShows) {
  RescalingSymmetry symmetry("s", true, true, 8);
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, Scalars(1, 1, 1, -1), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_residual_ratio"), 1);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_neuron_residual_ratio"), 1);
}

}  // namespace
}  // namespace thermograd::metrics
