#include "kernels/representation_gram.h"

#include <algorithm>
#include <cmath>

#include "Eigen/Dense"

namespace thermograd::kernels {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Map = Eigen::Map<RowMajor>;
using ConstMap = Eigen::Map<const RowMajor>;

Eigen::Index Index(size_t size) { return static_cast<Eigen::Index>(size); }

template <typename Matrix>
void SelfProduct(const Matrix& factor, double* product) {
  Map out(product, factor.rows(), factor.rows());
  out.setZero();
  out.template selfadjointView<Eigen::Lower>().rankUpdate(factor);
  out.template triangularView<Eigen::StrictlyUpper>() = out.transpose();
}

}  // namespace

void ScaleByPowerOfTwo(double* x, size_t count) {
  double largest = 0;
  for (size_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(x[i]));
  if (largest == 0) return;
  const int exponent = -std::ilogb(largest);
  // Two factors: 2^1074, which the smallest subnormal needs, is not a double.
  const double first = std::ldexp(1.0, exponent / 2);
  const double second = std::ldexp(1.0, exponent - exponent / 2);
  for (size_t i = 0; i < count; ++i) x[i] = x[i] * first * second;
}

void CentreColumns(double* x, size_t n, size_t p) {
  if (n == 0) return;
  Map matrix(x, Index(n), Index(p));
  const Eigen::RowVectorXd first = matrix.row(0);
  matrix.rowwise() -= first;
  const Eigen::RowVectorXd mean = matrix.colwise().mean();
  matrix.rowwise() -= mean;
}

void RowGram(const double* x, size_t n, size_t p, double* gram) {
  SelfProduct(ConstMap(x, Index(n), Index(p)), gram);
}

void ColumnGram(const double* x, size_t n, size_t p, double* gram) {
  SelfProduct(ConstMap(x, Index(n), Index(p)).transpose(), gram);
}

void AddTransposedProduct(const double* a, size_t p, const double* b, size_t q, size_t n,
                          double* sum) {
  Map(sum, Index(p), Index(q)).noalias() +=
      ConstMap(a, Index(n), Index(p)).transpose() * ConstMap(b, Index(n), Index(q));
}

void Product(const double* a, size_t m, size_t k, const double* b, size_t n, double* product) {
  Map(product, Index(m), Index(n)).noalias() =
      ConstMap(a, Index(m), Index(k)) * ConstMap(b, Index(k), Index(n));
}

double SquaredNormOfProduct(const double* a, size_t m, const double* b, size_t n, size_t p) {
  constexpr size_t kRows = 64;
  const ConstMap right(b, Index(n), Index(p));
  RowMajor block;
  double sum = 0;
  for (size_t first = 0; first < m; first += kRows) {
    const size_t rows = std::min(kRows, m - first);
    block.noalias() = ConstMap(a + first * p, Index(rows), Index(p)) * right.transpose();
    sum += block.squaredNorm();
  }
  return sum;
}

void CentreGram(double* gram, size_t n) {
  if (n == 0) return;
  Map matrix(gram, Index(n), Index(n));
  const Eigen::RowVectorXd mean = matrix.colwise().mean();
  const double total = mean.mean();
  matrix.rowwise() -= mean;
  matrix.colwise() -= mean.transpose();
  matrix.array() += total;
}

void SquaredDistances(const double* gram, size_t n, double* distances) {
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      const double distance = gram[i * n + i] + gram[j * n + j] - 2 * gram[i * n + j];
      distances[i * n + j] = i == j ? 0 : std::max(distance, 0.0);
    }
  }
}

GramSums SumGrams(const double* k, const double* l, size_t n) {
  GramSums sums;
  for (size_t i = 0; i < n; ++i) {
    const double* k_row = k + i * n;
    const double* l_row = l + i * n;
    double product = 0;
    double k_sum = 0;
    double l_sum = 0;
    for (size_t j = 0; j < n; ++j) {
      if (j == i) continue;
      product += k_row[j] * l_row[j];
      k_sum += k_row[j];
      l_sum += l_row[j];
    }
    sums.product += product + k_row[i] * l_row[i];
    sums.product_off_diagonal += product;
    sums.sum_x += k_sum;
    sums.sum_y += l_sum;
    sums.row_sum_product += k_sum * l_sum;
  }
  return sums;
}

double SumPermutedGrams(const double* k, const double* l, size_t n, const uint32_t* permutation) {
  double off_diagonal = 0;
  double diagonal = 0;
  for (size_t i = 0; i < n; ++i) {
    const double* k_row = k + i * n;
    const double* l_row = l + permutation[i] * n;
    double product = 0;
    for (size_t j = 0; j < i; ++j) product += k_row[j] * l_row[permutation[j]];
    off_diagonal += product;
    diagonal += k_row[i] * l_row[permutation[i]];
  }
  return 2 * off_diagonal + diagonal;
}

}  // namespace thermograd::kernels
