#include "metrics/symmetry_breaking.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace thermograd::metrics {
namespace {

using Entries = std::vector<double>;

constexpr const char* kNames[] = {"thermograd_symmetry_residual_ratio",
                                  "thermograd_symmetry_charge",
                                  "thermograd_symmetry_charge_norm",
                                  "thermograd_symmetry_charge_drift",
                                  "thermograd_symmetry_charge_drift_norm",
                                  "thermograd_symmetry_charge_drift_predicted",
                                  "thermograd_symmetry_charge_drift_predicted_norm",
                                  "thermograd_symmetry_charge_drift_error_ratio",
                                  "thermograd_symmetry_optimizer_breaking",
                                  "thermograd_symmetry_optimizer_breaking_norm",
                                  "thermograd_symmetry_entropic_breaking",
                                  "thermograd_symmetry_entropic_breaking_norm",
                                  "thermograd_symmetry_entropic_force",
                                  "thermograd_symmetry_entropic_force_norm",
                                  "thermograd_symmetry_equilibrium_gap_ratio"};
// Of two sides only.
constexpr const char* kTwoSidedNames[] = {"thermograd_symmetry_relative_charge_ratio",
                                          "thermograd_symmetry_gradient_balance_ratio"};

// In the order of InstanceFigure; of neurons and of heads.
constexpr const char* kInstanceNames[][4] = {
    {"thermograd_neuron_charge", "thermograd_neuron_residual_ratio",
     "thermograd_neuron_gradient_balance_ratio", "thermograd_neuron_charge_drift_error_ratio"},
    {"thermograd_head_charge", "thermograd_head_residual_ratio",
     "thermograd_head_gradient_balance_ratio", "thermograd_head_charge_drift_error_ratio"}};

double Norm(const Entries& entries) {
  double squares = 0;
  for (const double entry : entries) squares += entry * entry;
  return std::sqrt(squares);
}

// out += factor * in.
void AddScaled(double factor, const Entries& in, Entries* out) {
  if (out->empty()) out->resize(in.size());
  for (size_t i = 0; i < in.size(); ++i) (*out)[i] += factor * in[i];
}

Entries Difference(const Entries& first, const Entries& second) {
  Entries difference = first;
  AddScaled(-1, second, &difference);
  return difference;
}

// The transpose of each r x r matrix.
Entries Transposed(const Entries& entries, size_t r) {
  Entries transposed(entries.size());
  for (size_t start = 0; start < entries.size(); start += r * r) {
    for (size_t i = 0; i < r; ++i) {
      for (size_t j = 0; j < r; ++j) transposed[start + i * r + j] = entries[start + j * r + i];
    }
  }
  return transposed;
}

// (Y1 X1' + X1 Y1') - (Y2 X2' + X2 Y2'), which is 2 y'A theta of every symmetric generator A, from
// the sides' Y X'.
Entries TwiceCharge(const Entries& first, const Entries& second, size_t r) {
  const Entries difference = Difference(first, second);
  Entries twice = Transposed(difference, r);
  AddScaled(1, difference, &twice);
  return twice;
}

// Quantile by linear interpolation between order statistics (Hyndman & Fan 1996, type 7).
double Quantile(const std::vector<double>& sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

void AppendQuantiles(const char* name, const std::string& symmetry, std::vector<double> values,
                     Figures* figures) {
  if (values.empty()) return;
  std::sort(values.begin(), values.end());
  for (const auto& [label, q] :
       {std::pair{"0", 0.0}, {"0.25", 0.25}, {"0.5", 0.5}, {"0.75", 0.75}, {"1", 1.0}}) {
    figures->push_back(
        {name, {{"symmetry", symmetry}, {"quantile", label}}, Finite(Quantile(values, q))});
  }
}

void QuadraticSymmetry::Balance::Merge(const Balance& other) {
  AddScaled(1, other.first, &first);
  AddScaled(1, other.second, &second);
  if (!other.force.empty()) AddScaled(1, other.force, &force);
  if (!other.drive.empty()) {
    AddScaled(1, other.drive, &drive);
    AddScaled(1, other.decay, &decay);
  }
  force_steps += other.force_steps;
}

QuadraticSymmetry::QuadraticSymmetry(std::string name, const QuadraticForm& form, bool sgd,
                                     size_t window_steps)
    : name_(std::move(name)),
      labels_({{"symmetry", name_}}),
      form_(form),
      sgd_(sgd),
      window_(window_steps) {}

uint64_t QuadraticSymmetry::Bytes(const QuadraticForm& form) {
  // Five matrices of Balance in every bucket, three of Drift.
  constexpr uint64_t kMatrices = 5 * statistics::BucketedWindow<Balance>::kBuckets + 3;
  return kMatrices * form.entries() * sizeof(double);
}

void QuadraticSymmetry::Append(const char* name, Result result, Figures* figures) const {
  figures->push_back({name, labels_, result});
}

void QuadraticSymmetry::AppendTraceAndNorm(const char* trace, const char* norm,
                                           const Entries& entries, Figures* figures) const {
  Append(trace, Finite(Trace(entries)), figures);
  Append(norm, Finite(Norm(entries)), figures);
}

void QuadraticSymmetry::AppendInstances(InstanceFigure figure, std::vector<double> values,
                                        Figures* figures) const {
  if (form_.labelled == QuadraticForm::Instances::kOne) return;
  const size_t heads = form_.labelled == QuadraticForm::Instances::kHeads;
  AppendQuantiles(kInstanceNames[heads][figure], name_, std::move(values), figures);
}

double QuadraticSymmetry::InstanceNorm(const Entries& entries, size_t instance) const {
  const size_t size = form_.dimension * form_.dimension;
  double squares = 0;
  for (size_t i = instance * size; i < (instance + 1) * size; ++i) {
    squares += entries[i] * entries[i];
  }
  return std::sqrt(squares);
}

double QuadraticSymmetry::InstanceTrace(const Entries& entries, size_t instance) const {
  const size_t r = form_.dimension;
  double trace = 0;
  for (size_t i = 0; i < r; ++i) trace += entries[instance * r * r + i * (r + 1)];
  return trace;
}

double QuadraticSymmetry::Trace(const Entries& entries) const {
  double trace = 0;
  for (size_t instance = 0; instance < form_.instances; ++instance) {
    trace += InstanceTrace(entries, instance);
  }
  return trace;
}

QuadraticSymmetry::Fraction QuadraticSymmetry::RelativeDifference(const Entries& first,
                                                                  const Entries& second) const {
  if (form_.kind == QuadraticForm::Kind::kRotation) {
    return {Norm(Difference(first, second)), Norm(first) + Norm(second)};
  }
  const double a = Trace(first);
  const double b = Trace(second);
  return {a - b, std::fabs(a) + std::fabs(b)};
}

void QuadraticSymmetry::AppendResidual(const statistics::SymmetrySums& sums,
                                       Figures* figures) const {
  if (sums.first.weight_weight.empty()) {
    Append("thermograd_symmetry_residual_ratio", Undefined::kMissingTensor, figures);
    return;
  }
  std::vector<double> ratios;
  const auto add = [&](double numerator, double denominator) {
    if (denominator > 0) ratios.push_back(numerator / denominator);
  };
  if (form_.kind == QuadraticForm::Kind::kRotation) {
    // |G1 X1' - X2 G2'| / (|G1 X1'| + |X2 G2'|): theory.md section 3. Zero for every batch.
    const Entries residual = Difference(sums.first.gradient_weight,
                                        Transposed(sums.second.gradient_weight, form_.dimension));
    for (size_t j = 0; j < form_.instances; ++j) {
      add(InstanceNorm(residual, j), InstanceNorm(sums.first.gradient_weight, j) +
                                         InstanceNorm(sums.second.gradient_weight, j));
    }
    Append(
        "thermograd_symmetry_residual_ratio",
        Ratio(Norm(residual), Norm(sums.first.gradient_weight) + Norm(sums.second.gradient_weight)),
        figures);
  } else {
    // |<g, A theta>| / (|g| |A theta|) of each instance, and the ratio of root sums of squares over
    // them: theory.md section 3. Zero for every batch if the symmetry is real.
    double numerator = 0;
    double denominator = 0;
    for (size_t j = 0; j < form_.instances; ++j) {
      const double dot = sums.first.gradient_weight[j] - sums.second.gradient_weight[j];
      const double bound = (sums.first.gradient_gradient[j] + sums.second.gradient_gradient[j]) *
                           (sums.first.weight_weight[j] + sums.second.weight_weight[j]);
      numerator += dot * dot;
      denominator += bound;
      add(std::fabs(dot), std::sqrt(bound));
    }
    Append("thermograd_symmetry_residual_ratio",
           Ratio(std::sqrt(numerator), std::sqrt(denominator)), figures);
  }
  AppendInstances(kResidual, std::move(ratios), figures);
}

void QuadraticSymmetry::AppendCharge(const statistics::SymmetrySums& sums, const Entries* charge,
                                     Figures* figures) const {
  const bool two_sided = form_.kind != QuadraticForm::Kind::kScaleInvariance;
  if (charge == nullptr) {
    Append("thermograd_symmetry_charge", Undefined::kMissingTensor, figures);
    Append("thermograd_symmetry_charge_norm", Undefined::kMissingTensor, figures);
    if (two_sided) {
      Append("thermograd_symmetry_relative_charge_ratio", Undefined::kMissingTensor, figures);
    }
    return;
  }
  AppendTraceAndNorm("thermograd_symmetry_charge", "thermograd_symmetry_charge_norm", *charge,
                     figures);
  if (two_sided) {
    Append(
        "thermograd_symmetry_relative_charge_ratio",
        Ratio(Trace(*charge), Trace(sums.first.weight_weight) + Trace(sums.second.weight_weight)),
        figures);
  }
  std::vector<double> traces;
  for (size_t j = 0; j < form_.instances; ++j) traces.push_back(InstanceTrace(*charge, j));
  AppendInstances(kCharge, std::move(traces), figures);
}

void QuadraticSymmetry::AppendDrift(bool continues, const Entries* charge, Figures* figures) const {
  std::optional<Undefined> unobserved;
  if (charge == nullptr) {
    unobserved = Undefined::kMissingTensor;
  } else if (!continues) {
    unobserved = Undefined::kNoEarlierStep;
  }
  const std::optional<Undefined> unpredicted = unobserved ? unobserved : drift_->undefined;
  if (unobserved) {
    Append("thermograd_symmetry_charge_drift", *unobserved, figures);
    Append("thermograd_symmetry_charge_drift_norm", *unobserved, figures);
  } else {
    AppendTraceAndNorm("thermograd_symmetry_charge_drift", "thermograd_symmetry_charge_drift_norm",
                       Difference(*charge, drift_->charge), figures);
  }
  if (unpredicted) {
    Append("thermograd_symmetry_charge_drift_predicted", *unpredicted, figures);
    Append("thermograd_symmetry_charge_drift_predicted_norm", *unpredicted, figures);
    Append("thermograd_symmetry_charge_drift_error_ratio", *unpredicted, figures);
    return;
  }
  AppendTraceAndNorm("thermograd_symmetry_charge_drift_predicted",
                     "thermograd_symmetry_charge_drift_predicted_norm", drift_->predicted, figures);
  const Entries error = Difference(Difference(*charge, drift_->charge), drift_->predicted);
  double absolute_error = 0;
  double scale = 0;
  std::vector<double> ratios;
  for (size_t j = 0; j < form_.instances; ++j) {
    const double norm = InstanceNorm(error, j);
    absolute_error += norm;
    scale += drift_->scale[j];
    if (drift_->scale[j] > 0) ratios.push_back(norm / drift_->scale[j]);
  }
  Append("thermograd_symmetry_charge_drift_error_ratio", Ratio(absolute_error, scale), figures);
  AppendInstances(kDriftError, std::move(ratios), figures);
}

QuadraticSymmetry::Terms QuadraticSymmetry::SumTerms(const SymmetryStepContext& context,
                                                     const statistics::SymmetrySums& sums,
                                                     const Entries* charge) const {
  // Delta Q = 2 Dtheta' A theta + Dtheta' A Dtheta, an identity: theory.md section 3.
  Terms terms;
  const auto add_scale = [&](double factor, const Entries& first, const Entries& second) {
    for (size_t j = 0; j < form_.instances; ++j) {
      terms.scale.push_back(factor * (InstanceTrace(first, j) + InstanceTrace(second, j)));
    }
  };
  if (!sums.first.update_weight.empty()) {
    terms.first_order =
        TwiceCharge(sums.first.update_weight, sums.second.update_weight, form_.dimension);
    terms.second_order = Difference(sums.first.update_update, sums.second.update_update);
    add_scale(1, sums.first.update_update, sums.second.update_update);
    return terms;
  }
  if (!sgd_ || !context.is_uniform) {
    terms.undefined = sums.first.update_update.empty() ? Undefined::kOptimizerNotCovered
                                                       : Undefined::kMissingTensor;
    return terms;
  }
  // Plain SGD: Dtheta = -eta (g + gamma theta) and <g, A theta> = 0, hence
  // -2 eta gamma Q and eta^2 g'Ag + (eta gamma)^2 Q.
  const double eta = context.learning_rate;
  const double shrink = eta * context.weight_decay;
  if (shrink > 0 && charge == nullptr) {
    terms.undefined = Undefined::kMissingTensor;
    return terms;
  }
  terms.first_order.resize(form_.entries());
  AddScaled(eta * eta, Difference(sums.first.gradient_gradient, sums.second.gradient_gradient),
            &terms.second_order);
  if (shrink > 0) {
    AddScaled(-2 * shrink, *charge, &terms.first_order);
    AddScaled(shrink * shrink, *charge, &terms.second_order);
  }
  add_scale(eta * eta, sums.first.gradient_gradient, sums.second.gradient_gradient);
  return terms;
}

void QuadraticSymmetry::AppendTerms(const Terms& terms, Figures* figures) const {
  if (terms.undefined) {
    for (const char* name :
         {"thermograd_symmetry_optimizer_breaking", "thermograd_symmetry_optimizer_breaking_norm",
          "thermograd_symmetry_entropic_breaking", "thermograd_symmetry_entropic_breaking_norm"}) {
      Append(name, *terms.undefined, figures);
    }
    return;
  }
  AppendTraceAndNorm("thermograd_symmetry_optimizer_breaking",
                     "thermograd_symmetry_optimizer_breaking_norm", terms.first_order, figures);
  AppendTraceAndNorm("thermograd_symmetry_entropic_breaking",
                     "thermograd_symmetry_entropic_breaking_norm", terms.second_order, figures);
}

QuadraticSymmetry::Balance QuadraticSymmetry::SumBalance(const SymmetryStepContext& context,
                                                         const statistics::SymmetrySums& sums,
                                                         const Entries* charge) const {
  const double eta = context.learning_rate;
  const double gamma = context.weight_decay;
  Balance balance;
  balance.first = sums.first.gradient_gradient;
  balance.second = sums.second.gradient_gradient;
  const Entries difference = Difference(balance.first, balance.second);
  if (!context.is_uniform) return balance;
  // (eta / 2) E[g' A g], the entropic force along A: theory.md section 2.
  AddScaled(eta / 2, difference, &balance.force);
  balance.force_steps = 1;
  if (charge != nullptr && gamma > 0) {
    // At stationarity eta E[g'Ag] = 2 gamma Q with g the total gradient, decay included: theory.md
    // section 3.
    AddScaled(eta, difference, &balance.drive);
    AddScaled(eta * gamma,
              TwiceCharge(sums.first.gradient_weight, sums.second.gradient_weight, form_.dimension),
              &balance.drive);
    AddScaled(eta * gamma * gamma, *charge, &balance.drive);
    AddScaled(2 * gamma, *charge, &balance.decay);
  }
  return balance;
}

void QuadraticSymmetry::AppendBalance(const SymmetryStepContext& context, Figures* figures) const {
  const Balance total = window_.Total();
  Result gap = Undefined::kOptimizerNotCovered;
  if (!context.is_uniform || total.force.empty()) {
    Append("thermograd_symmetry_entropic_force", Undefined::kOptimizerNotCovered, figures);
    Append("thermograd_symmetry_entropic_force_norm", Undefined::kOptimizerNotCovered, figures);
  } else {
    Entries force;
    AddScaled(1 / static_cast<double>(total.force_steps), total.force, &force);
    AppendTraceAndNorm("thermograd_symmetry_entropic_force",
                       "thermograd_symmetry_entropic_force_norm", force, figures);
    if (!(context.weight_decay > 0)) {
      gap = Undefined::kNoWeightDecay;
    } else if (total.drive.empty()) {
      gap = Undefined::kMissingTensor;
    } else {
      gap = RelativeDifference(total.drive, total.decay).Value();
    }
  }
  Append("thermograd_symmetry_equilibrium_gap_ratio", gap, figures);
  if (form_.kind == QuadraticForm::Kind::kScaleInvariance) return;
  const Fraction balance = RelativeDifference(total.first, total.second);
  Append("thermograd_symmetry_gradient_balance_ratio", balance.Value(), figures);
  const bool rotation = form_.kind == QuadraticForm::Kind::kRotation;
  if (!rotation) {
    Append("thermograd_symmetry_gradient_balance_numerator_sum", Finite(balance.numerator),
           figures);
    Append("thermograd_symmetry_gradient_balance_denominator_sum", Finite(balance.denominator),
           figures);
  }
  const Entries difference = Difference(total.first, total.second);
  std::vector<double> ratios;
  for (size_t j = 0; j < form_.instances; ++j) {
    const double sizes = InstanceNorm(total.first, j) + InstanceNorm(total.second, j);
    if (!(sizes > 0)) continue;
    ratios.push_back((rotation ? InstanceNorm(difference, j) : difference[j]) / sizes);
  }
  AppendInstances(kGradientBalance, std::move(ratios), figures);
}

void QuadraticSymmetry::AddStep(const SymmetryStepContext& context,
                                const statistics::SymmetrySums& sums, Figures* figures) {
  const bool continues = drift_ && drift_->last_step + 1 == context.step;
  std::optional<Entries> measured;
  if (!sums.first.weight_weight.empty()) {
    measured = Difference(sums.first.weight_weight, sums.second.weight_weight);
  }
  AppendResidual(sums, figures);
  AppendCharge(sums, measured ? &*measured : nullptr, figures);
  AppendDrift(continues, measured ? &*measured : nullptr, figures);

  // Where the weights of this step were not streamed, theory has followed the charge to it.
  std::optional<Entries> charge = measured;
  if (!charge && continues && !drift_->undefined) {
    charge = drift_->charge;
    AddScaled(1, drift_->predicted, &*charge);
  }
  const Terms terms = SumTerms(context, sums, charge ? &*charge : nullptr);
  AppendTerms(terms, figures);
  if (measured) {
    drift_ = Drift{.charge = *measured,
                   .predicted = Entries(form_.entries()),
                   .scale = Entries(form_.instances),
                   .undefined = {},
                   .last_step = 0};
  } else if (!continues) {
    drift_.reset();
  }
  if (drift_) {
    if (terms.undefined) {
      drift_->undefined = terms.undefined;
    } else {
      AddScaled(1, terms.first_order, &drift_->predicted);
      AddScaled(1, terms.second_order, &drift_->predicted);
      AddScaled(1, terms.scale, &drift_->scale);
    }
    drift_->last_step = context.step;
  }

  window_.Push(SumBalance(context, sums, measured ? &*measured : nullptr));
  AppendBalance(context, figures);
}

void QuadraticSymmetry::SkipStep(Undefined reason, Figures* figures) {
  drift_.reset();
  for (const char* name : kNames) Append(name, reason, figures);
  if (form_.kind == QuadraticForm::Kind::kScaleInvariance) return;
  for (const char* name : kTwoSidedNames) Append(name, reason, figures);
}

}  // namespace thermograd::metrics
