#include "metrics/symmetry_breaking.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace thermograd::metrics {
namespace {

constexpr const char* kSymmetryNames[] = {
    "thermograd_symmetry_residual_ratio",         "thermograd_symmetry_charge",
    "thermograd_symmetry_relative_charge_ratio",  "thermograd_symmetry_charge_drift",
    "thermograd_symmetry_charge_drift_predicted", "thermograd_symmetry_charge_drift_error_ratio",
    "thermograd_symmetry_gradient_balance_ratio", "thermograd_symmetry_entropic_force"};

double Sum(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

// Quantile by linear interpolation between order statistics (Hyndman & Fan 1996, type 7).
double Quantile(const std::vector<double>& sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

RescalingSymmetry::RescalingSymmetry(std::string name, bool per_neuron, bool sgd,
                                     size_t window_steps)
    : name_(std::move(name)),
      labels_({{"symmetry", name_}}),
      per_neuron_(per_neuron),
      sgd_(sgd),
      window_(window_steps) {}

void RescalingSymmetry::AppendNeurons(const char* name, std::vector<double> values,
                                      Figures* figures) const {
  if (!per_neuron_ || values.empty()) return;
  std::sort(values.begin(), values.end());
  for (const auto& [label, q] :
       {std::pair{"0", 0.0}, {"0.25", 0.25}, {"0.5", 0.5}, {"0.75", 0.75}, {"1", 1.0}}) {
    figures->push_back(
        {name, {{"symmetry", name_}, {"quantile", label}}, Finite(Quantile(values, q))});
  }
}

void RescalingSymmetry::AppendResidual(const statistics::RescalingSums& sums,
                                       Figures* figures) const {
  // |<g, A theta>| / (|g| |A theta|) of each neuron, and the ratio of root sums of squares over the
  // neurons: theory.md section 3. Zero for every batch if the symmetry is real.
  double numerator = 0;
  double denominator = 0;
  std::vector<double> neurons;
  for (size_t j = 0; j < sums.first.weight_squared_norm.size(); ++j) {
    const double dot = sums.first.gradient_dot_weight[j] - sums.second.gradient_dot_weight[j];
    const double bound =
        (sums.first.gradient_squared_norm[j] + sums.second.gradient_squared_norm[j]) *
        (sums.first.weight_squared_norm[j] + sums.second.weight_squared_norm[j]);
    numerator += dot * dot;
    denominator += bound;
    if (bound > 0) neurons.push_back(std::fabs(dot) / std::sqrt(bound));
  }
  figures->push_back({"thermograd_symmetry_residual_ratio", labels_,
                      Ratio(std::sqrt(numerator), std::sqrt(denominator))});
  AppendNeurons("thermograd_neuron_residual_ratio", std::move(neurons), figures);
}

void RescalingSymmetry::AppendBalance(Figures* figures) const {
  const size_t neurons = window_.entries().back().difference.size();
  std::vector<double> difference(neurons);
  std::vector<double> total(neurons);
  double force = 0;
  for (const Balance& step : window_.entries()) {
    for (size_t j = 0; j < neurons; ++j) {
      difference[j] += step.difference[j];
      total[j] += step.total[j];
    }
    // (eta / 2) E[g' A g], the entropic force along A: theory.md section 2.
    force += step.learning_rate / 2 * Sum(step.difference);
  }
  figures->push_back(
      {"thermograd_symmetry_gradient_balance_ratio", labels_, Ratio(Sum(difference), Sum(total))});
  figures->push_back({"thermograd_symmetry_entropic_force", labels_,
                      Finite(force / static_cast<double>(window_.entries().size()))});
  std::vector<double> ratios;
  for (size_t j = 0; j < neurons; ++j) {
    if (total[j] > 0) ratios.push_back(difference[j] / total[j]);
  }
  AppendNeurons("thermograd_neuron_gradient_balance_ratio", std::move(ratios), figures);
}

void RescalingSymmetry::AppendDrift(const SymmetryStepContext& context,
                                    const statistics::RescalingSums& sums, Figures* figures) {
  const size_t neurons = sums.first.gradient_squared_norm.size();
  const bool has_weights = !sums.first.weight_squared_norm.empty();
  std::vector<double> charge(neurons);
  Result observed = Undefined::kMissingTensor;
  Result predicted = Undefined::kMissingTensor;
  Result error = Undefined::kMissingTensor;
  std::vector<double> errors;
  if (has_weights) {
    for (size_t j = 0; j < neurons; ++j) {
      charge[j] = sums.first.weight_squared_norm[j] - sums.second.weight_squared_norm[j];
    }
    const double squared_norm =
        Sum(sums.first.weight_squared_norm) + Sum(sums.second.weight_squared_norm);
    figures->push_back({"thermograd_symmetry_charge", labels_, Finite(Sum(charge))});
    figures->push_back(
        {"thermograd_symmetry_relative_charge_ratio", labels_, Ratio(Sum(charge), squared_norm)});
    AppendNeurons("thermograd_neuron_charge", charge, figures);
    observed = predicted = error = Undefined::kNoEarlierStep;
    if (drift_ && drift_->last_step + 1 == context.step) {
      double absolute_error = 0;
      for (size_t j = 0; j < neurons; ++j) {
        const double difference = charge[j] - drift_->charge[j] - drift_->predicted[j];
        absolute_error += std::fabs(difference);
        if (drift_->scale[j] > 0) errors.push_back(std::fabs(difference) / drift_->scale[j]);
      }
      observed = Finite(Sum(charge) - Sum(drift_->charge));
      predicted = Finite(Sum(drift_->predicted));
      error = Ratio(absolute_error, Sum(drift_->scale));
      if (!sgd_) predicted = error = Undefined::kOptimizerNotCovered;
    }
  } else {
    figures->push_back({"thermograd_symmetry_charge", labels_, Undefined::kMissingTensor});
    figures->push_back(
        {"thermograd_symmetry_relative_charge_ratio", labels_, Undefined::kMissingTensor});
  }
  figures->push_back({"thermograd_symmetry_charge_drift", labels_, observed});
  figures->push_back({"thermograd_symmetry_charge_drift_predicted", labels_, predicted});
  figures->push_back({"thermograd_symmetry_charge_drift_error_ratio", labels_, error});
  if (sgd_) AppendNeurons("thermograd_neuron_charge_drift_error_ratio", std::move(errors), figures);

  // Theory's change of the charge over this step. Delta Q = 2 Dtheta' A theta + Dtheta' A Dtheta
  // with Dtheta = -eta (g + gamma theta) and <g, A theta> = 0 (theory.md section 3):
  // Delta Q = eta^2 g'Ag - 2 eta gamma Q + (eta gamma)^2 Q.
  const bool continues = drift_ && drift_->last_step + 1 == context.step;
  if (has_weights) {
    drift_ = Drift{};
    drift_->charge = charge;
    drift_->predicted.resize(neurons);
    drift_->scale.resize(neurons);
  } else if (!continues) {
    drift_.reset();
    return;
  }
  const double eta = context.learning_rate;
  const double shrink = eta * context.weight_decay;
  for (size_t j = 0; j < neurons; ++j) {
    const double charge_now = drift_->charge[j] + drift_->predicted[j];
    const double u = sums.first.gradient_squared_norm[j];
    const double w = sums.second.gradient_squared_norm[j];
    drift_->predicted[j] += eta * eta * (u - w) + shrink * (shrink - 2) * charge_now;
    drift_->scale[j] += eta * eta * (u + w);
  }
  drift_->last_step = context.step;
}

void RescalingSymmetry::AddStep(const SymmetryStepContext& context,
                                const statistics::RescalingSums& sums, Figures* figures) {
  Balance balance;
  balance.learning_rate = context.learning_rate;
  for (size_t j = 0; j < sums.first.gradient_squared_norm.size(); ++j) {
    const double u = sums.first.gradient_squared_norm[j];
    const double w = sums.second.gradient_squared_norm[j];
    balance.difference.push_back(u - w);
    balance.total.push_back(u + w);
  }
  window_.Push(std::move(balance));
  if (sums.first.weight_squared_norm.empty()) {
    figures->push_back({"thermograd_symmetry_residual_ratio", labels_, Undefined::kMissingTensor});
  } else {
    AppendResidual(sums, figures);
  }
  AppendDrift(context, sums, figures);
  AppendBalance(figures);
}

void RescalingSymmetry::SkipStep(Undefined reason, Figures* figures) {
  drift_.reset();
  for (const char* name : kSymmetryNames) figures->push_back({name, labels_, reason});
}

}  // namespace thermograd::metrics
