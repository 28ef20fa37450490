#ifndef THERMOGRAD_KERNELS_REDUCE_H_
#define THERMOGRAD_KERNELS_REDUCE_H_

#include <cstddef>
#include <cstdint>

#include "kernels/elements.h"
#include "kernels/export.h"

// One-pass reductions over contiguous elements with fp64 accumulators.
//
// Element i of a tensor always goes to accumulator i mod kLanes, Total folds the accumulators in a
// fixed order, and every product is rounded before it is added, so a result depends neither on the
// instruction set nor on how the tensor was cut into chunks. Squares of fp32 (hence of fp16 and
// bf16) are exact in fp64. Of m elements a sum has rounded at most m / kLanes + 5 times: its
// relative error is below that times 2^-53 where the terms have one sign, whatever their
// magnitudes.

namespace thermograd::kernels {

/// Accumulators of one sum; a power of two wide enough to fill four 512-bit registers.
inline constexpr size_t kLanes = 32;

/// Running accumulators of one sum over a tensor.
struct Lanes {
  double sum[kLanes] = {};
};

/// Folds the accumulators pairwise.
THERMOGRAD_KERNEL double Total(const Lanes& lanes);

/// What a sweep over a tensor finds.
struct Moments {
  Lanes squares;
  uint64_t nans = 0;
  uint64_t infinities = 0;
};

// Sweeps over the elements x of a tensor, the first of which has index `first` in it. All add their
// squares to `moments`. Non-finite elements are counted; what they do to the sums is unspecified.

THERMOGRAD_KERNEL void AddMoments(const Elements& x, size_t first, Moments* moments);

/// y_i = factor x_i besides.
THERMOGRAD_KERNEL void AddMomentsAndSet(const Elements& x, size_t first, double factor,
                                        Moments* moments, double* y);

/// y_i += x_i besides.
THERMOGRAD_KERNEL void AddMomentsAndSum(const Elements& x, size_t first, Moments* moments,
                                        double* y);

/// y_i += x_i besides, and then adds y_i^2 to `sum_squares`.
THERMOGRAD_KERNEL void AddMomentsAndLastSum(const Elements& x, size_t first, Moments* moments,
                                            double* y, Lanes* sum_squares);

/// Adds (y_i + x_i)^2 to `sum_squares` besides.
THERMOGRAD_KERNEL void AddMomentsAndSquaredSum(const Elements& x, size_t first, Moments* moments,
                                               const double* y, Lanes* sum_squares);

/// Adds x_i y_i.
THERMOGRAD_KERNEL void AddDot(const double* x, const double* y, size_t count, size_t first,
                              Lanes* lanes);

/// y_i += factor x_i, and then adds y_i^2 to `sum_squares`.
THERMOGRAD_KERNEL void AddScaled(double factor, const double* x, size_t count, double* y,
                                 Lanes* sum_squares);

/// sum_i += x_i.
THERMOGRAD_KERNEL void AddTo(const double* x, size_t count, double* sum);

/// For a row-major rows x columns matrix pair: out_r += sum_c x_rc y_rc.
THERMOGRAD_KERNEL void AddRowDots(const double* x, const double* y, size_t rows, size_t columns,
                                  double* out);

/// For a row-major rows x columns matrix pair: out_c += sum_r x_rc y_rc.
THERMOGRAD_KERNEL void AddColumnDots(const double* x, const double* y, size_t rows, size_t columns,
                                     double* out);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_REDUCE_H_
