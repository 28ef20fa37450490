#include "metrics/catalogue.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "metrics/representation_catalogue.h"

namespace thermograd::metrics {
namespace {

constexpr Definition kCatalogue[] = {
    {"thermograd_loss", Family::kEntropicForce, "loss", "real",
     "Mean loss of the latest step's batch, as the trainer gave it.", "L", "", "", "StepBegin.loss",
     "The trainer's own curve, to lay the others beside."},
    {"thermograd_gradient_second_moment", Family::kEntropicForce, "loss^2/parameter^2", ">= 0",
     "Mean squared norm of the microbatch gradients of all parameters, over the window.",
     "sum |g_i|^2 / n", "", "", "gradients", "Total gradient power, signal and noise together."},
    {"thermograd_gradient_mean_squared_norm", Family::kEntropicForce, "loss^2/parameter^2", "real",
     "Unbiased squared norm of the expected gradient of all parameters, mean over the window; "
     "noise may make it negative.",
     "(|sum g_i|^2 - sum |g_i|^2) / (M (M - 1))",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "", "gradients of M >= 2 microbatches",
     "The signal: near zero means that only noise is left."},
    {"thermograd_gradient_covariance_trace", Family::kEntropicForce, "loss^2/parameter^2", ">= 0",
     "Unbiased trace of the covariance of the microbatch gradients of all parameters, mean over "
     "the window.",
     "(sum |g_i|^2 - |sum g_i|^2 / M) / (M - 1)",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "", "gradients of M >= 2 microbatches",
     "The noise that drives entropic forces."},
    {"thermograd_gradient_noise_scale_samples", Family::kEntropicForce, "samples", ">= 0",
     "Gradient noise scale of all parameters, a ratio of window sums.", "b tr Sigma_b / |G|^2",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A; eq. 2.9", "",
     "gradients of M >= 2 microbatches",
     "Batches much larger than this buy little; much smaller ones are dominated by noise."},
    {"thermograd_parameter_gradient_second_moment", Family::kEntropicForce, "loss^2/parameter^2",
     ">= 0", "Mean squared norm of the microbatch gradients of one parameter, over the window.",
     "sum |g_i|^2 / n", "", "parameter", "gradients",
     "Total gradient power, signal and noise together."},
    {"thermograd_parameter_gradient_mean_squared_norm", Family::kEntropicForce,
     "loss^2/parameter^2", "real",
     "Unbiased squared norm of the expected gradient of one parameter, mean over the window; noise "
     "may make it negative.",
     "(|sum g_i|^2 - sum |g_i|^2) / (M (M - 1))",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "parameter",
     "gradients of M >= 2 microbatches", "The signal: near zero means that only noise is left."},
    {"thermograd_parameter_gradient_covariance_trace", Family::kEntropicForce, "loss^2/parameter^2",
     ">= 0",
     "Unbiased trace of the covariance of the microbatch gradients of one parameter, mean over the "
     "window.",
     "(sum |g_i|^2 - |sum g_i|^2 / M) / (M - 1)",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "parameter",
     "gradients of M >= 2 microbatches", "The noise that drives entropic forces."},
    {"thermograd_parameter_gradient_noise_scale_samples", Family::kEntropicForce, "samples", ">= 0",
     "Gradient noise scale of one parameter, a ratio of window sums.", "b tr Sigma_b / |G|^2",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A; eq. 2.9", "parameter",
     "gradients of M >= 2 microbatches",
     "Batches much larger than this buy little; much smaller ones are dominated by noise."},
    {"thermograd_gradient_covariance_trace_sum", Family::kEntropicForce, "loss^2/parameter^2",
     "real", "Sum over the window of the per-step covariance traces, for exact aggregation.",
     "sum_t tr Sigma_b", "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "",
     "gradients of M >= 2 microbatches", "Divide sums, never average ratios."},
    {"thermograd_gradient_mean_squared_norm_sum", Family::kEntropicForce, "loss^2/parameter^2",
     "real", "Sum over the window of the per-step squared norms of the expected gradient.",
     "sum_t |G|^2", "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "",
     "gradients of M >= 2 microbatches", "Divide sums, never average ratios."},
    {"thermograd_gradient_steps_count", Family::kEntropicForce, "steps", ">= 0",
     "Steps of the window that entered the two sums.", "n", "", "",
     "gradients of M >= 2 microbatches", "The denominator of the sums."},
    {"thermograd_entropy_term", Family::kEntropicForce, "loss^2/parameter^2", ">= 0",
     "Entropy term of the loss that SGD descends, mean over the window.",
     "S = |g|^2 / 4, g the gradient that the step applies",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "", "gradients",
     "Times the learning rate it is what SGD adds to the loss."},
    {"thermograd_entropic_loss", Family::kEntropicForce, "loss", "real",
     "Entropic (free) loss, mean over the window.", "F = L + (gamma / 2) |theta|^2 + eta S",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "",
     "gradients, loss; weights if weight decay is not zero", "What SGD really descends."},
    {"thermograd_entropic_share_ratio", Family::kEntropicForce, "1", "[0, 1] for a positive loss",
     "Part of the entropic loss that the entropy term makes.", "eta S / F",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "", "as thermograd_entropic_loss",
     "Large: the learning rate, not the loss, decides where training goes."},
    {"thermograd_symmetry_residual_ratio", Family::kSymmetryBreaking, "1", "[0, 1]",
     "How far the gradient is from respecting the declared symmetry.",
     "|<g, A theta>| / (|g| |A theta|); over neurons the ratio of root sums of squares",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters",
     "Rounding error if the symmetry is real; 0.01 and more: the declaration is wrong."},
    {"thermograd_symmetry_charge", Family::kSymmetryBreaking, "parameter^2", "real",
     "Noether charge.", "Q = |u|^2 - |w|^2", "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387",
     "symmetry", "gradients and weights of its parameters",
     "Conserved by gradient flow; what moves it is SGD."},
    {"thermograd_symmetry_relative_charge_ratio", Family::kSymmetryBreaking, "1", "[-1, 1]",
     "Noether charge relative to the squared norms.", "(|u|^2 - |w|^2) / (|u|^2 + |w|^2)",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters", "Imbalance of the two layers' weights."},
    {"thermograd_symmetry_charge_drift", Family::kSymmetryBreaking, "parameter^2", "real",
     "Observed change of the charge between the two latest steps with weights.", "Q(t') - Q(t)",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters", "Compare with the prediction."},
    {"thermograd_symmetry_charge_drift_predicted", Family::kSymmetryBreaking, "parameter^2", "real",
     "Change of the charge that theory predicts for plain SGD over the same steps.",
     "sum_t eta^2 (|g_u|^2 - |g_w|^2) - eta gamma (2 - eta gamma) Q",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters", "The entropic force at work."},
    {"thermograd_symmetry_charge_drift_error_ratio", Family::kSymmetryBreaking, "1", ">= 0",
     "Disagreement of observed and predicted drift.",
     "sum_j |observed - predicted| / sum eta^2 (|g_u|^2 + |g_w|^2)",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters",
     "Near zero: the trainer does plain SGD with the gradients that it sent."},
    {"thermograd_symmetry_gradient_balance_ratio", Family::kSymmetryBreaking, "1", "[-1, 1]",
     "Balance of the gradients of the two sides, a ratio of window sums.",
     "(E|g_u|^2 - E|g_w|^2) / (E|g_u|^2 + E|g_w|^2)",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry", "gradients of its parameters",
     "Without weight decay SGD drives it to zero: equipartition."},
    {"thermograd_symmetry_entropic_force", Family::kSymmetryBreaking, "loss", "real",
     "Entropic force along the symmetry, mean over the window.", "(eta / 2) (|g_u|^2 - |g_w|^2)",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry", "gradients of its parameters",
     "Its sign is the direction in which noise moves the charge."},
    {"thermograd_neuron_charge", Family::kSymmetryBreaking, "parameter^2", "real",
     "Quantiles over the neurons of the Noether charge.",
     "as thermograd_symmetry_charge, of one neuron", "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387",
     "symmetry,quantile", "gradients and weights of its parameters",
     "The spread and the extremes; never a series a neuron."},
    {"thermograd_neuron_residual_ratio", Family::kSymmetryBreaking, "1", "[0, 1]",
     "Quantiles over the neurons of the symmetry residual.",
     "as thermograd_symmetry_residual_ratio, of one neuron",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry,quantile",
     "gradients and weights of its parameters",
     "The spread and the extremes; never a series a neuron."},
    {"thermograd_neuron_gradient_balance_ratio", Family::kSymmetryBreaking, "1", "[-1, 1]",
     "Quantiles over the neurons of the gradient balance.",
     "as thermograd_symmetry_gradient_balance_ratio, of one neuron",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry,quantile",
     "gradients and weights of its parameters",
     "The spread and the extremes; never a series a neuron."},
    {"thermograd_neuron_charge_drift_error_ratio", Family::kSymmetryBreaking, "1", ">= 0",
     "Quantiles over the neurons of the disagreement of observed and predicted charge drift.",
     "as thermograd_symmetry_charge_drift_error_ratio, of one neuron",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry,quantile",
     "gradients and weights of its parameters",
     "The spread and the extremes; never a series a neuron."},
};

}  // namespace

std::span<const Definition> Catalogue() {
  static const auto* const catalogue = [] {
    auto* all = new std::vector<Definition>(std::begin(kCatalogue), std::end(kCatalogue));
    const std::vector<Definition> representations = RepresentationDefinitions();
    all->insert(all->end(), representations.begin(), representations.end());
    return all;
  }();
  return *catalogue;
}

const Definition* Find(std::string_view name) {
  const std::span<const Definition> catalogue = Catalogue();
  const auto entry = std::find_if(catalogue.begin(), catalogue.end(),
                                  [&](const Definition& d) { return d.name == name; });
  return entry == catalogue.end() ? nullptr : &*entry;
}

}  // namespace thermograd::metrics
