#include "kernels/level.h"

namespace thermograd::kernels {

const char* SimdLevel() {
#if defined(__AVX512VL__)
  return "x86-64-v4";
#elif defined(__AVX2__)
  return "x86-64-v3";
#else
  return "baseline";
#endif
}

}  // namespace thermograd::kernels
