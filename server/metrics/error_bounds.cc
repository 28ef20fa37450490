#include "metrics/error_bounds.h"

namespace thermograd::metrics {
namespace {

// Throughout, u = 2^-53. A sum of n squares is kept in 32 lanes of fp64, so that no element takes
// part in more than n / 32 + 32 additions: gamma of it is E(n) = (n / 32 + 40) u, for one tensor;
// tensors, microbatches and steps of the window add u each. Squares of bf16, fp16 and fp32 are
// exact in fp64.
#define THERMOGRAD_SUM_ERROR \
  "E = (n / 32 + 40 + m) u, u = 2^-53, n elements of the largest tensor, m tensors of the window"

constexpr char kExact[] = "None: counted, or the trainer's own number.";
constexpr char kQuotient[] = "Relative <= 4 u, u = 2^-53: a few roundings of exact numbers.";
constexpr char kPositiveSum[] =
    "Relative <= " THERMOGRAD_SUM_ERROR
    ": only positive terms are added. 4e-9 for tensors of 10^9 elements.";
constexpr char kRatioOfPositiveSums[] =
    "Relative <= 3 E, " THERMOGRAD_SUM_ERROR
    ", where both are sums of squares; of inner products, 3 E of the sum of their absolute values.";
constexpr char kDifference[] =
    "Absolute <= 4 E times the sum of the absolute values of what the formula adds and "
    "subtracts, " THERMOGRAD_SUM_ERROR
    ". No relative bound: it cancels where the difference is small.";
constexpr char kStatisticalRatio[] =
    "No bound on rounding alone: numerator and denominator are differences that may cancel. The "
    "statistical error is far larger: see the interval of the gradient noise scale.";
constexpr char kInterval[] =
    "Of a statistical nature: covers the noise scale in about 95 of 100 windows of independent "
    "steps, fewer where |G|^2 is within two standard errors of zero. Rounding is negligible.";
constexpr char kCancellingRatio[] =
    "No bound: a quotient whose numerator or denominator is a difference that may cancel. Absolute "
    "error of the differences <= 4 E of their terms' absolute values, " THERMOGRAD_SUM_ERROR ".";
constexpr char kThreshold[] =
    "Whole numbers, exact but for neurons within 8 d u of a threshold, u = 2^-53, d inputs of a "
    "neuron.";
constexpr char kSpectral[] =
    "Absolute error of each eigenvalue <= c d u of the largest, u = 2^-53, d the order of the Gram "
    "matrix, c below 100; the figure's relative error <= 10 c d u where its range begins at 1.";
constexpr char kCanonical[] =
    "No bound in advance: errors of rounding, about n u, grow with the square of the condition of "
    "the representations that is left after small singular values are dropped, at most 2^46. "
    "Within 1e-5 of SciPy on well-conditioned ones (tests/references).";
constexpr char kKernelRatio[] =
    "Absolute <= c n u (1 + |mean|^2 / variance), u = 2^-53, n samples or features, whichever are "
    "more, c below 100: kernels are centred after they are summed or before.";
constexpr char kDebiased[] =
    "Absolute <= c n u (1 + |mean|^2 / variance) / d, u = 2^-53, n samples or features, c below "
    "100, d the product of the two normalised HSIC_1 of a layer with itself over the biased ones: "
    "none where a layer's own HSIC_1 nearly cancels.";
constexpr char kNeighbours[] =
    "Exact but for ties: sets of neighbours may differ where two cosines are within 4 d u, u = "
    "2^-53, d features; each such sample moves a share by at most 1 / n.";
constexpr char kRanks[] =
    "Exact but for ties: ranks may differ where two distances are within 4 d u of each other, u = "
    "2^-53, d features; each swap moves the figure by at most 12 / N^2, N pairs.";
constexpr char kPermutation[] =
    "Of m random permutations: standard error sqrt(p (1 - p) / m), binomial, m = 199 unless "
    "declared. The permutations are fixed, so that repetitions agree to the bit.";
constexpr char kCalibrated[] =
    "Of m random permutations: the chance level is an order statistic whose rank scatters by "
    "sqrt(0.95 0.05 m), 3 of 199. The permutations are fixed, so that repetitions agree to the "
    "bit.";
constexpr char kProjection[] =
    "Relative <= 4 u, u = 2^-53. It is itself the error of what it names: sqrt(2 / k) is the "
    "standard deviation for Gaussian projections.";

struct Class {
  std::string_view ending;
  const char* error;
};

// By the end of the name, the first that fits: what comes before it (group, earlier_step, neuron …)
// is the subject of the formula, not the formula.
constexpr Class kClasses[] = {
    {"thermograd_loss", kExact},
    {"learning_rate", kExact},
    {"batch_samples", kExact},
    {"gradient_steps_count", kExact},
    {"sampling_interval_steps", kExact},
    {"sampling_projection_error_ratio", kProjection},
    {"sampling_parameter_elements_ratio", kQuotient},
    {"sampling_probe_samples_ratio", kQuotient},
    {"gradient_second_moment", kPositiveSum},
    {"gradient_noise_scale_samples", kStatisticalRatio},
    {"gradient_signal_to_noise", kStatisticalRatio},
    {"gradient_noise_scale_lower_samples", kInterval},
    {"gradient_noise_scale_upper_samples", kInterval},
    {"gradient_mean_squared_norm", kDifference},
    {"gradient_mean_squared_norm_sum", kDifference},
    {"covariance_trace", kDifference},
    {"covariance_trace_sum", kDifference},
    {"temperature", kDifference},
    {"equipartition_index_ratio", kCancellingRatio},
    {"entropy_term", kPositiveSum},
    {"entropy_signal_term", kDifference},
    {"entropy_noise_term", kDifference},
    {"entropic_loss", kDifference},
    {"entropic_share_ratio", kCancellingRatio},
    {"directional_curvature", kCancellingRatio},
    {"directional_stability", kCancellingRatio},
    {"gradient_balance_ratio", kRatioOfPositiveSums},
    {"residual_ratio", kRatioOfPositiveSums},
    {"relative_charge_ratio", kCancellingRatio},
    {"charge_drift_error_ratio", kCancellingRatio},
    {"equilibrium_gap_ratio", kCancellingRatio},
    {"gradient_balance_numerator_sum", kDifference},
    {"gradient_balance_denominator_sum", kPositiveSum},
    {"angular_step_radians", kRatioOfPositiveSums},
    {"angular_step_predicted_radians", kRatioOfPositiveSums},
    {"equilibrium_norm", kRatioOfPositiveSums},
    {"charge", kDifference},
    {"charge_norm", kDifference},
    {"charge_drift", kDifference},
    {"charge_drift_norm", kDifference},
    {"charge_drift_predicted", kDifference},
    {"charge_drift_predicted_norm", kDifference},
    {"optimizer_breaking", kDifference},
    {"optimizer_breaking_norm", kDifference},
    {"entropic_breaking", kDifference},
    {"entropic_breaking_norm", kDifference},
    {"entropic_force", kDifference},
    {"entropic_force_norm", kDifference},
    {"near_duplicate_neurons", kThreshold},
    {"collapsed_neurons", kThreshold},
    {"effective_neurons", kThreshold},
    {"stable_rank", kSpectral},
    {"effective_rank", kSpectral},
    {"participation_dimensions", kSpectral},
    {"mean_cosine_ratio", kKernelRatio},
    {"alignment_representation_gradient_ratio", kKernelRatio},
    {"alignment_representation_weight_ratio", kKernelRatio},
    {"alignment_gradient_weight_ratio", kKernelRatio},
    {"cka_ratio", kKernelRatio},
    {"cka_rbf_ratio", kKernelRatio},
    {"cka_unbiased_ratio", kDebiased},
    {"cka_rbf_unbiased_ratio", kDebiased},
    {"cka_minibatch_ratio", kDebiased},
    {"hsic_sum", kDifference},
    {"cknna_ratio", kDebiased},
    {"mutual_neighbours_ratio", kNeighbours},
    {"rsa_ratio", kRanks},
    {"cka_p_value_ratio", kPermutation},
    {"cka_calibrated_ratio", kCalibrated},
    {"cca_mean_ratio", kCanonical},
    {"cca_mean_squared_ratio", kCanonical},
    {"svcca_ratio", kCanonical},
    {"pwcca_ratio", kCanonical},
    {"procrustes_ratio", kKernelRatio},
};

}  // namespace

const char* ErrorBoundOf(std::string_view name) {
  for (const Class& entry : kClasses) {
    if (name.ends_with(entry.ending)) return entry.error;
  }
  return "";
}

}  // namespace thermograd::metrics
