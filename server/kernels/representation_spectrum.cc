#include "kernels/representation_spectrum.h"

#include <algorithm>

#include "Eigen/Dense"

namespace thermograd::kernels {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Map = Eigen::Map<RowMajor>;
using ConstMap = Eigen::Map<const RowMajor>;
using VectorMap = Eigen::Map<Eigen::VectorXd>;

Eigen::Index Index(size_t size) { return static_cast<Eigen::Index>(size); }

// X = U S V' of a matrix with at least as many rows as columns. A QR decomposition first: the
// iterations then see a square matrix of the smaller dimension, whatever the number of samples.
bool TallSvd(const Eigen::MatrixXd& x, Eigen::MatrixXd* u, Eigen::VectorXd* singular,
             Eigen::MatrixXd* v) {
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(x);
  const Eigen::Index size = x.cols();
  const Eigen::MatrixXd r = qr.matrixQR().topRows(size).triangularView<Eigen::Upper>();
  const Eigen::BDCSVD<Eigen::MatrixXd> svd(r, Eigen::ComputeFullU | Eigen::ComputeFullV);
  if (svd.info() != Eigen::Success) return false;
  *singular = svd.singularValues();
  *v = svd.matrixV();
  u->setZero(x.rows(), size);
  u->topRows(size) = svd.matrixU();
  u->applyOnTheLeft(qr.householderQ());
  return singular->allFinite();
}

}  // namespace

bool SymmetricEigenvalues(const double* matrix, size_t n, double* eigenvalues) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(
      Eigen::MatrixXd(ConstMap(matrix, Index(n), Index(n))), Eigen::EigenvaluesOnly);
  if (solver.info() != Eigen::Success) return false;
  VectorMap(eigenvalues, Index(n)) = solver.eigenvalues();
  return true;
}

bool SymmetricEigenvectors(const double* matrix, size_t n, double* eigenvalues,
                           double* eigenvectors) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(
      Eigen::MatrixXd(ConstMap(matrix, Index(n), Index(n))));
  if (solver.info() != Eigen::Success) return false;
  VectorMap(eigenvalues, Index(n)) = solver.eigenvalues();
  Map(eigenvectors, Index(n), Index(n)) = solver.eigenvectors();
  return true;
}

bool ThinSvd(const double* x, size_t n, size_t p, double* u, double* singular, double* v) {
  const ConstMap matrix(x, Index(n), Index(p));
  const Eigen::Index rank = std::min(matrix.rows(), matrix.cols());
  Eigen::MatrixXd left;
  Eigen::MatrixXd right;
  Eigen::VectorXd values;
  const bool tall = n >= p;
  const Eigen::MatrixXd input = tall ? Eigen::MatrixXd(matrix) : matrix.transpose();
  if (!TallSvd(input, tall ? &left : &right, &values, tall ? &right : &left)) return false;
  Map(u, Index(n), rank) = left;
  Map(v, Index(p), rank) = right;
  VectorMap(singular, rank) = values;
  return true;
}

bool SingularValues(const double* matrix, size_t rows, size_t columns, double* singular) {
  const ConstMap input(matrix, Index(rows), Index(columns));
  const Eigen::BDCSVD<Eigen::MatrixXd> svd{Eigen::MatrixXd(input)};
  if (svd.info() != Eigen::Success || !svd.singularValues().allFinite()) return false;
  VectorMap(singular, std::min(input.rows(), input.cols())) = svd.singularValues();
  return true;
}

}  // namespace thermograd::kernels
