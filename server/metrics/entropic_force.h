#ifndef THERMOGRAD_METRICS_ENTROPIC_FORCE_H_
#define THERMOGRAD_METRICS_ENTROPIC_FORCE_H_

#include <optional>
#include <string>
#include <vector>

#include "metrics/figure.h"
#include "statistics/gradient.h"
#include "statistics/window.h"

// Entropic forces: theory.md section 2. Basis: Ziyin, Xu & Chuang, "Neural Thermodynamics",
// arXiv 2505.12387. Notation of the citations below: g_i gradient of microbatch i of M, b samples
// in each; G the expected gradient.

namespace thermograd::metrics {

/// One step of a parameter, or of all parameters together.
struct GradientStep {
  statistics::GradientSums sums;
  /// b.
  double microbatch_size = 0;
};

/// What else the step of a whole run knows.
struct RunStep {
  GradientStep gradient;
  double learning_rate = 0;
  /// gamma.
  double weight_decay = 0;
  std::optional<double> loss;
  /// |theta|^2 of all parameters; absent if some were not streamed.
  std::optional<double> weight_squared_norm;
};

/// Figures of one parameter over a window that is not empty.
void AppendParameterFigures(const std::string& parameter,
                            const statistics::Window<GradientStep>& window, Figures* figures);

/// Figures of the whole run over a window that is not empty.
void AppendRunFigures(const statistics::Window<RunStep>& window, Figures* figures);

/// The same figures, all undefined for one reason.
void AppendUndefinedParameterFigures(const std::string& parameter, Undefined reason,
                                     Figures* figures);
void AppendUndefinedRunFigures(Undefined reason, Figures* figures);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_ENTROPIC_FORCE_H_
