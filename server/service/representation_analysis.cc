#include "service/representation_analysis.h"

#include <algorithm>
#include <utility>

#include "metrics/canonical_alignment.h"
#include "metrics/cka.h"
#include "metrics/representation_collapse.h"

namespace thermograd::service {

using metrics::Figures;
using metrics::Label;
using metrics::Similarity;
using metrics::SimilarityOptions;
using metrics::SimilarityScope;
using metrics::Undefined;

struct RepresentationAnalysis::Layer {
  const LayerActivations* activations;
  std::shared_ptr<const metrics::Representation> representation;
};

// What a pair of layers of the same samples has in common.
struct RepresentationAnalysis::PairSums {
  metrics::PairHsics hsics;
  statistics::HsicSums minibatches;  // unbiased, over the microbatches of a training batch
};

namespace {

constexpr const char* kMaximumNames[] = {"thermograd_cross_run_maximum_cka_ratio",
                                         "thermograd_cross_run_maximum_cka_calibrated_ratio",
                                         "thermograd_cross_run_maximum_cka_p_value_ratio"};

SimilarityOptions Without(Similarity similarity, SimilarityOptions options) {
  std::erase(options.chosen, similarity);
  return options;
}

SimilarityOptions Only(Similarity similarity, SimilarityOptions options) {
  options.chosen = {similarity};
  return options;
}

// The similarities of the pair; where `options` leave the calibrated ones out, these are undefined
// by a limit.
void AppendWithin(const SimilarityOptions& options, const metrics::Representation& x,
                  const metrics::Representation& y, SimilarityScope scope,
                  const std::vector<Label>& labels, Figures* figures,
                  const metrics::PairHsics& known = {}) {
  metrics::AppendSimilarities(x, y, options, scope, labels, figures, known);
  if (x.options.Has(Similarity::kCkaCalibrated) && !options.Has(Similarity::kCkaCalibrated)) {
    metrics::AppendUndefinedSimilarities(Only(Similarity::kCkaCalibrated, options),
                                         Undefined::kLimit, scope, labels, figures);
  }
}

std::optional<Undefined> UndefinedIf(const LayerActivations& layer) {
  if (!layer.complete) return Undefined::kMissingTensor;
  if (layer.non_finite.any()) return Undefined::kNonFiniteInput;
  return std::nullopt;
}

// The transpose of a matrix with `columns` columns.
std::vector<double> Transposed(const std::vector<double>& matrix, size_t columns) {
  const size_t rows = matrix.size() / columns;
  std::vector<double> transposed(matrix.size());
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < columns; ++j) transposed[j * rows + i] = matrix[i * columns + j];
  }
  return transposed;
}

}  // namespace

void RepresentationAnalysis::AddStep(std::span<const LayerActivations> layers,
                                     std::span<const TensorElements> weights, Figures* figures,
                                     std::vector<AnalysisNotice>* notices) {
  permutation_products_ = 0;
  std::vector<Layer> usable;
  for (const LayerActivations& activations : layers) {
    const DeclaredLayer& declared = declaration_.layers[activations.layer];
    const std::vector<Label> labels = {{"layer", declared.name}};
    Align(activations, weights, figures);
    if (declared.projected_from > 0) {
      metrics::AppendProjection(declared.name, declared.width, figures);
    }
    Spectrum& spectrum = spectra_[activations.layer];
    if (const auto undefined = UndefinedIf(activations)) {
      metrics::AppendUndefinedCollapseFigures(*undefined, labels, figures);
      spectrum.steps_since.reset();
      continue;
    }
    const size_t rows = activations.values.size() / declared.width;
    // A probe set comes seldom; training batches, perhaps in every step.
    if (declared.probe_set || !spectrum.steps_since ||
        *spectrum.steps_since + 1 >= declaration_.spectrum_every_steps) {
      spectrum.figures.clear();
      metrics::AppendCollapseFigures(activations.values, rows, declared.width, labels,
                                     &spectrum.figures);
      spectrum.steps_since = 0;
    } else {
      ++*spectrum.steps_since;
    }
    figures->insert(figures->end(), spectrum.figures.begin(), spectrum.figures.end());
    usable.push_back({.activations = &activations,
                      .representation = std::make_shared<const metrics::Representation>(
                          metrics::Prepare(activations.values, rows, declared.width,
                                           declaration_.similarity, declared.projected_from > 0))});
  }

  // Layers that saw the same samples, in the order of the declaration's probe sets.
  size_t pairs = 0;
  size_t samples = 0;
  const auto comparable = [this](const Layer& x, const Layer& y) {
    return declaration_.layers[x.activations->layer].probe_set ==
           declaration_.layers[y.activations->layer].probe_set;
  };
  for (size_t a = 0; a < usable.size(); ++a) {
    for (size_t b = a + 1; b < usable.size(); ++b) {
      if (comparable(usable[a], usable[b])) ++pairs;
    }
    samples = std::max(samples, usable[a].representation->samples);
  }
  const SimilarityOptions options =
      MayPermute(pairs, samples, notices)
          ? declaration_.similarity
          : Without(Similarity::kCkaCalibrated, declaration_.similarity);
  const std::vector<PairSums> sums = SumPairs(usable);
  for (size_t a = 0; a < usable.size(); ++a) {
    for (size_t b = a + 1; b < usable.size(); ++b) {
      if (comparable(usable[a], usable[b])) {
        Compare(usable[a], usable[b], sums[a * usable.size() + b], options, figures, notices);
      }
    }
  }
  for (const Layer& layer : usable) {
    if (declaration_.layers[layer.activations->layer].probe_set) {
      CompareWithEarlierSteps(layer, figures, notices);
    }
  }
  for (size_t set = 0; set < declaration_.probe_sets.size(); ++set) {
    std::vector<Layer> of_set;
    for (const Layer& layer : usable) {
      if (declaration_.layers[layer.activations->layer].probe_set == set) of_set.push_back(layer);
    }
    if (of_set.empty()) continue;
    const DeclaredProbeSet& declared = declaration_.probe_sets[set];
    if (declared.sampled_from > 0) {
      metrics::AppendProbeSampling(declared.name, declared.samples, declared.sampled_from, figures);
    }
    CompareWithOtherRuns(of_set, set, figures, notices);
  }
}

// By the indices of both layers, the lower one first; from one sweep over the Gram matrices of all
// layers that saw the same samples.
std::vector<RepresentationAnalysis::PairSums> RepresentationAnalysis::SumPairs(
    std::span<const Layer> layers) const {
  using Grams = std::vector<const statistics::Gram*>;
  std::vector<PairSums> sums(layers.size() * layers.size());
  // Calls add(sums, hsic, unscaled) for every pair of the layers `set`, whose matrices are given.
  const auto for_pairs = [&](const std::vector<size_t>& set, const Grams& grams, const auto& add) {
    const std::vector<statistics::Hsic> hsics = statistics::PairwiseHsics(grams);
    const auto unscaled = [&](size_t i, size_t j) {
      return statistics::UnscaledHsic(hsics[i * set.size() + j], *grams[i], *grams[j]);
    };
    for (size_t i = 0; i < set.size(); ++i) {
      for (size_t j = i + 1; j < set.size(); ++j) {
        add(&sums[set[i] * layers.size() + set[j]], hsics[i * set.size() + j],
            statistics::HsicSums{.xy = unscaled(i, j), .xx = unscaled(i, i), .yy = unscaled(j, j)});
      }
    }
  };

  std::map<std::pair<std::optional<size_t>, std::vector<size_t>>, std::vector<size_t>> sets;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerActivations& activations = *layers[i].activations;
    sets[{declaration_.layers[activations.layer].probe_set, activations.batch_rows}].push_back(i);
  }
  for (const auto& [samples, set] : sets) {
    if (set.size() < 2) continue;
    const std::vector<size_t>& batch_rows = samples.second;
    const bool is_one_batch = batch_rows.size() == 1;
    Grams linear;
    std::vector<size_t> set_with_rbf;
    Grams rbf;
    for (const size_t i : set) {
      const metrics::Representation& representation = *layers[i].representation;
      linear.push_back(&representation.linear.gram);
      if (const auto* kernel = std::get_if<metrics::KernelGram>(&representation.rbf)) {
        set_with_rbf.push_back(i);
        rbf.push_back(&kernel->gram);
      }
    }
    for_pairs(set, linear,
              [is_one_batch](PairSums* pair, const statistics::Hsic& hsic,
                             const statistics::HsicSums& unscaled) {
                pair->hsics.linear = hsic;
                if (is_one_batch) pair->minibatches = unscaled;
              });
    for_pairs(set_with_rbf, rbf,
              [](PairSums* pair, const statistics::Hsic& hsic, const statistics::HsicSums&) {
                pair->hsics.rbf = hsic;
              });
    if (is_one_batch) continue;
    size_t first = 0;
    for (const size_t rows : batch_rows) {
      std::vector<statistics::Gram> batch;
      for (const size_t i : set) {
        const LayerActivations& activations = *layers[i].activations;
        const DeclaredLayer& declared = declaration_.layers[activations.layer];
        const size_t width = declared.width;
        batch.push_back(statistics::CentredGram({&activations.values[first * width], rows * width},
                                                rows, width));
        if (declared.projected_from > 0) batch.back().projected_width = width;
      }
      Grams grams;
      for (const statistics::Gram& gram : batch) grams.push_back(&gram);
      for_pairs(set, grams,
                [](PairSums* pair, const statistics::Hsic&, const statistics::HsicSums& unscaled) {
                  pair->minibatches.Merge(unscaled);
                });
      first += rows;
    }
  }
  return sums;
}

bool RepresentationAnalysis::MayPermute(size_t pairs, size_t samples,
                                        std::vector<AnalysisNotice>* notices) {
  if (!declaration_.similarity.Has(Similarity::kCkaCalibrated)) return true;
  // One more than the permutations: the order as it is.
  const uint64_t products = pairs * (declaration_.similarity.permutations + 1) * samples * samples;
  if (products <= limits_.max_permutation_products - permutation_products_) {
    permutation_products_ += products;
    return true;
  }
  if (!told_of_permutations_) {
    told_of_permutations_ = true;
    notices->push_back({AnalysisNotice::Kind::kDropped,
                        "Calibrated CKA of " + std::to_string(pairs) + " pairs of " +
                            std::to_string(samples) + " samples with " +
                            std::to_string(declaration_.similarity.permutations) +
                            " permutations goes beyond max_permutation_products = " +
                            std::to_string(limits_.max_permutation_products) +
                            " a step: declare fewer permutations, layers or samples."});
  }
  return false;
}

void RepresentationAnalysis::Align(const LayerActivations& layer,
                                   std::span<const TensorElements> weights,
                                   Figures* figures) const {
  const DeclaredLayer& declared = declaration_.layers[layer.layer];
  const size_t width = declared.width;
  const auto cosine = [&](const char* name, std::vector<Label> labels,
                          std::optional<Undefined> undefined, const metrics::NeuronVectors& a,
                          const metrics::NeuronVectors& b) {
    figures->push_back(
        {name, std::move(labels),
         undefined ? metrics::Result(*undefined) : metrics::SecondMomentCosine(a, b, width)});
  };
  const auto vectors = [width](std::span<const double> values) {
    return metrics::NeuronVectors{.values = values, .rows = values.size() / width};
  };
  const metrics::NeuronVectors h = vectors(layer.values);
  const std::optional<Undefined> h_undefined = UndefinedIf(layer);
  const metrics::NeuronVectors g =
      layer.gradient ? vectors(layer.gradient->values) : metrics::NeuronVectors{};
  const std::optional<Undefined> g_undefined =
      layer.gradient ? UndefinedIf(*layer.gradient) : Undefined::kMissingTensor;
  if (layer.gradient) {
    cosine("thermograd_alignment_representation_gradient_ratio", {{"layer", declared.name}},
           h_undefined ? h_undefined : g_undefined, h, g);
  }
  for (const bool forward : {true, false}) {
    const std::optional<size_t> parameter = forward ? declared.weight : declared.reader_weight;
    if (!parameter) continue;
    const TensorElements& weight = weights[*parameter];
    std::vector<double> transposed;
    metrics::NeuronVectors w;
    if (!weight.undefined) {
      // WW' is the second moment of the columns of W.
      if (forward) {
        transposed = Transposed(weight.values, declaration_.parameters[*parameter].shape[1]);
      }
      w = vectors(forward ? transposed : weight.values);
    }
    const std::vector<Label> labels = {{"layer", declared.name},
                                       {"direction", forward ? "forward" : "backward"}};
    cosine("thermograd_alignment_representation_weight_ratio", labels,
           h_undefined ? h_undefined : weight.undefined, h, w);
    if (layer.gradient) {
      cosine("thermograd_alignment_gradient_weight_ratio", labels,
             g_undefined ? g_undefined : weight.undefined, g, w);
    }
  }
}

void RepresentationAnalysis::Compare(const Layer& x, const Layer& y, const PairSums& sums,
                                     const SimilarityOptions& options, Figures* figures,
                                     std::vector<AnalysisNotice>* notices) {
  const DeclaredLayer& layer = declaration_.layers[x.activations->layer];
  const DeclaredLayer& other = declaration_.layers[y.activations->layer];
  const std::vector<Label> labels = {{"layer", layer.name}, {"other", other.name}};
  if (x.activations->batch_rows != y.activations->batch_rows) {
    metrics::AppendUndefinedSimilarities(declaration_.similarity, Undefined::kDifferentSamples,
                                         SimilarityScope::kLayers, labels, figures);
    figures->push_back({"thermograd_cka_minibatch_ratio", labels, Undefined::kDifferentSamples});
    return;
  }
  AppendWithin(options, *x.representation, *y.representation, SimilarityScope::kLayers, labels,
               figures, sums.hsics);
  // A probe set has no minibatches, and no other samples in the next step.
  if (layer.probe_set) return;
  CompareMinibatches(x, y, sums, labels, figures);
  if (declaration_.similarity_over_window) CompareOverWindow(x, y, labels, figures, notices);
}

void RepresentationAnalysis::CompareOverWindow(const Layer& x, const Layer& y,
                                               const std::vector<Label>& labels, Figures* figures,
                                               std::vector<AnalysisNotice>* notices) {
  WindowMoments& window = window_moments_[{x.activations->layer, y.activations->layer}];
  const size_t p = declaration_.layers[x.activations->layer].width;
  const size_t q = declaration_.layers[y.activations->layer].width;
  if (window.memory == nullptr) {
    auto memory = std::make_unique<Reservation>(admission_);
    // Beyond this width the squares alone exceed 64 bits. The solvers work on copies.
    constexpr size_t kMaxWidth = size_t{1} << 24;
    if (std::max(p, q) > kMaxWidth || !memory->Take(4 * statistics::CrossMoments::Bytes(p, q))) {
      if (!window.refused) {
        window.refused = true;
        notices->push_back({AnalysisNotice::Kind::kDropped,
                            "Layers '" + labels[0].second + "' and '" + labels[1].second +
                                "' are not compared over the window: max_memory_bytes = " +
                                std::to_string(admission_->max_bytes()) + " is used up."});
      }
      metrics::AppendUndefinedSimilarities(declaration_.similarity, Undefined::kLimit,
                                           SimilarityScope::kWindow, labels, figures);
      return;
    }
    window.memory = std::move(memory);
    metrics::AppendUndefinedSimilarities(declaration_.similarity, Undefined::kNoEarlierStep,
                                         SimilarityScope::kWindow, labels, &window.figures);
  }
  if (!window.moments) window.moments.emplace(p, q);
  window.moments->Add(x.activations->values, y.activations->values, x.representation->samples);
  if (++window.steps == declaration_.window_steps) {
    window.figures.clear();
    metrics::AppendSimilarities(*window.moments, declaration_.similarity, SimilarityScope::kWindow,
                                labels, &window.figures);
    window.moments.reset();
    window.steps = 0;
  }
  figures->insert(figures->end(), window.figures.begin(), window.figures.end());
}

void RepresentationAnalysis::CompareMinibatches(const Layer& x, const Layer& y,
                                                const PairSums& sums,
                                                const std::vector<Label>& labels,
                                                Figures* figures) {
  const std::vector<size_t>& batch_rows = x.activations->batch_rows;
  if (*std::min_element(batch_rows.begin(), batch_rows.end()) < 4) {
    figures->push_back({"thermograd_cka_minibatch_ratio", labels, Undefined::kTooFewSamples});
    return;
  }
  auto& window =
      minibatch_windows_
          .try_emplace({x.activations->layer, y.activations->layer}, declaration_.window_steps)
          .first->second;
  window.Push(sums.minibatches);
  statistics::HsicSums total;
  for (const statistics::HsicSums& entry : window.entries()) total.Merge(entry);
  figures->push_back({"thermograd_cka_minibatch_ratio", labels, metrics::Cka(total)});
  figures->push_back({"thermograd_cka_minibatch_hsic_sum", labels, metrics::Finite(total.xy)});
  figures->push_back(
      {"thermograd_cka_minibatch_layer_hsic_sum", labels, metrics::Finite(total.xx)});
  figures->push_back(
      {"thermograd_cka_minibatch_other_hsic_sum", labels, metrics::Finite(total.yy)});
}

void RepresentationAnalysis::CompareWithEarlierSteps(const Layer& layer, Figures* figures,
                                                     std::vector<AnalysisNotice>* notices) {
  const std::string& name = declaration_.layers[layer.activations->layer].name;
  References& references = references_[layer.activations->layer];
  // A permutation test of a layer against itself answers no question.
  const SimilarityOptions options = Without(Similarity::kCkaCalibrated, declaration_.similarity);
  for (const auto& [reference, earlier] :
       {std::pair{"first", references.first}, std::pair{"previous", references.previous}}) {
    const std::vector<Label> labels = {{"layer", name}, {"reference", reference}};
    if (earlier == nullptr) {
      metrics::AppendUndefinedSimilarities(
          options, references.refused ? Undefined::kLimit : Undefined::kNoEarlierStep,
          SimilarityScope::kEarlierStep, labels, figures);
    } else {
      metrics::AppendSimilarities(*layer.representation, *earlier, options,
                                  SimilarityScope::kEarlierStep, labels, figures);
    }
  }
  if (references.memory == nullptr) {
    auto memory = std::make_unique<Reservation>(admission_);
    if (!memory->Take(2 * layer.representation->Bytes())) {
      if (!references.refused) {
        references.refused = true;
        notices->push_back({AnalysisNotice::Kind::kDropped,
                            "Layer '" + name +
                                "' is not compared with its earlier steps: max_memory_bytes = " +
                                std::to_string(admission_->max_bytes()) + " is used up."});
      }
      return;
    }
    references.memory = std::move(memory);
    references.first = layer.representation;
  }
  references.previous = layer.representation;
}

void RepresentationAnalysis::CompareWithOtherRuns(std::span<const Layer> layers, size_t probe_set,
                                                  Figures* figures,
                                                  std::vector<AnalysisNotice>* notices) {
  const DeclaredProbeSet& set = declaration_.probe_sets[probe_set];
  const size_t samples = layers.front().representation->samples;
  const bool calibrate = declaration_.similarity.Has(Similarity::kCkaCalibrated);
  std::map<std::string, std::vector<ProbeEntry>> others;
  for (ProbeEntry& entry : probes_->Others(set.name, declaration_.run)) {
    others[entry.run].push_back(std::move(entry));
  }
  std::vector<uint32_t> compared(layers.size());
  for (const auto& [run, entries] : others) {
    std::vector<metrics::CkaSide> y;
    for (const ProbeEntry& entry : entries) {
      const metrics::KernelGram& linear = entry.representation->linear;
      if (entry.fingerprint == set.fingerprint && linear.gram.n == samples) {
        y.push_back({&linear.gram, linear.hsic.biased});
      } else if (std::string& told = refused_fingerprints_[run];
                 told != entry.fingerprint || told.empty()) {
        told = entry.fingerprint;
        notices->push_back({AnalysisNotice::Kind::kNotComparable,
                            "Run '" + run +
                                "' has another fingerprint or number of samples for probe set '" +
                                set.name + "': the runs are not compared."});
      }
    }
    // Each pair by itself, and once more for the maximum.
    const bool may_permute =
        y.empty() || MayPermute(2 * layers.size() * y.size(), samples, notices);
    const SimilarityOptions options =
        may_permute ? declaration_.similarity
                    : Without(Similarity::kCkaCalibrated, declaration_.similarity);
    std::vector<metrics::CkaSide> x;
    for (size_t i = 0; i < layers.size(); ++i) {
      const metrics::Representation& representation = *layers[i].representation;
      x.push_back({&representation.linear.gram, representation.linear.hsic.biased});
      for (const ProbeEntry& entry : entries) {
        const std::vector<Label> labels = {
            {"layer", declaration_.layers[layers[i].activations->layer].name},
            {"other_run", run},
            {"other_layer", entry.layer}};
        Undefined reason = Undefined::kDifferentSamples;
        if (entry.fingerprint == set.fingerprint && entry.representation->samples == samples) {
          if (compared[i]++ < limits_.max_cross_run_pairs) {
            AppendWithin(options, representation, *entry.representation, SimilarityScope::kRuns,
                         labels, figures);
            continue;
          }
          reason = Undefined::kLimit;
        }
        metrics::AppendUndefinedSimilarities(declaration_.similarity, reason,
                                             SimilarityScope::kRuns, labels, figures);
      }
    }
    if (!calibrate) continue;
    metrics::Calibration maximum{Undefined::kLimit, Undefined::kLimit, Undefined::kLimit};
    if (y.empty()) {
      maximum = {Undefined::kDifferentSamples, Undefined::kDifferentSamples,
                 Undefined::kDifferentSamples};
    } else if (may_permute) {
      maximum = metrics::CalibrateMaximumCka(x, y, declaration_.similarity.permutations);
    }
    const std::vector<Label> labels = {{"probe_set", set.name}, {"other_run", run}};
    figures->push_back({kMaximumNames[0], labels, maximum.maximum});
    figures->push_back({kMaximumNames[1], labels, maximum.calibrated});
    figures->push_back({kMaximumNames[2], labels, maximum.p_value});
  }
  for (const Layer& layer : layers) {
    probes_->Put({.probe_set = set.name,
                  .fingerprint = set.fingerprint,
                  .run = declaration_.run,
                  .layer = declaration_.layers[layer.activations->layer].name,
                  .representation = layer.representation});
  }
}

}  // namespace thermograd::service
