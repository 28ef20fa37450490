#ifndef THERMOGRAD_METRICS_SYMMETRY_BREAKING_H_
#define THERMOGRAD_METRICS_SYMMETRY_BREAKING_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "metrics/figure.h"
#include "statistics/symmetry.h"
#include "statistics/window.h"

// Rescaling symmetries: theory.md section 3. The generator A is +1 on the first side u of a neuron
// and -1 on the second side w; the Noether charge is Q = |u|^2 - |w|^2.

namespace thermograd::metrics {

/// Hyper-parameters of one step that the drift depends on.
struct SymmetryStepContext {
  uint64_t step = 0;
  double learning_rate = 0;
  double weight_decay = 0;
};

/// One declared rescaling symmetry over the life of a stream.
class RescalingSymmetry {
 public:
  /// `per_neuron`: export the distribution over neurons. `sgd`: the update is plain SGD, for which
  /// the drift is predicted.
  RescalingSymmetry(std::string name, bool per_neuron, bool sgd, size_t window_steps);

  /// Takes the sums of one step (gradients are means over microbatches) and appends its figures.
  void AddStep(const SymmetryStepContext& context, const statistics::RescalingSums& sums,
               Figures* figures);

  /// A step whose members were not all usable. The drift cannot be followed through it.
  void SkipStep(Undefined reason, Figures* figures);

 private:
  // Per neuron: what the gradients balance.
  struct Balance {
    std::vector<double> difference;  // |g_u|^2 - |g_w|^2
    std::vector<double> total;       // |g_u|^2 + |g_w|^2
    double learning_rate = 0;
  };
  // Charges at the latest step with weights, and what theory adds to them since.
  struct Drift {
    std::vector<double> charge;
    std::vector<double> predicted;
    std::vector<double> scale;  // eta^2 (|g_u|^2 + |g_w|^2)
    uint64_t last_step = 0;
  };

  void AppendResidual(const statistics::RescalingSums& sums, Figures* figures) const;
  void AppendBalance(Figures* figures) const;
  void AppendDrift(const SymmetryStepContext& context, const statistics::RescalingSums& sums,
                   Figures* figures);
  void AppendNeurons(const char* name, std::vector<double> values, Figures* figures) const;

  std::string name_;
  std::vector<Label> labels_;
  bool per_neuron_;
  bool sgd_;
  statistics::Window<Balance> window_;
  std::optional<Drift> drift_;
};

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_SYMMETRY_BREAKING_H_
