#include "kernels/matrix_product.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::kernels {
namespace {

double At(const StridedMatrix& x, size_t i, size_t j) {
  return x.data[i * x.row_stride + j * x.column_stride];
}

TEST(MatrixProduct, AddsTheProductOfBlocksStoredEitherWay) {
  constexpr size_t kRows = 20, kColumns = 30;
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::vector<double> a(kRows * kColumns);
  std::vector<double> b(kRows * kColumns);
  for (double& value : a) value = normal(random);
  for (double& value : b) value = normal(random);
  // Blocks of kRows x kColumns matrices, and of their transposes.
  const StridedMatrix views[] = {
      {.data = a.data() + 3 * kColumns + 4,
       .rows = 5,
       .columns = 7,
       .row_stride = kColumns,
       .column_stride = 1},
      {.data = b.data() + 2 * kColumns + 1,
       .rows = 6,
       .columns = 7,
       .row_stride = 1,
       .column_stride = kColumns},
  };
  for (const StridedMatrix& x : views) {
    for (const StridedMatrix& y : views) {
      std::vector<double> product(x.rows * y.rows, 1);
      AddProduct(x, y, product.data());
      for (size_t i = 0; i < x.rows; ++i) {
        for (size_t j = 0; j < y.rows; ++j) {
          double expected = 1;
          for (size_t c = 0; c < x.columns; ++c) expected += At(x, i, c) * At(y, j, c);
          EXPECT_NEAR(product[i * y.rows + j], expected, 1e-13);
        }
      }
    }
  }
}

TEST(MatrixProduct, OneRowAndOneColumn) {
  const double x[] = {1, 2, 3};
  double dot = 0;
  AddProduct({.data = x, .rows = 1, .columns = 3, .row_stride = 3, .column_stride = 1},
             {.data = x, .rows = 1, .columns = 3, .row_stride = 1, .column_stride = 1}, &dot);
  EXPECT_EQ(dot, 14);
  std::vector<double> outer(9);
  AddProduct({.data = x, .rows = 3, .columns = 1, .row_stride = 1, .column_stride = 3},
             {.data = x, .rows = 3, .columns = 1, .row_stride = 1, .column_stride = 1},
             outer.data());
  EXPECT_EQ(outer, (std::vector<double>{1, 2, 3, 2, 4, 6, 3, 6, 9}));
}

}  // namespace
}  // namespace thermograd::kernels
