#include "service/representation_analysis.h"

#include <algorithm>
#include <utility>

#include "metrics/representation_similarity.h"

namespace thermograd::service {

using metrics::Figures;
using metrics::Undefined;

struct RepresentationAnalysis::Representation {
  const LayerActivations* activations;
  std::shared_ptr<const statistics::Gram> gram;
  std::vector<statistics::Gram> batches;  // Gram matrices of the microbatches, if there are several
};

void RepresentationAnalysis::AddStep(std::span<const LayerActivations> layers, Figures* figures,
                                     std::vector<AnalysisNotice>* notices) {
  std::vector<Representation> representations;
  for (const LayerActivations& activations : layers) {
    const DeclaredLayer& layer = declaration_.layers[activations.layer];
    const std::vector<metrics::Label> labels = {{"layer", layer.name}};
    if (!activations.complete || activations.non_finite.any()) {
      figures->push_back(
          {"thermograd_effective_rank", labels,
           activations.complete ? Undefined::kNonFiniteInput : Undefined::kMissingTensor});
      continue;
    }
    const size_t rows = activations.values.size() / layer.width;
    Representation representation{.activations = &activations, .gram = nullptr, .batches = {}};
    representation.gram = std::make_shared<const statistics::Gram>(
        statistics::CentredGram(activations.values, rows, layer.width));
    if (activations.batch_rows.size() > 1) {
      const double* batch = activations.values.data();
      for (const size_t batch_rows : activations.batch_rows) {
        const size_t elements = batch_rows * layer.width;
        representation.batches.push_back(
            statistics::CentredGram({batch, elements}, batch_rows, layer.width));
        batch += elements;
      }
    }
    figures->push_back({"thermograd_effective_rank", labels,
                        metrics::EffectiveRank(activations.values, rows, layer.width)});
    if (layer.probe_set) {
      CompareWithOtherRuns(activations.layer, representation.gram, figures, notices);
    }
    representations.push_back(std::move(representation));
  }
  for (size_t a = 0; a < representations.size(); ++a) {
    for (size_t b = a + 1; b < representations.size(); ++b) {
      Compare(representations[a], representations[b], figures);
    }
  }
}

void RepresentationAnalysis::Compare(const Representation& x, const Representation& y,
                                     Figures* figures) {
  const DeclaredLayer& layer = declaration_.layers[x.activations->layer];
  const DeclaredLayer& other = declaration_.layers[y.activations->layer];
  if (layer.probe_set != other.probe_set) return;
  const std::vector<metrics::Label> labels = {{"layer", layer.name}, {"other", other.name}};
  if (x.activations->batch_rows != y.activations->batch_rows) {
    for (const char* name : {"thermograd_cka_ratio", "thermograd_cka_unbiased_ratio",
                             "thermograd_cka_minibatch_ratio"}) {
      figures->push_back({name, labels, Undefined::kDifferentSamples});
    }
    return;
  }
  figures->push_back({"thermograd_cka_ratio", labels, metrics::BiasedCka(*x.gram, *y.gram)});
  figures->push_back(
      {"thermograd_cka_unbiased_ratio", labels, metrics::UnbiasedCka(*x.gram, *y.gram)});
  // A probe set has no minibatches.
  if (layer.probe_set) return;
  statistics::HsicSums sums;
  bool enough = true;
  const size_t batches = std::max<size_t>(x.batches.size(), 1);
  for (size_t m = 0; m < batches && enough; ++m) {
    const statistics::Gram& k = x.batches.empty() ? *x.gram : x.batches[m];
    const statistics::Gram& l = y.batches.empty() ? *y.gram : y.batches[m];
    enough = k.n >= 4;
    if (enough) sums.Merge(statistics::UnbiasedHsic(k, l));
  }
  if (!enough) {
    figures->push_back({"thermograd_cka_minibatch_ratio", labels, Undefined::kTooFewSamples});
    return;
  }
  auto& window = minibatch_windows_
                     .try_emplace({x.activations->layer, y.activations->layer},
                                  declaration_.window_steps)
                     .first->second;
  window.Push(sums);
  statistics::HsicSums total;
  for (const statistics::HsicSums& entry : window.entries()) total.Merge(entry);
  figures->push_back({"thermograd_cka_minibatch_ratio", labels, metrics::Cka(total)});
}

void RepresentationAnalysis::CompareWithOtherRuns(
    size_t layer, const std::shared_ptr<const statistics::Gram>& gram, Figures* figures,
    std::vector<AnalysisNotice>* notices) {
  const DeclaredProbeSet& set = declaration_.probe_sets[*declaration_.layers[layer].probe_set];
  const std::string& name = declaration_.layers[layer].name;
  uint32_t pairs = 0;
  for (const ProbeEntry& other : probes_->Others(set.name, declaration_.run)) {
    const std::vector<metrics::Label> labels = {
        {"layer", name}, {"other_run", other.run}, {"other_layer", other.layer}};
    metrics::Result biased = Undefined::kDifferentSamples;
    metrics::Result unbiased = Undefined::kDifferentSamples;
    if (other.fingerprint == set.fingerprint && other.gram->n == gram->n) {
      if (pairs++ < max_cross_run_pairs_) {
        biased = metrics::BiasedCka(*gram, *other.gram);
        unbiased = metrics::UnbiasedCka(*gram, *other.gram);
      } else {
        biased = unbiased = Undefined::kLimit;
      }
    } else if (std::string& told = refused_fingerprints_[other.run];
               told != other.fingerprint || told.empty()) {
      told = other.fingerprint;
      notices->push_back({AnalysisNotice::Kind::kNotComparable,
                          "Run '" + other.run +
                              "' has another fingerprint or number of samples for probe set '" +
                              set.name + "': the runs are not compared."});
    }
    figures->push_back({"thermograd_cross_run_cka_ratio", labels, biased});
    figures->push_back({"thermograd_cross_run_cka_unbiased_ratio", labels, unbiased});
  }
  probes_->Put({.probe_set = set.name,
                .fingerprint = set.fingerprint,
                .run = declaration_.run,
                .layer = name,
                .gram = gram});
}

}  // namespace thermograd::service
