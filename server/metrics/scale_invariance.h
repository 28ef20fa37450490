#ifndef THERMOGRAD_METRICS_SCALE_INVARIANCE_H_
#define THERMOGRAD_METRICS_SCALE_INVARIANCE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "metrics/figure.h"
#include "metrics/symmetry_breaking.h"
#include "statistics/bucketed_window.h"
#include "statistics/symmetry.h"

// What scale-invariant weights have besides their charge |w|^2: the angle by which a step turns
// them, which is their true learning rate, and the norm at which decay and gradients balance.

namespace thermograd::metrics {

/// The angular steps of one scale-invariant parameter (or of its rows) over the life of a stream.
class AngularStep {
 public:
  /// `sgd`: the update is plain SGD, for which it follows from gradients and weights.
  AngularStep(std::string symmetry, size_t instances, bool sgd, size_t window_steps);

  /// Memory that the windows take at most.
  static uint64_t Bytes(size_t instances);

  /// Takes the sums of one step and appends its figures.
  void AddStep(const SymmetryStepContext& context, const statistics::SideSums& sums,
               Figures* figures);

  /// A step whose members were not all usable.
  void SkipStep(Undefined reason, Figures* figures) const;

 private:
  struct Window {
    double squared_angle = 0;
    size_t angles = 0;
    std::vector<double> power;  // |w|^2 |g|^2 of each instance
    size_t steps = 0;

    void Merge(const Window& other);
  };

  std::vector<Label> labels_;
  size_t instances_;
  bool sgd_;
  statistics::BucketedWindow<Window> window_;
};

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_SCALE_INVARIANCE_H_
