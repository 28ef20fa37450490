#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "metrics/catalogue.h"
#include "metrics/neuron_permutation.h"
#include "metrics/weight_spectrum.h"
#include "tests/metrics/find_figure.h"

namespace thermograd::metrics {
namespace {

Figures Spectrum(const std::vector<double>& values, size_t rows) {
  Figures figures;
  const size_t columns = values.size() / rows;
  AppendWeightSpectrum("w",
                       {.data = values.data(),
                        .rows = rows,
                        .columns = columns,
                        .row_stride = columns,
                        .column_stride = 1},
                       &figures);
  for (const Figure& figure : figures) EXPECT_NE(Find(figure.name), nullptr) << figure.name;
  return figures;
}

TEST(WeightSpectrum, OfKnownSingularValues) {
  // Singular values 4 and 2, wide and tall.
  for (const Figures& figures :
       {Spectrum({4, 0, 0, 0, 0, -2}, 2), Spectrum({0, 4, -2, 0, 0, 0}, 3)}) {
    EXPECT_DOUBLE_EQ(Value(figures, "thermograd_parameter_stable_rank"), 20.0 / 16);
    const double entropy = -(2.0 / 3 * std::log(2.0 / 3) + 1.0 / 3 * std::log(1.0 / 3));
    EXPECT_NEAR(Value(figures, "thermograd_parameter_effective_rank"), std::exp(entropy), 1e-12);
  }
}

TEST(WeightSpectrum, OfARotationIsItsDimension) {
  const Figures figures = Spectrum({0.6, 0.8, -0.8, 0.6}, 2);
  EXPECT_NEAR(Value(figures, "thermograd_parameter_stable_rank"), 2, 1e-14);
  EXPECT_NEAR(Value(figures, "thermograd_parameter_effective_rank"), 2, 1e-14);
}

TEST(WeightSpectrum, DegenerateMatricesHaveReasons) {
  EXPECT_EQ(Reason(Spectrum({0, 0, 0, 0}, 2), "thermograd_parameter_stable_rank"),
            Undefined::kZeroDenominator);
  EXPECT_EQ(Reason(Spectrum({1e200, 0, 0, 1}, 2), "thermograd_parameter_effective_rank"),
            Undefined::kOverflow);
}

Figures Neurons(const std::vector<double>& in, const std::vector<double>& out, size_t neurons) {
  const size_t columns = in.size() / neurons;
  statistics::NeuronWeights incoming(neurons);
  incoming.Append(in, {0, neurons, columns, columns, 1}, {});
  statistics::NeuronWeights outgoing(neurons);
  outgoing.Append(out, {0, neurons, 1, 1, neurons}, {});
  Figures figures;
  AppendNeuronPermutation("s", &incoming, &outgoing, &figures);
  for (const Figure& figure : figures) EXPECT_NE(Find(figure.name), nullptr) << figure.name;
  return figures;
}

TEST(NeuronPermutation, CountsDuplicatesCollapsedAndEffectiveNeurons) {
  // 0 and 1 point the same way; 3 has vanished.
  const Figures figures = Neurons({1, 0, 2, 0, 0, 1, 1e-4, 0}, {1, 1, 1, 1e-4}, 4);
  EXPECT_EQ(Value(figures, "thermograd_near_duplicate_neurons"), 3);
  EXPECT_EQ(Value(figures, "thermograd_collapsed_neurons"), 1);
  const double s[] = {1, 2, 1, 1e-8};
  EXPECT_DOUBLE_EQ(Value(figures, "thermograd_effective_neurons"),
                   std::pow(s[0] + s[1] + s[2] + s[3], 2) /
                       (s[0] * s[0] + s[1] * s[1] + s[2] * s[2] + s[3] * s[3]));
}

TEST(NeuronPermutation, AVanishedLayerHasOnlyCollapsedNeurons) {
  const Figures figures = Neurons({0, 0}, {0, 0}, 2);
  EXPECT_EQ(Value(figures, "thermograd_collapsed_neurons"), 2);
  EXPECT_EQ(Value(figures, "thermograd_near_duplicate_neurons"), 0);
  EXPECT_EQ(Reason(figures, "thermograd_effective_neurons"), Undefined::kZeroDenominator);
}

}  // namespace
}  // namespace thermograd::metrics
