#include "metrics/entropic_force.h"

namespace thermograd::metrics {
namespace {

// Window sums of the unbiased estimates, each term of one step.
struct NoiseSums {
  double steps = 0;              // steps with M >= 2
  double covariance_trace = 0;   // of microbatch gradients, tr Sigma_b
  double noise_samples = 0;      // b tr Sigma_b = tr Sigma_1
  double mean_squared_norm = 0;  // |G|^2
  double squared_norm = 0;       // sum_i |g_i|^2
  double microbatches = 0;       // sum of M
};

// Unbiased estimators over M >= 2 independent microbatches: sample variance, and the U-statistic
// of |G|^2 (theory.md section 2; the same pair as McCandlish et al. 2018, appendix A.1).
void AddStep(const GradientStep& step, NoiseSums* sums) {
  const auto m = static_cast<double>(step.sums.microbatches);
  sums->squared_norm += step.sums.sum_squared_norm;
  sums->microbatches += m;
  if (m < 2) return;
  const double covariance_trace =
      (step.sums.sum_squared_norm - step.sums.squared_norm_of_sum / m) / (m - 1);
  sums->steps += 1;
  sums->covariance_trace += covariance_trace;
  sums->noise_samples += step.microbatch_size * covariance_trace;
  sums->mean_squared_norm +=
      (step.sums.squared_norm_of_sum - step.sums.sum_squared_norm) / (m * (m - 1));
}

struct NoiseResults {
  Result second_moment;
  Result mean_squared_norm = Undefined::kTooFewMicrobatches;
  Result covariance_trace = Undefined::kTooFewMicrobatches;
  Result noise_scale = Undefined::kTooFewMicrobatches;
};

NoiseResults Derive(const NoiseSums& sums) {
  NoiseResults results{.second_moment = Ratio(sums.squared_norm, sums.microbatches)};
  if (sums.steps == 0) return results;
  results.mean_squared_norm = Finite(sums.mean_squared_norm / sums.steps);
  results.covariance_trace = Finite(sums.covariance_trace / sums.steps);
  // B_simple = tr Sigma_1 / |G|^2 (McCandlish et al. 2018, eq. 2.9), as a ratio of window sums.
  results.noise_scale = Ratio(sums.noise_samples, sums.mean_squared_norm);
  return results;
}

// Squared norm of the gradient that the step applies, the mean over its microbatches.
double AppliedSquaredNorm(const statistics::GradientSums& sums) {
  const auto m = static_cast<double>(sums.microbatches);
  return sums.squared_norm_of_sum / (m * m);
}

}  // namespace

void AppendParameterFigures(const std::string& parameter,
                            const statistics::Window<GradientStep>& window, Figures* figures) {
  NoiseSums sums;
  for (const GradientStep& step : window.entries()) AddStep(step, &sums);
  const NoiseResults results = Derive(sums);
  const std::vector<Label> labels = {{"parameter", parameter}};
  figures->push_back(
      {"thermograd_parameter_gradient_second_moment", labels, results.second_moment});
  figures->push_back(
      {"thermograd_parameter_gradient_mean_squared_norm", labels, results.mean_squared_norm});
  figures->push_back(
      {"thermograd_parameter_gradient_covariance_trace", labels, results.covariance_trace});
  figures->push_back(
      {"thermograd_parameter_gradient_noise_scale_samples", labels, results.noise_scale});
}

void AppendRunFigures(const statistics::Window<RunStep>& window, Figures* figures) {
  NoiseSums sums;
  double applied = 0;
  double entropic = 0;
  double loss = 0;
  double decay = 0;
  bool has_loss = true;
  bool has_weights = true;
  for (const RunStep& step : window.entries()) {
    AddStep(step.gradient, &sums);
    const double squared_norm = AppliedSquaredNorm(step.gradient.sums);
    applied += squared_norm;
    // eta S with S = |g|^2 / 4: arXiv 2505.12387; Smith et al. 2021 (implicit regularisation).
    // g is the gradient that the step applies: with accumulation, the mean over microbatches.
    entropic += step.learning_rate * squared_norm / 4;
    has_loss = has_loss && step.loss.has_value();
    loss += step.loss.value_or(0);
    if (step.weight_decay != 0) {
      has_weights = has_weights && step.weight_squared_norm.has_value();
      decay += step.weight_decay / 2 * step.weight_squared_norm.value_or(0);
    }
  }
  const auto steps = static_cast<double>(window.entries().size());
  const NoiseResults results = Derive(sums);
  figures->push_back({"thermograd_loss",
                      {},
                      has_loss ? Finite(window.entries().back().loss.value_or(0))
                               : Result(Undefined::kMissingTensor)});
  figures->push_back({"thermograd_gradient_second_moment", {}, results.second_moment});
  figures->push_back({"thermograd_gradient_mean_squared_norm", {}, results.mean_squared_norm});
  figures->push_back({"thermograd_gradient_covariance_trace", {}, results.covariance_trace});
  figures->push_back({"thermograd_gradient_noise_scale_samples", {}, results.noise_scale});
  figures->push_back(
      {"thermograd_gradient_covariance_trace_sum", {}, Finite(sums.covariance_trace)});
  figures->push_back(
      {"thermograd_gradient_mean_squared_norm_sum", {}, Finite(sums.mean_squared_norm)});
  figures->push_back({"thermograd_gradient_steps_count", {}, Finite(sums.steps)});
  figures->push_back({"thermograd_entropy_term", {}, Finite(applied / (4 * steps))});
  Result free_loss = Undefined::kMissingTensor;
  Result share = Undefined::kMissingTensor;
  if (has_loss && has_weights) {
    // F = L + (gamma / 2) |theta|^2 + eta S: what SGD descends.
    free_loss = Finite((loss + decay + entropic) / steps);
    share = Ratio(entropic, loss + decay + entropic);
  }
  figures->push_back({"thermograd_entropic_loss", {}, free_loss});
  figures->push_back({"thermograd_entropic_share_ratio", {}, share});
}

void AppendUndefinedParameterFigures(const std::string& parameter, Undefined reason,
                                     Figures* figures) {
  const std::vector<Label> labels = {{"parameter", parameter}};
  for (const char* name : {"thermograd_parameter_gradient_second_moment",
                           "thermograd_parameter_gradient_mean_squared_norm",
                           "thermograd_parameter_gradient_covariance_trace",
                           "thermograd_parameter_gradient_noise_scale_samples"}) {
    figures->push_back({name, labels, reason});
  }
}

void AppendUndefinedRunFigures(Undefined reason, Figures* figures) {
  for (const char* name :
       {"thermograd_gradient_second_moment", "thermograd_gradient_mean_squared_norm",
        "thermograd_gradient_covariance_trace", "thermograd_gradient_noise_scale_samples",
        "thermograd_entropy_term", "thermograd_entropic_loss", "thermograd_entropic_share_ratio"}) {
    figures->push_back({name, {}, reason});
  }
}

}  // namespace thermograd::metrics
