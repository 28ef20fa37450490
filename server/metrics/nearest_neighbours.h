#ifndef THERMOGRAD_METRICS_NEAREST_NEIGHBOURS_H_
#define THERMOGRAD_METRICS_NEAREST_NEIGHBOURS_H_

#include <span>

#include "metrics/figure.h"
#include "statistics/representation.h"

namespace thermograd::metrics {

/// Mean over samples of |kNN_X(i) and kNN_Y(i)| / k (Huh et al. 2024, arXiv 2405.07987, appendix A;
/// their mutual_knn). Neighbours by cosine, the sample itself excluded.
Result MutualNeighbours(const statistics::Neighbours& x, const statistics::Neighbours& y);

/// CKNNA: unbiased CKA of the cosines, restricted to pairs (i, j) where j is among the k nearest of
/// i on both sides (Huh et al. 2024, appendix A; the mean of their cknna(X, Y) and cknna(Y, X),
/// which differ a little, without the 1e-6 that they add to the denominator). Needs n >= 4 and
/// k >= 2. `x` and `y` are the n x n cosines.
Result Cknna(std::span<const double> x, const statistics::Neighbours& x_neighbours,
             std::span<const double> y, const statistics::Neighbours& y_neighbours);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_NEAREST_NEIGHBOURS_H_
