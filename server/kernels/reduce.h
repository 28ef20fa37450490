#ifndef THERMOGRAD_KERNELS_REDUCE_H_
#define THERMOGRAD_KERNELS_REDUCE_H_

#include <cstddef>
#include <cstdint>

#include "kernels/export.h"

// One-pass reductions over contiguous elements with fp64 accumulators.
//
// Element i of a tensor always goes to accumulator i mod kLanes, and Total folds the accumulators
// in a fixed order. Products of fp32 (hence of fp16 and bf16) are exact in fp64, so a result
// depends neither on the instruction set nor on how the tensor was cut into chunks.

namespace thermograd::kernels {

/// Accumulators of one sum; a power of two wide enough to fill four 512-bit registers.
inline constexpr size_t kLanes = 32;

/// Running accumulators of one sum over a tensor.
struct Lanes {
  double sum[kLanes] = {};
};

/// Folds the accumulators pairwise.
THERMOGRAD_KERNEL double Total(const Lanes& lanes);

/// What a sweep over a tensor counts.
struct Moments {
  Lanes squares;
  double max_abs = 0;
  uint64_t elements = 0;
  uint64_t zeros = 0;
  uint64_t nans = 0;
  uint64_t infinities = 0;
};

/// Adds `count` elements, the first of which has index `first` in its tensor. Non-finite elements
/// are counted; what they do to the sum of squares is unspecified.
THERMOGRAD_KERNEL void AddMoments(const float* x, size_t count, size_t first, Moments* moments);
THERMOGRAD_KERNEL void AddMoments(const double* x, size_t count, size_t first, Moments* moments);

/// Adds x_i y_i.
THERMOGRAD_KERNEL void AddDot(const double* x, const double* y, size_t count, size_t first,
                              Lanes* lanes);

/// sum_i += x_i.
THERMOGRAD_KERNEL void AddTo(const float* x, size_t count, double* sum);
THERMOGRAD_KERNEL void AddTo(const double* x, size_t count, double* sum);

/// For a row-major rows x columns matrix pair: out_r += sum_c x_rc y_rc.
THERMOGRAD_KERNEL void AddRowDots(const double* x, const double* y, size_t rows, size_t columns,
                                  double* out);

/// For a row-major rows x columns matrix pair: out_c += sum_r x_rc y_rc.
THERMOGRAD_KERNEL void AddColumnDots(const double* x, const double* y, size_t rows, size_t columns,
                                     double* out);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_REDUCE_H_
