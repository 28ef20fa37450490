#include "tests/benchmark/reference.h"

#include <Eigen/Core>
#include <cstring>

namespace thermograd::reference {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Map<const Matrix> View(const double* data, size_t rows, size_t columns) {
  return {data, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}

Eigen::Map<Matrix> View(double* data, size_t rows, size_t columns) {
  return {data, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}

}  // namespace

uint32_t ReadOnlySweep(const void* data, size_t bytes) {
  constexpr size_t kWords = 64;
  uint32_t sum[kWords] = {};
  for (size_t i = 0; i < bytes; i += sizeof(sum)) {
    uint32_t block[kWords];
    std::memcpy(block, static_cast<const char*>(data) + i, sizeof(block));
    for (size_t word = 0; word < kWords; ++word) sum[word] ^= block[word];
  }
  uint32_t total = 0;
  for (const uint32_t word : sum) total ^= word;
  return total;
}

void EigenRowGram(const double* x, size_t n, size_t p, double* gram) {
  auto product = View(gram, n, n);
  product.setZero();
  product.selfadjointView<Eigen::Lower>().rankUpdate(View(x, n, p));
  product.triangularView<Eigen::StrictlyUpper>() = product.transpose();
}

void EigenProduct(const double* a, size_t m, size_t k, const double* b, size_t n, double* product) {
  View(product, m, n).noalias() = View(a, m, k) * View(b, k, n);
}

void EigenAddTransposedProduct(const double* a, size_t p, const double* b, size_t q, size_t n,
                               double* sum) {
  View(sum, p, q).noalias() += View(a, n, p).transpose() * View(b, n, q);
}

}  // namespace thermograd::reference
