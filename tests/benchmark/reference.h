#ifndef THERMOGRAD_TESTS_BENCHMARK_REFERENCE_H_
#define THERMOGRAD_TESTS_BENCHMARK_REFERENCE_H_

#include <cstddef>
#include <cstdint>

#define THERMOGRAD_REFERENCE __attribute__((visibility("default")))

// What the kernels are measured against, built for the same instruction-set levels and chosen by
// the loader in the same way.

namespace thermograd::reference {

/// Reads `bytes`, a multiple of 256, and does the least that a compiler cannot leave out.
THERMOGRAD_REFERENCE uint32_t ReadOnlySweep(const void* data, size_t bytes);

/// Eigen's XX' of X (n x p), row-major, both triangles.
THERMOGRAD_REFERENCE void EigenRowGram(const double* x, size_t n, size_t p, double* gram);

/// Eigen's AB of A (m x k) and B (k x n), row-major.
THERMOGRAD_REFERENCE void EigenProduct(const double* a, size_t m, size_t k, const double* b,
                                       size_t n, double* product);

/// Eigen's sum += A'B of A (n x p) and B (n x q), row-major.
THERMOGRAD_REFERENCE void EigenAddTransposedProduct(const double* a, size_t p, const double* b,
                                                    size_t q, size_t n, double* sum);

}  // namespace thermograd::reference

#endif  // THERMOGRAD_TESTS_BENCHMARK_REFERENCE_H_
