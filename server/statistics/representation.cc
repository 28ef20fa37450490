#include "statistics/representation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "kernels/representation_gram.h"
#include "kernels/representation_neighbours.h"

namespace thermograd::statistics {

namespace {

// Returns the exponent of the power of two by which the columns were scaled.
int Standardise(std::span<double> columns, size_t n, size_t p) {
  const int exponent = kernels::ScaleByPowerOfTwo(columns.data(), columns.size());
  kernels::CentreColumns(columns.data(), n, p);
  // What is left of features with a large mean may be small.
  return exponent + kernels::ScaleByPowerOfTwo(columns.data(), columns.size());
}

std::vector<double> DistancesOf(const Gram& linear) {
  std::vector<double> distances(linear.n * linear.n);
  kernels::SquaredDistances(linear.values.data(), linear.n, distances.data());
  return distances;
}

// What both estimators of the HSIC of centred Gram matrices K and L are made of.
struct HsicTerms {
  double product;           // tr KL
  double trace_product;     // tr K tr L
  double diagonal_product;  // sum K_ii L_ii
};

double Unbiased(const HsicTerms& terms, double n) {
  // Rows of a centred matrix sum to zero: without the diagonal, to minus the diagonal.
  const double off_diagonal = terms.product - terms.diagonal_product;
  const double sums = terms.trace_product;
  const double row_sum_product = terms.diagonal_product;
  return (off_diagonal + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * row_sum_product) /
         (n * (n - 3));
}

// Solves the expectations over projections to `width` for the terms of one layer with itself.
HsicTerms Unprojected(const HsicTerms& projected, uint64_t width) {
  const double inverse = 1 / static_cast<double>(width);
  HsicTerms terms{};
  terms.product = (projected.product - projected.trace_product * inverse) /
                  (1 + inverse - 2 * inverse * inverse);
  terms.trace_product = projected.trace_product - 2 * terms.product * inverse;
  terms.diagonal_product = projected.diagonal_product / (1 + 2 * inverse);
  return terms;
}

}  // namespace

std::vector<double> StandardisedColumns(std::span<const double> x, size_t n, size_t p) {
  std::vector<double> columns(x.begin(), x.end());
  Standardise(columns, n, p);
  return columns;
}

Gram CentredGram(std::span<const double> x, size_t n, size_t p) {
  std::vector<double> columns(x.begin(), x.end());
  kernels::CentreColumns(columns.data(), n, p);
  Gram gram{.n = n, .values = std::vector<double>(n * n)};
  kernels::RowGram(columns.data(), n, p, gram.values.data());
  return gram;
}

Gram StandardisedGram(std::span<const double> x, size_t n, size_t p) {
  std::vector<double> columns(x.begin(), x.end());
  const int exponent = Standardise(columns, n, p);
  Gram gram{.n = n, .values = std::vector<double>(n * n), .exponent = exponent};
  kernels::RowGram(columns.data(), n, p, gram.values.data());
  return gram;
}

std::optional<Gram> CentredRbfGram(const Gram& linear, double bandwidth_fraction) {
  Gram kernel{.n = linear.n, .values = DistancesOf(linear)};
  std::vector<double> sorted = kernel.values;
  const auto middle = sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  double median = *middle;
  if (sorted.size() % 2 == 0) median = (median + *std::max_element(sorted.begin(), middle)) / 2;
  const double largest = *std::max_element(kernel.values.begin(), kernel.values.end());
  if (!(median > largest * kernels::kTieResolution)) return std::nullopt;
  const double factor = -1 / (2 * bandwidth_fraction * bandwidth_fraction * median);
  for (double& value : kernel.values) value = std::exp(factor * value);
  kernels::CentreGram(kernel.values.data(), kernel.n);
  return kernel;
}

std::vector<Hsic> PairwiseHsics(std::span<const Gram* const> grams) {
  const size_t count = grams.size();
  const size_t samples = count == 0 ? 0 : grams.front()->n;
  const auto n = static_cast<double>(samples);
  std::vector<const double*> values;
  std::vector<double> traces;
  for (const Gram* gram : grams) {
    values.push_back(gram->values.data());
    double trace = 0;
    for (size_t i = 0; i < samples; ++i) trace += gram->values[i * samples + i];
    traces.push_back(trace);
  }
  std::vector<double> off_diagonal(count * count);
  std::vector<double> diagonal(count * count);
  kernels::GramProducts(values.data(), count, samples, off_diagonal.data(), diagonal.data());
  std::vector<Hsic> hsics(count * count);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < count; ++j) {
      const size_t pair = i * count + j;
      HsicTerms terms{.product = off_diagonal[pair] + diagonal[pair],
                      .trace_product = traces[i] * traces[j],
                      .diagonal_product = diagonal[pair]};
      const uint64_t width = grams[i]->projected_width;
      if (width > 0 && i == j) terms = Unprojected(terms, width);
      hsics[pair].biased = terms.product;
      if (samples >= 4) hsics[pair].unbiased = Unbiased(terms, n);
    }
  }
  return hsics;
}

Hsic HsicOf(const Gram& k, const Gram& l) {
  const Gram* const grams[] = {&k, &l};
  return PairwiseHsics(grams)[1];
}

double UnscaledHsic(const Hsic& hsic, const Gram& k, const Gram& l) {
  return std::ldexp(hsic.unbiased, -2 * (k.exponent + l.exponent));
}

void HsicSums::Merge(const HsicSums& other) {
  xy += other.xy;
  xx += other.xx;
  yy += other.yy;
}

std::optional<std::vector<double>> Cosines(std::span<const double> x, size_t n, size_t p) {
  std::vector<double> rows(x.begin(), x.end());
  if (!kernels::NormaliseRows(rows.data(), n, p)) return std::nullopt;
  std::vector<double> cosines(n * n);
  kernels::RowGram(rows.data(), n, p, cosines.data());
  return cosines;
}

Neighbours NearestNeighbours(std::span<const double> cosines, size_t n, size_t k) {
  Neighbours neighbours{.n = n, .k = k, .indices = std::vector<uint32_t>(n * k)};
  kernels::NearestNeighbours(cosines.data(), n, k, neighbours.indices.data());
  return neighbours;
}

std::vector<double> CentredDistanceRanks(const Gram& linear) {
  const size_t n = linear.n;
  const std::vector<double> distances = DistancesOf(linear);
  const double largest = *std::max_element(distances.begin(), distances.end());
  const size_t pairs = n * (n - 1) / 2;
  std::vector<std::pair<double, size_t>> sorted;
  sorted.reserve(pairs);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) {
      const double relative = largest > 0 ? distances[i * n + j] / largest : 0;
      sorted.emplace_back(std::nearbyint(relative / kernels::kTieResolution), sorted.size());
    }
  }
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> ranks(pairs);
  for (size_t first = 0; first < pairs;) {
    size_t end = first;
    while (end < pairs && sorted[end].first == sorted[first].first) ++end;
    const double rank = static_cast<double>(first + end - 1) / 2;
    for (size_t i = first; i < end; ++i) {
      ranks[sorted[i].second] = rank - static_cast<double>(pairs - 1) / 2;
    }
    first = end;
  }
  return ranks;
}

Permutations::Permutations(size_t n) : state_(0x7468657263616c6d), order_(n) {
  std::iota(order_.begin(), order_.end(), 0);
}

std::span<const uint32_t> Permutations::Next() {
  // Fisher and Yates, with SplitMix64 (Steele, Lea & Flood 2014): std::shuffle differs between
  // standard libraries. The remainder's bias, below n / 2^64, decides nothing.
  for (size_t i = order_.size(); i > 1; --i) {
    uint64_t bits = state_ += 0x9e3779b97f4a7c15;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
    bits ^= bits >> 31;
    std::swap(order_[i - 1], order_[bits % i]);
  }
  return order_;
}

}  // namespace thermograd::statistics
