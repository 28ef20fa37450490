#ifndef THERMOGRAD_SERVICE_SYMMETRY_ANALYSIS_H_
#define THERMOGRAD_SERVICE_SYMMETRY_ANALYSIS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "metrics/figure.h"
#include "metrics/logit_translation.h"
#include "metrics/scale_invariance.h"
#include "metrics/symmetry_breaking.h"
#include "service/run_declaration.h"
#include "service/step.h"

namespace thermograd::service {

/// What formulas a declared symmetry has; none if its charge is not quadratic.
std::optional<metrics::QuadraticForm> QuadraticFormOf(const DeclaredSymmetry& symmetry);

/// The declared symmetries of one run over its steps.
class SymmetryAnalysis {
 public:
  /// `declaration` outlives this. `max_spectrum_rows`: the longest shorter side of a weight matrix
  /// whose singular values are computed.
  SymmetryAnalysis(const RunDeclaration& declaration, size_t max_spectrum_rows);

  /// Appends the figures of one step. `parameters`: one entry a declared parameter.
  void AddStep(const StepContext& context, std::span<const ParameterElements> parameters,
               metrics::Figures* figures, std::vector<AnalysisNotice>* notices);

  /// True if the next step may take long: it multiplies matrices or needs their spectra.
  bool has_matrix_work() const;

 private:
  struct ScaleInvariance {
    metrics::QuadraticSymmetry charge;
    metrics::AngularStep angle;
  };
  // Only looked at every now and then; nothing is kept.
  struct NeuronPermutation {};
  using Symmetry = std::variant<metrics::QuadraticSymmetry, ScaleInvariance,
                                metrics::LogitTranslation, NeuronPermutation>;

  void AppendSpectra(std::span<const ParameterElements> parameters, metrics::Figures* figures,
                     std::vector<AnalysisNotice>* notices);

  const RunDeclaration& declaration_;
  const size_t max_spectrum_rows_;
  std::vector<Symmetry> symmetries_;
  /// Steps with weights of a member so far.
  uint64_t steps_with_weights_ = 0;
  bool limit_was_noticed_ = false;
  /// Those of the latest step at which they were computed.
  metrics::Figures spectral_figures_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_SYMMETRY_ANALYSIS_H_
