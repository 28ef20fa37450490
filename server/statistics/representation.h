#ifndef THERMOGRAD_STATISTICS_REPRESENTATION_H_
#define THERMOGRAD_STATISTICS_REPRESENTATION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

// What similarities need of one representation, and HSIC of two. Representations are n samples by p
// features, row-major and finite; they are scaled by a power of two where only the shape counts, so
// that the figures are the same at any scale.

namespace thermograd::statistics {

/// A Gram matrix whose rows and columns have zero mean.
struct Gram {
  /// Samples.
  size_t n = 0;
  /// n x n.
  std::vector<double> values;
  /// The values are those of the samples times 2^exponent.
  int exponent = 0;
  /// Width to which the features were projected at random; 0: they were not.
  uint64_t projected_width = 0;
};

/// x scaled so that its largest magnitude is in [1, 2), columns centred, and scaled again.
std::vector<double> StandardisedColumns(std::span<const double> x, size_t n, size_t p);

/// XX' of the column-centred x, at its own scale: HSICs of it add over minibatches. Those of any
/// fp32 input stay far inside the range of fp64.
Gram CentredGram(std::span<const double> x, size_t n, size_t p);

/// The same of the standardised columns, which a power of two distinguishes from it.
Gram StandardisedGram(std::span<const double> x, size_t n, size_t p);

/// exp(-d^2 / (2 sigma^2)) of the distances d between samples, given their linear kernel, centred.
/// sigma^2 is the squared `bandwidth_fraction` times the median of all n^2 squared distances, the n
/// zeros included (Kornblith et al. 2019 and their code). Absent if that median is zero.
std::optional<Gram> CentredRbfGram(const Gram& linear, double bandwidth_fraction);

/// Both estimators of the HSIC of two kernels.
struct Hsic {
  /// Biased HSIC, times (n - 1)^2: tr(KL) of centred Gram matrices.
  double biased = 0;
  /// Unbiased HSIC_1 (Song et al. 2012; Nguyen, Raghu & Kornblith 2021, eq. 3); 0 for n < 4.
  double unbiased = 0;
};

/// Those of every pair among Gram matrices of the same samples, from one sweep over them:
/// row-major, as many rows and columns as matrices. Of projected features they are unbiased
/// estimates of those that the features had before. With K = XPP'X', the entries of P independent
/// and normal of variance 1/k, q = |XX'|^2 and t = tr XX': E|K|^2 = (1 + 1/k) q + t^2/k, E(tr K)^2
/// = t^2 + 2 q/k and E sum K_ii^2 = (1 + 2/k) sum (XX')_ii^2 (moments of the Wishart distribution,
/// Muirhead 1982, section 3.2); of two layers with independent projections the expectations are
/// right as they are.
std::vector<Hsic> PairwiseHsics(std::span<const Gram* const> grams);

Hsic HsicOf(const Gram& k, const Gram& l);

/// The unbiased HSIC at the samples' own scale.
double UnscaledHsic(const Hsic& hsic, const Gram& k, const Gram& l);

/// HSIC numerators of a pair over one set of samples. They add over minibatches.
struct HsicSums {
  double xy = 0;
  double xx = 0;
  double yy = 0;

  void Merge(const HsicSums& other);
};

/// Cosines between samples, n x n. Absent if a sample's norm is zero.
std::optional<std::vector<double>> Cosines(std::span<const double> x, size_t n, size_t p);

/// The k nearest other samples of each sample.
struct Neighbours {
  size_t n = 0;
  size_t k = 0;
  /// n x k, increasing in each row.
  std::vector<uint32_t> indices;
};

/// By cosine; of ties the lower index is nearer. Needs 0 < k < n.
Neighbours NearestNeighbours(std::span<const double> cosines, size_t n, size_t k);

/// Ranks of the distances of the n (n - 1) / 2 pairs of samples, given their linear kernel, the
/// mean rank for ties, minus the mean of all ranks.
std::vector<double> CentredDistanceRanks(const Gram& linear);

/// A fixed sequence of pseudo-random permutations of n samples: the same on every machine, so that
/// a p-value can be reproduced.
class Permutations {
 public:
  explicit Permutations(size_t n);

  /// The next permutation; valid until the call after.
  std::span<const uint32_t> Next();

 private:
  uint64_t state_;
  std::vector<uint32_t> order_;
};

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_REPRESENTATION_H_
