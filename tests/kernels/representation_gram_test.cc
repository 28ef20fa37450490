#include "kernels/representation_gram.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "kernels/parallel.h"

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

TEST(GramProducts, SeparateTheDiagonal) {
  const std::vector<double> k = {1, 2, 2, 3};
  const std::vector<double> l = {5, 7, 7, 11};
  const double* const grams[] = {k.data(), l.data()};
  std::vector<double> off_diagonal(4);
  std::vector<double> diagonal(4);
  GramProducts(grams, 2, 2, off_diagonal.data(), diagonal.data());
  EXPECT_THAT(off_diagonal, ElementsAre(8, 28, 28, 98));
  EXPECT_THAT(diagonal, ElementsAre(10, 38, 38, 146));
}

std::vector<double> Random(size_t count, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> x(count);
  for (double& value : x) value = normal(generator);
  return x;
}

// Larger than the strips, and not a multiple of them.
TEST(LargeProducts, FollowTheirDefinition) {
  constexpr size_t kRows = 300, kColumns = 170, kOther = 150;
  const std::vector<double> x = Random(kRows * kColumns, 1);
  const std::vector<double> y = Random(kRows * kOther, 2);
  std::vector<double> rows(kRows * kRows);
  RowGram(x.data(), kRows, kColumns, rows.data());
  for (size_t i = 0; i < kRows; ++i) {
    for (size_t j = 0; j < kRows; ++j) {
      double expected = 0;
      for (size_t c = 0; c < kColumns; ++c) expected += x[i * kColumns + c] * x[j * kColumns + c];
      ASSERT_NEAR(rows[i * kRows + j], expected, 1e-11);
      ASSERT_EQ(rows[i * kRows + j], rows[j * kRows + i]);
    }
  }
  std::vector<double> columns(kColumns * kColumns);
  ColumnGram(x.data(), kRows, kColumns, columns.data());
  std::vector<double> lower(kColumns * kColumns);
  AddLowerColumnGram(x.data(), kRows, kColumns, lower.data());
  MirrorLower(lower.data(), kColumns);
  EXPECT_EQ(lower, columns);
  std::vector<double> cross(kColumns * kOther, 1);
  AddTransposedProduct(x.data(), kColumns, y.data(), kOther, kRows, cross.data());
  for (size_t i = 0; i < kColumns; ++i) {
    for (size_t j = 0; j < kOther; ++j) {
      double expected = 1;
      for (size_t r = 0; r < kRows; ++r) expected += x[r * kColumns + i] * y[r * kOther + j];
      ASSERT_NEAR(cross[i * kOther + j], expected, 1e-11);
    }
  }
}

TEST(LargeProducts, AreTheSameForAnyNumberOfThreads) {
  constexpr size_t kRows = 400, kColumns = 200, kMatrices = 14;
  const std::vector<double> x = Random(kRows * kColumns, 1);
  std::vector<std::vector<double>> matrices;
  for (unsigned i = 0; i < kMatrices; ++i) matrices.push_back(Random(kRows * kRows, i));
  std::vector<const double*> grams;
  grams.reserve(kMatrices);
  for (const auto& matrix : matrices) grams.push_back(matrix.data());
  const auto results = [&](size_t threads) {
    SetMaxThreads(threads);
    std::vector<std::vector<double>> all = {
        std::vector<double>(kRows * kRows), std::vector<double>(kColumns * kColumns),
        std::vector<double>(kMatrices * kMatrices), std::vector<double>(kMatrices * kMatrices)};
    RowGram(x.data(), kRows, kColumns, all[0].data());
    AddTransposedProduct(x.data(), kColumns, x.data(), kColumns, kRows, all[1].data());
    GramProducts(grams.data(), kMatrices, kRows, all[2].data(), all[3].data());
    all.push_back({SquaredNormOfProduct(x.data(), kRows, x.data(), kRows, kColumns)});
    return all;
  };
  const auto alone = results(1);
  EXPECT_EQ(results(2), alone);
  EXPECT_EQ(results(5), alone);
  SetMaxThreads(0);
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
