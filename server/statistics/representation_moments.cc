#include "statistics/representation_moments.h"

#include <algorithm>
#include <cmath>

#include "kernels/reduce.h"
#include "kernels/representation_gram.h"
#include "kernels/representation_spectrum.h"

namespace thermograd::statistics {
namespace {

double Dot(std::span<const double> a, std::span<const double> b) {
  kernels::Lanes lanes;
  kernels::AddDot(a.data(), b.data(), a.size(), 0, &lanes);
  return kernels::Total(lanes);
}

std::vector<double> Transposed(const std::vector<double>& matrix, size_t rows, size_t columns) {
  std::vector<double> transposed(matrix.size());
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < columns; ++j) transposed[j * rows + i] = matrix[i * columns + j];
  }
  return transposed;
}

}  // namespace

CrossMoments::CrossMoments(size_t p, size_t q) {
  x_.width = p;
  y_.width = q;
  x_.sum.resize(p);
  y_.sum.resize(q);
  const auto size = [](size_t a, size_t b, Pair* pair) {
    pair->products.resize(a * b);
    pair->a_by_b_squares.resize(a);
    pair->b_by_a_squares.resize(b);
  };
  size(p, p, &xx_);
  size(q, q, &yy_);
  size(p, q, &xy_);
}

uint64_t CrossMoments::Bytes(uint64_t p, uint64_t q) {
  return (p * p + q * q + p * q + 6 * (p + q)) * sizeof(double);
}

void CrossMoments::AddRows(std::span<const double> input, bool first, Side* side) {
  const size_t width = side->width;
  if (first) {
    side->origin.assign(input.begin(), input.begin() + static_cast<ptrdiff_t>(width));
    double largest = 0;
    for (const double value : side->origin) largest = std::max(largest, std::fabs(value));
    // Clamped so that the scale itself stays a number that can be multiplied by.
    if (largest > 0) side->scale = std::ldexp(1.0, -std::clamp(std::ilogb(largest), -1000, 1000));
    for (double& value : side->origin) value *= side->scale;
  }
  side->rows.resize(input.size());
  side->norms.resize(input.size() / width);
  kernels::ShiftRows(input.data(), side->norms.size(), width, side->scale, side->origin.data(),
                     side->rows.data(), side->norms.data(), side->sum.data());
  for (const double norm : side->norms) side->squares += norm;
}

void CrossMoments::AddWeighted(const Side& side, std::span<const double> weights,
                               std::vector<double>* sum) {
  kernels::AddWeightedRows(side.rows.data(), weights.size(), side.width, weights.data(),
                           sum->data());
}

void CrossMoments::AddSelf(const Side& side, Pair* pair) {
  kernels::AddLowerColumnGram(side.rows.data(), side.norms.size(), side.width,
                              pair->products.data());
  AddWeighted(side, side.norms, &pair->a_by_b_squares);
  pair->b_by_a_squares = pair->a_by_b_squares;
  pair->squares_product += Dot(side.norms, side.norms);
}

void CrossMoments::AddPair(const Side& a, const Side& b, Pair* pair) {
  kernels::AddTransposedProduct(a.rows.data(), a.width, b.rows.data(), b.width, a.norms.size(),
                                pair->products.data());
  AddWeighted(a, b.norms, &pair->a_by_b_squares);
  AddWeighted(b, a.norms, &pair->b_by_a_squares);
  pair->squares_product += Dot(a.norms, b.norms);
}

void CrossMoments::Add(std::span<const double> x, std::span<const double> y, size_t rows) {
  if (rows == 0) return;
  AddRows(x, samples_ == 0, &x_);
  AddRows(y, samples_ == 0, &y_);
  AddSelf(x_, &xx_);
  AddSelf(y_, &yy_);
  AddPair(x_, y_, &xy_);
  samples_ += rows;
}

std::vector<double> CrossMoments::Products(const Side& a, const Side& b, const Pair& pair) const {
  std::vector<double> products = pair.products;
  if (&a == &b) kernels::MirrorLower(products.data(), a.width);
  return products;
}

std::vector<double> CrossMoments::CentredProducts(const Side& a, const Side& b,
                                                  const Pair& pair) const {
  std::vector<double> products = Products(a, b, pair);
  const auto n = static_cast<double>(samples_);
  for (size_t i = 0; i < a.width; ++i) {
    for (size_t j = 0; j < b.width; ++j) products[i * b.width + j] -= a.sum[i] * (b.sum[j] / n);
  }
  return products;
}

HsicSums CrossMoments::Biased() const {
  const auto norm = [this](const Side& a, const Side& b, const Pair& pair) {
    const std::vector<double> products = CentredProducts(a, b, pair);
    return Dot(products, products);
  };
  return {.xy = norm(x_, y_, xy_), .xx = norm(x_, x_, xx_), .yy = norm(y_, y_, yy_)};
}

double CrossMoments::UnbiasedOf(const Side& a, const Side& b, const Pair& pair) const {
  // K = AA' and L = BB' about the origin: HSIC_1 does not see a shift of the samples.
  const auto n = static_cast<double>(samples_);
  const std::vector<double> products = Products(a, b, pair);
  const double product = Dot(products, products) - pair.squares_product;
  const double k_sum = Dot(a.sum, a.sum) - a.squares;
  const double l_sum = Dot(b.sum, b.sum) - b.squares;
  double row_sum_product =
      pair.squares_product - Dot(pair.a_by_b_squares, a.sum) - Dot(pair.b_by_a_squares, b.sum);
  for (size_t i = 0; i < a.width; ++i) {
    row_sum_product += a.sum[i] * Dot({products.data() + i * b.width, b.width}, b.sum);
  }
  return (product + k_sum * l_sum / ((n - 1) * (n - 2)) - 2 / (n - 2) * row_sum_product) /
         (n * (n - 3));
}

HsicSums CrossMoments::Unbiased() const {
  return {
      .xy = UnbiasedOf(x_, y_, xy_), .xx = UnbiasedOf(x_, x_, xx_), .yy = UnbiasedOf(y_, y_, yy_)};
}

bool CrossMoments::FindSide(const Side& side, const Pair& pair,
                            PrincipalComponents* components) const {
  const size_t width = side.width;
  components->n = samples_;
  components->p = width;
  const std::vector<double> scatter = CentredProducts(side, side, pair);
  std::vector<double> eigenvalues(width);
  std::vector<double> eigenvectors(width * width);
  if (!kernels::SymmetricEigenvectors(scatter.data(), width, eigenvalues.data(),
                                      eigenvectors.data())) {
    return false;
  }
  const double smallest = std::max(eigenvalues.back(), 0.0) * kRankTolerance * kRankTolerance;
  size_t rank = 0;
  while (rank < width && eigenvalues[width - 1 - rank] > smallest) ++rank;
  components->singular_values.resize(rank);
  components->axes.resize(width * rank);
  for (size_t r = 0; r < rank; ++r) {
    const size_t column = width - 1 - r;
    components->singular_values[r] = std::sqrt(eigenvalues[column]);
    for (size_t i = 0; i < width; ++i) {
      components->axes[i * rank + r] = eigenvectors[i * width + column];
    }
  }
  return true;
}

std::optional<CrossMoments::Components> CrossMoments::FindComponents() const {
  Components components;
  if (!FindSide(x_, xx_, &components.x) || !FindSide(y_, yy_, &components.y)) return std::nullopt;
  // U_x' U_y = S_x^-1 V_x' (X'Y) V_y S_y^-1.
  const size_t x_rank = components.x.rank();
  const size_t y_rank = components.y.rank();
  const std::vector<double> products = CentredProducts(x_, y_, xy_);
  std::vector<double> right(x_.width * y_rank);
  kernels::Product(products.data(), x_.width, y_.width, components.y.axes.data(), y_rank,
                   right.data());
  const std::vector<double> x_axes = Transposed(components.x.axes, x_.width, x_rank);
  components.overlap.resize(x_rank * y_rank);
  kernels::Product(x_axes.data(), x_rank, x_.width, right.data(), y_rank,
                   components.overlap.data());
  for (size_t i = 0; i < x_rank; ++i) {
    for (size_t j = 0; j < y_rank; ++j) {
      components.overlap[i * y_rank + j] /=
          components.x.singular_values[i] * components.y.singular_values[j];
    }
  }
  return components;
}

}  // namespace thermograd::statistics
