#ifndef THERMOGRAD_METRICS_REPRESENTATIONAL_SIMILARITY_ANALYSIS_H_
#define THERMOGRAD_METRICS_REPRESENTATIONAL_SIMILARITY_ANALYSIS_H_

#include <span>

#include "metrics/figure.h"

namespace thermograd::metrics {

/// Representational similarity analysis (Kriegeskorte, Mur & Bandettini 2008): Spearman correlation
/// of the Euclidean distances of all pairs of samples, ties at their mean rank. The arguments are
/// statistics::CentredDistanceRanks of the same samples. Euclidean, not 1 - Pearson over features,
/// which a rotation of the features would change.
Result RepresentationalSimilarity(std::span<const double> x, std::span<const double> y);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_REPRESENTATIONAL_SIMILARITY_ANALYSIS_H_
