#include "kernels/representation_gram.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "Eigen/Dense"
#include "kernels/parallel.h"

namespace thermograd::kernels {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Map = Eigen::Map<RowMajor>;
using ConstMap = Eigen::Map<const RowMajor>;

Eigen::Index Index(size_t size) { return static_cast<Eigen::Index>(size); }

// Rows of an output that one task makes: enough that packing the other factor, which every strip
// does again, costs little, and few enough that several threads end together.
size_t StripRows(size_t rows) {
  constexpr size_t kStrips = 8;
  constexpr size_t kFewestRows = 128;
  return std::max(kFewestRows, (rows + kStrips - 1) / kStrips);
}

// Rows of a triangle that are multiplied as if they were a square.
constexpr Eigen::Index kSmallTriangle = 64;

// Products (multiplied and added) that are worth the start of a thread.
constexpr double kWorthThreads = 1e7;

// Matrices of which dot products are faster than a matrix product.
constexpr Eigen::Index kFewMatrices = 12;

// Calls strip(first, rows) for strips of `rows` rows, on several threads if `products` are worth
// it. The strips are the same whatever the threads.
template <typename Function>
void ForStrips(size_t rows, double products, Function strip) {
  const size_t strip_rows = StripRows(rows);
  const size_t strips = (rows + strip_rows - 1) / strip_rows;
  const auto task = [&](size_t i) {
    // The last strips of a triangle are the longest: they go first.
    const size_t first = (strips - 1 - i) * strip_rows;
    strip(Index(first), Index(std::min(strip_rows, rows - first)));
  };
  if (products > kWorthThreads) {
    ParallelFor(strips, task);
  } else {
    for (size_t i = 0; i < strips; ++i) task(i);
  }
}

double Products(Eigen::Index m, Eigen::Index k, Eigen::Index n) {
  return static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
}

// Adds rows [first, first + rows) of FF', left of column first + rows and below the diagonal; above
// it they are spoilt here and there.
template <typename Matrix>
void AddLowerRows(const Matrix& factor, Eigen::Index first, Eigen::Index rows, Map* out) {
  const auto add = [&](Eigen::Index row, Eigen::Index row_count, Eigen::Index column,
                       Eigen::Index column_count) {
    out->block(row, column, row_count, column_count).noalias() +=
        factor.middleRows(row, row_count) * factor.middleRows(column, column_count).transpose();
  };
  if (first > 0) add(first, rows, 0, first);
  for (Eigen::Index row = first; row < first + rows; row += kSmallTriangle) {
    const Eigen::Index count = std::min(kSmallTriangle, first + rows - row);
    add(row, count, first, row + count - first);
  }
}

// Adds FF' to the lower triangle of `product`; above the diagonal it is spoilt here and there.
// Eigen's own rank update is slower than its general product of such strips.
template <typename Matrix>
void AddLowerSelfProduct(const Matrix& factor, double* product) {
  const Eigen::Index n = factor.rows();
  Map out(product, n, n);
  ForStrips(
      static_cast<size_t>(n), Products(n, factor.cols(), n) / 2,
      [&](Eigen::Index first, Eigen::Index rows) { AddLowerRows(factor, first, rows, &out); });
}

// Calls add(first, count) for blocks of the n samples that are summed over: every strip of the
// output reads all of a block, which a level-2 cache should hold.
template <typename Function>
void ForSamples(size_t n, Function add) {
  constexpr size_t kSamples = 384;
  for (size_t first = 0; first < n; first += kSamples) add(first, std::min(kSamples, n - first));
}

// out += left right, of a row-major `out`.
template <typename Left, typename Right>
void AddStrips(const Left& left, const Right& right, double* product) {
  Map out(product, left.rows(), right.cols());
  ForStrips(static_cast<size_t>(left.rows()), Products(left.rows(), left.cols(), right.cols()),
            [&](Eigen::Index first, Eigen::Index rows) {
              out.middleRows(first, rows).noalias() += left.middleRows(first, rows) * right;
            });
}

}  // namespace

int ScaleByPowerOfTwo(double* x, size_t count) {
  double largest = 0;
  for (size_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(x[i]));
  if (largest == 0) return 0;
  const int exponent = -std::ilogb(largest);
  // Two factors: 2^1074, which the smallest subnormal needs, is not a double.
  const double first = std::ldexp(1.0, exponent / 2);
  const double second = std::ldexp(1.0, exponent - exponent / 2);
  for (size_t i = 0; i < count; ++i) x[i] = x[i] * first * second;
  return exponent;
}

void CentreColumns(double* x, size_t n, size_t p) {
  if (n == 0) return;
  Map matrix(x, Index(n), Index(p));
  const Eigen::RowVectorXd first = matrix.row(0);
  matrix.rowwise() -= first;
  const Eigen::RowVectorXd mean = matrix.colwise().mean();
  matrix.rowwise() -= mean;
}

void ShiftRows(const double* x, size_t n, size_t p, double scale, const double* origin,
               double* rows, double* squared_norms, double* sum) {
  for (size_t i = 0; i < n; ++i) {
    const double* from = x + i * p;
    double* row = rows + i * p;
    for (size_t j = 0; j < p; ++j) row[j] = from[j] * scale - origin[j];
    for (size_t j = 0; j < p; ++j) sum[j] += row[j];
    squared_norms[i] = Eigen::Map<const Eigen::VectorXd>(row, Index(p)).squaredNorm();
  }
}

void AddWeightedRows(const double* x, size_t n, size_t p, const double* weights, double* sum) {
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < p; ++j) sum[j] += weights[i] * x[i * p + j];
  }
}

void RowGram(const double* x, size_t n, size_t p, double* gram) {
  std::fill_n(gram, n * n, 0.0);
  AddLowerSelfProduct(ConstMap(x, Index(n), Index(p)), gram);
  MirrorLower(gram, n);
}

void ColumnGram(const double* x, size_t n, size_t p, double* gram) {
  std::fill_n(gram, p * p, 0.0);
  AddLowerColumnGram(x, n, p, gram);
  MirrorLower(gram, p);
}

void AddLowerColumnGram(const double* x, size_t n, size_t p, double* sum) {
  ForSamples(n, [&](size_t first, size_t count) {
    AddLowerSelfProduct(ConstMap(x + first * p, Index(count), Index(p)).transpose(), sum);
  });
}

void MirrorLower(double* matrix, size_t n) {
  // By squares, which are transposed in a level-1 cache: along a column every element is in another
  // page, and rows a power of two apart share cache lines.
  constexpr size_t kSquare = 32;
  double square[kSquare][kSquare + 1];
  for (size_t row = 0; row < n; row += kSquare) {
    const size_t rows = std::min(kSquare, n - row);
    for (size_t column = 0; column <= row; column += kSquare) {
      const size_t columns = std::min(kSquare, n - column);
      for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < columns; ++j) square[j][i] = matrix[(row + i) * n + column + j];
      }
      for (size_t j = 0; j < columns; ++j) {
        const size_t above =
            column == row ? j + 1 : 0;  // of the square, what is above the diagonal
        if (above < rows) {
          std::copy(square[j] + above, square[j] + rows, matrix + (column + j) * n + row + above);
        }
      }
    }
  }
}

void AddTransposedProduct(const double* a, size_t p, const double* b, size_t q, size_t n,
                          double* sum) {
  ForSamples(n, [&](size_t first, size_t count) {
    AddStrips(ConstMap(a + first * p, Index(count), Index(p)).transpose(),
              ConstMap(b + first * q, Index(count), Index(q)), sum);
  });
}

void Product(const double* a, size_t m, size_t k, const double* b, size_t n, double* product) {
  std::fill_n(product, m * n, 0.0);
  AddStrips(ConstMap(a, Index(m), Index(k)), ConstMap(b, Index(k), Index(n)), product);
}

double SquaredNormOfProduct(const double* a, size_t m, const double* b, size_t n, size_t p) {
  const ConstMap left(a, Index(m), Index(p));
  const ConstMap right(b, Index(n), Index(p));
  std::vector<double> sums(m);  // by first row of the strip
  ForStrips(m, Products(left.rows(), left.cols(), right.rows()),
            [&](Eigen::Index first, Eigen::Index rows) {
              const RowMajor block = left.middleRows(first, rows) * right.transpose();
              sums[static_cast<size_t>(first)] = block.squaredNorm();
            });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
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

void GramProducts(const double* const* grams, size_t count, size_t n, double* off_diagonal,
                  double* diagonal) {
  // Elements of every matrix that are multiplied at a time: with 48 matrices they fill a level-2
  // cache only in part.
  constexpr size_t kBlock = 512;
  // Rows a power of two apart would share the lines of a level-1 cache.
  constexpr size_t kPadding = 8;
  // Parts of the sum, whatever the threads.
  constexpr size_t kParts = 8;
  const Eigen::Index size = Index(count);
  const auto add = [size](const RowMajor& block, Eigen::Index filled, RowMajor* sum) {
    const auto used = block.leftCols(filled);
    if (size > kFewMatrices) {
      sum->noalias() += used * used.transpose();
      return;
    }
    for (Eigen::Index a = 0; a < size; ++a) {
      for (Eigen::Index b = 0; b <= a; ++b) (*sum)(a, b) += used.row(a).dot(used.row(b));
    }
  };
  std::vector<RowMajor> sums(kParts, RowMajor::Zero(size, size));
  const auto part = [&](size_t index) {
    // Rows of the lower triangle with about as many elements in every part.
    const auto border = [n](size_t i) {
      return static_cast<size_t>(static_cast<double>(n) *
                                 std::sqrt(static_cast<double>(i) / kParts));
    };
    RowMajor block(size, kBlock + kPadding);
    size_t filled = 0;
    const size_t end = border(index + 1);
    for (size_t row = border(index); row < end; ++row) {
      for (size_t column = 0; column < row;) {
        const size_t length = std::min(row - column, kBlock - filled);
        for (size_t g = 0; g < count; ++g) {
          std::copy_n(grams[g] + row * n + column, length, block.row(Index(g)).data() + filled);
        }
        column += length;
        filled += length;
        if (filled == kBlock) {
          add(block, Index(filled), &sums[index]);
          filled = 0;
        }
      }
    }
    add(block, Index(filled), &sums[index]);
  };
  if (Products(size, size, Index(n) * Index(n)) > kWorthThreads) {
    ParallelFor(kParts, part);
  } else {
    for (size_t i = 0; i < kParts; ++i) part(i);
  }
  RowMajor diagonals(size, Index(n));
  for (size_t g = 0; g < count; ++g) {
    for (size_t i = 0; i < n; ++i) diagonals(Index(g), Index(i)) = grams[g][i * n + i];
  }
  RowMajor diagonal_sum = RowMajor::Zero(size, size);
  add(diagonals, Index(n), &diagonal_sum);
  for (size_t a = 0; a < count; ++a) {
    for (size_t b = 0; b <= a; ++b) {
      double sum = 0;
      for (const RowMajor& part_sum : sums) sum += part_sum(Index(a), Index(b));
      off_diagonal[a * count + b] = off_diagonal[b * count + a] = 2 * sum;
      diagonal[a * count + b] = diagonal[b * count + a] = diagonal_sum(Index(a), Index(b));
    }
  }
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
