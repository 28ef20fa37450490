#ifndef THERMOGRAD_STATISTICS_REPRESENTATION_H_
#define THERMOGRAD_STATISTICS_REPRESENTATION_H_

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/representation.h"

namespace thermograd::statistics {

/// The Gram matrix of column-centred representations.
struct Gram {
  /// Samples.
  size_t n = 0;
  /// n x n.
  std::vector<double> values;
};

/// `x` is n x p, row-major and finite.
Gram CentredGram(std::span<const double> x, size_t n, size_t p);

/// Eigenvalues of the covariance of the features times (n - 1); those that are zero for want of
/// samples or features may be absent. Empty if the solver did not converge.
std::vector<double> CovarianceEigenvalues(std::span<const double> x, size_t n, size_t p);

/// HSIC numerators of a pair over one set of samples. They add over minibatches.
struct HsicSums {
  double xy = 0;
  double xx = 0;
  double yy = 0;

  void Merge(const HsicSums& other);
};

/// Biased HSIC, times (n - 1)^2: tr(KL) of centred Gram matrices.
HsicSums BiasedHsic(const Gram& x, const Gram& y);

/// Unbiased HSIC_1 (Song et al. 2012; Nguyen, Raghu & Kornblith 2021, eq. 3). Needs n >= 4.
HsicSums UnbiasedHsic(const Gram& x, const Gram& y);

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_REPRESENTATION_H_
