#include "metrics/nearest_neighbours.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "metrics/cka.h"

namespace thermograd::metrics {
namespace {

using statistics::Neighbours;

// Indices that are among the k nearest of sample i on both sides.
void Shared(const Neighbours& x, const Neighbours& y, size_t i, std::vector<uint32_t>* shared) {
  shared->clear();
  const auto row = [i](const Neighbours& side) {
    return std::span<const uint32_t>(side.indices).subspan(i * side.k, side.k);
  };
  std::set_intersection(row(x).begin(), row(x).end(), row(y).begin(), row(y).end(),
                        std::back_inserter(*shared));
}

// HSIC_1 of the two matrices with zeros at all but the shared neighbours. These are not symmetric:
// as in the authors' code, the first term is of one with the transpose of the other. 1'KL1 depends
// on the order of the sides; here it is the mean of both orders.
double RestrictedHsic(std::span<const double> k, const Neighbours& k_neighbours,
                      std::span<const double> l, const Neighbours& l_neighbours) {
  const size_t n = k_neighbours.n;
  std::vector<uint8_t> mask(n * n);
  std::vector<uint32_t> shared;
  for (size_t i = 0; i < n; ++i) {
    Shared(k_neighbours, l_neighbours, i, &shared);
    for (const uint32_t j : shared) mask[i * n + j] = 1;
  }
  double product = 0;
  double k_sum = 0;
  double l_sum = 0;
  std::vector<double> k_columns(n), k_rows(n), l_columns(n), l_rows(n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      if (mask[i * n + j] == 0) continue;
      if (mask[j * n + i] != 0) product += k[i * n + j] * l[j * n + i];
      k_sum += k[i * n + j];
      l_sum += l[i * n + j];
      k_columns[j] += k[i * n + j];
      k_rows[i] += k[i * n + j];
      l_columns[j] += l[i * n + j];
      l_rows[i] += l[i * n + j];
    }
  }
  double row_sum_product = 0;
  for (size_t i = 0; i < n; ++i) {
    row_sum_product += (k_columns[i] * l_rows[i] + l_columns[i] * k_rows[i]) / 2;
  }
  const auto m = static_cast<double>(n);
  return (product + k_sum * l_sum / ((m - 1) * (m - 2)) - 2 / (m - 2) * row_sum_product) /
         (m * (m - 3));
}

}  // namespace

Result MutualNeighbours(const Neighbours& x, const Neighbours& y) {
  std::vector<uint32_t> shared;
  size_t total = 0;
  for (size_t i = 0; i < x.n; ++i) {
    Shared(x, y, i, &shared);
    total += shared.size();
  }
  return Ratio(static_cast<double>(total), static_cast<double>(x.n * x.k));
}

Result Cknna(std::span<const double> x, const Neighbours& x_neighbours, std::span<const double> y,
             const Neighbours& y_neighbours) {
  if (x_neighbours.n < 4 || x_neighbours.k < 2) return Undefined::kTooFewSamples;
  return Cka({.xy = RestrictedHsic(x, x_neighbours, y, y_neighbours),
              .xx = RestrictedHsic(x, x_neighbours, x, x_neighbours),
              .yy = RestrictedHsic(y, y_neighbours, y, y_neighbours)});
}

}  // namespace thermograd::metrics
