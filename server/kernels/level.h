#ifndef THERMOGRAD_KERNELS_LEVEL_H_
#define THERMOGRAD_KERNELS_LEVEL_H_

#include "kernels/export.h"

namespace thermograd::kernels {

/// Instruction-set level that the loaded build of this library was compiled for, as glibc-hwcaps
/// names it ("x86-64-v4", "x86-64-v3"), or "baseline".
THERMOGRAD_KERNEL const char* SimdLevel();

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_LEVEL_H_
