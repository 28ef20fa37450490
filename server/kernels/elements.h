#ifndef THERMOGRAD_KERNELS_ELEMENTS_H_
#define THERMOGRAD_KERNELS_ELEMENTS_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace thermograd::kernels {

/// Number formats in which tensors arrive.
enum class ElementType : uint8_t { kBf16, kFp16, kFp32, kFp64 };

/// Consecutive elements of a tensor, where they lie: kernels widen them as they read. They need not
/// be aligned.
struct Elements {
  ElementType type = ElementType::kFp32;
  const void* data = nullptr;
  size_t count = 0;

  static Elements Of(std::span<const float> x) { return {ElementType::kFp32, x.data(), x.size()}; }
  static Elements Of(std::span<const double> x) { return {ElementType::kFp64, x.data(), x.size()}; }
};

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_ELEMENTS_H_
