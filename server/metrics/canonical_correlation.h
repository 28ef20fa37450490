#ifndef THERMOGRAD_METRICS_CANONICAL_CORRELATION_H_
#define THERMOGRAD_METRICS_CANONICAL_CORRELATION_H_

#include "metrics/figure.h"
#include "statistics/representation_spectrum.h"

// Similarities from the principal components of both sides. A canonical correlation is undefined
// (kTooFewSamples) where the features of one side span all n - 1 directions of the centred samples:
// it would be 1 whatever the other side is. Of r_x + r_y > n - 1 directions some coincide by want
// of samples too; take n well above the sum of both ranks.

namespace thermograd::metrics {

struct CanonicalCorrelation {
  /// Mean of the canonical correlations rho_i over min(r_x, r_y) (Raghu et al. 2017).
  Result mean;
  /// Mean of their squares, R^2_CCA (Kornblith et al. 2019, table 1).
  Result mean_squared;
};

/// rho_i are the singular values of U_x' U_y; with a ridge kappa, relative to the largest variance
/// of each side, those of (S_xx + kappa)^(-1/2) S_xy (S_yy + kappa)^(-1/2) (Vinod 1976), which are
/// defined for n <= p too and below 1 even for X = Y.
CanonicalCorrelation Cca(const statistics::ComponentPair& pair, double ridge);

/// SVCCA (Raghu et al. 2017): mean canonical correlation of the fewest principal components of each
/// side that hold `variance_fraction` of its variance.
Result Svcca(const statistics::ComponentPair& pair, double variance_fraction);

/// PWCCA (Morcos, Raghu & Bengio 2018): sum_i alpha_i rho_i / sum_i alpha_i, alpha_i =
/// sum_j |<h_i, x_j>| over the features x_j of the side of lower rank, h_i its canonical variates.
/// Of equal ranks the mean of both sides, which makes it symmetric.
Result Pwcca(const statistics::ComponentPair& pair);

/// Orthogonal Procrustes similarity ||Y'X||_* / (||X|| ||Y||) of centred X and Y, 1 - d^2 / 2 of
/// the Procrustes distance d at unit norms (Williams et al. 2021; Schoenemann 1966).
Result Procrustes(const statistics::ComponentPair& pair);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_CANONICAL_CORRELATION_H_
