#include "statistics/representation_spectrum.h"

#include <algorithm>

#include "kernels/representation_gram.h"
#include "kernels/representation_spectrum.h"
#include "statistics/representation.h"

namespace thermograd::statistics {
namespace {

// The first `rank` of `columns` columns.
std::vector<double> FirstColumns(const std::vector<double>& matrix, size_t columns, size_t rank) {
  std::vector<double> first;
  for (size_t start = 0; start < matrix.size(); start += columns) {
    const auto row = matrix.begin() + static_cast<ptrdiff_t>(start);
    first.insert(first.end(), row, row + static_cast<ptrdiff_t>(rank));
  }
  return first;
}

}  // namespace

std::optional<PrincipalComponents> FindComponents(std::span<const double> x, size_t n, size_t p) {
  PrincipalComponents components{.n = n, .p = p, .singular_values = {}, .axes = {}, .scores = {}};
  const std::vector<double> columns = StandardisedColumns(x, n, p);
  if (std::all_of(columns.begin(), columns.end(), [](double value) { return value == 0; })) {
    return components;
  }
  const size_t size = std::min(n, p);
  std::vector<double>& singular = components.singular_values;
  singular.resize(size);
  std::vector<double> u(n * size);
  std::vector<double> v(p * size);
  if (!kernels::ThinSvd(columns.data(), n, p, u.data(), singular.data(), v.data())) {
    return std::nullopt;
  }
  const double smallest = singular.front() * kRankTolerance;
  while (singular.back() <= smallest) singular.pop_back();
  components.scores = FirstColumns(u, size, components.rank());
  components.axes = FirstColumns(v, size, components.rank());
  return components;
}

ComponentPair PairOf(const PrincipalComponents& x, const PrincipalComponents& y) {
  ComponentPair pair{.x = x, .y = y, .overlap = std::vector<double>(x.rank() * y.rank())};
  kernels::AddTransposedProduct(x.scores.data(), x.rank(), y.scores.data(), y.rank(), x.n,
                                pair.overlap.data());
  return pair;
}

std::vector<double> CovarianceEigenvalues(std::span<const double> x, size_t n, size_t p) {
  const std::vector<double> columns = StandardisedColumns(x, n, p);
  const size_t size = std::min(n, p);
  std::vector<double> product(size * size);
  if (p < n) {
    kernels::ColumnGram(columns.data(), n, p, product.data());
  } else {
    kernels::RowGram(columns.data(), n, p, product.data());
  }
  std::vector<double> eigenvalues(size);
  if (!kernels::SymmetricEigenvalues(product.data(), size, eigenvalues.data())) return {};
  return eigenvalues;
}

}  // namespace thermograd::statistics
