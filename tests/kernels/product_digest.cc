// Prints products of matrices, each as its entries' largest magnitude and a few sums of them that
// no other order of summation should change by more than rounding.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <utility>
#include <vector>

#include "kernels/matrix_product.h"
#include "kernels/representation_gram.h"

namespace thermograd::kernels {
namespace {

std::vector<double> Random(size_t count, unsigned seed) {
  std::mt19937_64 generator(seed);
  // Not std::normal_distribution: its digits are the library's.
  std::vector<double> x(count);
  for (double& value : x) value = static_cast<double>(generator()) * 0x1p-63 - 1;
  return x;
}

// The matrix over its largest magnitude, along a few fixed directions.
void Print(const char* name, const std::vector<double>& matrix) {
  double largest = 0;
  for (const double value : matrix) largest = std::max(largest, std::abs(value));
  std::printf("%s %.17g", name, largest);
  for (unsigned direction = 0; direction < 4; ++direction) {
    const std::vector<double> weights = Random(matrix.size(), 100 + direction);
    double sum = 0;
    for (size_t i = 0; i < matrix.size(); ++i) sum += weights[i] * (matrix[i] / largest);
    std::printf(" %.17g", sum / std::sqrt(static_cast<double>(matrix.size())));
  }
  std::printf("\n");
}

void PrintAll() {
  constexpr size_t kRows = 700, kColumns = 300, kOther = 200, kMatrices = 14;
  const std::vector<double> x = Random(kRows * kColumns, 1);
  const std::vector<double> y = Random(kRows * kOther, 2);
  std::vector<double> rows(kRows * kRows);
  RowGram(x.data(), kRows, kColumns, rows.data());
  Print("RowGram", rows);
  std::vector<double> columns(kColumns * kColumns);
  ColumnGram(x.data(), kRows, kColumns, columns.data());
  Print("ColumnGram", columns);
  std::vector<double> cross(kColumns * kOther);
  AddTransposedProduct(x.data(), kColumns, y.data(), kOther, kRows, cross.data());
  Print("AddTransposedProduct", cross);
  std::vector<double> product(kRows * kOther);
  Product(x.data(), kRows, kColumns, cross.data(), kOther, product.data());
  Print("Product", product);
  Print("SquaredNormOfProduct", {SquaredNormOfProduct(x.data(), kRows, x.data(), kRows, kColumns)});
  std::vector<double> strided(kRows * kRows);
  const StridedMatrix view{.data = x.data(),
                           .rows = kRows,
                           .columns = kColumns,
                           .row_stride = kColumns,
                           .column_stride = 1};
  AddProduct(view, view, strided.data());
  Print("AddProduct", strided);
  CentreGram(rows.data(), kRows);
  Print("CentreGram", rows);
  std::vector<std::vector<double>> matrices;
  std::vector<const double*> grams;
  for (unsigned i = 0; i < kMatrices; ++i) {
    const std::vector<double> samples = Random(kOther * (10 + i), i);
    std::vector<double> gram(kOther * kOther);
    RowGram(samples.data(), kOther, 10 + i, gram.data());
    CentreGram(gram.data(), kOther);
    grams.push_back(matrices.emplace_back(std::move(gram)).data());
  }
  std::vector<double> off_diagonal(kMatrices * kMatrices);
  std::vector<double> diagonal(kMatrices * kMatrices);
  GramProducts(grams.data(), kMatrices, kOther, off_diagonal.data(), diagonal.data());
  Print("GramProducts", off_diagonal);
  Print("GramProductsDiagonal", diagonal);
}

}  // namespace
}  // namespace thermograd::kernels

int main() { thermograd::kernels::PrintAll(); }
