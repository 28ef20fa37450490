#ifndef THERMOGRAD_METRICS_REPRESENTATION_SIMILARITY_H_
#define THERMOGRAD_METRICS_REPRESENTATION_SIMILARITY_H_

#include <cstddef>
#include <span>

#include "metrics/figure.h"
#include "statistics/representation.h"

// Similarity of representations of the same samples: theory.md section 4.

namespace thermograd::metrics {

/// Linear CKA, ||Y'X||^2 / (||X'X|| ||Y'Y||) of centred X and Y (Kornblith et al. 2019, eq. 5),
/// from BiasedHsic, UnbiasedHsic, or sums of either over minibatches (Nguyen, Raghu & Kornblith
/// 2021, eq. 2).
Result Cka(const statistics::HsicSums& sums);

/// Linear CKA of two Gram matrices over the same n samples.
Result BiasedCka(const statistics::Gram& x, const statistics::Gram& y);

/// Its debiased form; needs n >= 4.
Result UnbiasedCka(const statistics::Gram& x, const statistics::Gram& y);

/// exp of the Shannon entropy of the normalised covariance spectrum, in [1, min(n - 1, p)] (Roy &
/// Vetterli 2007, on eigenvalues of the covariance). `x`: n x p, finite.
Result EffectiveRank(std::span<const double> x, size_t n, size_t p);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_REPRESENTATION_SIMILARITY_H_
