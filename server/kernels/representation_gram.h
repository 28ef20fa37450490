#ifndef THERMOGRAD_KERNELS_REPRESENTATION_GRAM_H_
#define THERMOGRAD_KERNELS_REPRESENTATION_GRAM_H_

#include <cstddef>
#include <cstdint>

#include "kernels/export.h"

// Arithmetic on representations (n samples by p features, row-major, fp64) and their Gram matrices.
// Large products take several threads (parallel.h). A result is the same for any number of them;
// between instruction sets it differs by rounding, below 1e-13 of the norms of the factors.

namespace thermograd::kernels {

/// Multiplies finite elements by the power of two that brings the largest magnitude into [1, 2):
/// nothing is rounded, and no later square or fourth power leaves the range of fp64. Zeros stay.
/// Returns the exponent of that power.
THERMOGRAD_KERNEL int ScaleByPowerOfTwo(double* x, size_t count);

/// Subtracts from every column of x (n x p, finite) its first element and then its mean. The first
/// subtraction makes a constant column exactly zero, where rounding would else leave a direction.
THERMOGRAD_KERNEL void CentreColumns(double* x, size_t n, size_t p);

/// Writes scale * x - origin of every row of x (n x p), and the squared norms of what results; adds
/// the rows to `sum`.
THERMOGRAD_KERNEL void ShiftRows(const double* x, size_t n, size_t p, double scale,
                                 const double* origin, double* rows, double* squared_norms,
                                 double* sum);

/// sum += X'w, of x (n x p).
THERMOGRAD_KERNEL void AddWeightedRows(const double* x, size_t n, size_t p, const double* weights,
                                       double* sum);

/// Writes the n x n matrix XX'.
THERMOGRAD_KERNEL void RowGram(const double* x, size_t n, size_t p, double* gram);

/// Writes the p x p matrix X'X.
THERMOGRAD_KERNEL void ColumnGram(const double* x, size_t n, size_t p, double* gram);

/// Adds X'X to the lower triangle of `sum`, p x p. What is above the diagonal has no meaning until
/// MirrorLower.
THERMOGRAD_KERNEL void AddLowerColumnGram(const double* x, size_t n, size_t p, double* sum);

/// Makes an n x n matrix symmetric by its lower triangle.
THERMOGRAD_KERNEL void MirrorLower(double* matrix, size_t n);

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

/// For every pair K, L of `count` symmetric n x n matrices: sum_{i != j} K_ij L_ij and
/// sum_i K_ii L_ii, both count x count. All matrices are read once, and of each one half.
THERMOGRAD_KERNEL void GramProducts(const double* const* grams, size_t count, size_t n,
                                    double* off_diagonal, double* diagonal);

/// sum_ij K_ij L_{permutation(i) permutation(j)} of symmetric n x n matrices.
THERMOGRAD_KERNEL double SumPermutedGrams(const double* k, const double* l, size_t n,
                                          const uint32_t* permutation);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_REPRESENTATION_GRAM_H_
