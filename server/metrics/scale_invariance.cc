#include "metrics/scale_invariance.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace thermograd::metrics {
namespace {

constexpr const char* kAngularStep = "thermograd_symmetry_angular_step_radians";
constexpr const char* kPredicted = "thermograd_symmetry_angular_step_predicted_radians";
constexpr const char* kEquilibriumNorm = "thermograd_symmetry_equilibrium_norm";

// Angle between w and w + D. An arc cosine would lose half the digits of a small angle.
double Angle(double weight_weight, double update_weight, double update_update) {
  const double norm = std::sqrt(weight_weight);
  const double along = update_weight / norm;
  return std::atan2(std::sqrt(std::max(0.0, update_update - along * along)), norm + along);
}

}  // namespace

void AngularStep::Window::Merge(const Window& other) {
  squared_angle += other.squared_angle;
  angles += other.angles;
  if (power.empty()) power.resize(other.power.size());
  for (size_t j = 0; j < other.power.size(); ++j) power[j] += other.power[j];
  steps += other.steps;
}

AngularStep::AngularStep(std::string symmetry, size_t instances, bool sgd, size_t window_steps)
    : labels_({{"symmetry", std::move(symmetry)}}),
      instances_(instances),
      sgd_(sgd),
      window_(window_steps) {}

uint64_t AngularStep::Bytes(size_t instances) {
  return statistics::BucketedWindow<Window>::kBuckets * instances * sizeof(double);
}

void AngularStep::AddStep(const SymmetryStepContext& context, const statistics::SideSums& sums,
                          Figures* figures) {
  const bool has_updates = !sums.update_update.empty();
  if (sums.weight_weight.empty()) return SkipStep(Undefined::kMissingTensor, figures);
  const bool sgd = sgd_ && context.is_uniform;
  if (!has_updates && !sgd) return SkipStep(Undefined::kOptimizerNotCovered, figures);
  const double eta = context.learning_rate;
  const double gamma = context.weight_decay;
  Window step;
  step.steps = 1;
  for (size_t j = 0; j < instances_; ++j) {
    const double ww = sums.weight_weight[j];
    const double gg = sums.gradient_gradient[j];
    const double gw = sums.gradient_weight[j];
    step.power.push_back(ww * gg);
    if (!(ww > 0)) continue;
    // Plain SGD: D = -eta (g + gamma w).
    const double dw = has_updates ? sums.update_weight[j] : -eta * (gw + gamma * ww);
    const double dd = has_updates ? sums.update_update[j]
                                  : eta * eta * (gg + 2 * gamma * gw + gamma * gamma * ww);
    const double angle = Angle(ww, dw, dd);
    step.squared_angle += angle * angle;
    ++step.angles;
  }
  window_.Push(std::move(step));
  const Window total = window_.Total();
  const Result squared_angle = Ratio(total.squared_angle, static_cast<double>(total.angles));
  const double* mean = std::get_if<double>(&squared_angle);
  figures->push_back(
      {kAngularStep, labels_, mean == nullptr ? squared_angle : Result(std::sqrt(*mean))});
  if (!sgd || !(gamma > 0)) {
    const Undefined reason = sgd ? Undefined::kNoWeightDecay : Undefined::kOptimizerNotCovered;
    figures->push_back({kPredicted, labels_, reason});
    figures->push_back({kEquilibriumNorm, labels_, reason});
    return;
  }
  // Wan et al. 2021, arXiv 2006.08419: at equilibrium a step turns the weights by sqrt(2 eta
  // gamma).
  figures->push_back({kPredicted, labels_, Finite(std::sqrt(2 * eta * gamma))});
  // |w|^2 = eta E|g|^2 / (2 gamma) at equilibrium, theory.md section 3. g is homogeneous of degree
  // -1 in w, so |g|^2 |w|^2 does not depend on the norm, and |w|^4 = eta E[|g|^2 |w|^2] / (2 gamma)
  // gives the norm before it is reached: van Laarhoven 2017, arXiv 1706.05350.
  double squared_norm = 0;
  for (const double power : total.power) {
    squared_norm += std::sqrt(eta * power / static_cast<double>(total.steps) / (2 * gamma));
  }
  figures->push_back({kEquilibriumNorm, labels_, Finite(std::sqrt(squared_norm))});
}

void AngularStep::SkipStep(Undefined reason, Figures* figures) const {
  for (const char* name : {kAngularStep, kPredicted, kEquilibriumNorm}) {
    figures->push_back({name, labels_, reason});
  }
}

}  // namespace thermograd::metrics
