#include "kernels/representation_spectrum.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::kernels {
namespace {

TEST(SymmetricEigenvalues, AreIncreasing) {
  const std::vector<double> matrix = {2, -4, -4, 8};
  std::vector<double> values(2);
  ASSERT_TRUE(SymmetricEigenvalues(matrix.data(), 2, values.data()));
  EXPECT_NEAR(values[0], 0, 1e-14);
  EXPECT_NEAR(values[1], 10, 1e-13);
  std::vector<double> vectors(4);
  ASSERT_TRUE(SymmetricEigenvectors(matrix.data(), 2, values.data(), vectors.data()));
  // The second column: (1, -2) / sqrt(5).
  EXPECT_NEAR(vectors[3] / vectors[1], -2, 1e-13);
}

// U S V' gives x back and U and V have orthonormal columns, also where the rank is deficient.
TEST(ThinSvd, FactorsTallWideAndDeficientMatrices) {
  std::mt19937 generator(1);
  std::normal_distribution<double> normal;
  for (const auto& [n, p] : {std::pair<size_t, size_t>{9, 4}, {4, 9}, {5, 5}, {7, 1}, {1, 3}}) {
    for (const bool deficient : {false, true}) {
      std::vector<double> x(n * p);
      for (size_t i = 0; i < n; ++i) {
        const double first = normal(generator);
        for (size_t j = 0; j < p; ++j) x[i * p + j] = deficient ? first : normal(generator);
      }
      const size_t rank = std::min(n, p);
      std::vector<double> u(n * rank), s(rank), v(p * rank);
      ASSERT_TRUE(ThinSvd(x.data(), n, p, u.data(), s.data(), v.data()));
      EXPECT_TRUE(std::is_sorted(s.rbegin(), s.rend()));
      for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < p; ++j) {
          double sum = 0;
          for (size_t r = 0; r < rank; ++r) sum += u[i * rank + r] * s[r] * v[j * rank + r];
          EXPECT_NEAR(sum, x[i * p + j], 1e-13);
        }
      }
      for (size_t a = 0; a < rank; ++a) {
        for (size_t b = 0; b < rank; ++b) {
          double uu = 0, vv = 0;
          for (size_t i = 0; i < n; ++i) uu += u[i * rank + a] * u[i * rank + b];
          for (size_t j = 0; j < p; ++j) vv += v[j * rank + a] * v[j * rank + b];
          EXPECT_NEAR(uu, a == b, 1e-13);
          EXPECT_NEAR(vv, a == b, 1e-13);
        }
      }
      std::vector<double> singular(rank);
      ASSERT_TRUE(SingularValues(x.data(), n, p, singular.data()));
      for (size_t r = 0; r < rank; ++r) EXPECT_NEAR(singular[r], s[r], 1e-13);
    }
  }
}

}  // namespace
}  // namespace thermograd::kernels
