#include "metrics/weight_spectrum.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/representation_spectrum.h"

namespace thermograd::metrics {
namespace {

constexpr const char* kStableRank = "thermograd_parameter_stable_rank";
constexpr const char* kEffectiveRank = "thermograd_parameter_effective_rank";

}  // namespace

void AppendWeightSpectrum(const std::string& parameter, const kernels::StridedMatrix& weight,
                          Figures* figures) {
  kernels::StridedMatrix shorter = weight;
  if (shorter.rows > shorter.columns) {
    std::swap(shorter.rows, shorter.columns);
    std::swap(shorter.row_stride, shorter.column_stride);
  }
  // Squares of the singular values. Those below 1e-8 of the largest drown in rounding; each of them
  // changes the entropy by less than 1e-6.
  std::vector<double> gram(shorter.rows * shorter.rows);
  kernels::AddProduct(shorter, shorter, gram.data());
  double trace = 0;
  for (size_t i = 0; i < shorter.rows; ++i) trace += gram[i * (shorter.rows + 1)];
  if (!std::isfinite(trace)) {
    return AppendUndefinedWeightSpectrum(parameter, Undefined::kOverflow, figures);
  }
  std::vector<double> squares(shorter.rows);
  if (!kernels::SymmetricEigenvalues(gram.data(), shorter.rows, squares.data())) {
    return AppendUndefinedWeightSpectrum(parameter, Undefined::kNotConverged, figures);
  }
  double sum = 0;
  for (double& square : squares) {
    square = std::max(square, 0.0);
    sum += std::sqrt(square);
  }
  if (!(sum > 0)) {
    return AppendUndefinedWeightSpectrum(parameter, Undefined::kZeroDenominator, figures);
  }
  // Entropy of the normalised singular values: Roy & Vetterli 2007.
  double entropy = 0;
  for (const double square : squares) {
    const double p = std::sqrt(square) / sum;
    if (p > 0) entropy -= p * std::log(p);
  }
  figures->push_back({kStableRank, {{"parameter", parameter}}, Ratio(trace, squares.back())});
  figures->push_back({kEffectiveRank, {{"parameter", parameter}}, Finite(std::exp(entropy))});
}

void AppendUndefinedWeightSpectrum(const std::string& parameter, Undefined reason,
                                   Figures* figures) {
  for (const char* name : {kStableRank, kEffectiveRank}) {
    figures->push_back({name, {{"parameter", parameter}}, reason});
  }
}

}  // namespace thermograd::metrics
