#include "kernels/representation.h"

#include <vector>

#include "gtest/gtest.h"

namespace thermograd::kernels {
namespace {

// Columns (1, 3) and (2, -2) around their means.
constexpr double kX[] = {2, 0, 4, -4};

TEST(CentredGram, RemovesTheColumnMeans) {
  std::vector<double> gram(4);
  CentredGram(kX, 2, 2, gram.data());
  EXPECT_EQ(gram, (std::vector<double>{5, -5, -5, 5}));
}

TEST(CentredScatter, SharesItsNonZeroEigenvaluesWithTheGram) {
  std::vector<double> scatter(4);
  CentredScatter(kX, 2, 2, scatter.data());
  EXPECT_EQ(scatter, (std::vector<double>{2, -4, -4, 8}));
  std::vector<double> eigenvalues(2);
  ASSERT_TRUE(SymmetricEigenvalues(scatter.data(), 2, eigenvalues.data()));
  EXPECT_NEAR(eigenvalues[0], 0, 1e-14);
  EXPECT_NEAR(eigenvalues[1], 10, 1e-13);
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

}  // namespace
}  // namespace thermograd::kernels
