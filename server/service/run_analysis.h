#ifndef THERMOGRAD_SERVICE_RUN_ANALYSIS_H_
#define THERMOGRAD_SERVICE_RUN_ANALYSIS_H_

#include "metrics/entropic_force.h"
#include "metrics/figure.h"
#include "service/run_declaration.h"
#include "service/step.h"
#include "service/symmetry_analysis.h"

namespace thermograd::service {

/// The figures of a run that need the gradients of all its ranks, over its steps.
class RunAnalysis {
 public:
  explicit RunAnalysis(RunDeclaration declaration);

  /// Takes one step and appends its figures.
  void AddStep(const MergedStep& step, metrics::Figures* figures);

  const RunDeclaration& declaration() const { return declaration_; }

 private:
  const RunDeclaration declaration_;
  metrics::EntropicForces forces_;
  SymmetryAnalysis symmetries_;
  uint64_t streamed_elements_ = 0;
};

/// Which tensors of a parameter must be kept element by element until the step ends.
struct KeptTensors {
  bool gradient = false;
  bool weight = false;
  bool update = false;
};
KeptTensors TensorsToKeep(const RunDeclaration& declaration, const DeclaredParameter& parameter);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_RUN_ANALYSIS_H_
