#ifndef THERMOGRAD_KERNELS_REPRESENTATION_NEIGHBOURS_H_
#define THERMOGRAD_KERNELS_REPRESENTATION_NEIGHBOURS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/export.h"

namespace thermograd::kernels {

/// Differences of cosines or of relative distances below this are ties: far above what another
/// order of summation changes, far below what fp32 input resolves. So that duplicates tie.
inline constexpr double kTieResolution = 0x1p-40;

/// Divides every row of x (n x p, finite) by its norm. False: a row is zero.
THERMOGRAD_KERNEL bool NormaliseRows(double* x, size_t n, size_t p);

/// Writes for each of the n samples the k < n others of greatest similarity, in increasing order of
/// their index: n x k. Of ties the lower index is nearer. `similarity` is n x n.
THERMOGRAD_KERNEL void NearestNeighbours(const double* similarity, size_t n, size_t k,
                                         uint32_t* neighbours);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_REPRESENTATION_NEIGHBOURS_H_
