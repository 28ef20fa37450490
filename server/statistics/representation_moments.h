#ifndef THERMOGRAD_STATISTICS_REPRESENTATION_MOMENTS_H_
#define THERMOGRAD_STATISTICS_REPRESENTATION_MOMENTS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "statistics/representation.h"
#include "statistics/representation_spectrum.h"

namespace thermograd::statistics {

/// Sums over samples of products of features, from which linear CKA, debiased CKA, CCA and
/// Procrustes of any number of samples follow in O((p + q)^2) memory. Accumulated in fp64 about an
/// origin and at a scale that the first sample sets, lest squares of a large mean swallow the
/// variance.
class CrossMoments {
 public:
  /// For p and q features.
  CrossMoments(size_t p, size_t q);

  /// Bytes that an object for p and q features holds.
  static uint64_t Bytes(uint64_t p, uint64_t q);

  /// Adds `rows` samples: x is rows x p, y is rows x q, both finite.
  void Add(std::span<const double> x, std::span<const double> y, size_t rows);

  uint64_t samples() const { return samples_; }

  /// tr(KL) of the centred linear kernels, as BiasedHsic.
  HsicSums Biased() const;
  /// Needs samples() >= 4, as UnbiasedHsic.
  HsicSums Unbiased() const;

  /// The components of both sides, without scores, and their overlap.
  struct Components {
    PrincipalComponents x;
    PrincipalComponents y;
    std::vector<double> overlap;
  };
  /// Absent: the solver did not converge.
  std::optional<Components> FindComponents() const;

 private:
  struct Side {
    size_t width = 0;
    std::vector<double> origin;
    double scale = 1;
    std::vector<double> rows;   // of the samples being added, shifted and scaled
    std::vector<double> norms;  // their squared norms
    std::vector<double> sum;    // sum x
    double squares = 0;         // sum |x|^2
  };
  struct Pair {
    std::vector<double> products;        // sum a b'; of one side with itself the lower triangle
    std::vector<double> a_by_b_squares;  // sum |b|^2 a
    std::vector<double> b_by_a_squares;  // sum |a|^2 b
    double squares_product = 0;          // sum |a|^2 |b|^2
  };

  static void AddRows(std::span<const double> input, bool first, Side* side);
  static void AddWeighted(const Side& side, std::span<const double> weights,
                          std::vector<double>* sum);
  static void AddSelf(const Side& side, Pair* pair);
  static void AddPair(const Side& a, const Side& b, Pair* pair);
  std::vector<double> Products(const Side& a, const Side& b, const Pair& pair) const;
  std::vector<double> CentredProducts(const Side& a, const Side& b, const Pair& pair) const;
  double UnbiasedOf(const Side& a, const Side& b, const Pair& pair) const;
  bool FindSide(const Side& side, const Pair& pair, PrincipalComponents* components) const;

  uint64_t samples_ = 0;
  Side x_;
  Side y_;
  Pair xx_;
  Pair yy_;
  Pair xy_;
};

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_REPRESENTATION_MOMENTS_H_
