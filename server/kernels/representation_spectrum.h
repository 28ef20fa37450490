#ifndef THERMOGRAD_KERNELS_REPRESENTATION_SPECTRUM_H_
#define THERMOGRAD_KERNELS_REPRESENTATION_SPECTRUM_H_

#include <cstddef>

#include "kernels/export.h"

// Eigenvalues and singular values of row-major fp64 matrices. False: no convergence.

namespace thermograd::kernels {

/// Writes the n eigenvalues of a symmetric n x n matrix in increasing order.
THERMOGRAD_KERNEL bool SymmetricEigenvalues(const double* matrix, size_t n, double* eigenvalues);

/// The same with the orthonormal eigenvectors, the columns of `eigenvectors` (n x n).
THERMOGRAD_KERNEL bool SymmetricEigenvectors(const double* matrix, size_t n, double* eigenvalues,
                                             double* eigenvectors);

/// X = U S V' of x (n x p), with r = min(n, p): U (n x r), the singular values in decreasing order,
/// V (p x r).
THERMOGRAD_KERNEL bool ThinSvd(const double* x, size_t n, size_t p, double* u, double* singular,
                               double* v);

/// Writes the min(rows, columns) singular values in decreasing order.
THERMOGRAD_KERNEL bool SingularValues(const double* matrix, size_t rows, size_t columns,
                                      double* singular);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_REPRESENTATION_SPECTRUM_H_
