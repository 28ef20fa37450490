#include "service/representation_analysis.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "metrics/catalogue.h"

namespace thermograd::service {
namespace {

using metrics::Similarity;
using metrics::SimilarityOptions;
using metrics::Undefined;

std::vector<double> Random(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> x(count);
  for (double& value : x) value = normal(generator);
  return x;
}

class RepresentationAnalysisTest : public testing::Test {
 protected:
  static constexpr size_t kSamples = 24;
  static constexpr size_t kWidth = 3;

  // Two layers on one probe set, and one of training batches.
  static RunDeclaration Declaration(const std::string& run) {
    RunDeclaration declaration;
    declaration.run = run;
    declaration.window_steps = 4;
    declaration.similarity.chosen = {Similarity::kCka, Similarity::kCkaUnbiased,
                                     Similarity::kMutualNeighbours};
    declaration.similarity.permutations = 39;
    declaration.probe_sets.push_back({.name = "held-out", .samples = kSamples, .fingerprint = "f"});
    for (const char* name : {"a", "b", "batch"}) {
      DeclaredLayer layer;
      layer.name = name;
      layer.width = kWidth;
      if (layer.name != "batch") layer.probe_set = 0;
      declaration.layers.push_back(layer);
    }
    return declaration;
  }
  static LayerActivations Activations(size_t layer, std::vector<double> values) {
    LayerActivations activations;
    activations.layer = layer;
    activations.batch_rows = {values.size() / kWidth};
    activations.values = std::move(values);
    activations.complete = true;
    return activations;
  }
  metrics::Figures AddStep(RepresentationAnalysis& analysis,
                           const std::vector<LayerActivations>& layers,
                           const std::vector<TensorElements>& weights = {}) {
    metrics::Figures figures;
    notices_.clear();
    analysis.AddStep(layers, weights, &figures, &notices_);
    for (const metrics::Figure& figure : figures) {
      const metrics::Definition* definition = metrics::Find(figure.name);
      EXPECT_NE(definition, nullptr) << figure.name;
      if (definition == nullptr) continue;
      std::string labels;
      for (const auto& [name, value] : figure.labels) labels += (labels.empty() ? "" : ",") + name;
      EXPECT_EQ(labels, definition->labels) << figure.name;
    }
    return figures;
  }
  static metrics::Result Find(const metrics::Figures& figures, const std::string& name,
                              const std::vector<metrics::Label>& labels) {
    for (const metrics::Figure& figure : figures) {
      if (figure.name == name && figure.labels == labels) return figure.result;
    }
    ADD_FAILURE() << name << " is not among the figures";
    return Undefined::kMissingTensor;
  }
  static double Value(const metrics::Figures& figures, const std::string& name,
                      const std::vector<metrics::Label>& labels) {
    const metrics::Result result = Find(figures, name, labels);
    const double* value = std::get_if<double>(&result);
    EXPECT_NE(value, nullptr) << name;
    return value == nullptr ? std::numeric_limits<double>::quiet_NaN() : *value;
  }
  static Undefined Reason(const metrics::Figures& figures, const std::string& name,
                          const std::vector<metrics::Label>& labels) {
    const metrics::Result result = Find(figures, name, labels);
    EXPECT_TRUE(std::holds_alternative<Undefined>(result)) << name;
    return std::holds_alternative<Undefined>(result) ? std::get<Undefined>(result)
                                                     : Undefined::kOverflow;
  }

  Limits limits_;
  Admission admission_{16, uint64_t{1} << 30};
  ProbeBoard probes_{1 << 20, std::chrono::minutes(1)};
  std::vector<AnalysisNotice> notices_;
};

TEST_F(RepresentationAnalysisTest, ALayerIsComparedWithItsFirstAndItsPreviousProbe) {
  const RunDeclaration declaration = Declaration("r");
  RepresentationAnalysis analysis(declaration, limits_, &admission_, &probes_);
  const std::vector<double> x = Random(kSamples * kWidth, 1);
  const std::vector<double> y = Random(kSamples * kWidth, 2);
  const char* const name = "thermograd_earlier_step_cka_ratio";
  const std::vector<metrics::Label> first = {{"layer", "a"}, {"reference", "first"}};
  const std::vector<metrics::Label> previous = {{"layer", "a"}, {"reference", "previous"}};

  metrics::Figures figures = AddStep(analysis, {Activations(0, x)});
  EXPECT_EQ(Reason(figures, name, first), Undefined::kNoEarlierStep);
  EXPECT_EQ(Reason(figures, name, previous), Undefined::kNoEarlierStep);
  figures = AddStep(analysis, {Activations(0, y)});
  EXPECT_LT(Value(figures, name, first), 0.9);
  EXPECT_LT(Value(figures, name, previous), 0.9);
  // A step without the probe set does not count.
  AddStep(analysis, {Activations(2, x)});
  figures = AddStep(analysis, {Activations(0, y)});
  EXPECT_LT(Value(figures, name, first), 0.9);
  EXPECT_NEAR(Value(figures, name, previous), 1, 1e-12);
  figures = AddStep(analysis, {Activations(0, x)});
  EXPECT_NEAR(Value(figures, name, first), 1, 1e-12);
  EXPECT_NEAR(Value(figures, "thermograd_earlier_step_mutual_neighbours_ratio", first), 1, 1e-12);
  EXPECT_LT(Value(figures, name, previous), 0.9);
}

TEST_F(RepresentationAnalysisTest, EarlierStepsAreKeptWithinTheMemoryBudgetAndGivenBack) {
  const RunDeclaration declaration = Declaration("r");
  const std::vector<double> x = Random(kSamples * kWidth, 1);
  {
    RepresentationAnalysis analysis(declaration, limits_, &admission_, &probes_);
    AddStep(analysis, {Activations(0, x)});
    EXPECT_GT(admission_.bytes(), 0u);
  }
  EXPECT_EQ(admission_.bytes(), 0u);
  Admission none(16, 0);
  RepresentationAnalysis analysis(declaration, limits_, &none, &probes_);
  AddStep(analysis, {Activations(0, x)});
  ASSERT_EQ(notices_.size(), 1u);
  EXPECT_NE(notices_[0].text.find("max_memory_bytes"), std::string::npos);
  const metrics::Figures figures = AddStep(analysis, {Activations(0, x)});
  EXPECT_EQ(Reason(figures, "thermograd_earlier_step_cka_ratio",
                   {{"layer", "a"}, {"reference", "first"}}),
            Undefined::kLimit);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(RepresentationAnalysisTest, OnlyLayersOfTheSameSamplesAreCompared) {
  const RunDeclaration declaration = Declaration("r");
  RepresentationAnalysis analysis(declaration, limits_, &admission_, &probes_);
  const std::vector<double> x = Random(kSamples * kWidth, 1);
  const metrics::Figures figures =
      AddStep(analysis, {Activations(0, x), Activations(1, x), Activations(2, x)});
  EXPECT_NEAR(Value(figures, "thermograd_cka_ratio", {{"layer", "a"}, {"other", "b"}}), 1, 1e-12);
  for (const metrics::Figure& figure : figures) {
    if (figure.labels.size() == 2 && figure.labels[1].first == "other") {
      EXPECT_NE(figure.labels[1].second, "batch") << figure.name;
    }
  }
}

TEST_F(RepresentationAnalysisTest, TwoRunsMeetOnTheProbeBoard) {
  RunDeclaration declaration = Declaration("r");
  declaration.similarity.chosen.insert(declaration.similarity.chosen.begin() + 2,
                                       Similarity::kCkaCalibrated);
  RunDeclaration other = declaration;
  other.run = "s";
  RepresentationAnalysis r(declaration, limits_, &admission_, &probes_);
  RepresentationAnalysis s(other, limits_, &admission_, &probes_);
  const std::vector<double> x = Random(kSamples * kWidth, 1);
  const std::vector<double> y = Random(kSamples * kWidth, 2);
  AddStep(r, {Activations(0, x), Activations(1, y)});
  const metrics::Figures figures = AddStep(s, {Activations(0, y)});
  const std::vector<metrics::Label> same = {
      {"layer", "a"}, {"other_run", "r"}, {"other_layer", "b"}};
  EXPECT_NEAR(Value(figures, "thermograd_cross_run_cka_ratio", same), 1, 1e-12);
  EXPECT_NEAR(Value(figures, "thermograd_cross_run_mutual_neighbours_ratio", same), 1, 1e-12);
  EXPECT_EQ(Value(figures, "thermograd_cross_run_cka_p_value_ratio", same), 1.0 / 40);
  const std::vector<metrics::Label> runs = {{"probe_set", "held-out"}, {"other_run", "r"}};
  EXPECT_NEAR(Value(figures, "thermograd_cross_run_maximum_cka_ratio", runs), 1, 1e-12);
  EXPECT_NEAR(Value(figures, "thermograd_cross_run_maximum_cka_calibrated_ratio", runs), 1, 1e-12);
  EXPECT_EQ(Value(figures, "thermograd_cross_run_maximum_cka_p_value_ratio", runs), 1.0 / 40);
}

TEST_F(RepresentationAnalysisTest, RunsOfOtherSamplesOrOptionsAreNotCompared) {
  const RunDeclaration declaration = Declaration("r");
  RunDeclaration samples = Declaration("s");
  samples.probe_sets[0].fingerprint = "g";
  RunDeclaration options = Declaration("t");
  options.similarity.chosen = {Similarity::kCka};
  RepresentationAnalysis r(declaration, limits_, &admission_, &probes_);
  RepresentationAnalysis s(samples, limits_, &admission_, &probes_);
  RepresentationAnalysis t(options, limits_, &admission_, &probes_);
  const std::vector<double> x = Random(kSamples * kWidth, 1);
  AddStep(s, {Activations(0, x)});
  AddStep(t, {Activations(0, x)});
  const metrics::Figures figures = AddStep(r, {Activations(0, x)});
  EXPECT_EQ(notices_.size(), 1u);
  EXPECT_EQ(Reason(figures, "thermograd_cross_run_cka_ratio",
                   {{"layer", "a"}, {"other_run", "s"}, {"other_layer", "a"}}),
            Undefined::kDifferentSamples);
  const std::vector<metrics::Label> with_t = {
      {"layer", "a"}, {"other_run", "t"}, {"other_layer", "a"}};
  EXPECT_NEAR(Value(figures, "thermograd_cross_run_cka_ratio", with_t), 1, 1e-12);
  EXPECT_EQ(Reason(figures, "thermograd_cross_run_mutual_neighbours_ratio", with_t),
            Undefined::kDifferentOptions);
}

TEST_F(RepresentationAnalysisTest, PermutationsBeyondTheLimitAreToldOnceAndTheRestIsComputed) {
  RunDeclaration declaration = Declaration("r");
  declaration.similarity.chosen = {Similarity::kCka, Similarity::kCkaCalibrated};
  limits_.max_permutation_products = 40 * kSamples * kSamples - 1;
  RepresentationAnalysis analysis(declaration, limits_, &admission_, &probes_);
  const std::vector<double> x = Random(kSamples * kWidth, 1);
  const std::vector<LayerActivations> layers = {Activations(0, x), Activations(1, x)};
  const metrics::Figures figures = AddStep(analysis, layers);
  ASSERT_EQ(notices_.size(), 1u);
  EXPECT_NE(notices_[0].text.find("max_permutation_products"), std::string::npos);
  const std::vector<metrics::Label> labels = {{"layer", "a"}, {"other", "b"}};
  EXPECT_NEAR(Value(figures, "thermograd_cka_ratio", labels), 1, 1e-12);
  EXPECT_EQ(Reason(figures, "thermograd_cka_p_value_ratio", labels), Undefined::kLimit);
  AddStep(analysis, layers);
  EXPECT_TRUE(notices_.empty());

  limits_.max_permutation_products += 1;
  RepresentationAnalysis within(declaration, limits_, &admission_, &probes_);
  EXPECT_EQ(Value(AddStep(within, layers), "thermograd_cka_p_value_ratio", labels), 1.0 / 40);
}

TEST_F(RepresentationAnalysisTest, MinibatchesAddUpOverTheWindow) {
  RunDeclaration declaration = Declaration("r");
  declaration.layers[0].probe_set.reset();
  declaration.layers[1].probe_set.reset();
  // Each list of rows is a step's; with one batch a step its Gram matrix is that of all samples.
  using Rows = std::vector<size_t>;
  for (const Rows& batch_rows : {Rows{10, 14}, Rows{kSamples}}) {
    RepresentationAnalysis analysis(declaration, limits_, &admission_, &probes_);
    statistics::HsicSums sums;
    metrics::Figures figures;
    for (unsigned step = 0; step < 3; ++step) {
      const std::vector<double> x = Random(kSamples * kWidth, 2 * step);
      const std::vector<double> y = Random(kSamples * kWidth, 2 * step + 1);
      LayerActivations a = Activations(0, x);
      LayerActivations b = Activations(1, y);
      a.batch_rows = b.batch_rows = batch_rows;
      size_t first = 0;
      for (const size_t rows : batch_rows) {
        const auto k = statistics::CentredGram({&x[first * kWidth], rows * kWidth}, rows, kWidth);
        const auto l = statistics::CentredGram({&y[first * kWidth], rows * kWidth}, rows, kWidth);
        sums.Merge({.xy = statistics::HsicOf(k, l).unbiased,
                    .xx = statistics::HsicOf(k, k).unbiased,
                    .yy = statistics::HsicOf(l, l).unbiased});
        first += rows;
      }
      figures = AddStep(analysis, {a, b});
    }
    const std::vector<metrics::Label> labels = {{"layer", "a"}, {"other", "b"}};
    EXPECT_NEAR(Value(figures, "thermograd_cka_minibatch_ratio", labels),
                sums.xy / std::sqrt(sums.xx * sums.yy), 1e-12);
    const double scale = std::sqrt(sums.xx * sums.yy);
    for (const auto& [name, sum] : {std::pair{"thermograd_cka_minibatch_hsic_sum", sums.xy},
                                    {"thermograd_cka_minibatch_layer_hsic_sum", sums.xx},
                                    {"thermograd_cka_minibatch_other_hsic_sum", sums.yy}}) {
      EXPECT_NEAR(Value(figures, name, labels), sum, 1e-12 * scale) << name;
    }
  }
}

TEST_F(RepresentationAnalysisTest, AWindowGivesWhatABatchIsTooSmallFor) {
  RunDeclaration declaration = Declaration("r");
  declaration.layers[0].probe_set.reset();
  declaration.layers[1].probe_set.reset();
  declaration.similarity.chosen = {Similarity::kCkaRbf, Similarity::kCca};
  declaration.similarity_over_window = true;
  const std::vector<double> x = Random(kSamples * kWidth, 1);
  const std::vector<double> y = Random(kSamples * kWidth, 2);
  const std::vector<metrics::Label> labels = {{"layer", "a"}, {"other", "b"}};
  const char* const name = "thermograd_window_cca_mean_ratio";
  {
    RepresentationAnalysis analysis(declaration, limits_, &admission_, &probes_);
    // Batches of four samples, of which the three features span everything; four make a window.
    metrics::Figures figures;
    constexpr size_t kBatch = 4 * kWidth;
    for (size_t step = 0; step < 5; ++step) {
      const auto batch = [&](const std::vector<double>& side) {
        const auto first = side.begin() + static_cast<ptrdiff_t>(step * kBatch);
        return std::vector<double>(first, first + kBatch);
      };
      figures = AddStep(analysis, {Activations(0, batch(x)), Activations(1, batch(y))});
      EXPECT_EQ(Reason(figures, "thermograd_cca_mean_ratio", labels), Undefined::kTooFewSamples);
      if (step < 3) {
        EXPECT_EQ(Reason(figures, name, labels), Undefined::kNoEarlierStep);
      }
    }
    const SimilarityOptions options = declaration.similarity;
    metrics::Figures expected;
    metrics::AppendSimilarities(metrics::Prepare({x.data(), 4 * kBatch}, 16, kWidth, options),
                                metrics::Prepare({y.data(), 4 * kBatch}, 16, kWidth, options),
                                options, metrics::SimilarityScope::kLayers, labels, &expected);
    EXPECT_NEAR(Value(figures, name, labels), Value(expected, "thermograd_cca_mean_ratio", labels),
                1e-10);
    EXPECT_GT(admission_.bytes(), 0u);
  }
  EXPECT_EQ(admission_.bytes(), 0u);
  Admission none(16, 0);
  RepresentationAnalysis analysis(declaration, limits_, &none, &probes_);
  const metrics::Figures figures = AddStep(analysis, {Activations(0, x), Activations(1, y)});
  EXPECT_EQ(Reason(figures, name, labels), Undefined::kLimit);
  EXPECT_EQ(notices_.size(), 1u);
}

TEST_F(RepresentationAnalysisTest, AlignmentsCompareActivationsGradientsAndWeights) {
  RunDeclaration declaration = Declaration("r");
  declaration.parameters.resize(2);
  declaration.parameters[0].name = "writes";
  declaration.parameters[0].shape = {kWidth, 1};
  declaration.parameters[1].name = "reads";
  declaration.parameters[1].shape = {1, kWidth};
  for (DeclaredParameter& parameter : declaration.parameters) parameter.elements = kWidth;
  declaration.layers[2].weight = 0;
  declaration.layers[2].reader_weight = 1;
  RepresentationAnalysis analysis(declaration, limits_, &admission_, &probes_);
  // E[hh'] of two orthogonal samples, and of one gradient.
  LayerActivations layer = Activations(2, {1, 0, 0, 0, 1, 0});
  layer.gradient = std::make_shared<LayerActivations>(Activations(2, {0, 2, 0, 0, 0, 0}));
  std::vector<TensorElements> weights(2);
  weights[0] = {.undefined = {}, .values = {3, 0, 0}};
  weights[1] = {.undefined = {}, .values = {0, 0, 1}};
  metrics::Figures figures = AddStep(analysis, {layer}, weights);
  const auto labels = [](const char* direction) {
    return std::vector<metrics::Label>{{"layer", "batch"}, {"direction", direction}};
  };
  const char* const h_g = "thermograd_alignment_representation_gradient_ratio";
  const char* const h_w = "thermograd_alignment_representation_weight_ratio";
  const char* const g_w = "thermograd_alignment_gradient_weight_ratio";
  EXPECT_NEAR(Value(figures, h_g, {{"layer", "batch"}}), std::sqrt(0.5), 1e-15);
  EXPECT_NEAR(Value(figures, h_w, labels("forward")), std::sqrt(0.5), 1e-15);
  EXPECT_EQ(Value(figures, h_w, labels("backward")), 0);
  EXPECT_EQ(Value(figures, g_w, labels("forward")), 0);
  EXPECT_EQ(Value(figures, g_w, labels("backward")), 0);

  weights[1] = {};
  layer.gradient = nullptr;
  figures = AddStep(analysis, {layer}, weights);
  EXPECT_EQ(Reason(figures, h_w, labels("backward")), Undefined::kMissingTensor);
  for (const metrics::Figure& figure : figures) {
    EXPECT_NE(std::string(figure.name), h_g);
    EXPECT_NE(std::string(figure.name), g_w);
  }
}

TEST_F(RepresentationAnalysisTest, SpectraOfTrainingBatchesComeEveryFewStepsAndStay) {
  RunDeclaration declaration = Declaration("r");
  declaration.spectrum_every_steps = 2;
  RepresentationAnalysis analysis(declaration, limits_, &admission_, &probes_);
  const auto rank = [&](size_t layer, unsigned seed) {
    const metrics::Figures figures =
        AddStep(analysis, {Activations(layer, Random(kSamples * kWidth, seed))});
    return Value(figures, "thermograd_effective_rank", {{"layer", declaration.layers[layer].name}});
  };
  const double first = rank(2, 1);
  EXPECT_EQ(rank(2, 2), first);
  EXPECT_NE(rank(2, 3), first);
  // A probe set is looked at whenever it comes.
  EXPECT_NE(rank(0, 1), rank(0, 2));
}

TEST_F(RepresentationAnalysisTest, NonFiniteAndPartialActivationsGiveReasons) {
  const RunDeclaration declaration = Declaration("r");
  RepresentationAnalysis analysis(declaration, limits_, &admission_, &probes_);
  LayerActivations broken = Activations(0, Random(kSamples * kWidth, 1));
  broken.non_finite.nans = 1;
  LayerActivations partial = Activations(1, Random(kSamples * kWidth, 1));
  partial.complete = false;
  const metrics::Figures figures = AddStep(analysis, {broken, partial});
  for (const char* name :
       {"thermograd_effective_rank", "thermograd_representation_mean_cosine_ratio"}) {
    EXPECT_EQ(Reason(figures, name, {{"layer", "a"}}), Undefined::kNonFiniteInput);
    EXPECT_EQ(Reason(figures, name, {{"layer", "b"}}), Undefined::kMissingTensor);
  }
  EXPECT_TRUE(probes_.Others("held-out", "another").empty());
}

}  // namespace
}  // namespace thermograd::service
