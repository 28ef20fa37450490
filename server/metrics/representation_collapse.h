#ifndef THERMOGRAD_METRICS_REPRESENTATION_COLLAPSE_H_
#define THERMOGRAD_METRICS_REPRESENTATION_COLLAPSE_H_

#include <cstddef>
#include <span>
#include <vector>

#include "metrics/figure.h"

// How many directions a representation uses. `eigenvalues` are those of the covariance of the
// features at any common scale; rounding may make some of them slightly negative.

namespace thermograd::metrics {

/// exp of the Shannon entropy of the normalised eigenvalues, in [1, min(n - 1, p)] (Roy & Vetterli
/// 2007, on eigenvalues of the covariance).
Result EffectiveRank(std::span<const double> eigenvalues);

/// (sum lambda)^2 / sum lambda^2, in [1, min(n - 1, p)] (Gao et al. 2017).
Result ParticipationRatio(std::span<const double> eigenvalues);

/// sum lambda / max lambda, in [1, min(n - 1, p)] (Rudelson & Vershynin 2007).
Result StableRank(std::span<const double> eigenvalues);

/// Mean cosine of two different samples of x (n x p, finite, not centred), in [-1 / (n - 1), 1].
Result MeanCosine(std::span<const double> x, size_t n, size_t p);

/// Appends all of them. `x`: n x p, finite.
void AppendCollapseFigures(std::span<const double> x, size_t n, size_t p,
                           const std::vector<Label>& labels, Figures* figures);

/// Appends them with the reason why they are missing.
void AppendUndefinedCollapseFigures(Undefined reason, const std::vector<Label>& labels,
                                    Figures* figures);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_REPRESENTATION_COLLAPSE_H_
