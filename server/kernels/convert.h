#ifndef THERMOGRAD_KERNELS_CONVERT_H_
#define THERMOGRAD_KERNELS_CONVERT_H_

#include <cstddef>
#include <cstdint>

#include "kernels/export.h"

namespace thermograd::kernels {

/// Widens bfloat16 (the upper half of a binary32) exactly.
THERMOGRAD_KERNEL void WidenBf16(const uint16_t* in, size_t count, float* out);

/// Widens IEEE 754 binary16 exactly, subnormals, infinities and NaN included.
THERMOGRAD_KERNEL void WidenFp16(const uint16_t* in, size_t count, float* out);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_CONVERT_H_
