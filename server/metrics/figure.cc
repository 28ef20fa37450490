#include "metrics/figure.h"

#include <cmath>

namespace thermograd::metrics {

Result Finite(double value) {
  if (!std::isfinite(value)) return Undefined::kOverflow;
  return value;
}

Result Ratio(double numerator, double denominator) {
  if (!std::isfinite(numerator) || !std::isfinite(denominator)) return Undefined::kOverflow;
  if (!(denominator > 0)) return Undefined::kZeroDenominator;
  return Finite(numerator / denominator);
}

}  // namespace thermograd::metrics
