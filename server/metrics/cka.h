#ifndef THERMOGRAD_METRICS_CKA_H_
#define THERMOGRAD_METRICS_CKA_H_

#include <cstddef>
#include <span>

#include "metrics/figure.h"
#include "statistics/representation.h"

namespace thermograd::metrics {

/// Centred kernel alignment, HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) (Kornblith et al. 2019,
/// eq. 4; of linear kernels ||Y'X||^2 / (||X'X|| ||Y'Y||), eq. 5), from biased or unbiased HSICs,
/// or from sums of unbiased ones over minibatches (Nguyen, Raghu & Kornblith 2021, eq. 2).
Result Cka(const statistics::HsicSums& sums);

/// The Gram matrix of one layer and its biased HSIC with itself.
struct CkaSide {
  const statistics::Gram* gram;
  double hsic;
};

/// How far the largest of several similarities stands out of chance.
struct Calibration {
  /// The largest biased CKA of any x with any y.
  Result maximum;
  /// max(0, (s - tau) / (1 - tau)), tau the 95 % quantile under permutations.
  Result calibrated;
  /// (1 + #{s_pi >= s}) / (m + 1).
  Result p_value;
};

/// Permutation test of the largest biased CKA between the layers `x` and the layers `y` of the same
/// samples: the samples of y change places, in all layers alike, and the maximum is taken anew each
/// time, because a maximum rises with the number of pairs by chance (arXiv 2602.14486). Of one pair
/// it is the test of that pair. Needs n >= 4 and at least 19 permutations, for the quantile.
Calibration CalibrateMaximumCka(std::span<const CkaSide> x, std::span<const CkaSide> y,
                                size_t permutations);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_CKA_H_
