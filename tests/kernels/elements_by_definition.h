#ifndef THERMOGRAD_TESTS_KERNELS_ELEMENTS_BY_DEFINITION_H_
#define THERMOGRAD_TESTS_KERNELS_ELEMENTS_BY_DEFINITION_H_

#include <bit>
#include <cmath>
#include <cstdint>

namespace thermograd::kernels {

/// binary16 by its definition.
inline double HalfByDefinition(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int fraction = bits & 0x3ff;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

/// bfloat16 by its definition.
inline double Bf16ByDefinition(uint16_t bits) {
  return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(bits) << 16));
}

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_TESTS_KERNELS_ELEMENTS_BY_DEFINITION_H_
