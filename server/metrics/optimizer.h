#ifndef THERMOGRAD_METRICS_OPTIMIZER_H_
#define THERMOGRAD_METRICS_OPTIMIZER_H_

namespace thermograd::metrics {

/// The rule by which the trainer updates its parameters, as far as theory knows it.
struct Optimizer {
  enum class Kind {
    kUnknown,
    kSgd,       // theta <- theta - eta (g + gamma theta)
    kMomentum,  // v <- mu v + g + gamma theta, theta <- theta - eta v (or Nesterov's variant)
    kOther,
  };
  Kind kind = Kind::kUnknown;
  /// mu, or Adam's beta_1; in [0, 1).
  double momentum = 0;
  bool nesterov = false;
};

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_OPTIMIZER_H_
