#include "metrics/canonical_alignment.h"

#include <cmath>
#include <vector>

#include "kernels/representation_gram.h"

namespace thermograd::metrics {

Result SecondMomentCosine(const NeuronVectors& a, const NeuronVectors& b, size_t width) {
  // tr(A'A B'B) = ||AB'||^2 needs no width x width matrix. Both are scaled, which cosines do not
  // see, lest fourth powers overflow.
  std::vector<double> x(a.values.begin(), a.values.end());
  std::vector<double> y(b.values.begin(), b.values.end());
  kernels::ScaleByPowerOfTwo(x.data(), x.size());
  kernels::ScaleByPowerOfTwo(y.data(), y.size());
  const double cross = kernels::SquaredNormOfProduct(x.data(), a.rows, y.data(), b.rows, width);
  const double x_norm = kernels::SquaredNormOfProduct(x.data(), a.rows, x.data(), a.rows, width);
  const double y_norm = kernels::SquaredNormOfProduct(y.data(), b.rows, y.data(), b.rows, width);
  return Ratio(cross, std::sqrt(x_norm) * std::sqrt(y_norm));
}

}  // namespace thermograd::metrics
