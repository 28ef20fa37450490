#include "metrics/canonical_correlation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "kernels/representation_gram.h"
#include "kernels/representation_spectrum.h"

namespace thermograd::metrics {
namespace {

using statistics::ComponentPair;
using statistics::PrincipalComponents;

double SumOfSquares(const std::vector<double>& values) {
  return std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
}

std::optional<Undefined> UndefinedIf(const ComponentPair& pair, size_t x_rank, size_t y_rank) {
  if (x_rank == 0 || y_rank == 0) return Undefined::kZeroDenominator;
  if (x_rank + 1 >= pair.x.n || y_rank + 1 >= pair.x.n) return Undefined::kTooFewSamples;
  return std::nullopt;
}

// Singular values of the rows x columns matrix, or nothing.
std::optional<std::vector<double>> SingularValues(const std::vector<double>& matrix, size_t rows,
                                                  size_t columns) {
  std::vector<double> singular(std::min(rows, columns));
  if (!kernels::SingularValues(matrix.data(), rows, columns, singular.data())) return std::nullopt;
  return singular;
}

// The correlations are cosines: rounding must not lift them above 1.
void Clip(std::vector<double>* correlations) {
  for (double& value : *correlations) value = std::min(value, 1.0);
}

Result Mean(const std::vector<double>& values) {
  return Finite(std::accumulate(values.begin(), values.end(), 0.0) /
                static_cast<double>(values.size()));
}

// Number of components that hold the fraction of the variance.
size_t Leading(const PrincipalComponents& components, double variance_fraction) {
  const double total = SumOfSquares(components.singular_values);
  double held = 0;
  size_t count = 0;
  // The tolerance keeps a fraction of 1 from asking for the rounding of the sum.
  while (count < components.rank() && held < variance_fraction * total * (1 - 0x1p-40)) {
    held += components.singular_values[count] * components.singular_values[count];
    ++count;
  }
  return count;
}

// sum_i alpha_i rho_i / sum_i alpha_i, weighted by the features of one side. `variates` (rank x
// count) holds in column i the canonical variate h_i in the basis of the side's scores.
Result WeightedMean(const PrincipalComponents& side, const std::vector<double>& variates,
                    const std::vector<double>& correlations) {
  const size_t rank = side.rank();
  const size_t count = correlations.size();
  // X'h_i = V S (U'h_i).
  std::vector<double> scaled = variates;
  for (size_t i = 0; i < rank; ++i) {
    for (size_t j = 0; j < count; ++j) scaled[i * count + j] *= side.singular_values[i];
  }
  std::vector<double> products(side.p * count);
  kernels::Product(side.axes.data(), side.p, rank, scaled.data(), count, products.data());
  double weighted = 0;
  double total = 0;
  for (size_t j = 0; j < side.p; ++j) {
    for (size_t i = 0; i < count; ++i) {
      const double weight = std::fabs(products[j * count + i]);
      weighted += weight * correlations[i];
      total += weight;
    }
  }
  return Ratio(weighted, total);
}

}  // namespace

CanonicalCorrelation Cca(const ComponentPair& pair, double ridge) {
  const size_t x_rank = pair.x.rank();
  const size_t y_rank = pair.y.rank();
  const std::optional<Undefined> undefined = UndefinedIf(pair, x_rank, y_rank);
  if (undefined && !(ridge > 0 && *undefined == Undefined::kTooFewSamples)) {
    return {*undefined, *undefined};
  }
  std::vector<double> overlap = pair.overlap;
  const auto shrink = [ridge](const PrincipalComponents& side, size_t i) {
    const double relative = side.singular_values[i] / side.singular_values[0];
    return relative / std::sqrt(relative * relative + ridge);
  };
  if (ridge > 0) {
    for (size_t i = 0; i < x_rank; ++i) {
      for (size_t j = 0; j < y_rank; ++j) {
        overlap[i * y_rank + j] *= shrink(pair.x, i) * shrink(pair.y, j);
      }
    }
  }
  std::optional<std::vector<double>> correlations = SingularValues(overlap, x_rank, y_rank);
  if (!correlations) return {Undefined::kNotConverged, Undefined::kNotConverged};
  Clip(&*correlations);
  return {.mean = Mean(*correlations),
          .mean_squared =
              Finite(SumOfSquares(*correlations) / static_cast<double>(correlations->size()))};
}

Result Svcca(const ComponentPair& pair, double variance_fraction) {
  const size_t x_count = Leading(pair.x, variance_fraction);
  const size_t y_count = Leading(pair.y, variance_fraction);
  if (const auto undefined = UndefinedIf(pair, x_count, y_count)) return *undefined;
  std::vector<double> overlap(x_count * y_count);
  for (size_t i = 0; i < x_count; ++i) {
    for (size_t j = 0; j < y_count; ++j) {
      overlap[i * y_count + j] = pair.overlap[i * pair.y.rank() + j];
    }
  }
  std::optional<std::vector<double>> correlations = SingularValues(overlap, x_count, y_count);
  if (!correlations) return Undefined::kNotConverged;
  Clip(&*correlations);
  return Mean(*correlations);
}

Result Pwcca(const ComponentPair& pair) {
  const size_t x_rank = pair.x.rank();
  const size_t y_rank = pair.y.rank();
  if (const auto undefined = UndefinedIf(pair, x_rank, y_rank)) return *undefined;
  const size_t count = std::min(x_rank, y_rank);
  std::vector<double> correlations(count);
  std::vector<double> x_variates(x_rank * count);
  std::vector<double> y_variates(y_rank * count);
  if (!kernels::ThinSvd(pair.overlap.data(), x_rank, y_rank, x_variates.data(), correlations.data(),
                        y_variates.data())) {
    return Undefined::kNotConverged;
  }
  Clip(&correlations);
  const Result x = WeightedMean(pair.x, x_variates, correlations);
  const Result y = WeightedMean(pair.y, y_variates, correlations);
  if (x_rank < y_rank) return x;
  if (y_rank < x_rank) return y;
  if (std::holds_alternative<Undefined>(x)) return x;
  if (std::holds_alternative<Undefined>(y)) return y;
  return Finite((std::get<double>(x) + std::get<double>(y)) / 2);
}

Result Procrustes(const ComponentPair& pair) {
  const size_t x_rank = pair.x.rank();
  const size_t y_rank = pair.y.rank();
  if (x_rank == 0 || y_rank == 0) return Undefined::kZeroDenominator;
  // Y'X = V_y S_y U_y' U_x S_x V_x' has the singular values of S_y U_y' U_x S_x.
  std::vector<double> product = pair.overlap;
  for (size_t i = 0; i < x_rank; ++i) {
    for (size_t j = 0; j < y_rank; ++j) {
      product[i * y_rank + j] *= pair.x.singular_values[i] * pair.y.singular_values[j];
    }
  }
  const std::optional<std::vector<double>> singular = SingularValues(product, x_rank, y_rank);
  if (!singular) return Undefined::kNotConverged;
  return Ratio(std::accumulate(singular->begin(), singular->end(), 0.0),
               std::sqrt(SumOfSquares(pair.x.singular_values)) *
                   std::sqrt(SumOfSquares(pair.y.singular_values)));
}

}  // namespace thermograd::metrics
