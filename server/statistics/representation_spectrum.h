#ifndef THERMOGRAD_STATISTICS_REPRESENTATION_SPECTRUM_H_
#define THERMOGRAD_STATISTICS_REPRESENTATION_SPECTRUM_H_

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace thermograd::statistics {

/// Singular directions below this part of the largest singular value are rounding of the trainer's
/// fp32 arithmetic, and no features. The rank is the number of the others.
inline constexpr double kRankTolerance = 0x1p-23;

/// Principal components of a column-centred representation, X = U S V', of rank r.
struct PrincipalComponents {
  /// Samples and features.
  size_t n = 0;
  size_t p = 0;
  /// S: r values, in decreasing order, at an arbitrary common scale.
  std::vector<double> singular_values;
  /// V: p x r, orthonormal columns.
  std::vector<double> axes;
  /// U: n x r, orthonormal columns. Empty if only moments are known.
  std::vector<double> scores;

  size_t rank() const { return singular_values.size(); }
};

/// The components of two representations of the same samples and how they overlap.
struct ComponentPair {
  const PrincipalComponents& x;
  const PrincipalComponents& y;
  /// U_x' U_y: rank of x by rank of y.
  std::vector<double> overlap;
};

/// Of x (n x p, finite), which is centred here. Absent: the solver did not converge.
std::optional<PrincipalComponents> FindComponents(std::span<const double> x, size_t n, size_t p);

/// Of components with scores. Both outlive the result.
ComponentPair PairOf(const PrincipalComponents& x, const PrincipalComponents& y);

/// Eigenvalues of the covariance of the features of x (n x p, finite), at an arbitrary common
/// scale; those that are zero for want of samples or features may be absent. Empty: the solver did
/// not converge.
std::vector<double> CovarianceEigenvalues(std::span<const double> x, size_t n, size_t p);

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_REPRESENTATION_SPECTRUM_H_
