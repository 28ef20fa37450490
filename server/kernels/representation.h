#ifndef THERMOGRAD_KERNELS_REPRESENTATION_H_
#define THERMOGRAD_KERNELS_REPRESENTATION_H_

#include <cstddef>

#include "kernels/export.h"

// Arithmetic on representations: n samples by p features, row-major.

namespace thermograd::kernels {

/// Writes the n x n Gram matrix of the column-centred x (n x p). Any fp32 input is safe: its HSICs
/// stay far inside the range of fp64.
THERMOGRAD_KERNEL void CentredGram(const double* x, size_t n, size_t p, double* gram);

/// The same for the p x p scatter matrix of the centred features, whose non-zero eigenvalues are
/// those of the Gram matrix.
THERMOGRAD_KERNEL void CentredScatter(const double* x, size_t n, size_t p, double* scatter);

/// The sums over two n x n symmetric matrices from which both estimators of HSIC follow.
struct GramSums {
  /// sum_ij K_ij L_ij.
  double product = 0;
  /// The same without the diagonal.
  double product_off_diagonal = 0;
  /// sum_ij of K and of L without their diagonals.
  double sum_x = 0;
  double sum_y = 0;
  /// 1' K~ L~ 1, diagonals zeroed.
  double row_sum_product = 0;
};
THERMOGRAD_KERNEL GramSums SumGrams(const double* k, const double* l, size_t n);

/// Writes the n eigenvalues of a symmetric n x n matrix in increasing order. False: no convergence.
THERMOGRAD_KERNEL bool SymmetricEigenvalues(const double* matrix, size_t n, double* eigenvalues);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_REPRESENTATION_H_
