#ifndef THERMOGRAD_SERVICE_REPRESENTATION_ANALYSIS_H_
#define THERMOGRAD_SERVICE_REPRESENTATION_ANALYSIS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "metrics/figure.h"
#include "service/probe_board.h"
#include "service/run_declaration.h"
#include "service/step.h"
#include "statistics/representation.h"
#include "statistics/window.h"

namespace thermograd::service {

/// The representations of one run over its steps: layer against layer, and against other runs by
/// way of the probe board.
class RepresentationAnalysis {
 public:
  /// `declaration` and `probes` outlive this. A layer is compared with at most
  /// `max_cross_run_pairs` layers of other runs in a step.
  RepresentationAnalysis(const RunDeclaration& declaration, uint32_t max_cross_run_pairs,
                         ProbeBoard* probes)
      : declaration_(declaration), max_cross_run_pairs_(max_cross_run_pairs), probes_(probes) {}

  /// Appends the figures of the layers whose activations came in one step, which is the rule for
  /// none: probes come every n-th step.
  void AddStep(std::span<const LayerActivations> layers, metrics::Figures* figures,
               std::vector<AnalysisNotice>* notices);

 private:
  struct Representation;

  void Compare(const Representation& x, const Representation& y, metrics::Figures* figures);
  void CompareWithOtherRuns(size_t layer, const std::shared_ptr<const statistics::Gram>& gram,
                            metrics::Figures* figures, std::vector<AnalysisNotice>* notices);

  const RunDeclaration& declaration_;
  const uint32_t max_cross_run_pairs_;
  ProbeBoard* const probes_;
  std::map<std::pair<size_t, size_t>, statistics::Window<statistics::HsicSums>>
      minibatch_windows_;
  std::map<std::string, std::string> refused_fingerprints_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_REPRESENTATION_ANALYSIS_H_
