#ifndef THERMOGRAD_SERVICE_REPRESENTATION_ANALYSIS_H_
#define THERMOGRAD_SERVICE_REPRESENTATION_ANALYSIS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "metrics/figure.h"
#include "metrics/representation_similarity.h"
#include "service/admission.h"
#include "service/limits.h"
#include "service/probe_board.h"
#include "service/run_declaration.h"
#include "service/step.h"
#include "statistics/representation.h"
#include "statistics/representation_moments.h"
#include "statistics/window.h"

namespace thermograd::service {

/// The representations of one run over its steps: layer against layer, against itself at earlier
/// steps, against its weights and gradients, and against other runs by way of the probe board.
class RepresentationAnalysis {
 public:
  /// `declaration`, `admission` and `probes` outlive this.
  RepresentationAnalysis(const RunDeclaration& declaration, const Limits& limits,
                         Admission* admission, ProbeBoard* probes)
      : declaration_(declaration),
        limits_(limits),
        admission_(admission),
        probes_(probes),
        references_(declaration.layers.size()),
        spectra_(declaration.layers.size()) {}

  /// CPU time that AddStep(layers, ...) may take, but for other runs' layers: an estimate.
  double CpuSeconds(std::span<const LayerActivations> layers) const;

  /// Appends the figures of the layers whose activations came in one step, which is the rule for
  /// none: probes come every n-th step. `weights` has an entry for each parameter.
  void AddStep(std::span<const LayerActivations> layers, std::span<const TensorElements> weights,
               metrics::Figures* figures, std::vector<AnalysisNotice>* notices);

 private:
  struct Layer;
  struct PairSums;
  /// What is kept of a layer of a probe set for the steps that follow. `first` is the first step of
  /// the stream; `memory` is what both hold, and null where it was refused.
  struct References {
    std::shared_ptr<const metrics::Representation> first;
    std::shared_ptr<const metrics::Representation> previous;
    std::unique_ptr<Reservation> memory;
    bool refused = false;
  };

  /// The figures that need the spectrum of a layer's activations, and how many steps ago they were
  /// computed.
  struct Spectrum {
    std::optional<uint64_t> steps_since;
    metrics::Figures figures;
  };

  /// Sums over the samples of a window that is not complete yet, and what the one before gave.
  struct WindowMoments {
    std::unique_ptr<Reservation> memory;
    std::optional<statistics::CrossMoments> moments;
    size_t steps = 0;
    metrics::Figures figures;
    bool refused = false;
  };

  void Align(const LayerActivations& layer, std::span<const TensorElements> weights,
             metrics::Figures* figures) const;
  std::vector<PairSums> SumPairs(std::span<const Layer> layers) const;
  void Compare(const Layer& x, const Layer& y, const PairSums& sums,
               const metrics::SimilarityOptions& options, metrics::Figures* figures,
               std::vector<AnalysisNotice>* notices);
  void CompareMinibatches(const Layer& x, const Layer& y, const PairSums& sums,
                          const std::vector<metrics::Label>& labels, metrics::Figures* figures);
  void CompareOverWindow(const Layer& x, const Layer& y, const std::vector<metrics::Label>& labels,
                         metrics::Figures* figures, std::vector<AnalysisNotice>* notices);
  void CompareWithEarlierSteps(const Layer& layer, metrics::Figures* figures,
                               std::vector<AnalysisNotice>* notices);
  void CompareWithOtherRuns(std::span<const Layer> layers, size_t probe_set,
                            metrics::Figures* figures, std::vector<AnalysisNotice>* notices);
  // Whether the step's CPU time leaves room for one comparison with another run's layer, whose
  // width is taken for that of ours.
  bool MayCompare(const LayerActivations& layer);
  bool MayPermute(size_t pairs, size_t samples, std::vector<AnalysisNotice>* notices);

  const RunDeclaration& declaration_;
  const Limits limits_;
  Admission* const admission_;
  ProbeBoard* const probes_;
  std::vector<References> references_;  // by layer
  std::vector<Spectrum> spectra_;       // by layer
  uint64_t permutation_products_ = 0;   // of the open step
  double cpu_seconds_ = 0;              // of the open step
  bool told_of_permutations_ = false;
  std::map<std::pair<size_t, size_t>, statistics::Window<statistics::HsicSums>> minibatch_windows_;
  std::map<std::pair<size_t, size_t>, WindowMoments> window_moments_;
  std::map<std::string, std::string> refused_fingerprints_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_REPRESENTATION_ANALYSIS_H_
