#include "metrics/representation_collapse.h"

#include <algorithm>
#include <cmath>

#include "kernels/representation_neighbours.h"
#include "statistics/representation_spectrum.h"

namespace thermograd::metrics {
namespace {

struct Sums {
  double sum = 0;
  double squares = 0;
  double largest = 0;
};

Sums SumsOf(std::span<const double> eigenvalues) {
  Sums sums;
  for (const double eigenvalue : eigenvalues) {
    const double value = std::max(eigenvalue, 0.0);
    sums.sum += value;
    sums.squares += value * value;
    sums.largest = std::max(sums.largest, value);
  }
  return sums;
}

}  // namespace

Result EffectiveRank(std::span<const double> eigenvalues) {
  const double total = SumsOf(eigenvalues).sum;
  if (!(total > 0)) return Undefined::kZeroDenominator;
  double entropy = 0;
  for (const double value : eigenvalues) {
    const double share = value / total;
    if (share > 0) entropy -= share * std::log(share);
  }
  return Finite(std::exp(entropy));
}

Result ParticipationRatio(std::span<const double> eigenvalues) {
  const Sums sums = SumsOf(eigenvalues);
  return Ratio(sums.sum * sums.sum, sums.squares);
}

Result StableRank(std::span<const double> eigenvalues) {
  const Sums sums = SumsOf(eigenvalues);
  return Ratio(sums.sum, sums.largest);
}

Result MeanCosine(std::span<const double> x, size_t n, size_t p) {
  if (n < 2) return Undefined::kTooFewSamples;
  std::vector<double> rows(x.begin(), x.end());
  if (!kernels::NormaliseRows(rows.data(), n, p)) return Undefined::kZeroDenominator;
  // The sum over pairs is |sum of the unit vectors|^2 - n.
  double squares = 0;
  for (size_t j = 0; j < p; ++j) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += rows[i * p + j];
    squares += sum * sum;
  }
  const auto count = static_cast<double>(n);
  return Ratio(squares - count, count * (count - 1));
}

void AppendCollapseFigures(std::span<const double> x, size_t n, size_t p,
                           const std::vector<Label>& labels, Figures* figures) {
  if (n < 2) {
    AppendUndefinedCollapseFigures(Undefined::kTooFewSamples, labels, figures);
    return;
  }
  const std::vector<double> eigenvalues = statistics::CovarianceEigenvalues(x, n, p);
  const auto unless_empty = [&](Result result) {
    return eigenvalues.empty() ? Result(Undefined::kNotConverged) : result;
  };
  figures->push_back(
      {"thermograd_effective_rank", labels, unless_empty(EffectiveRank(eigenvalues))});
  figures->push_back({"thermograd_representation_participation_dimensions", labels,
                      unless_empty(ParticipationRatio(eigenvalues))});
  figures->push_back(
      {"thermograd_representation_stable_rank", labels, unless_empty(StableRank(eigenvalues))});
  figures->push_back({"thermograd_representation_mean_cosine_ratio", labels, MeanCosine(x, n, p)});
}

void AppendUndefinedCollapseFigures(Undefined reason, const std::vector<Label>& labels,
                                    Figures* figures) {
  for (const char* name :
       {"thermograd_effective_rank", "thermograd_representation_participation_dimensions",
        "thermograd_representation_stable_rank", "thermograd_representation_mean_cosine_ratio"}) {
    figures->push_back({name, labels, reason});
  }
}

}  // namespace thermograd::metrics
