#include "metrics/symmetry_breaking.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "gtest/gtest.h"
#include "metrics/catalogue.h"
#include "metrics/logit_translation.h"
#include "metrics/scale_invariance.h"
#include "tests/metrics/find_figure.h"

namespace thermograd::metrics {
namespace {

using Kind = QuadraticForm::Kind;
using Instances = QuadraticForm::Instances;

// One number's sums.
statistics::SideSums Scalar(double weight, double gradient) {
  return {.gradient_gradient = {gradient * gradient},
          .weight_weight = {weight * weight},
          .gradient_weight = {gradient * weight},
          .update_weight = {},
          .update_update = {}};
}

// One neuron of scalars u, w.
statistics::SymmetrySums Scalars(double u, double w, double g_u, double g_w) {
  return {.first = Scalar(u, g_u), .second = Scalar(w, g_w)};
}

statistics::SymmetrySums WithUpdate(statistics::SymmetrySums sums, double u, double w, double d_u,
                                    double d_w) {
  sums.first.update_weight = {d_u * u};
  sums.first.update_update = {d_u * d_u};
  sums.second.update_weight = {d_w * w};
  sums.second.update_update = {d_w * d_w};
  return sums;
}

statistics::SymmetrySums WithoutWeights(statistics::SymmetrySums sums) {
  for (statistics::SideSums* side : {&sums.first, &sums.second}) {
    side->weight_weight.clear();
    side->gradient_weight.clear();
    side->update_weight.clear();
  }
  return sums;
}

QuadraticSymmetry Neuron(bool sgd, size_t window_steps = 8) {
  return QuadraticSymmetry("s", {.labelled = Instances::kNeurons}, sgd, window_steps);
}

TEST(QuadraticSymmetry, PredictsTheDriftOfSgdWithDecay) {
  const double eta = 0.1;
  const double gamma = 0.01;
  const double u = 2, w = 1, g_u = 0.5, g_w = 1;  // g_u u = g_w w
  QuadraticSymmetry symmetry = Neuron(true);
  Figures figures;
  symmetry.AddStep({7, eta, gamma}, Scalars(u, w, g_u, g_w), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge_drift"), Undefined::kNoEarlierStep);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_charge"), 3);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_residual_ratio"), 0);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_gradient_balance_ratio"), -0.6);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_entropic_force"), eta / 2 * (0.25 - 1));
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_optimizer_breaking"), -2 * eta * gamma * 3,
              1e-15);
  figures.clear();
  const double next_u = u - eta * (g_u + gamma * u);
  const double next_w = w - eta * (g_w + gamma * w);
  symmetry.AddStep({8, eta, gamma}, Scalars(next_u, next_w, g_u, g_w), &figures);
  const double drift = next_u * next_u - next_w * next_w - 3;
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_charge_drift"), drift, 1e-15);
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_charge_drift_predicted"), drift, 1e-15);
  EXPECT_LT(Value(figures, "thermograd_symmetry_charge_drift_error_ratio"), 1e-12);
}

TEST(QuadraticSymmetry, FollowsTheChargeThroughStepsWithoutWeights) {
  const double eta = 0.1, gamma = 0.01;
  double u = 2, w = 1;
  QuadraticSymmetry symmetry = Neuron(true);
  Figures figures;
  for (uint64_t step = 0; step < 5; ++step) {
    const double g = 1.0 + static_cast<double>(step);
    const double g_u = g * w, g_w = g * u;
    statistics::SymmetrySums sums = Scalars(u, w, g_u, g_w);
    if (step % 4 != 0) sums = WithoutWeights(sums);
    figures.clear();
    symmetry.AddStep({step, eta, gamma}, sums, &figures);
    if (step == 2) {
      EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge_drift"), Undefined::kMissingTensor);
      EXPECT_NEAR(Value(figures, "thermograd_symmetry_optimizer_breaking"),
                  -2 * eta * gamma * (u * u - w * w), 1e-12);
    }
    u -= eta * (g_u + gamma * u);
    w -= eta * (g_w + gamma * w);
  }
  EXPECT_LT(Value(figures, "thermograd_symmetry_charge_drift_error_ratio"), 1e-12);
}

TEST(QuadraticSymmetry, ASkippedStepBreaksTheChain) {
  QuadraticSymmetry symmetry = Neuron(true);
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, Scalars(1, 1, 1, 1), &figures);
  figures.clear();
  symmetry.SkipStep(Undefined::kNonFiniteInput, &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_gradient_balance_ratio"),
            Undefined::kNonFiniteInput);
  figures.clear();
  symmetry.AddStep({2, 0.1, 0}, Scalars(1, 1, 1, 1), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge_drift"), Undefined::kNoEarlierStep);
  figures.clear();
  symmetry.AddStep({4, 0.1, 0}, Scalars(1, 1, 1, 1), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge_drift"), Undefined::kNoEarlierStep);
}

TEST(QuadraticSymmetry, OtherOptimisersNeedTheirUpdates) {
  QuadraticSymmetry symmetry = Neuron(false);
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, Scalars(1, 1, 1, 1), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_optimizer_breaking"),
            Undefined::kOptimizerNotCovered);
  figures.clear();
  symmetry.AddStep({2, 0.1, 0}, WithUpdate(Scalars(2, 1, 1, 1), 2, 1, 0.5, -0.25), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_charge_drift"), 3);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge_drift_predicted"),
            Undefined::kOptimizerNotCovered);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_optimizer_breaking"),
                   2 * (0.5 * 2 - (-0.25) * 1));
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_entropic_breaking"), 0.25 - 0.0625);
  figures.clear();
  symmetry.AddStep({3, 0.1, 0}, Scalars(2.5, 0.75, 1, 1), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_charge_drift_predicted"),
                   Value(figures, "thermograd_symmetry_charge_drift"));
}

TEST(QuadraticSymmetry, AFalseSymmetryShows) {
  QuadraticSymmetry symmetry = Neuron(true);
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, Scalars(1, 1, 1, -1), &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_residual_ratio"), 1);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_neuron_residual_ratio"), 1);
}

TEST(QuadraticSymmetry, BalanceIsARatioOfSumsOverTheWindow) {
  QuadraticSymmetry symmetry = Neuron(true, 2);
  Figures figures;
  for (const auto& [step, g_u] : {std::pair{1, 100.0}, {2, 1.0}, {3, 3.0}}) {
    figures.clear();
    symmetry.AddStep({static_cast<uint64_t>(step), 0.1, 0}, Scalars(1, 1, g_u, 1), &figures);
  }
  // The first step has left; (1 + 9 - 2) / (1 + 9 + 2).
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_gradient_balance_ratio"), 8.0 / 12);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_gradient_balance_numerator_sum"), 8);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_gradient_balance_denominator_sum"), 12);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_entropic_force"), 0.05 * 4);
}

TEST(QuadraticSymmetry, EquilibriumNeedsDecay) {
  QuadraticSymmetry symmetry = Neuron(true);
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, Scalars(2, 1, 1, 2), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_equilibrium_gap_ratio"),
            Undefined::kNoWeightDecay);
  figures.clear();
  const double eta = 0.1, gamma = 0.01;
  symmetry.AddStep({2, eta, gamma}, WithoutWeights(Scalars(2, 1, 1, 2)), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_equilibrium_gap_ratio"),
            Undefined::kMissingTensor);
  figures.clear();
  symmetry.AddStep({3, eta, gamma}, Scalars(2, 1, 3, 6), &figures);
  const double t_u = 3 + gamma * 2, t_w = 6 + gamma * 1;
  const double a = eta * (t_u * t_u - t_w * t_w);
  const double b = 2 * gamma * 3;
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_equilibrium_gap_ratio"),
              (a - b) / (std::fabs(a) + b), 1e-12);
}

TEST(QuadraticSymmetry, ZeroAndOverflowHaveReasons) {
  QuadraticSymmetry symmetry = Neuron(true);
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, Scalars(0, 0, 0, 0), &figures);
  for (const char* name :
       {"thermograd_symmetry_residual_ratio", "thermograd_symmetry_relative_charge_ratio",
        "thermograd_symmetry_gradient_balance_ratio"}) {
    EXPECT_EQ(Reason(figures, name), Undefined::kZeroDenominator) << name;
  }
  figures.clear();
  symmetry.AddStep({2, 0.1, 0}, Scalars(1e200, 0, 1e200, 0), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge"), Undefined::kOverflow);
  for (const Figure& figure : figures) {
    if (const double* value = std::get_if<double>(&figure.result)) {
      EXPECT_TRUE(std::isfinite(*value)) << figure.name;
    }
  }
}

TEST(QuadraticSymmetry, OnlyScalingsHaveSumsOfTheirBalance) {
  for (const Kind kind : {Kind::kScaling, Kind::kRotation, Kind::kScaleInvariance}) {
    QuadraticSymmetry symmetry("s", {.kind = kind}, true, 8);
    Figures figures;
    symmetry.AddStep({1, 0.1, 0}, Scalars(1, 2, 2, 1), &figures);
    const bool has_sums = std::any_of(figures.begin(), figures.end(), [](const Figure& figure) {
      return std::string_view(figure.name) == "thermograd_symmetry_gradient_balance_numerator_sum";
    });
    EXPECT_EQ(has_sums, kind == Kind::kScaling);
  }
}

TEST(QuadraticSymmetry, RotationsLookAtEveryDirection) {
  // Charges diag(1, -1): the trace sees nothing, the norm does.
  QuadraticSymmetry symmetry(
      "s", {.kind = Kind::kRotation, .labelled = Instances::kOne, .instances = 1, .dimension = 2},
      true, 8);
  statistics::SymmetrySums sums;
  sums.first = {.gradient_gradient = {2, 0, 0, 1},
                .weight_weight = {2, 0, 0, 1},
                .gradient_weight = {1, 2, 3, 4},
                .update_weight = {},
                .update_update = {}};
  sums.second = {.gradient_gradient = {1, 0, 0, 2},
                 .weight_weight = {1, 0, 0, 2},
                 .gradient_weight = {1, 3, 2, 4},
                 .update_weight = {},
                 .update_update = {}};
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, sums, &figures);
  EXPECT_EQ(Value(figures, "thermograd_symmetry_charge"), 0);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_charge_norm"), std::sqrt(2));
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_gradient_balance_ratio"),
                   std::sqrt(2) / (2 * std::sqrt(5)));
  // The second side's products are the transpose of the first's.
  EXPECT_EQ(Value(figures, "thermograd_symmetry_residual_ratio"), 0);
}

TEST(AngularStep, AgreesWithTheAngleAndItsEquilibrium) {
  const double eta = 0.1, gamma = 0.01;
  // w = (3, 0), g = (0, 2): orthogonal, as scale invariance demands.
  AngularStep angle("s", 1, true, 8);
  Figures figures;
  angle.AddStep({1, eta, gamma}, {{4}, {9}, {0}, {}, {}}, &figures);
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_angular_step_radians"),
              std::atan2(eta * 2, 3 - eta * gamma * 3), 1e-15);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_angular_step_predicted_radians"),
                   std::sqrt(2 * eta * gamma));
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_equilibrium_norm"),
                   std::pow(eta * 36 / (2 * gamma), 0.25));
  figures.clear();
  angle.AddStep({2, eta, 0}, {{4}, {9}, {0}, {}, {}}, &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_equilibrium_norm"), Undefined::kNoWeightDecay);
}

TEST(AngularStep, OfOtherOptimisersComesFromTheirUpdates) {
  AngularStep angle("s", 1, false, 8);
  Figures figures;
  angle.AddStep({1, 0.1, 0.1}, {{4}, {9}, {0}, {}, {}}, &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_angular_step_radians"),
            Undefined::kOptimizerNotCovered);
  figures.clear();
  // A half turn of w = (3, 0), by D = (-6, 0).
  angle.AddStep({2, 0.1, 0.1}, {{4}, {9}, {0}, {-18}, {36}}, &figures);
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_angular_step_radians"), std::acos(-1.0), 1e-7);
}

TEST(AngularStep, VanishedWeightsHaveNoAngle) {
  AngularStep angle("s", 1, true, 8);
  Figures figures;
  angle.AddStep({1, 0.1, 0.1}, {{0}, {0}, {0}, {}, {}}, &figures);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_angular_step_radians"),
            Undefined::kZeroDenominator);
}

TEST(LogitTranslation, SgdShrinksTheChargeByDecayAlone) {
  const double eta = 0.1, gamma = 0.01;
  LogitTranslation symmetry("s", true);
  statistics::TranslationSums sums;
  sums.rows = 4;
  sums.gradient = {0, 0};
  sums.weight = {3, 4};
  sums.gradient_squared_norm = 2;
  Figures figures;
  symmetry.AddStep({1, eta, gamma}, sums, &figures);
  EXPECT_EQ(Value(figures, "thermograd_symmetry_residual_ratio"), 0);
  EXPECT_EQ(Value(figures, "thermograd_symmetry_charge_norm"), 5);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_optimizer_breaking_norm"), eta * gamma * 5);
  figures.clear();
  sums.weight = {3 * (1 - eta * gamma), 4 * (1 - eta * gamma)};
  symmetry.AddStep({2, eta, gamma}, sums, &figures);
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_charge_drift_norm"), eta * gamma * 5, 1e-15);
  EXPECT_LT(Value(figures, "thermograd_symmetry_charge_drift_error_ratio"), 1e-12);
}

TEST(LogitTranslation, AFalseOneShows) {
  LogitTranslation symmetry("s", false);
  statistics::TranslationSums sums;
  sums.rows = 4;  // four rows of the same gradient (1, 0)
  sums.gradient = {4, 0};
  sums.gradient_squared_norm = 4;
  Figures figures;
  symmetry.AddStep({1, 0.1, 0}, sums, &figures);
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_symmetry_residual_ratio"), 1);
  EXPECT_EQ(Reason(figures, "thermograd_symmetry_optimizer_breaking_norm"),
            Undefined::kOptimizerNotCovered);
}

TEST(SymmetryCatalogue, KnowsEveryFigure) {
  Figures figures;
  for (const Kind kind : {Kind::kScaling, Kind::kRotation, Kind::kScaleInvariance}) {
    for (const Instances labelled : {Instances::kNeurons, Instances::kHeads}) {
      QuadraticSymmetry symmetry("s", {.kind = kind, .labelled = labelled}, true, 8);
      symmetry.AddStep({1, 0.1, 0.1}, Scalars(1, 2, 2, 1), &figures);
      symmetry.AddStep({2, 0.1, 0.1}, Scalars(1, 2, 2, 1), &figures);
      symmetry.SkipStep(Undefined::kMissingTensor, &figures);
    }
  }
  LogitTranslation("s", true).SkipStep(Undefined::kMissingTensor, &figures);
  AngularStep("s", 1, true, 1).SkipStep(Undefined::kMissingTensor, &figures);
  for (const Figure& figure : figures) EXPECT_NE(Find(figure.name), nullptr) << figure.name;
}

}  // namespace
}  // namespace thermograd::metrics
