#include "metrics/error_bounds.h"

namespace thermograd::metrics {
namespace {

// Throughout, u = 2^-53, and products of such numbers are left out. A sum of n squares is kept in
// 32 lanes of fp64, so that no element takes part in more than n / 32 + 32 additions: gamma of it
// is E(n) = (n / 32 + 40) u, for one tensor; tensors, microbatches and steps of the window add u
// each. Squares of bf16, fp16 and fp32 are exact in fp64.
#define THERMOGRAD_SUM_ERROR \
  "E = (n / 32 + 40 + m) u, u = 2^-53, n elements of the largest tensor, m tensors of the window"
// Sums of symmetries: c terms a row, without lanes where rows are columns in memory, then sums over
// the r rows, or over the r d entries of the heads' charges.
#define THERMOGRAD_SYMMETRY_ERROR                                                             \
  "E = (r d + c + 40 + m) u, u = 2^-53, r rows that the symmetry acts on (of the other side " \
  "columns), of c elements, d rows of a head or 1, m tensors of the window"
// The gradient that a step applies is a sum over microbatches, which cancels as any other: an
// element is off by m u times the sum of the microbatches' absolute values.
#define THERMOGRAD_OF_MICROBATCHES \
  "of several microbatches, times the root mean square of |g_i| over |g|, g their mean"
// The first sample is subtracted before the mean, so that a mean, however large, costs nothing:
// what counts is how far the first sample is from the mean, (n - 1) variances at most.
#define THERMOGRAD_SAMPLES                                                             \
  "u = 2^-53, N = n + p of n samples and p features of the wider layer, r the lesser " \
  "of both, s = 1 + |x_1 - mean|^2 / variance, x_1 the first sample, at most n"
#define THERMOGRAD_RBF                                                                           \
  "u = 2^-53, N = n + p of n samples and p features of the wider layer, q the largest |x_i - "   \
  "mean|^2 over the median of squared distances (times f^2 where f < 1), |K| the least norm of " \
  "the centred kernels"
#define THERMOGRAD_DEBIASED                                                                       \
  ", d the lesser of n (n - 3) HSIC_1(K, K) / |K|^2 of the two layers: none where a layer's own " \
  "HSIC_1 nearly cancels"

constexpr char kExact[] = "None: counted, or the trainer's own number.";
constexpr char kQuotient[] = "Relative <= 4 u, u = 2^-53: a few roundings of exact numbers.";
constexpr char kPositiveSum[] =
    "Relative <= " THERMOGRAD_SUM_ERROR
    ": only positive terms are added. 4e-9 for tensors of 10^9 elements.";
// Shares are off by 2 E, which moves the entropy H by no more than 2 E (1 + H).
constexpr char kEntropyOfShares[] =
    "Relative <= 3 E (1 + log K), K groups, " THERMOGRAD_SUM_ERROR ": shares of positive sums.";
constexpr char kDifference[] =
    "Absolute <= 4 E times the sum of the absolute values of what the formula adds and subtracts, "
    "|g|^2 of a mean over microbatches counted as the mean of |g_i|^2, " THERMOGRAD_SUM_ERROR
    ". No relative bound: it cancels where the difference is small.";
constexpr char kStatisticalRatio[] =
    "No bound on rounding alone: numerator and denominator are differences that may cancel. The "
    "statistical error is far larger: see the interval of the gradient noise scale.";
constexpr char kInterval[] =
    "Of a statistical nature: covers the noise scale in about 95 of 100 windows of 64 independent "
    "steps or more, 94 of 32, fewer where |G|^2 is within two standard errors of zero. Rounding is "
    "negligible.";
constexpr char kCancellingRatio[] =
    "No bound: a quotient whose numerator or denominator is a difference that may cancel. Absolute "
    "error of the differences <= 4 E of their terms' absolute values, " THERMOGRAD_SUM_ERROR ".";
constexpr char kCancellingSymmetryRatio[] =
    "No bound: a quotient whose numerator or denominator is a difference that may cancel. Absolute "
    "error of the differences <= 4 E of their terms' absolute values, " THERMOGRAD_SYMMETRY_ERROR
    ".";
constexpr char kSymmetryDifference[] =
    "Absolute <= 4 E times the sum of the absolute values of what the formula adds and subtracts, "
    "norms in place of matrices, " THERMOGRAD_SYMMETRY_ERROR "; " THERMOGRAD_OF_MICROBATCHES
    ". No relative bound: it cancels where the difference is small.";
constexpr char kSymmetryPositiveSum[] =
    "Relative <= 3 E, " THERMOGRAD_SYMMETRY_ERROR
    ": only positive terms are added; " THERMOGRAD_OF_MICROBATCHES ".";
// Numerators cancel, but are at most the denominators, which are sums of norms: by Cauchy's
// inequality for inner products. Norms of products may be smaller than products of norms; for XX'
// of d rows by no more than sqrt(d).
constexpr char kBoundedRatio[] =
    "Absolute <= 4 E, " THERMOGRAD_SYMMETRY_ERROR "; " THERMOGRAD_OF_MICROBATCHES
    "; of rotations times (|a| |b| + |a'| |b'|) / (|ab| + |a'b'|) of the denominator's products, "
    "which is at most sqrt(d) for the balance.";
// What is left of |D|^2 when the square along w is taken off, |D|^2 sin^2, is off by 6 E |D|^2.
constexpr char kAngle[] =
    "Relative <= 12 E / sin(phi)^2, phi the angle between update and weights, for |D| < |w| / "
    "2, " THERMOGRAD_SYMMETRY_ERROR "; " THERMOGRAD_OF_MICROBATCHES
    ". A step along the weights turns them by what is left of a difference.";
constexpr char kThreshold[] =
    "Whole numbers, exact but for neurons within (8 d + N) u of a threshold, relative to it, u = "
    "2^-53, N neurons of d inputs or outputs.";
// Four sums of norms, each of them of d squares in 32 lanes, and N terms in both sums.
constexpr char kParticipation[] =
    "Relative <= (3 N + d / 8 + 40) u, u = 2^-53, N neurons of d inputs or outputs: only positive "
    "terms are added.";
// The eigenvalues' root mean square error is 16 sqrt(r) N s u of theirs (Hoffman and Wielandt): the
// Gram matrix's own, and c r u of the solver with c < 10, which no theorem gives but every test.
constexpr char kSpectral[] = "Relative <= 64 r N s u, " THERMOGRAD_SAMPLES " (of weights 1).";
// Fannes' inequality for shares that are off by t in all. A matrix's singular values, here roots of
// eigenvalues, are off by the root of the eigenvalue's error where they vanish.
constexpr char kSpectralEntropy[] =
    "Relative <= 2 t (1 + log(r / t)), t = 32 r N s u, " THERMOGRAD_SAMPLES ".";
constexpr char kSingularEntropy[] =
    "Relative <= 2 t (1 + log(r / t)), t = 8 r sqrt(N u), u = 2^-53, N rows and columns together, "
    "r the fewer: so much only where singular values vanish.";
// Subspaces turn by the error of X relative to its least singular value.
constexpr char kCanonical[] =
    "Absolute <= 64 sqrt(r) N s k u, " THERMOGRAD_SAMPLES
    ", k the larger condition of the two representations after small singular values are dropped, "
    "at most 2^23; over windows k^2. Not where a singular value is so near to 2^-23 of the largest "
    "that rounding decides whether it is dropped.";
constexpr char kSubspace[] =
    "No bound in advance: beside the condition, as of the mean canonical correlation, it takes "
    "gaps between singular values or correlations, without which directions are not defined. "
    "Within 1e-5 of SciPy on well-conditioned ones (tests/references).";
constexpr char kKernelRatio[] =
    "Absolute <= N (N / 8 + 16 sqrt(r) s) u, " THERMOGRAD_SAMPLES
    ". Of projected layers divided by what is left of their norm when the projection's part is "
    "taken off.";
constexpr char kRbfKernelRatio[] = "Absolute <= n (n / 8 + 640 N q / |K|) u, " THERMOGRAD_RBF ".";
constexpr char kDebiased[] =
    "Absolute <= 8 N (N / 8 + 16 r s^2) u / d, " THERMOGRAD_SAMPLES THERMOGRAD_DEBIASED ".";
constexpr char kRbfDebiased[] =
    "Absolute <= 4 n (n / 8 + 640 N q / |K|) u / d, " THERMOGRAD_RBF THERMOGRAD_DEBIASED ".";
constexpr char kHsicSum[] =
    "Absolute <= N (N / 4 + 16 sqrt(r) s) u times the sum of |K| |L| / (n (n - 3)) over "
    "microbatches, " THERMOGRAD_SAMPLES ". No relative bound: it cancels for unlike layers.";
// The three terms of a are at most n k + 7 k^2 in all, of cosines that are off by 2 (p + 8) u.
constexpr char kRestricted[] =
    "Absolute <= 4 (2 p + 16 + n k) (1 + 7 k / n) u / d, u = 2^-53, n samples, p features, d the "
    "lesser of n (n - 3) a / (n k) of the two layers with themselves; but for ties, as of the "
    "share of mutual neighbours.";
constexpr char kMeanCosine[] =
    "Absolute <= 4 (n + p + 4) u, u = 2^-53, n samples, p features: unit vectors are summed.";
constexpr char kAlignment[] =
    "Absolute <= (4 p sqrt(r) + 2 n^2 + 8) u, u = 2^-53, p the layer's width, n the samples or, of "
    "weights, their other dimension, whichever are more, r the lesser of n and p.";
// Singular values below 2^-23 of the largest are dropped, which a quotient of norms shows.
constexpr char kProcrustes[] =
    "Absolute <= 16 r N s u + 4 t, " THERMOGRAD_SAMPLES
    ", t = 2^-23 sqrt(r) where singular values below 2^-23 of the largest are dropped, else 0; "
    "over windows t = sqrt(r (2^-46 + 16 sqrt(r) N s u)).";
constexpr char kNeighbours[] =
    "Exact but for ties: cosines are compared in multiples of 2^-40, so that sets of neighbours "
    "may differ where two are within 2^-40 + 4 (p + 8) u, u = 2^-53, p features; each such sample "
    "moves a share by at most 1 / n.";
constexpr char kRanks[] =
    "Exact but for ties and P u, u = 2^-53, P pairs of samples: squared distances are compared in "
    "multiples of 2^-40 of the largest, so that ranks may differ where two are within 2^-40 + 80 "
    "N u of it, N = n + p samples and features; each two such pairs move the figure by at most 12 "
    "/ P^2.";
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
    {"equipartition_index_ratio", kEntropyOfShares},
    {"entropy_term", kDifference},
    {"entropy_signal_term", kDifference},
    {"entropy_noise_term", kDifference},
    {"entropic_loss", kDifference},
    {"entropic_share_ratio", kCancellingRatio},
    {"directional_curvature", kCancellingRatio},
    {"directional_stability", kCancellingRatio},
    {"gradient_balance_ratio", kBoundedRatio},
    {"residual_ratio", kBoundedRatio},
    {"relative_charge_ratio", kBoundedRatio},
    {"charge_drift_error_ratio", kCancellingSymmetryRatio},
    {"equilibrium_gap_ratio", kCancellingSymmetryRatio},
    {"gradient_balance_numerator_sum", kSymmetryDifference},
    {"gradient_balance_denominator_sum", kSymmetryPositiveSum},
    {"angular_step_radians", kAngle},
    {"angular_step_predicted_radians", kQuotient},
    {"equilibrium_norm", kSymmetryPositiveSum},
    {"charge", kSymmetryDifference},
    {"charge_norm", kSymmetryDifference},
    {"charge_drift", kSymmetryDifference},
    {"charge_drift_norm", kSymmetryDifference},
    {"charge_drift_predicted", kSymmetryDifference},
    {"charge_drift_predicted_norm", kSymmetryDifference},
    {"optimizer_breaking", kSymmetryDifference},
    {"optimizer_breaking_norm", kSymmetryDifference},
    {"entropic_breaking", kSymmetryDifference},
    {"entropic_breaking_norm", kSymmetryDifference},
    {"entropic_force", kSymmetryDifference},
    {"entropic_force_norm", kSymmetryDifference},
    {"near_duplicate_neurons", kThreshold},
    {"collapsed_neurons", kThreshold},
    {"effective_neurons", kParticipation},
    {"stable_rank", kSpectral},
    {"parameter_effective_rank", kSingularEntropy},
    {"effective_rank", kSpectralEntropy},
    {"participation_dimensions", kSpectral},
    {"mean_cosine_ratio", kMeanCosine},
    {"alignment_representation_gradient_ratio", kAlignment},
    {"alignment_representation_weight_ratio", kAlignment},
    {"alignment_gradient_weight_ratio", kAlignment},
    {"cka_ratio", kKernelRatio},
    {"cka_rbf_ratio", kRbfKernelRatio},
    {"cka_unbiased_ratio", kDebiased},
    {"cka_rbf_unbiased_ratio", kRbfDebiased},
    {"cka_minibatch_ratio", kDebiased},
    {"hsic_sum", kHsicSum},
    {"cknna_ratio", kRestricted},
    {"mutual_neighbours_ratio", kNeighbours},
    {"rsa_ratio", kRanks},
    {"cka_p_value_ratio", kPermutation},
    {"cka_calibrated_ratio", kCalibrated},
    {"cca_mean_ratio", kCanonical},
    {"cca_mean_squared_ratio", kCanonical},
    {"svcca_ratio", kSubspace},
    {"pwcca_ratio", kSubspace},
    {"procrustes_ratio", kProcrustes},
};

#undef THERMOGRAD_SUM_ERROR
#undef THERMOGRAD_SYMMETRY_ERROR
#undef THERMOGRAD_OF_MICROBATCHES
#undef THERMOGRAD_SAMPLES
#undef THERMOGRAD_RBF
#undef THERMOGRAD_DEBIASED

}  // namespace

const char* ErrorBoundOf(std::string_view name) {
  for (const Class& entry : kClasses) {
    if (name.ends_with(entry.ending)) return entry.error;
  }
  return "";
}

}  // namespace thermograd::metrics
