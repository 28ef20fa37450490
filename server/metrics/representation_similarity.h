#ifndef THERMOGRAD_METRICS_REPRESENTATION_SIMILARITY_H_
#define THERMOGRAD_METRICS_REPRESENTATION_SIMILARITY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "metrics/figure.h"
#include "statistics/representation.h"
#include "statistics/representation_moments.h"
#include "statistics/representation_spectrum.h"

// Chooses among the similarities of two representations of the same samples. The formulas: cka.h,
// nearest_neighbours.h, canonical_correlation.h, representational_similarity_analysis.h.

namespace thermograd::metrics {

/// What can be chosen. The order is that of the reference page.
enum class Similarity : uint8_t {
  kCka,
  kCkaUnbiased,
  kCkaRbf,
  kCkaRbfUnbiased,
  kCkaCalibrated,
  kMutualNeighbours,
  kCknna,
  kCca,
  kSvcca,
  kPwcca,
  kProcrustes,
  kRepresentationalSimilarity,
};
inline constexpr size_t kSimilarities = 12;

/// What is compared with what; it decides the metrics' names and labels.
enum class SimilarityScope : uint8_t {
  /// Two layers on the same samples.
  kLayers,
  /// A layer with itself at an earlier step.
  kEarlierStep,
  /// A layer with a layer of another run.
  kRuns,
  /// Two layers on all samples of a window; only what follows from moments.
  kWindow,
};
inline constexpr size_t kSimilarityScopes = 4;

/// Which similarities, and their free parameters.
struct SimilarityOptions {
  /// In increasing order.
  std::vector<Similarity> chosen;
  /// k of the nearest-neighbour figures, 0 < k; too many for the samples: undefined.
  size_t neighbours = 10;
  /// Bandwidth of the RBF kernel, as a part of the median distance.
  double rbf_bandwidth_fraction = 0.5;
  /// Permutations of the calibrated CKA, at least 19.
  size_t permutations = 199;
  /// Part of the variance that SVCCA keeps, in (0, 1].
  double svcca_variance_fraction = 0.99;
  /// Ridge of CCA as a part of each side's largest variance; 0: none.
  double cca_ridge = 0;

  bool Has(Similarity similarity) const;
  /// True if at least one of the similarities that need principal components is chosen.
  bool HasComponents() const;
};

/// A Gram matrix with its HSICs with itself.
struct KernelGram {
  statistics::Gram gram;
  statistics::Hsic hsic;
};

/// HSICs of a pair that are known already, as from statistics::PairwiseHsics.
struct PairHsics {
  std::optional<statistics::Hsic> linear;
  std::optional<statistics::Hsic> rbf;
};

/// One side of comparisons: all that the chosen similarities need to know of it.
struct Representation {
  /// Something prepared, or why there is none: kDifferentOptions if it was not asked for.
  template <typename T>
  using Part = std::variant<Undefined, T>;

  size_t samples = 0;
  SimilarityOptions options;
  KernelGram linear;
  Part<KernelGram> rbf = Undefined::kDifferentOptions;
  Part<std::vector<double>> cosines = Undefined::kDifferentOptions;
  Part<statistics::Neighbours> neighbours = Undefined::kDifferentOptions;
  Part<statistics::PrincipalComponents> components = Undefined::kDifferentOptions;
  Part<std::vector<double>> distance_ranks = Undefined::kDifferentOptions;

  /// Memory that it holds.
  uint64_t Bytes() const;
};

/// Prepares x (n x p, finite). `is_projected`: its features are a random projection.
Representation Prepare(std::span<const double> x, size_t n, size_t p,
                       const SimilarityOptions& options, bool is_projected = false);

/// Most bytes that preparing x (n x p) takes and leaves held.
uint64_t PreparationBytes(uint64_t n, uint64_t p, const SimilarityOptions& options);

/// CPU time, estimated from the operations that grow fastest: of preparing x (n x p), of the
/// figures of its spectrum, of comparing two sides of n samples, and of comparing them by moments.
/// What a limit refuses must not depend on the machine: it is the time of one core of x86-64-v3 at
/// 3 GHz, within a factor of three.
double PreparationCpuSeconds(uint64_t n, uint64_t p, const SimilarityOptions& options);
double SpectrumCpuSeconds(uint64_t n, uint64_t p);
double ComparisonCpuSeconds(uint64_t n, uint64_t p, uint64_t q, const SimilarityOptions& options);
double MomentsCpuSeconds(uint64_t n, uint64_t p, uint64_t q, const SimilarityOptions& options);

/// Appends the chosen similarities. Both sides have the same samples; what either was not prepared
/// for is kDifferentOptions. `known`: need not be computed.
void AppendSimilarities(const Representation& x, const Representation& y,
                        const SimilarityOptions& options, SimilarityScope scope,
                        const std::vector<Label>& labels, Figures* figures,
                        const PairHsics& known = {});

/// Appends the chosen ones with the reason why they are missing.
void AppendUndefinedSimilarities(const SimilarityOptions& options, Undefined reason,
                                 SimilarityScope scope, const std::vector<Label>& labels,
                                 Figures* figures);

/// True if all that is chosen follows from moments, and moments of p and q features cost less than
/// Gram matrices of n samples.
bool PrefersMoments(uint64_t n, uint64_t p, uint64_t q, const SimilarityOptions& options);

/// Appends the chosen ones that follow from moments, for any number of samples; the others are
/// kLimit, because they would need the samples themselves, or have no name in the scope.
void AppendSimilarities(const statistics::CrossMoments& moments, const SimilarityOptions& options,
                        SimilarityScope scope, const std::vector<Label>& labels, Figures* figures);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_REPRESENTATION_SIMILARITY_H_
