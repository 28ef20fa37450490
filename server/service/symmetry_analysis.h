#ifndef THERMOGRAD_SERVICE_SYMMETRY_ANALYSIS_H_
#define THERMOGRAD_SERVICE_SYMMETRY_ANALYSIS_H_

#include <span>
#include <vector>

#include "metrics/figure.h"
#include "metrics/symmetry_breaking.h"
#include "service/run_declaration.h"
#include "service/step.h"

namespace thermograd::service {

/// The declared symmetries of one run over its steps.
class SymmetryAnalysis {
 public:
  /// `declaration` outlives this.
  explicit SymmetryAnalysis(const RunDeclaration& declaration);

  /// Appends the figures of one step. `parameters`: one entry a declared parameter.
  void AddStep(const StepContext& context, std::span<const ParameterElements> parameters,
               metrics::Figures* figures);

 private:
  const RunDeclaration& declaration_;
  std::vector<metrics::RescalingSymmetry> symmetries_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_SYMMETRY_ANALYSIS_H_
