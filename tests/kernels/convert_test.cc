#include "kernels/convert.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::kernels {
namespace {

// binary16 by its definition.
double HalfByDefinition(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int fraction = bits & 0x3ff;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST(Convert, Fp16IsExactForEveryBitPattern) {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  std::vector<float> wide(all.size());
  WidenFp16(all.data(), all.size(), wide.data());
  for (size_t i = 0; i < all.size(); ++i) {
    const double expected = HalfByDefinition(all[i]);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(wide[i])) << i;
    } else {
      EXPECT_EQ(wide[i], expected) << i;
      EXPECT_EQ(std::signbit(wide[i]), std::signbit(expected)) << i;
    }
  }
}

TEST(Convert, Bf16IsTheUpperHalfOfBinary32) {
  const std::vector<uint16_t> in = {0x3f80, 0xbf80, 0x0001, 0x7f80, 0x8000};
  std::vector<float> out(in.size());
  WidenBf16(in.data(), in.size(), out.data());
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(out[i]), static_cast<uint32_t>(in[i]) << 16);
  }
}

}  // namespace
}  // namespace thermograd::kernels
