#include "statistics/representation.h"

#include <algorithm>

namespace thermograd::statistics {
namespace {

double UnbiasedHsicOf(const Gram& k, const Gram& l) {
  const kernels::GramSums sums = kernels::SumGrams(k.values.data(), l.values.data(), k.n);
  const auto n = static_cast<double>(k.n);
  return (sums.product_off_diagonal + sums.sum_x * sums.sum_y / ((n - 1) * (n - 2)) -
          2 / (n - 2) * sums.row_sum_product) /
         (n * (n - 3));
}

}  // namespace

Gram CentredGram(std::span<const double> x, size_t n, size_t p) {
  Gram gram{.n = n, .values = std::vector<double>(n * n)};
  kernels::CentredGram(x.data(), n, p, gram.values.data());
  return gram;
}

std::vector<double> CovarianceEigenvalues(std::span<const double> x, size_t n, size_t p) {
  const size_t size = std::min(n, p);
  std::vector<double> product(size * size);
  if (p < n) {
    kernels::CentredScatter(x.data(), n, p, product.data());
  } else {
    kernels::CentredGram(x.data(), n, p, product.data());
  }
  std::vector<double> eigenvalues(size);
  if (!kernels::SymmetricEigenvalues(product.data(), size, eigenvalues.data())) return {};
  return eigenvalues;
}

void HsicSums::Merge(const HsicSums& other) {
  xy += other.xy;
  xx += other.xx;
  yy += other.yy;
}

HsicSums BiasedHsic(const Gram& x, const Gram& y) {
  const auto product = [](const Gram& k, const Gram& l) {
    return kernels::SumGrams(k.values.data(), l.values.data(), k.n).product;
  };
  return {.xy = product(x, y), .xx = product(x, x), .yy = product(y, y)};
}

HsicSums UnbiasedHsic(const Gram& x, const Gram& y) {
  return {.xy = UnbiasedHsicOf(x, y), .xx = UnbiasedHsicOf(x, x), .yy = UnbiasedHsicOf(y, y)};
}

}  // namespace thermograd::statistics
