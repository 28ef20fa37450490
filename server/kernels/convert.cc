#include "kernels/convert.h"

#include <bit>

namespace thermograd::kernels {

void WidenBf16(const uint16_t* in, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(in[i]) << 16);
  }
}

void WidenFp16(const uint16_t* in, size_t count, float* out) {
  // Branch-free so that it vectorises: shifting the 15 value bits up gives the binary32 with an
  // exponent too small by 112; a multiplication by 2^112 repairs it and normalises subnormals.
  constexpr float kRebias = 0x1p112f;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t half = in[i];
    const float magnitude = std::bit_cast<float>((half & 0x7fffu) << 13) * kRebias;
    const uint32_t special = (half & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;
    out[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | special |
                                  ((half & 0x8000u) << 16));
  }
}

}  // namespace thermograd::kernels
