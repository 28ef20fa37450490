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
     "sum |g_i|^2 / n", "", "", "gradients",
     "Total gradient power, signal and noise together. A sudden rise comes before many a "
     "divergence: look at the parameter that leads it."},
    {"thermograd_gradient_mean_squared_norm", Family::kEntropicForce, "loss^2/parameter^2", "real",
     "Unbiased squared norm of the expected gradient of all parameters, mean over the window; "
     "noise may make it negative.",
     "|G|^2 = (r |g|^2 - sum |g_i|^2 / n) / (r - 1), g the gradient that the step applies, of r "
     "microbatches (r = n: the U-statistic)",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "The signal: near zero means that only noise is left; decay the learning rate or enlarge the "
     "batch."},
    {"thermograd_gradient_covariance_trace", Family::kEntropicForce, "loss^2/parameter^2",
     ">= 0 but for rounding",
     "Unbiased trace of the covariance of the microbatch gradients of all parameters, mean over "
     "the window.",
     "tr Sigma_b = r (sum |g_i|^2 / n - |g|^2) / (r - 1)",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "The noise that drives entropic forces."},
    {"thermograd_gradient_noise_scale_samples", Family::kEntropicForce, "samples", ">= 0",
     "Gradient noise scale of all parameters, a ratio of window sums.",
     "B_simple = b tr Sigma_b / |G|^2",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A; eq. 2.9", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "Far above your batch size: a larger batch is nearly free. Far below: samples are wasted, and "
     "a smaller batch learns as much a step."},
    {"thermograd_gradient_signal_to_noise", Family::kEntropicForce, "1", "real",
     "Signal-to-noise ratio of one microbatch gradient of all parameters, a ratio of window sums.",
     "|G|^2 / tr Sigma_b", "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "Below 1 / n the step itself is mostly noise."},
    {"thermograd_temperature", Family::kEntropicForce, "loss/parameter", ">= 0",
     "Effective temperature of all parameters, mean over the window.",
     "T = eta tr Sigma / (2 P), Sigma the covariance of the applied gradient, P the number of "
     "elements, eta / (1 - mu) for momentum mu",
     "Langevin matching eta^2 Sigma = 2 T eta 1; Mandt, Hoffman, Blei 2017, arXiv 1704.04289", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient; SGD, with or without "
     "momentum",
     "Groups far hotter than others are the ones that noise shapes; warmth falls with the learning "
     "rate and with the batch."},
    {"thermograd_gradient_noise_scale_lower_samples", Family::kEntropicForce, "samples", "real",
     "Lower end of the 95 % confidence interval of the gradient noise scale of all parameters.",
     "R -+ 1.96 sqrt(sum_t (a_t - R c_t)^2 / (T (T - 1))) / mean c, a_t = tr Sigma_1 and c_t = "
     "|G|^2 of step t of T, R their ratio: delta method, steps taken as independent",
     "Delta method; Casella, Berger 2002, section 5.5.4", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient; two steps",
     "Wide: lengthen the window before you trust the noise scale. It takes the estimate of |G|^2 "
     "as far from zero."},
    {"thermograd_gradient_noise_scale_upper_samples", Family::kEntropicForce, "samples", "real",
     "Upper end of the 95 % confidence interval of the gradient noise scale of all parameters.",
     "R -+ 1.96 sqrt(sum_t (a_t - R c_t)^2 / (T (T - 1))) / mean c, a_t = tr Sigma_1 and c_t = "
     "|G|^2 of step t of T, R their ratio: delta method, steps taken as independent",
     "Delta method; Casella, Berger 2002, section 5.5.4", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient; two steps",
     "Wide: lengthen the window before you trust the noise scale. It takes the estimate of |G|^2 "
     "as far from zero."},
    {"thermograd_group_gradient_second_moment", Family::kEntropicForce, "loss^2/parameter^2",
     ">= 0",
     "Mean squared norm of the microbatch gradients of one parameter group, over the window.",
     "sum |g_i|^2 / n", "", "group", "gradients",
     "Total gradient power, signal and noise together. A sudden rise comes before many a "
     "divergence: look at the parameter that leads it."},
    {"thermograd_group_gradient_mean_squared_norm", Family::kEntropicForce, "loss^2/parameter^2",
     "real",
     "Unbiased squared norm of the expected gradient of one parameter group, mean over the window; "
     "noise may make it negative.",
     "|G|^2 = (r |g|^2 - sum |g_i|^2 / n) / (r - 1), g the gradient that the step applies, of r "
     "microbatches (r = n: the U-statistic)",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "group",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "The signal: near zero means that only noise is left; decay the learning rate or enlarge the "
     "batch."},
    {"thermograd_group_gradient_covariance_trace", Family::kEntropicForce, "loss^2/parameter^2",
     ">= 0 but for rounding",
     "Unbiased trace of the covariance of the microbatch gradients of one parameter group, mean "
     "over the window.",
     "tr Sigma_b = r (sum |g_i|^2 / n - |g|^2) / (r - 1)",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "group",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "The noise that drives entropic forces."},
    {"thermograd_group_gradient_noise_scale_samples", Family::kEntropicForce, "samples", ">= 0",
     "Gradient noise scale of one parameter group, a ratio of window sums.",
     "B_simple = b tr Sigma_b / |G|^2",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A; eq. 2.9", "group",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "Far above your batch size: a larger batch is nearly free. Far below: samples are wasted, and "
     "a smaller batch learns as much a step."},
    {"thermograd_group_gradient_signal_to_noise", Family::kEntropicForce, "1", "real",
     "Signal-to-noise ratio of one microbatch gradient of one parameter group, a ratio of window "
     "sums.",
     "|G|^2 / tr Sigma_b", "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "group",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "Below 1 / n the step itself is mostly noise."},
    {"thermograd_group_temperature", Family::kEntropicForce, "loss/parameter", ">= 0",
     "Effective temperature of one parameter group, mean over the window.",
     "T = eta tr Sigma / (2 P), Sigma the covariance of the applied gradient, P the number of "
     "elements, eta / (1 - mu) for momentum mu",
     "Langevin matching eta^2 Sigma = 2 T eta 1; Mandt, Hoffman, Blei 2017, arXiv 1704.04289",
     "group",
     "gradients of n >= 2 microbatches, or one and the reduced gradient; SGD, with or without "
     "momentum",
     "Groups far hotter than others are the ones that noise shapes; warmth falls with the learning "
     "rate and with the batch."},
    {"thermograd_group_gradient_noise_scale_lower_samples", Family::kEntropicForce, "samples",
     "real",
     "Lower end of the 95 % confidence interval of the gradient noise scale of one parameter "
     "group.",
     "R -+ 1.96 sqrt(sum_t (a_t - R c_t)^2 / (T (T - 1))) / mean c, a_t = tr Sigma_1 and c_t = "
     "|G|^2 of step t of T, R their ratio: delta method, steps taken as independent",
     "Delta method; Casella, Berger 2002, section 5.5.4", "group",
     "gradients of n >= 2 microbatches, or one and the reduced gradient; two steps",
     "Wide: lengthen the window before you trust the noise scale. It takes the estimate of |G|^2 "
     "as far from zero."},
    {"thermograd_group_gradient_noise_scale_upper_samples", Family::kEntropicForce, "samples",
     "real",
     "Upper end of the 95 % confidence interval of the gradient noise scale of one parameter "
     "group.",
     "R -+ 1.96 sqrt(sum_t (a_t - R c_t)^2 / (T (T - 1))) / mean c, a_t = tr Sigma_1 and c_t = "
     "|G|^2 of step t of T, R their ratio: delta method, steps taken as independent",
     "Delta method; Casella, Berger 2002, section 5.5.4", "group",
     "gradients of n >= 2 microbatches, or one and the reduced gradient; two steps",
     "Wide: lengthen the window before you trust the noise scale. It takes the estimate of |G|^2 "
     "as far from zero."},
    {"thermograd_parameter_gradient_second_moment", Family::kEntropicForce, "loss^2/parameter^2",
     ">= 0", "Mean squared norm of the microbatch gradients of one parameter, over the window.",
     "sum |g_i|^2 / n", "", "parameter", "gradients",
     "Total gradient power, signal and noise together. A sudden rise comes before many a "
     "divergence: look at the parameter that leads it."},
    {"thermograd_parameter_gradient_mean_squared_norm", Family::kEntropicForce,
     "loss^2/parameter^2", "real",
     "Unbiased squared norm of the expected gradient of one parameter, mean over the window; noise "
     "may make it negative.",
     "|G|^2 = (r |g|^2 - sum |g_i|^2 / n) / (r - 1), g the gradient that the step applies, of r "
     "microbatches (r = n: the U-statistic)",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "parameter",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "The signal: near zero means that only noise is left; decay the learning rate or enlarge the "
     "batch."},
    {"thermograd_parameter_gradient_covariance_trace", Family::kEntropicForce, "loss^2/parameter^2",
     ">= 0 but for rounding",
     "Unbiased trace of the covariance of the microbatch gradients of one parameter, mean over the "
     "window.",
     "tr Sigma_b = r (sum |g_i|^2 / n - |g|^2) / (r - 1)",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "parameter",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "The noise that drives entropic forces."},
    {"thermograd_parameter_gradient_noise_scale_samples", Family::kEntropicForce, "samples", ">= 0",
     "Gradient noise scale of one parameter, a ratio of window sums.",
     "B_simple = b tr Sigma_b / |G|^2",
     "McCandlish et al. 2018, arXiv 1812.06162, appendix A; eq. 2.9", "parameter",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "Far above your batch size: a larger batch is nearly free. Far below: samples are wasted, and "
     "a smaller batch learns as much a step."},
    {"thermograd_parameter_gradient_signal_to_noise", Family::kEntropicForce, "1", "real",
     "Signal-to-noise ratio of one microbatch gradient of one parameter, a ratio of window sums.",
     "|G|^2 / tr Sigma_b", "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "parameter",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "Below 1 / n the step itself is mostly noise."},
    {"thermograd_parameter_temperature", Family::kEntropicForce, "loss/parameter", ">= 0",
     "Effective temperature of one parameter, mean over the window.",
     "T = eta tr Sigma / (2 P), Sigma the covariance of the applied gradient, P the number of "
     "elements, eta / (1 - mu) for momentum mu",
     "Langevin matching eta^2 Sigma = 2 T eta 1; Mandt, Hoffman, Blei 2017, arXiv 1704.04289",
     "parameter",
     "gradients of n >= 2 microbatches, or one and the reduced gradient; SGD, with or without "
     "momentum",
     "Groups far hotter than others are the ones that noise shapes; warmth falls with the learning "
     "rate and with the batch."},
    {"thermograd_gradient_covariance_trace_sum", Family::kEntropicForce, "loss^2/parameter^2",
     "real", "Sum over the window of the per-step covariance traces, for exact aggregation.",
     "sum_t tr Sigma_b", "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "Divide sums, never average ratios."},
    {"thermograd_gradient_sample_covariance_trace_sum", Family::kEntropicForce,
     "loss^2/parameter^2", "real",
     "Sum over the window of the per-step covariance traces of one sample's gradient.",
     "sum_t b tr Sigma_b", "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "Divide sums, never average ratios."},
    {"thermograd_gradient_mean_squared_norm_sum", Family::kEntropicForce, "loss^2/parameter^2",
     "real", "Sum over the window of the per-step squared norms of the expected gradient.",
     "sum_t |G|^2", "McCandlish et al. 2018, arXiv 1812.06162, appendix A", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "Divide sums, never average ratios."},
    {"thermograd_gradient_steps_count", Family::kEntropicForce, "steps", ">= 0",
     "Steps of the window that entered the sums.", "T", "", "",
     "gradients of n >= 2 microbatches, or one and the reduced gradient",
     "The denominator of the sums."},
    {"thermograd_batch_samples", Family::kEntropicForce, "samples", "> 0",
     "Samples in the gradient that the latest step applies, over all microbatches and ranks.",
     "b r", "", "", "gradients", "What the noise scale is to be compared with."},
    {"thermograd_learning_rate", Family::kEntropicForce, "parameter^2/loss", ">= 0",
     "Learning rate of the latest step, of parameters whose group has no other.", "eta", "", "",
     "StepBegin.learning_rate; gradients",
     "Temperature, entropy term and charge drift all fall with it: look here first when one of "
     "them jumps."},
    {"thermograd_equipartition_index_ratio", Family::kEntropicForce, "1", "[1/K, 1]",
     "How evenly the gradient power is spread over the K parameter groups; parameters without a "
     "group stand for themselves.",
     "exp(-sum_k p_k log p_k) / K, p_k = E|g_k|^2 / sum_k E|g_k|^2",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387, derived", "",
     "gradients of at least two groups",
     "1: perfect balance, which SGD approaches between layers that a symmetry ties. A fall: one "
     "group has taken over the gradient."},
    {"thermograd_entropy_term", Family::kEntropicForce, "loss^2/parameter^2", ">= 0",
     "Entropy term of the loss that the optimiser descends, mean over the window.",
     "S = E[g' Lambda g] / (4 eta): |g|^2 / 4 for SGD; with momentum mu (1 / (1 - mu)) ((1 + 2 d) "
     "|G|^2 + tr Sigma) / 4, d = mu / (1 - mu) the mean delay of a gradient (mu^2 / (1 - mu) for "
     "Nesterov); g the gradient that the step applies",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387; Smith et al. 2021, arXiv 2101.12176; momentum: "
     "Ghosh et al. 2023, arXiv 2302.00849",
     "",
     "gradients; preconditioner for Adam and others (an update serves too where there is neither "
     "memory nor decay); n >= 2 for momentum and the parts",
     "Times the learning rate it is what the optimiser adds to the loss."},
    {"thermograd_entropy_signal_term", Family::kEntropicForce, "loss^2/parameter^2", "real",
     "Part of the entropy term that comes of discrete steps.",
     "|G|^2 / 4 for SGD; with momentum as in the entropy term",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387; Smith et al. 2021, arXiv 2101.12176; momentum: "
     "Ghosh et al. 2023, arXiv 2302.00849",
     "",
     "gradients; preconditioner for Adam and others (an update serves too where there is neither "
     "memory nor decay); n >= 2 for momentum and the parts",
     "Falls with the learning rate only."},
    {"thermograd_entropy_noise_term", Family::kEntropicForce, "loss^2/parameter^2", "real",
     "Part of the entropy term that comes of gradient noise.",
     "tr Sigma / 4 for SGD, Sigma the covariance of the applied gradient; with momentum as in the "
     "entropy term",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387; Smith et al. 2021, arXiv 2101.12176; momentum: "
     "Ghosh et al. 2023, arXiv 2302.00849",
     "",
     "gradients; preconditioner for Adam and others (an update serves too where there is neither "
     "memory nor decay); n >= 2 for momentum and the parts",
     "Falls with a larger batch too: compare with the signal's part to see which of the two would "
     "calm the training."},
    {"thermograd_entropic_loss", Family::kEntropicForce, "loss", "real",
     "Entropic (free) loss, mean over the window.",
     "F = L + (gamma / 2) |theta|^2 + eta S; decoupled decay is counted as if it were in the loss",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "",
     "gradients, loss; weights if weight decay is not zero",
     "What SGD really descends: when it falls while the loss rises, training is not broken."},
    {"thermograd_entropic_share_ratio", Family::kEntropicForce, "1", "[0, 1] for a positive loss",
     "Part of the entropic loss that the entropy term makes.", "eta S / F",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "", "as thermograd_entropic_loss",
     "Large: the learning rate, not the loss, decides where training goes."},
    {"thermograd_directional_curvature", Family::kEntropicForce, "loss/parameter^2", "real",
     "Curvature of the loss along the applied update, a ratio of window sums.",
     "kappa = <g(theta + dtheta) - g(theta), dtheta> / |dtheta|^2 on one batch",
     "Cohen et al. 2021, arXiv 2103.00065", "", "gradients, updates, gradients after the update",
     "Rises until the edge of stability."},
    {"thermograd_directional_stability", Family::kEntropicForce, "1", "real",
     "Learning rate times the directional curvature, a ratio of window sums.",
     "eta kappa, against 2", "Cohen et al. 2021, arXiv 2103.00065", "",
     "gradients, updates, gradients after the update",
     "At 2 and above plain gradient descent overshoots along its own update: lower the learning "
     "rate."},
    {"thermograd_symmetry_residual_ratio", Family::kSymmetryBreaking, "1", "[0, 1]",
     "How far the gradient is from respecting the declared symmetry, which no batch may break.",
     "scalings: |<g, A theta>| / (|g| |A theta|), over neurons the ratio of root sums of squares; "
     "rotations: |g1 X1' - X2 g2'| / (|g1 X1'| + |X2 g2'|), Frobenius norms over all heads; "
     "translation: |sum_k g_k| / (sqrt(K) |g|)",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters (translation: gradients)",
     "Rounding error if the symmetry is real; 0.01 and more: the declaration is wrong, or the "
     "model breaks the symmetry (an activation, an epsilon, a term of the loss in the weights). "
     "Correct it before reading the other figures."},
    {"thermograd_symmetry_charge", Family::kSymmetryBreaking, "parameter^2", "real",
     "Noether charge, summed over the instances; the trace of its matrix for rotations.",
     "Q = |u|^2 - |w|^2; rotations: tr(X1 X1' - X2 X2'); scale invariance: |w|^2",
     "Kunin et al. 2021, Neural Mechanics, arXiv 2012.04728; Liu Ziyin, Xu, Chuang 2025, arXiv "
     "2505.12387",
     "symmetry", "gradients and weights of its parameters",
     "Conserved by gradient flow; what moves it is the step size, noise, decay and the optimiser."},
    {"thermograd_symmetry_charge_norm", Family::kSymmetryBreaking,
     "parameter^2 (translation: parameter)", ">= 0",
     "Frobenius norm of the charges of all generators and instances.",
     "sqrt(sum_j |Q_j|^2), Q_j = X1 X1' - X2 X2' of neuron or head j; translation: |sum_k w_k|",
     "Kunin et al. 2021, Neural Mechanics, arXiv 2012.04728; Liu Ziyin, Xu, Chuang 2025, arXiv "
     "2505.12387",
     "symmetry", "gradients and weights of its parameters",
     "Zero when all neurons, or all directions of a head, are balanced, which the signed charge "
     "cannot tell. Decay and noise that is alike on both sides bring it down."},
    {"thermograd_symmetry_relative_charge_ratio", Family::kSymmetryBreaking, "1", "[-1, 1]",
     "Noether charge relative to the squared norms.", "(|X1|^2 - |X2|^2) / (|X1|^2 + |X2|^2)",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters",
     "Imbalance of the two sides' weights. Near 1 or -1 one side learns alone: rebalance the "
     "initialisation."},
    {"thermograd_symmetry_charge_drift", Family::kSymmetryBreaking, "parameter^2", "real",
     "Observed change of the charge between the two latest steps with weights, if all between were "
     "streamed.",
     "Q(t') - Q(t)",
     "Kunin et al. 2021, Neural Mechanics, arXiv 2012.04728; Liu Ziyin, Xu, Chuang 2025, arXiv "
     "2505.12387",
     "symmetry", "gradients and weights of its parameters", "Compare with the prediction."},
    {"thermograd_symmetry_charge_drift_norm", Family::kSymmetryBreaking,
     "parameter^2 (translation: parameter)", ">= 0",
     "Frobenius norm of that change over all generators and instances.", "|Q(t') - Q(t)|",
     "Kunin et al. 2021, Neural Mechanics, arXiv 2012.04728; Liu Ziyin, Xu, Chuang 2025, arXiv "
     "2505.12387",
     "symmetry", "gradients and weights of its parameters",
     "Moves even where the changes of single neurons cancel."},
    {"thermograd_symmetry_charge_drift_predicted", Family::kSymmetryBreaking, "parameter^2", "real",
     "Change of the charge that theory predicts over the same steps.",
     "sum_t 2 D'A theta + D'A D, D the update; for plain SGD without streamed updates sum_t eta^2 "
     "g'Ag - eta gamma (2 - eta gamma) Q",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD",
     "The entropic force at work."},
    {"thermograd_symmetry_charge_drift_predicted_norm", Family::kSymmetryBreaking,
     "parameter^2 (translation: parameter)", ">= 0",
     "Frobenius norm of the predicted change over all generators and instances.",
     "as thermograd_symmetry_charge_drift_predicted; translation: |sum_t sum_k D_k|, for plain SGD "
     "|sum_t eta gamma Q|",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD",
     "Compare with thermograd_symmetry_charge_drift_norm."},
    {"thermograd_symmetry_charge_drift_error_ratio", Family::kSymmetryBreaking, "1", ">= 0",
     "Disagreement of observed and predicted drift.",
     "sum_j |observed - predicted| / sum_j sum_t |D_j|^2, for plain SGD without streamed updates D "
     "= eta g; translation: |observed - predicted| / sum_t sqrt(K) |D|",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD",
     "Near zero: the trainer applies what it streamed. Otherwise look for clipping, another "
     "learning rate, or an optimiser that was declared as plain SGD; weights in less than fp32 "
     "drown it."},
    {"thermograd_symmetry_optimizer_breaking", Family::kSymmetryBreaking, "parameter^2", "real",
     "First-order change of the charge in this step: zero for gradients, so what momentum, "
     "preconditioning or decay makes.",
     "2 D'A theta, D the update; -2 eta gamma Q for plain SGD",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387; Kunin et al. 2021, arXiv 2012.04728",
     "symmetry",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD",
     "Large against the entropic breaking: the optimiser, not the noise, decides where the charge "
     "goes."},
    {"thermograd_symmetry_optimizer_breaking_norm", Family::kSymmetryBreaking,
     "parameter^2 (translation: parameter)", ">= 0",
     "Frobenius norm of the first-order change over all generators and instances.",
     "|2 D'A theta|; translation: |sum_k D_k|",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387; Kunin et al. 2021, arXiv 2012.04728",
     "symmetry",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD",
     "Zero for plain SGD without decay. With Adam it shows that equal gradients are not stepped "
     "equally."},
    {"thermograd_symmetry_entropic_breaking", Family::kSymmetryBreaking, "parameter^2", "real",
     "Second-order change of the charge in this step: the entropic force at work.",
     "D'A D, D the update; eta^2 (g + gamma theta)'A (g + gamma theta) for plain SGD",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD; weights "
     "only if SGD decays them",
     "Its mean vanishes where SGD without decay has balanced the gradients."},
    {"thermograd_symmetry_entropic_breaking_norm", Family::kSymmetryBreaking, "parameter^2", ">= 0",
     "Frobenius norm of the second-order change over all generators and instances.", "|D'A D|",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD; weights "
     "only if SGD decays them",
     "Fluctuates with each batch and does not vanish; halve the learning rate and it falls to a "
     "quarter."},
    {"thermograd_symmetry_gradient_balance_ratio", Family::kSymmetryBreaking, "1",
     "[-1, 1]; rotations [0, 1]",
     "Balance of the gradients of the two sides, a ratio of window sums.",
     "(E|g_u|^2 - E|g_w|^2) / (E|g_u|^2 + E|g_w|^2); rotations: |E g1 g1' - E g2 g2'| / (|E g1 "
     "g1'| + |E g2 g2'|), Frobenius norms over all heads",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry", "gradients of its parameters",
     "Without weight decay SGD drives it to zero: equipartition. Its sign says which side the "
     "noise shrinks: the one with the larger gradient grows in charge."},
    {"thermograd_symmetry_gradient_balance_numerator_sum", Family::kSymmetryBreaking,
     "loss^2/parameter^2", "real",
     "Sum over the window of the difference of the two sides' squared gradients, for exact "
     "aggregation. Scalings only: norms of rotations do not add.",
     "sum_t |g_u|^2 - |g_w|^2", "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients of its parameters", "Divide sums, never average ratios."},
    {"thermograd_symmetry_gradient_balance_denominator_sum", Family::kSymmetryBreaking,
     "loss^2/parameter^2", ">= 0",
     "Sum over the window of the two sides' squared gradients, for exact aggregation. Scalings "
     "only: norms of rotations do not add.",
     "sum_t |g_u|^2 + |g_w|^2", "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients of its parameters", "Divide sums, never average ratios."},
    {"thermograd_symmetry_entropic_force", Family::kSymmetryBreaking, "loss", "real",
     "Entropic force along the symmetry, mean over the window; the trace for rotations.",
     "(eta / 2) E[g'Ag]", "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients of its parameters", "Its sign is the direction in which noise moves the charge."},
    {"thermograd_symmetry_entropic_force_norm", Family::kSymmetryBreaking, "loss", ">= 0",
     "Frobenius norm of the entropic force over all generators and instances, mean over the window "
     "before the norm.",
     "(eta / 2) |E[g'Ag]|", "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients of its parameters",
     "Zero at balance in every direction; noise of a short window keeps it from zero."},
    {"thermograd_symmetry_equilibrium_gap_ratio", Family::kSymmetryBreaking, "1",
     "[-1, 1]; rotations [0, 1]",
     "How far entropic force and weight decay are from holding each other, a ratio of window sums.",
     "(a - b) / (|a| + |b|), a = eta E[g'Ag] with g including decay, b = 2 gamma Q; rotations: |a "
     "- b| in the numerator",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry",
     "gradients and weights of its parameters, weight decay > 0",
     "Near zero: the charge has reached its stationary value, and further training does not move "
     "it. Near 1 or -1: still on its way."},
    {"thermograd_symmetry_angular_step_radians", Family::kSymmetryBreaking, "rad", "[0, pi]",
     "Root mean square angle by which a step turns scale-invariant weights, over the window and "
     "the rows that scale by themselves.",
     "sqrt(E[angle(w, w + D)^2]), D the update, -eta (g + gamma w) for plain SGD",
     "Wan et al. 2021, arXiv 2006.08419", "symmetry",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD",
     "The true learning rate of such weights. Too large a value calls for a smaller eta gamma; it "
     "falls with the square root of either."},
    {"thermograd_symmetry_angular_step_predicted_radians", Family::kSymmetryBreaking, "rad", ">= 0",
     "Angular step at equilibrium, plain SGD.", "sqrt(2 eta gamma)",
     "Wan et al. 2021, arXiv 2006.08419", "symmetry",
     "gradients and weights of its parameters, weight decay > 0",
     "Until the observed angular step has come to it, the norm is still in its transient and the "
     "effective learning rate still changes."},
    {"thermograd_symmetry_equilibrium_norm", Family::kSymmetryBreaking, "parameter", ">= 0",
     "Norm that plain SGD with decay brings scale-invariant weights to.",
     "(eta E[|g|^2 |w|^2] / (2 gamma))^(1/4), over rows the root sum of squares; the fixed point "
     "of |w|^2 = eta E|g|^2 / (2 gamma)",
     "van Laarhoven 2017, arXiv 1706.05350", "symmetry",
     "gradients and weights of its parameters, weight decay > 0",
     "Compare with the square root of the charge. Initialise at this norm to skip the transient."},
    {"thermograd_neuron_charge", Family::kSymmetryBreaking, "parameter^2", "real",
     "Quantiles over the neurons (or rows, or rotary pairs of rows) of the Noether charge.",
     "as thermograd_symmetry_charge, of one neuron", "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387",
     "symmetry,quantile", "gradients and weights of its parameters",
     "The spread and the extremes; never a series a neuron."},
    {"thermograd_neuron_residual_ratio", Family::kSymmetryBreaking, "1", "[0, 1]",
     "Quantiles over the neurons (or rows, or rotary pairs of rows) of the symmetry residual.",
     "as thermograd_symmetry_residual_ratio, of one neuron",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry,quantile",
     "gradients and weights of its parameters",
     "Large at the top quantiles only: the symmetry holds for most, and a few are read in another "
     "way."},
    {"thermograd_neuron_gradient_balance_ratio", Family::kSymmetryBreaking, "1", "[-1, 1]",
     "Quantiles over the neurons (or rows, or rotary pairs of rows) of the gradient balance.",
     "as thermograd_symmetry_gradient_balance_ratio, of one neuron",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry,quantile",
     "gradients of its parameters",
     "The whole may be balanced while its parts are not: here it shows."},
    {"thermograd_neuron_charge_drift_error_ratio", Family::kSymmetryBreaking, "1", ">= 0",
     "Quantiles over the neurons (or rows, or rotary pairs of rows) of the disagreement of "
     "observed and predicted charge drift.",
     "as thermograd_symmetry_charge_drift_error_ratio, of one neuron",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry,quantile",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD",
     "The spread and the extremes; never a series a neuron."},
    {"thermograd_head_charge", Family::kSymmetryBreaking, "parameter^2", "real",
     "Quantiles over the heads of the Noether charge.",
     "as thermograd_symmetry_charge, of one head", "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387",
     "symmetry,quantile", "gradients and weights of its parameters",
     "The spread and the extremes; never a series a head."},
    {"thermograd_head_residual_ratio", Family::kSymmetryBreaking, "1", "[0, 1]",
     "Quantiles over the heads of the symmetry residual.",
     "as thermograd_symmetry_residual_ratio, of one head",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry,quantile",
     "gradients and weights of its parameters",
     "Large at the top quantiles only: the symmetry holds for most, and a few are read in another "
     "way."},
    {"thermograd_head_gradient_balance_ratio", Family::kSymmetryBreaking, "1", "[0, 1]",
     "Quantiles over the heads of the gradient balance.",
     "as thermograd_symmetry_gradient_balance_ratio, of one head",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry,quantile",
     "gradients of its parameters",
     "The whole may be balanced while its parts are not: here it shows."},
    {"thermograd_head_charge_drift_error_ratio", Family::kSymmetryBreaking, "1", ">= 0",
     "Quantiles over the heads of the disagreement of observed and predicted charge drift.",
     "as thermograd_symmetry_charge_drift_error_ratio, of one head",
     "Liu Ziyin, Xu, Chuang 2025, arXiv 2505.12387", "symmetry,quantile",
     "gradients and weights of its parameters; updates unless the optimiser is plain SGD",
     "The spread and the extremes; never a series a head."},
    {"thermograd_near_duplicate_neurons", Family::kSymmetryBreaking, "neurons", ">= 0",
     "Number of hidden neurons that are a near-duplicate of another one.",
     "#{j: there is k with cos(u_j, u_k) > 1 - epsilon and cos(w_j, w_k) > 1 - epsilon}, u "
     "incoming weights with the bias, w outgoing, epsilon = 0.01",
     "Ziyin 2024, Symmetry Induces Structure and Constraint of Learning, arXiv 2309.16932",
     "symmetry",
     "weights of its parameters; every Reporting.spectrum_every_steps steps, as soon as weights "
     "come, shown until the next",
     "Rises when the permutation symmetry attracts neurons to each other: capacity is lost, the "
     "layer can be narrower."},
    {"thermograd_collapsed_neurons", Family::kSymmetryBreaking, "neurons", ">= 0",
     "Number of hidden neurons whose incoming and outgoing weights have both vanished.",
     "#{j: |u_j| < epsilon mean |u| and |w_j| < epsilon mean |w|}, epsilon = 0.01",
     "Ziyin 2024, Symmetry Induces Structure and Constraint of Learning, arXiv 2309.16932",
     "symmetry",
     "weights of its parameters; every Reporting.spectrum_every_steps steps, as soon as weights "
     "come, shown until the next",
     "Neurons that decay or noise has switched off; they do not come back by themselves. Lower the "
     "decay or the learning rate if they were wanted."},
    {"thermograd_effective_neurons", Family::kSymmetryBreaking, "neurons", ">= 1",
     "Effective number of hidden neurons, the participation ratio of their strengths.",
     "(sum_j s_j)^2 / sum_j s_j^2, s_j = |u_j| |w_j|",
     "Ziyin 2024, Symmetry Induces Structure and Constraint of Learning, arXiv 2309.16932",
     "symmetry",
     "weights of its parameters; every Reporting.spectrum_every_steps steps, as soon as weights "
     "come, shown until the next",
     "Far below the width: few neurons do the work."},
    {"thermograd_parameter_stable_rank", Family::kSymmetryBreaking, "dimensions", ">= 1",
     "Stable rank of a weight matrix that a symmetry has as a member.", "|W|_F^2 / sigma_max^2",
     "Rudelson, Vershynin 2007, arXiv math/0503442", "parameter",
     "weights of its parameters; every Reporting.spectrum_every_steps steps, as soon as weights "
     "come, shown until the next",
     "Falls when one direction grows away from the others; near 1: the matrix acts as a rank-one "
     "map."},
    {"thermograd_parameter_effective_rank", Family::kSymmetryBreaking, "dimensions", ">= 1",
     "Effective rank of a weight matrix that a symmetry has as a member.",
     "exp(-sum p_i log p_i), p_i = sigma_i / sum sigma", "Roy, Vetterli 2007, The effective rank",
     "parameter",
     "weights of its parameters; every Reporting.spectrum_every_steps steps, as soon as weights "
     "come, shown until the next",
     "Falls when the matrix loses directions; a low value of a layer suggests that it can be "
     "factorised."},
};

constexpr Definition kSampling[] = {
    {"thermograd_sampling_interval_steps", Family::kSampling, "steps", ">= 1",
     "Every so many steps of the training are streamed.", "Sampling.every_steps", "", "",
     "RunSpec.sampling",
     "Drift between streamed steps is predicted from these alone; windows span this many times "
     "their steps of training."},
    {"thermograd_sampling_parameter_elements_ratio", Family::kSampling, "1", "(0, 1]",
     "Part of the trainable parameters' elements that is streamed.",
     "elements of RunSpec.parameters / Sampling.model_elements", "", "", "RunSpec.sampling",
     "Below 1, the figures of the run are sums over this part of the model."},
    {"thermograd_sampling_probe_samples_ratio", Family::kSampling, "1", "(0, 1]",
     "Part of a probe set's samples that is streamed.", "ProbeSet.samples / ProbeSet.sampled_from",
     "", "probe_set", "activations of the probe set; ProbeSet.sampled_from",
     "Similarities are those of the sample; the debiased CKA is an unbiased estimate whatever its "
     "size, the biased one rises as samples get fewer."},
    {"thermograd_sampling_projection_error_ratio", Family::kSampling, "1", "> 0",
     "Relative standard deviation of the squared distance of two samples in a layer whose features "
     "were projected at random.",
     "sqrt(2 / k), k the width after the projection",
     "Johnson, Lindenstrauss 1984; Dasgupta, Gupta 2003, doi 10.1002/rsa.10073", "layer",
     "activations of the layer; Layer.projected_from",
     "How far distances, and with them neighbours, ranks and RBF kernels of the layer, may be off. "
     "Linear CKA is estimated without this bias, and scatters less the more samples there are."},
};

}  // namespace

std::span<const Definition> Catalogue() {
  static const auto* const catalogue = [] {
    auto* all = new std::vector<Definition>(std::begin(kCatalogue), std::end(kCatalogue));
    const std::vector<Definition> representations = RepresentationDefinitions();
    all->insert(all->end(), representations.begin(), representations.end());
    all->insert(all->end(), std::begin(kSampling), std::end(kSampling));
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
