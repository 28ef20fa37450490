#ifndef THERMOGRAD_KERNELS_REPRESENTATION_GRAM_H_
#define THERMOGRAD_KERNELS_REPRESENTATION_GRAM_H_

#include <cstddef>
#include <cstdint>

#include "kernels/export.h"

// Arithmetic on representations (n samples by p features, row-major, fp64) and their Gram matrices.

namespace thermograd::kernels {

/// Multiplies finite elements by the power of two that brings the largest magnitude into [1, 2):
/// nothing is rounded, and no later square or fourth power leaves the range of fp64. Zeros stay.
THERMOGRAD_KERNEL void ScaleByPowerOfTwo(double* x, size_t count);

/// Subtracts from every column of x (n x p, finite) its first element and then its mean. The first
/// subtraction makes a constant column exactly zero, where rounding would else leave a direction.
THERMOGRAD_KERNEL void CentreColumns(double* x, size_t n, size_t p);

/// Writes the n x n matrix XX'.
THERMOGRAD_KERNEL void RowGram(const double* x, size_t n, size_t p, double* gram);

/// Writes the p x p matrix X'X.
THERMOGRAD_KERNEL void ColumnGram(const double* x, size_t n, size_t p, double* gram);

/// sum += A'B, of A (n x p) and B (n x q).
THERMOGRAD_KERNEL void AddTransposedProduct(const double* a, size_t p, const double* b, size_t q,
                                            size_t n, double* sum);

/// Writes AB, of A (m x k) and B (k x n).
THERMOGRAD_KERNEL void Product(const double* a, size_t m, size_t k, const double* b, size_t n,
                               double* product);

/// ||AB'||^2 of A (m x p) and B (n x p), which is tr(A'A B'B), in O(n) further memory.
THERMOGRAD_KERNEL double SquaredNormOfProduct(const double* a, size_t m, const double* b, size_t n,
                                              size_t p);

/// Removes the means of rows and columns of a symmetric n x n matrix.
THERMOGRAD_KERNEL void CentreGram(double* gram, size_t n);

/// Writes the squared distances between the samples whose Gram matrix is given: n x n, none
/// negative, zeros on the diagonal.
THERMOGRAD_KERNEL void SquaredDistances(const double* gram, size_t n, double* distances);

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

/// sum_ij K_ij L_{permutation(i) permutation(j)} of symmetric n x n matrices.
THERMOGRAD_KERNEL double SumPermutedGrams(const double* k, const double* l, size_t n,
                                          const uint32_t* permutation);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_REPRESENTATION_GRAM_H_
