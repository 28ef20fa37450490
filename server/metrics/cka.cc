#include "metrics/cka.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/representation_gram.h"

namespace thermograd::metrics {

Result Cka(const statistics::HsicSums& sums) {
  if (!std::isfinite(sums.xx) || !std::isfinite(sums.yy)) return Undefined::kOverflow;
  if (!(sums.xx > 0) || !(sums.yy > 0)) return Undefined::kZeroDenominator;
  return Ratio(sums.xy, std::sqrt(sums.xx) * std::sqrt(sums.yy));
}

Calibration CalibrateMaximumCka(std::span<const CkaSide> x, std::span<const CkaSide> y,
                                size_t permutations) {
  const auto undefined = [](Undefined reason) { return Calibration{reason, reason, reason}; };
  if (x.empty() || y.empty()) return undefined(Undefined::kMissingTensor);
  const size_t n = x.front().gram->n;
  if (n < 4 || permutations < 19) return undefined(Undefined::kTooFewSamples);
  bool defined = false;
  const auto maximum = [&](std::span<const uint32_t> order) {
    double largest = 0;
    for (const CkaSide& a : x) {
      for (const CkaSide& b : y) {
        const Result cka = Cka({.xy = kernels::SumPermutedGrams(
                                    a.gram->values.data(), b.gram->values.data(), n, order.data()),
                                .xx = a.hsic,
                                .yy = b.hsic});
        if (const double* value = std::get_if<double>(&cka)) {
          defined = true;
          largest = std::max(largest, *value);
        }
      }
    }
    return largest;
  };
  std::vector<uint32_t> identity(n);
  std::iota(identity.begin(), identity.end(), 0);
  const double similarity = maximum(identity);
  if (!defined) return undefined(Undefined::kZeroDenominator);

  statistics::Permutations sequence(n);
  std::vector<double> chance(permutations);
  for (double& value : chance) value = maximum(sequence.Next());
  std::sort(chance.begin(), chance.end());
  // Permutations that change nothing but the order of summation count as equal.
  const auto first_equal =
      std::lower_bound(chance.begin(), chance.end(), similarity * (1 - 0x1p-40));
  const auto as_large = static_cast<double>(chance.end() - first_equal);
  const auto count = static_cast<double>(permutations);
  // The quantile that makes s > tau the same as p <= 0.05.
  const auto rank = static_cast<size_t>(std::ceil(0.95 * (count + 1)));
  const double tau = chance[std::min(rank, permutations) - 1];
  return {.maximum = similarity,
          .calibrated = Ratio(std::max(similarity - tau, 0.0), 1 - tau),
          .p_value = (1 + as_large) / (count + 1)};
}

}  // namespace thermograd::metrics
