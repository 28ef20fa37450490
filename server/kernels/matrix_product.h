#ifndef THERMOGRAD_KERNELS_MATRIX_PRODUCT_H_
#define THERMOGRAD_KERNELS_MATRIX_PRODUCT_H_

#include <cstddef>

#include "kernels/export.h"

namespace thermograd::kernels {

/// A matrix whose element (i, j) lies at data[i * row_stride + j * column_stride]. One of the
/// strides is 1: a block of a row-major matrix, or of its transpose.
struct StridedMatrix {
  const double* data = nullptr;
  size_t rows = 0;
  size_t columns = 0;
  size_t row_stride = 0;
  size_t column_stride = 1;
};

/// Adds x y' to `product`, row-major x.rows x y.rows. x and y have the same number of columns.
THERMOGRAD_KERNEL void AddProduct(const StridedMatrix& x, const StridedMatrix& y, double* product);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_MATRIX_PRODUCT_H_
