#include "kernels/representation_gram.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"

namespace thermograd::kernels {
namespace {

using testing::ElementsAre;

TEST(CentreColumns, RemovesTheColumnMeans) {
  std::vector<double> x = {2, 0, 4, -4};
  CentreColumns(x.data(), 2, 2);
  EXPECT_THAT(x, ElementsAre(-1, 2, 1, -2));
}

TEST(CentreColumns, LeavesNothingOfAConstant) {
  // The mean of seven times 0.1 is not 0.1 in binary arithmetic.
  std::vector<double> x(7, 0.1);
  CentreColumns(x.data(), 7, 1);
  EXPECT_THAT(x, testing::Each(0.0));
}

TEST(ScaleByPowerOfTwo, RoundsNothingFromSubnormalsToTheLargestNumber) {
  const double smallest = std::numeric_limits<double>::denorm_min();
  const double largest = std::numeric_limits<double>::max();
  std::vector<double> small = {3 * smallest, -smallest, 0};
  ScaleByPowerOfTwo(small.data(), small.size());
  EXPECT_THAT(small, ElementsAre(1.5, -0.5, 0));
  std::vector<double> large = {largest, -largest / 2};
  ScaleByPowerOfTwo(large.data(), large.size());
  EXPECT_THAT(large, ElementsAre(largest * 0x1p-1023, -largest * 0x1p-1024));
  std::vector<double> zero = {0, 0};
  ScaleByPowerOfTwo(zero.data(), zero.size());
  EXPECT_THAT(zero, ElementsAre(0, 0));
}

TEST(Grams, OfRowsAndOfColumns) {
  const std::vector<double> x = {1, 2, 3, 4, 5, 6};
  std::vector<double> rows(4);
  RowGram(x.data(), 2, 3, rows.data());
  EXPECT_THAT(rows, ElementsAre(14, 32, 32, 77));
  std::vector<double> columns(9);
  ColumnGram(x.data(), 2, 3, columns.data());
  EXPECT_THAT(columns, ElementsAre(17, 22, 27, 22, 29, 36, 27, 36, 45));
}

TEST(Products, AreThoseOfMatrices) {
  const std::vector<double> a = {1, 2, 3, 4};
  const std::vector<double> b = {5, 6, 7, 8};
  std::vector<double> product(4);
  Product(a.data(), 2, 2, b.data(), 2, product.data());
  EXPECT_THAT(product, ElementsAre(19, 22, 43, 50));
  AddTransposedProduct(a.data(), 2, b.data(), 2, 2, product.data());
  EXPECT_THAT(product, ElementsAre(19 + 26, 22 + 30, 43 + 38, 50 + 44));
}

TEST(SquaredNormOfProduct, IsTheSameInBlocks) {
  // More rows than one block has; all products are 2.
  const std::vector<double> a(130, 1);
  const std::vector<double> b(3, 2);
  EXPECT_EQ(SquaredNormOfProduct(a.data(), 130, b.data(), 3, 1), 130 * 3 * 4);
}

TEST(CentreGram, IsTheGramOfCentredColumns) {
  const std::vector<double> x = {2, 0, 4, -4, 1, 3};
  std::vector<double> gram(9);
  RowGram(x.data(), 3, 2, gram.data());
  CentreGram(gram.data(), 3);
  std::vector<double> centred = x;
  CentreColumns(centred.data(), 3, 2);
  std::vector<double> expected(9);
  RowGram(centred.data(), 3, 2, expected.data());
  for (size_t i = 0; i < 9; ++i) EXPECT_NEAR(gram[i], expected[i], 1e-13);
}

TEST(SquaredDistances, AreNeverNegative) {
  const std::vector<double> gram = {1, 1 + 1e-15, 1 + 1e-15, 1};
  std::vector<double> distances(4);
  SquaredDistances(gram.data(), 2, distances.data());
  EXPECT_THAT(distances, ElementsAre(0, 0, 0, 0));
  const std::vector<double> apart = {9, 0, 0, 16};
  SquaredDistances(apart.data(), 2, distances.data());
  EXPECT_THAT(distances, ElementsAre(0, 25, 25, 0));
}

TEST(SumGrams, SeparatesTheDiagonal) {
  const std::vector<double> k = {1, 2, 2, 3};
  const std::vector<double> l = {5, 7, 7, 11};
  const GramSums sums = SumGrams(k.data(), l.data(), 2);
  EXPECT_EQ(sums.product, 5 + 28 + 33);
  EXPECT_EQ(sums.product_off_diagonal, 28);
  EXPECT_EQ(sums.sum_x, 4);
  EXPECT_EQ(sums.sum_y, 14);
  EXPECT_EQ(sums.row_sum_product, 28);
}

TEST(SumPermutedGrams, PermutesRowsAndColumnsAlike) {
  const std::vector<double> k = {1, 2, 3, 2, 4, 5, 3, 5, 6};
  const std::vector<double> l = {7, 8, 9, 8, 1, 2, 9, 2, 3};
  const std::vector<uint32_t> order = {2, 0, 1};
  double expected = 0;
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) expected += k[i * 3 + j] * l[order[i] * 3 + order[j]];
  }
  EXPECT_EQ(SumPermutedGrams(k.data(), l.data(), 3, order.data()), expected);
}

}  // namespace
}  // namespace thermograd::kernels
