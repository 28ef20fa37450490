#include "metrics/entropic_force.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace thermograd::metrics {
namespace {

// Figures of a scope, in the order of the name tables.
enum ScopeFigure {
  kSecondMoment,
  kMeanSquaredNorm,
  kCovarianceTrace,
  kNoiseScale,
  kSignalToNoise,
  kTemperature,
  kNoiseScaleLower,
  kNoiseScaleUpper,
  kScopeFigures
};
constexpr const char* kRunNames[kScopeFigures] = {"thermograd_gradient_second_moment",
                                                  "thermograd_gradient_mean_squared_norm",
                                                  "thermograd_gradient_covariance_trace",
                                                  "thermograd_gradient_noise_scale_samples",
                                                  "thermograd_gradient_signal_to_noise",
                                                  "thermograd_temperature",
                                                  "thermograd_gradient_noise_scale_lower_samples",
                                                  "thermograd_gradient_noise_scale_upper_samples"};
constexpr const char* kGroupNames[kScopeFigures] = {
    "thermograd_group_gradient_second_moment",
    "thermograd_group_gradient_mean_squared_norm",
    "thermograd_group_gradient_covariance_trace",
    "thermograd_group_gradient_noise_scale_samples",
    "thermograd_group_gradient_signal_to_noise",
    "thermograd_group_temperature",
    "thermograd_group_gradient_noise_scale_lower_samples",
    "thermograd_group_gradient_noise_scale_upper_samples"};
// One parameter has no interval: three series fewer for each.
constexpr const char* kParameterNames[] = {"thermograd_parameter_gradient_second_moment",
                                           "thermograd_parameter_gradient_mean_squared_norm",
                                           "thermograd_parameter_gradient_covariance_trace",
                                           "thermograd_parameter_gradient_noise_scale_samples",
                                           "thermograd_parameter_gradient_signal_to_noise",
                                           "thermograd_parameter_temperature"};

bool FollowsSgd(const Optimizer& optimizer) {
  return optimizer.kind == Optimizer::Kind::kSgd || optimizer.kind == Optimizer::Kind::kMomentum;
}

// A gradient moves the parameters by eta / (1 - mu) in all, mostly in later steps: on average this
// many steps later, in units of the step.
double MeanDelay(const Optimizer& optimizer) {
  const double mu = optimizer.momentum;
  return (optimizer.nesterov ? mu * mu : mu) / (1 - mu);
}

double EffectiveLearningRate(const Optimizer& optimizer, double learning_rate) {
  return learning_rate / (1 - optimizer.momentum);
}

Result Plus(const Result& x, const Result& y) {
  if (std::holds_alternative<Undefined>(x)) return x;
  if (std::holds_alternative<Undefined>(y)) return y;
  return Finite(std::get<double>(x) + std::get<double>(y));
}

// Mean of one member over a window; undefined if it is in any step.
template <typename Window, typename Member>
Result MeanOver(const Window& window, Member member) {
  double sum = 0;
  for (const auto& step : window.entries()) {
    const Result& value = step.*member;
    if (const auto* reason = std::get_if<Undefined>(&value)) return *reason;
    sum += std::get<double>(value);
  }
  return Finite(sum / static_cast<double>(window.entries().size()));
}

// 97.5 % quantile of the normal distribution.
constexpr double kInterval = 1.959964;

}  // namespace

// Unbiased estimates from batches of 1 and r microbatches (theory.md section 2; McCandlish et al.
// 2018, appendix A.1). Where the larger batch is the n microbatches themselves, r = n, they are the
// sample variance and the U-statistic of |G|^2.
std::optional<EntropicForces::NoiseEstimate> EntropicForces::EstimateNoise(
    const statistics::GradientSums& sums) {
  const double r = sums.applied_microbatches;
  if (!(r > 1) || sums.microbatches == 0) return std::nullopt;
  const double small = sums.sum_squared_norm / static_cast<double>(sums.microbatches);
  const double applied_trace = (small - sums.applied_squared_norm) / (r - 1);
  return NoiseEstimate{.mean_squared_norm = (r * sums.applied_squared_norm - small) / (r - 1),
                       .covariance_trace = r * applied_trace,
                       .applied_covariance_trace = applied_trace};
}

// What eta S is made of in one parameter and step.
struct EntropicForces::Entropy {
  Result total = Undefined::kOptimizerNotCovered;  // eta S
  Result signal = Undefined::kOptimizerNotCovered;
  Result noise = Undefined::kOptimizerNotCovered;
};

EntropicForces::Entropy EntropicForces::EntropyOf(const ParameterGradient& parameter,
                                                  const Optimizer& optimizer) {
  Entropy entropy;
  if (parameter.preconditioned_squared_norm) {
    // S = E[g' Lambda g] / (4 eta): arXiv 2505.12387, for a general diagonal preconditioner.
    entropy.total = Finite(*parameter.preconditioned_squared_norm / 4);
    return entropy;
  }
  if (FollowsSgd(optimizer)) {
    const double eta = EffectiveLearningRate(optimizer, parameter.learning_rate);
    const std::optional<NoiseEstimate> noise = EstimateNoise(parameter.sums);
    if (noise) {
      // S = |G|^2 / 4 + tr Sigma / 4 (theory.md section 2), Sigma that of the applied gradient.
      // With momentum both are driven by eta / (1 - mu), and the delay adds to the signal's part
      // what it does to a deterministic trajectory: Ghosh et al. 2023, arXiv 2302.00849.
      entropy.signal = Finite(eta / 4 * (1 + 2 * MeanDelay(optimizer)) * noise->mean_squared_norm);
      entropy.noise = Finite(eta / 4 * noise->applied_covariance_trace);
    } else {
      entropy.signal = entropy.noise = Undefined::kTooFewMicrobatches;
    }
    if (optimizer.momentum == 0) {
      // The sum of both parts, without their cancellation: |g|^2 / 4 (Smith et al. 2021).
      entropy.total = Finite(eta / 4 * parameter.sums.applied_squared_norm);
    } else {
      entropy.total = Plus(entropy.signal, entropy.noise);
    }
    return entropy;
  }
  // Without memory and decay the update is -Lambda g itself.
  if (optimizer.kind == Optimizer::Kind::kOther && optimizer.momentum == 0 &&
      parameter.weight_decay == 0 && parameter.gradient_dot_update) {
    entropy.total = Finite(-*parameter.gradient_dot_update / 4);
  }
  return entropy;
}

EntropicForces::EntropicForces(std::vector<ParameterName> parameters, Optimizer optimizer,
                               size_t window_steps, bool gradient_after_update_is_declared)
    : parameters_(std::move(parameters)),
      optimizer_(optimizer),
      gradient_after_update_is_declared_(gradient_after_update_is_declared),
      run_scope_{.labels = {},
                 .names = kRunNames,
                 .elements = 0,
                 .with_interval = true,
                 .window = statistics::Window<Step>(window_steps)},
      run_window_(window_steps) {
  std::map<std::string, size_t> group_index;
  for (const ParameterName& parameter : parameters_) {
    parameter_scopes_.push_back({.labels = {{"parameter", parameter.name}},
                                 .names = kParameterNames,
                                 .elements = parameter.elements,
                                 .with_interval = false,
                                 .window = statistics::Window<Step>(window_steps)});
    run_scope_.elements += parameter.elements;
    size_t group = static_cast<size_t>(-1);
    if (!parameter.group.empty()) {
      group = group_index.try_emplace(parameter.group, group_scopes_.size()).first->second;
      if (group == group_scopes_.size()) {
        group_scopes_.push_back({.labels = {{"group", parameter.group}},
                                 .names = kGroupNames,
                                 .elements = 0,
                                 .with_interval = true,
                                 .window = statistics::Window<Step>(window_steps)});
      }
      group_scopes_[group].elements += parameter.elements;
    }
    group_of_.push_back(group);
  }
}

void EntropicForces::Push(Step step, Scope* scope) {
  // The sums have grown since the first of their parameters.
  step.noise = EstimateNoise(step.sums);
  scope->window.Push(step);
}

size_t EntropicForces::WindowBytes(size_t parameters, size_t window_steps) {
  // Groups are at most as many as parameters.
  return window_steps * (2 * parameters * sizeof(Step) + sizeof(RunStep));
}

void EntropicForces::AddStep(const EntropicStep& step, Figures* figures) {
  if (step.loss) {
    figures->push_back({"thermograd_loss", {}, Finite(*step.loss)});
  } else if (!parameters_.empty()) {
    figures->push_back({"thermograd_loss", {}, Undefined::kMissingTensor});
  }
  // A run may stream representations alone.
  if (parameters_.empty()) return;
  struct Sum {
    std::optional<Step> step;
    std::optional<Undefined> undefined;
  };
  const auto merge = [](const std::optional<Undefined>& undefined, const Step& part, Sum* sum) {
    if (undefined) {
      sum->undefined = undefined;
    } else if (sum->step) {
      sum->step->sums.MergeParameters(part.sums);
      sum->step->heat += part.heat;
    } else {
      sum->step = part;
    }
  };
  std::vector<Sum> groups(group_scopes_.size());
  Sum run;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const ParameterGradient& parameter = step.parameters[i];
    Step part{.sums = parameter.sums,
              .noise = EstimateNoise(parameter.sums),
              .microbatch_size = step.microbatch_size,
              .heat = 0};
    if (part.noise) {
      part.heat = EffectiveLearningRate(optimizer_, parameter.learning_rate) *
                  part.noise->applied_covariance_trace;
    }
    Scope& scope = parameter_scopes_[i];
    if (parameter.undefined) {
      AppendUndefined(scope, *parameter.undefined, figures);
    } else {
      scope.window.Push(part);
      AppendScope(scope, figures);
    }
    if (group_of_[i] < groups.size()) merge(parameter.undefined, part, &groups[group_of_[i]]);
    merge(parameter.undefined, part, &run);
  }
  bool groups_are_whole = true;
  for (size_t k = 0; k < groups.size(); ++k) {
    if (groups[k].undefined) {
      AppendUndefined(group_scopes_[k], *groups[k].undefined, figures);
      groups_are_whole = false;
    } else {
      Push(*groups[k].step, &group_scopes_[k]);
      AppendScope(group_scopes_[k], figures);
    }
  }
  if (run.undefined) {
    AppendUndefined(run_scope_, *run.undefined, figures);
    for (const char* name :
         {"thermograd_entropy_term", "thermograd_entropy_signal_term",
          "thermograd_entropy_noise_term", "thermograd_entropic_loss",
          "thermograd_entropic_share_ratio", "thermograd_equipartition_index_ratio"}) {
      figures->push_back({name, {}, *run.undefined});
    }
    return;
  }
  Push(*run.step, &run_scope_);
  AppendScope(run_scope_, figures);
  if (groups_are_whole) AppendEquipartition(figures);
  run_window_.Push(Combine(step));
  AppendRun(figures);
}

void EntropicForces::AppendUndefined(const Scope& scope, Undefined reason, Figures* figures) {
  const int count = scope.with_interval ? kScopeFigures : kNoiseScaleLower;
  for (int i = 0; i < count; ++i) figures->push_back({scope.names[i], scope.labels, reason});
}

void EntropicForces::AppendScope(const Scope& scope, Figures* figures) const {
  double squared_norm = 0;
  double microbatches = 0;
  double steps = 0;
  double mean_squared_norm = 0;
  double covariance_trace = 0;
  double sample_trace = 0;  // tr Sigma_1 = b tr Sigma_b
  double heat = 0;          // eta tr Sigma of the applied gradient
  for (const Step& step : scope.window.entries()) {
    squared_norm += step.sums.sum_squared_norm;
    microbatches += static_cast<double>(step.sums.microbatches);
    const std::optional<NoiseEstimate>& noise = step.noise;
    if (!noise) continue;
    steps += 1;
    mean_squared_norm += noise->mean_squared_norm;
    covariance_trace += noise->covariance_trace;
    sample_trace += step.microbatch_size * noise->covariance_trace;
    heat += step.heat;
  }
  Result results[kScopeFigures];
  results[kSecondMoment] = Ratio(squared_norm, microbatches);
  for (int i = kMeanSquaredNorm; i < kScopeFigures; ++i) {
    results[i] = Undefined::kTooFewMicrobatches;
  }
  if (steps > 0) {
    results[kMeanSquaredNorm] = Finite(mean_squared_norm / steps);
    results[kCovarianceTrace] = Finite(covariance_trace / steps);
    // B_simple = tr Sigma_1 / |G|^2 (McCandlish et al. 2018, eq. 2.9), as a ratio of window sums.
    results[kNoiseScale] = Ratio(sample_trace, mean_squared_norm);
    results[kSignalToNoise] = Ratio(mean_squared_norm, covariance_trace);
    // T = eta tr Sigma / (2 P): Langevin matching, eta^2 Sigma = 2 T eta 1 (theory.md section 2),
    // with the effective learning rate of momentum.
    results[kTemperature] = Undefined::kOptimizerNotCovered;
    if (FollowsSgd(optimizer_)) {
      results[kTemperature] = Finite(heat / steps / (2 * static_cast<double>(scope.elements)));
    }
    // Delta method on the pairs (tr Sigma_1, |G|^2) of the steps: the variance of the ratio R of
    // their means is that of the residuals tr Sigma_1 - R |G|^2, over the squared mean of |G|^2.
    results[kNoiseScaleLower] = results[kNoiseScaleUpper] = results[kNoiseScale];
    if (const double* ratio = std::get_if<double>(&results[kNoiseScale])) {
      if (steps < 2) {
        results[kNoiseScaleLower] = results[kNoiseScaleUpper] = Undefined::kTooFewSamples;
      } else {
        double residuals = 0;
        for (const Step& step : scope.window.entries()) {
          const std::optional<NoiseEstimate>& noise = step.noise;
          if (!noise) continue;
          const double residual =
              step.microbatch_size * noise->covariance_trace - *ratio * noise->mean_squared_norm;
          residuals += residual * residual;
        }
        const double half_width =
            kInterval * std::sqrt(residuals * steps / (steps - 1)) / mean_squared_norm;
        results[kNoiseScaleLower] = Finite(*ratio - half_width);
        results[kNoiseScaleUpper] = Finite(*ratio + half_width);
      }
    }
  }
  const int count = scope.with_interval ? kScopeFigures : kNoiseScaleLower;
  for (int i = 0; i < count; ++i) figures->push_back({scope.names[i], scope.labels, results[i]});
  if (&scope == &run_scope_) {
    figures->push_back({"thermograd_gradient_covariance_trace_sum", {}, Finite(covariance_trace)});
    figures->push_back(
        {"thermograd_gradient_sample_covariance_trace_sum", {}, Finite(sample_trace)});
    figures->push_back(
        {"thermograd_gradient_mean_squared_norm_sum", {}, Finite(mean_squared_norm)});
    figures->push_back({"thermograd_gradient_steps_count", {}, Finite(steps)});
    const Step& latest = scope.window.entries().back();
    figures->push_back({"thermograd_batch_samples",
                        {},
                        Finite(latest.microbatch_size * latest.sums.applied_microbatches)});
  }
}

void EntropicForces::AppendEquipartition(Figures* figures) const {
  // exp(H(p)) / K, p_k the groups' shares of E|g|^2 (theory.md section 2). Parameters that belong
  // to no group stand for themselves.
  std::vector<const Scope*> groups;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (group_of_[i] >= group_scopes_.size()) groups.push_back(&parameter_scopes_[i]);
  }
  for (const Scope& group : group_scopes_) groups.push_back(&group);
  if (groups.size() < 2) return;
  std::vector<double> shares;
  double total = 0;
  for (const Scope* group : groups) {
    double squared_norm = 0;
    double microbatches = 0;
    for (const Step& step : group->window.entries()) {
      squared_norm += step.sums.sum_squared_norm;
      microbatches += static_cast<double>(step.sums.microbatches);
    }
    shares.push_back(squared_norm / microbatches);
    total += shares.back();
  }
  Result index = Ratio(1, total);
  if (std::holds_alternative<double>(index)) {
    double entropy = 0;
    for (const double share : shares) {
      if (share > 0) entropy -= share / total * std::log(share / total);
    }
    index = Finite(std::exp(entropy) / static_cast<double>(groups.size()));
  }
  figures->push_back({"thermograd_equipartition_index_ratio", {}, index});
}

EntropicForces::RunStep EntropicForces::Combine(const EntropicStep& step) const {
  RunStep run{.loss = step.loss,
              .decay = 0,
              .free = 0.0,
              .entropy = 0.0,
              .entropy_of_signal = 0.0,
              .entropy_of_noise = 0.0,
              .curvature_numerator = 0.0,
              .update_squared_norm = 0,
              .learning_rate = step.learning_rate};
  for (const ParameterGradient& parameter : step.parameters) {
    const Entropy entropy = EntropyOf(parameter, optimizer_);
    run.free = Plus(run.free, entropy.total);
    run.entropy_of_signal = Plus(run.entropy_of_signal, entropy.signal);
    run.entropy_of_noise = Plus(run.entropy_of_noise, entropy.noise);
    if (parameter.weight_decay != 0) {
      if (parameter.weight_squared_norm && run.decay) {
        *run.decay += parameter.weight_decay / 2 * *parameter.weight_squared_norm;
      } else {
        run.decay.reset();
      }
    }
    if (parameter.gradient_change_dot_update && parameter.update_squared_norm) {
      run.curvature_numerator =
          Plus(run.curvature_numerator, *parameter.gradient_change_dot_update);
      run.update_squared_norm += *parameter.update_squared_norm;
    } else {
      run.curvature_numerator = Undefined::kMissingTensor;
    }
  }
  const auto over_learning_rate = [&](const Result& result) {
    const double* value = std::get_if<double>(&result);
    return value == nullptr ? result : Ratio(*value, step.learning_rate);
  };
  run.entropy = over_learning_rate(run.free);
  run.entropy_of_signal = over_learning_rate(run.entropy_of_signal);
  run.entropy_of_noise = over_learning_rate(run.entropy_of_noise);
  return run;
}

void EntropicForces::AppendRun(Figures* figures) const {
  figures->push_back(
      {"thermograd_learning_rate", {}, Finite(run_window_.entries().back().learning_rate)});
  double loss = 0;
  double decay = 0;
  std::optional<Undefined> missing;
  for (const RunStep& step : run_window_.entries()) {
    if (!step.loss || !step.decay) missing = Undefined::kMissingTensor;
    loss += step.loss.value_or(0);
    decay += step.decay.value_or(0);
  }
  figures->push_back({"thermograd_entropy_term", {}, MeanOver(run_window_, &RunStep::entropy)});
  figures->push_back(
      {"thermograd_entropy_signal_term", {}, MeanOver(run_window_, &RunStep::entropy_of_signal)});
  figures->push_back(
      {"thermograd_entropy_noise_term", {}, MeanOver(run_window_, &RunStep::entropy_of_noise)});
  // F = L + (gamma / 2) |theta|^2 + eta S: what SGD descends (arXiv 2505.12387).
  const auto steps = static_cast<double>(run_window_.entries().size());
  const Result free = MeanOver(run_window_, &RunStep::free);
  Result entropic_loss = free;
  Result share = free;
  if (missing) {
    entropic_loss = share = *missing;
  } else if (const double* value = std::get_if<double>(&free)) {
    const double total = (loss + decay) / steps + *value;
    entropic_loss = Finite(total);
    share = Ratio(*value, total);
  }
  figures->push_back({"thermograd_entropic_loss", {}, entropic_loss});
  figures->push_back({"thermograd_entropic_share_ratio", {}, share});

  if (!gradient_after_update_is_declared_) return;
  // kappa = <g(theta + dtheta) - g(theta), dtheta> / |dtheta|^2: theory.md section 2.
  Result curvature = MeanOver(run_window_, &RunStep::curvature_numerator);
  Result stability = curvature;
  if (const double* mean = std::get_if<double>(&curvature)) {
    double squared_norm = 0;
    double weighted = 0;
    for (const RunStep& step : run_window_.entries()) {
      squared_norm += step.update_squared_norm;
      weighted += step.learning_rate * std::get<double>(step.curvature_numerator);
    }
    curvature = Ratio(*mean * steps, squared_norm);
    stability = Ratio(weighted, squared_norm);
  }
  figures->push_back({"thermograd_directional_curvature", {}, curvature});
  figures->push_back({"thermograd_directional_stability", {}, stability});
}

}  // namespace thermograd::metrics
