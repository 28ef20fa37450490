#include "metrics/representation_similarity.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace thermograd::metrics {

Result Cka(const statistics::HsicSums& sums) {
  if (!std::isfinite(sums.xx) || !std::isfinite(sums.yy)) return Undefined::kOverflow;
  if (!(sums.xx > 0) || !(sums.yy > 0)) return Undefined::kZeroDenominator;
  return Ratio(sums.xy, std::sqrt(sums.xx) * std::sqrt(sums.yy));
}

Result BiasedCka(const statistics::Gram& x, const statistics::Gram& y) {
  if (x.n < 2) return Undefined::kTooFewSamples;
  return Cka(statistics::BiasedHsic(x, y));
}

Result UnbiasedCka(const statistics::Gram& x, const statistics::Gram& y) {
  if (x.n < 4) return Undefined::kTooFewSamples;
  return Cka(statistics::UnbiasedHsic(x, y));
}

Result EffectiveRank(std::span<const double> x, size_t n, size_t p) {
  if (n < 2) return Undefined::kTooFewSamples;
  const std::vector<double> eigenvalues = statistics::CovarianceEigenvalues(x, n, p);
  double total = 0;
  for (const double value : eigenvalues) total += std::max(value, 0.0);
  if (!std::isfinite(total)) return Undefined::kOverflow;
  if (!(total > 0)) return Undefined::kZeroDenominator;
  double entropy = 0;
  for (const double value : eigenvalues) {
    const double share = value / total;
    if (share > 0) entropy -= share * std::log(share);
  }
  return Finite(std::exp(entropy));
}

}  // namespace thermograd::metrics
