#include "kernels/representation.h"

#include "Eigen/Dense"

namespace thermograd::kernels {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

RowMajor Centre(const double* x, size_t n, size_t p) {
  RowMajor centred =
      Eigen::Map<const RowMajor>(x, static_cast<Eigen::Index>(n), static_cast<Eigen::Index>(p));
  const Eigen::RowVectorXd mean = centred.colwise().mean();
  centred.rowwise() -= mean;
  return centred;
}

template <typename Matrix>
void SelfProduct(const Matrix& factor, double* product) {
  Eigen::Map<RowMajor> out(product, factor.rows(), factor.rows());
  out.setZero();
  out.template selfadjointView<Eigen::Lower>().rankUpdate(factor);
  out.template triangularView<Eigen::StrictlyUpper>() = out.transpose();
}

}  // namespace

void CentredGram(const double* x, size_t n, size_t p, double* gram) {
  SelfProduct(Centre(x, n, p), gram);
}

void CentredScatter(const double* x, size_t n, size_t p, double* scatter) {
  SelfProduct(Centre(x, n, p).transpose(), scatter);
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

bool SymmetricEigenvalues(const double* matrix, size_t n, double* eigenvalues) {
  const auto size = static_cast<Eigen::Index>(n);
  const Eigen::SelfAdjointEigenSolver<RowMajor> solver(
      Eigen::Map<const RowMajor>(matrix, size, size), Eigen::EigenvaluesOnly);
  if (solver.info() != Eigen::Success) return false;
  Eigen::Map<Eigen::VectorXd>(eigenvalues, size) = solver.eigenvalues();
  return true;
}

}  // namespace thermograd::kernels
