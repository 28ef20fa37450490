#ifndef THERMOGRAD_METRICS_NEURON_PERMUTATION_H_
#define THERMOGRAD_METRICS_NEURON_PERMUTATION_H_

#include <string>

#include "metrics/figure.h"
#include "statistics/neuron.h"

// Exchange of hidden neurons, a discrete symmetry: theory.md section 3. Entropic forces preserve
// it, and mirror symmetries attract to their fixed sets, which are equal neurons and vanished ones
// (Ziyin 2024, Symmetry Induces Structure and Constraint of Learning, arXiv 2309.16932).

namespace thermograd::metrics {

/// Two neurons are near-duplicates when both their cosines are above 1 - this.
inline constexpr double kNearDuplicateEpsilon = 0.01;
/// A neuron is collapsed when both its norms are below this part of their layer's means.
inline constexpr double kCollapsedEpsilon = 0.01;

/// Appends the figures of a layer's neurons. Normalises the weights in place.
void AppendNeuronPermutation(const std::string& symmetry, statistics::NeuronWeights* incoming,
                             statistics::NeuronWeights* outgoing, Figures* figures);

/// The same where they cannot be computed.
void AppendUndefinedNeuronPermutation(const std::string& symmetry, Undefined reason,
                                      Figures* figures);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_NEURON_PERMUTATION_H_
