#include "kernels/matrix_product.h"

#include "Eigen/Dense"

namespace thermograd::kernels {
namespace {

using Eigen::Dynamic;
using RowMajor = Eigen::Matrix<double, Dynamic, Dynamic, Eigen::RowMajor>;
using ColumnMajor = Eigen::Matrix<double, Dynamic, Dynamic, Eigen::ColMajor>;

// Eigen multiplies in place only what is contiguous in one direction at compile time; a map with
// two free strides would be copied first.
template <typename Function>
void WithMap(const StridedMatrix& x, Function function) {
  const auto rows = static_cast<Eigen::Index>(x.rows);
  const auto columns = static_cast<Eigen::Index>(x.columns);
  if (x.column_stride == 1) {
    function(Eigen::Map<const RowMajor, 0, Eigen::OuterStride<>>(
        x.data, rows, columns, Eigen::OuterStride<>(static_cast<Eigen::Index>(x.row_stride))));
  } else {
    function(Eigen::Map<const ColumnMajor, 0, Eigen::OuterStride<>>(
        x.data, rows, columns, Eigen::OuterStride<>(static_cast<Eigen::Index>(x.column_stride))));
  }
}

}  // namespace

void AddProduct(const StridedMatrix& x, const StridedMatrix& y, double* product) {
  Eigen::Map<RowMajor> out(product, static_cast<Eigen::Index>(x.rows),
                           static_cast<Eigen::Index>(y.rows));
  WithMap(x, [&](const auto& left) {
    WithMap(y, [&](const auto& right) { out.noalias() += left * right.transpose(); });
  });
}

}  // namespace thermograd::kernels
