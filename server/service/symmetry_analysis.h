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

/// Shorter side of a parameter whose singular values belong to the figures of a symmetry; 0 for
/// every other.
size_t SpectrumRows(const DeclaredParameter& parameter);

/// The declared symmetries of one run over its steps.
class SymmetryAnalysis {
 public:
  /// `declaration` outlives this.
  explicit SymmetryAnalysis(const RunDeclaration& declaration);

  /// Appends the figures of one step. `symmetries`: one entry a declared symmetry; `parameters`:
  /// one entry a declared parameter, for the figures that need whole weights.
  void AddStep(const StepSettings& settings, std::span<const SymmetryStep> symmetries,
               std::span<const ParameterElements> parameters, metrics::Figures* figures);

 private:
  struct ScaleInvariance {
    metrics::QuadraticSymmetry charge;
    metrics::AngularStep angle;
  };
  // Only looked at every now and then; nothing is kept.
  struct NeuronPermutation {};
  using Symmetry = std::variant<metrics::QuadraticSymmetry, ScaleInvariance,
                                metrics::LogitTranslation, NeuronPermutation>;

  metrics::SymmetryStepContext ContextOf(const DeclaredSymmetry& symmetry,
                                         const StepSettings& settings) const;
  void AppendSpectra(std::span<const ParameterElements> parameters,
                     metrics::Figures* figures) const;

  const RunDeclaration& declaration_;
  std::vector<Symmetry> symmetries_;
  /// Since weights were last looked into; absent before that.
  std::optional<uint64_t> steps_since_spectra_;
  /// Those of the latest step at which they were computed.
  metrics::Figures spectral_figures_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_SYMMETRY_ANALYSIS_H_
