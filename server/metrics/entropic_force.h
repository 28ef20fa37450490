#ifndef THERMOGRAD_METRICS_ENTROPIC_FORCE_H_
#define THERMOGRAD_METRICS_ENTROPIC_FORCE_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "metrics/figure.h"
#include "metrics/optimizer.h"
#include "statistics/gradient.h"
#include "statistics/window.h"

// Entropic forces: theory.md section 2. Basis: Ziyin, Xu & Chuang, "Neural Thermodynamics",
// arXiv 2505.12387. Notation: g_i gradient of microbatch i of n, b samples in each; g the gradient
// that the step applies, of r microbatches; G the expected gradient; Sigma_b the covariance of g_i.

namespace thermograd::metrics {

/// A parameter as the figures name it.
struct ParameterName {
  std::string name;
  /// Empty: it belongs to none.
  std::string group;
  size_t elements = 0;
};

/// One parameter in one step.
struct ParameterGradient {
  /// Why the gradients cannot be used; the sums are then void.
  std::optional<Undefined> undefined;
  statistics::GradientSums sums;
  double learning_rate = 0;
  /// gamma.
  double weight_decay = 0;
  /// |theta|^2, if the weights were streamed.
  std::optional<double> weight_squared_norm;
  /// g' Lambda g, if the preconditioner was streamed.
  std::optional<double> preconditioned_squared_norm;
  /// <g, dtheta> and |dtheta|^2, if the update was streamed.
  std::optional<double> gradient_dot_update;
  std::optional<double> update_squared_norm;
  /// <g(theta + dtheta) - g(theta), dtheta>, if the gradient after the update was streamed.
  std::optional<double> gradient_change_dot_update;
};

/// One step of a run.
struct EntropicStep {
  /// b.
  double microbatch_size = 0;
  double learning_rate = 0;
  std::optional<double> loss;
  /// One entry a parameter.
  std::vector<ParameterGradient> parameters;
};

/// The entropic forces of one run over a window of its steps: of each parameter, of each parameter
/// group and of all together.
class EntropicForces {
 public:
  /// `gradient_after_update_is_declared`: the run sends this tensor. Without it the directional
  /// curvature is not asked for; with it, its absence is reported.
  EntropicForces(std::vector<ParameterName> parameters, Optimizer optimizer, size_t window_steps,
                 bool gradient_after_update_is_declared);

  /// Takes one step and appends its figures.
  void AddStep(const EntropicStep& step, Figures* figures);

  /// Memory of the windows, in bytes, once they are full.
  static size_t WindowBytes(size_t parameters, size_t window_steps);

 private:
  // Estimates from the sums of one step.
  struct NoiseEstimate {
    double mean_squared_norm;         // |G|^2
    double covariance_trace;          // tr Sigma_b
    double applied_covariance_trace;  // tr Sigma_b / r
  };
  // One step of a parameter, a group or the run.
  struct Step {
    statistics::GradientSums sums;
    // Of the sums; absent for fewer than two microbatches.
    std::optional<NoiseEstimate> noise;
    double microbatch_size = 0;
    // eta tr Sigma of the applied gradient, eta being each parameter's own.
    double heat = 0;
  };
  // What only the whole run has.
  struct RunStep {
    std::optional<double> loss;
    std::optional<double> decay;  // (gamma / 2) |theta|^2
    Result free;                  // eta S
    Result entropy;               // S
    Result entropy_of_signal;
    Result entropy_of_noise;
    Result curvature_numerator;
    double update_squared_norm = 0;
    double learning_rate = 0;
  };
  // What is averaged over a window, and over which parameters.
  struct Scope {
    std::vector<Label> labels;
    const char* const* names;
    size_t elements = 0;
    bool with_interval = false;
    statistics::Window<Step> window;
  };

  static std::optional<NoiseEstimate> EstimateNoise(const statistics::GradientSums& sums);
  struct Entropy;
  static Entropy EntropyOf(const ParameterGradient& parameter, const Optimizer& optimizer);
  static void Push(Step step, Scope* scope);
  RunStep Combine(const EntropicStep& step) const;
  void AppendScope(const Scope& scope, Figures* figures) const;
  static void AppendUndefined(const Scope& scope, Undefined reason, Figures* figures);
  void AppendEquipartition(Figures* figures) const;
  void AppendRun(Figures* figures) const;

  std::vector<ParameterName> parameters_;
  Optimizer optimizer_;
  bool gradient_after_update_is_declared_;
  std::vector<Scope> parameter_scopes_;
  std::vector<Scope> group_scopes_;
  // Index of each parameter's group, beyond all groups for none.
  std::vector<size_t> group_of_;
  Scope run_scope_;
  statistics::Window<RunStep> run_window_;
};

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_ENTROPIC_FORCE_H_
