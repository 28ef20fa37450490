#include "metrics/representational_similarity_analysis.h"

#include <cmath>
#include <numeric>

namespace thermograd::metrics {

Result RepresentationalSimilarity(std::span<const double> x, std::span<const double> y) {
  if (x.size() < 3) return Undefined::kTooFewSamples;
  const auto dot = [](std::span<const double> a, std::span<const double> b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  return Ratio(dot(x, y), std::sqrt(dot(x, x)) * std::sqrt(dot(y, y)));
}

}  // namespace thermograd::metrics
