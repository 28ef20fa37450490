#include "metrics/representation_similarity.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "metrics/canonical_correlation.h"
#include "metrics/cka.h"
#include "metrics/nearest_neighbours.h"
#include "metrics/representation_catalogue.h"
#include "metrics/representational_similarity_analysis.h"

namespace thermograd::metrics {
namespace {

using statistics::ComponentPair;
using statistics::Hsic;
using statistics::HsicSums;
using statistics::PrincipalComponents;

KernelGram WithHsics(statistics::Gram gram) {
  KernelGram kernel{.gram = std::move(gram), .hsic = {}};
  const statistics::Gram* const self[] = {&kernel.gram};
  kernel.hsic = statistics::PairwiseHsics(self)[0];
  return kernel;
}

Result BiasedCka(const KernelGram& x, const KernelGram& y, const Hsic& xy) {
  if (x.gram.n < 2) return Undefined::kTooFewSamples;
  return Cka({.xy = xy.biased, .xx = x.hsic.biased, .yy = y.hsic.biased});
}

Result UnbiasedCka(const KernelGram& x, const KernelGram& y, const Hsic& xy) {
  if (x.gram.n < 4) return Undefined::kTooFewSamples;
  // The estimate of a constant's HSIC is rounding of either sign.
  if (x.hsic.biased == 0 || y.hsic.biased == 0) return Undefined::kZeroDenominator;
  return Cka({.xy = xy.unbiased, .xx = x.hsic.unbiased, .yy = y.hsic.unbiased});
}

// The first reason of several parts, if one is missing.
template <typename... Parts>
std::optional<Undefined> Missing(const Parts&... parts) {
  std::optional<Undefined> reason;
  const auto look = [&reason](const auto& part) {
    const Undefined* missing = std::get_if<Undefined>(&part);
    if (missing != nullptr && !reason) reason = *missing;
  };
  (look(parts), ...);
  return reason;
}

// The figures of one similarity, in the order of its definitions.
using Results = std::vector<Result>;

Results OfComponents(Similarity similarity, const ComponentPair& pair,
                     const SimilarityOptions& options) {
  switch (similarity) {
    case Similarity::kCca: {
      const CanonicalCorrelation cca = Cca(pair, options.cca_ridge);
      return {cca.mean, cca.mean_squared};
    }
    case Similarity::kSvcca:
      return {Svcca(pair, options.svcca_variance_fraction)};
    case Similarity::kPwcca:
      return {Pwcca(pair)};
    default:
      return {Procrustes(pair)};
  }
}

// One comparison; what several similarities share is made once.
class Comparison {
 public:
  Comparison(const Representation& x, const Representation& y, const PairHsics& known)
      : x_(x), y_(y), hsics_(known) {}

  Results Of(Similarity similarity) {
    switch (similarity) {
      case Similarity::kCka:
        return {BiasedCka(x_.linear, y_.linear, Once(x_.linear, y_.linear, &hsics_.linear))};
      case Similarity::kCkaUnbiased:
        return {UnbiasedCka(x_.linear, y_.linear, Once(x_.linear, y_.linear, &hsics_.linear))};
      case Similarity::kCkaRbf:
        return {OfRbf(BiasedCka)};
      case Similarity::kCkaRbfUnbiased:
        return {OfRbf(UnbiasedCka)};
      case Similarity::kCkaCalibrated: {
        const CkaSide x{&x_.linear.gram, x_.linear.hsic.biased};
        const CkaSide y{&y_.linear.gram, y_.linear.hsic.biased};
        const Calibration calibration =
            CalibrateMaximumCka({&x, 1}, {&y, 1}, x_.options.permutations);
        return {calibration.calibrated, calibration.p_value};
      }
      case Similarity::kMutualNeighbours:
      case Similarity::kCknna:
        return {OfNeighbours(similarity)};
      case Similarity::kCca:
      case Similarity::kSvcca:
      case Similarity::kPwcca:
      case Similarity::kProcrustes:
        return OfComponentsOnce(similarity);
      case Similarity::kRepresentationalSimilarity:
        if (const auto reason = Missing(x_.distance_ranks, y_.distance_ranks)) return {*reason};
        return {RepresentationalSimilarity(std::get<std::vector<double>>(x_.distance_ranks),
                                           std::get<std::vector<double>>(y_.distance_ranks))};
    }
    return {};
  }

 private:
  static const Hsic& Once(const KernelGram& x, const KernelGram& y, std::optional<Hsic>* hsic) {
    if (!*hsic) *hsic = statistics::HsicOf(x.gram, y.gram);
    return **hsic;
  }

  Result OfRbf(Result (*cka)(const KernelGram&, const KernelGram&, const Hsic&)) {
    if (const auto reason = Missing(x_.rbf, y_.rbf)) return *reason;
    if (x_.options.rbf_bandwidth_fraction != y_.options.rbf_bandwidth_fraction) {
      return Undefined::kDifferentOptions;
    }
    const KernelGram& x = std::get<KernelGram>(x_.rbf);
    const KernelGram& y = std::get<KernelGram>(y_.rbf);
    return cka(x, y, Once(x, y, &hsics_.rbf));
  }

  Result OfNeighbours(Similarity similarity) const {
    if (const auto reason = Missing(x_.neighbours, y_.neighbours)) return *reason;
    const auto& x = std::get<statistics::Neighbours>(x_.neighbours);
    const auto& y = std::get<statistics::Neighbours>(y_.neighbours);
    if (x.k != y.k) return Undefined::kDifferentOptions;
    if (similarity == Similarity::kMutualNeighbours) return MutualNeighbours(x, y);
    if (const auto reason = Missing(x_.cosines, y_.cosines)) return *reason;
    return Cknna(std::get<std::vector<double>>(x_.cosines), x,
                 std::get<std::vector<double>>(y_.cosines), y);
  }

  Results OfComponentsOnce(Similarity similarity) {
    if (const auto reason = Missing(x_.components, y_.components)) {
      return Results(DefinitionsOf(similarity).size(), *reason);
    }
    if (!pair_) {
      pair_.emplace(statistics::PairOf(std::get<PrincipalComponents>(x_.components),
                                       std::get<PrincipalComponents>(y_.components)));
    }
    return OfComponents(similarity, *pair_, x_.options);
  }

  const Representation& x_;
  const Representation& y_;
  PairHsics hsics_;
  std::optional<ComponentPair> pair_;
};

void Append(Similarity similarity, SimilarityScope scope, const Results& results,
            const std::vector<Label>& labels, Figures* figures) {
  const std::span<const SimilarityDefinition> definitions = DefinitionsOf(similarity);
  for (size_t i = 0; i < definitions.size(); ++i) {
    const char* name = definitions[i].names[static_cast<size_t>(scope)];
    if (name != nullptr) figures->push_back({name, labels, results[i]});
  }
}

bool NeedsComponents(Similarity similarity) {
  return similarity == Similarity::kCca || similarity == Similarity::kSvcca ||
         similarity == Similarity::kPwcca || similarity == Similarity::kProcrustes;
}

bool NeedsNeighbours(const SimilarityOptions& options) {
  return options.Has(Similarity::kMutualNeighbours) || options.Has(Similarity::kCknna);
}

bool NeedsRbf(const SimilarityOptions& options) {
  return options.Has(Similarity::kCkaRbf) || options.Has(Similarity::kCkaRbfUnbiased);
}

// Of the estimates of CPU time: seconds of a multiply-add of a matrix product, and of what is done
// with one element of a matrix.
constexpr double kProductSeconds = 1e-10;
constexpr double kElementSeconds = 2e-9;
// Seconds of a multiply-add of the reductions that singular values are found by, half of which are
// no matrix products; and how much longer it takes with vectors.
constexpr double kReductionSeconds = 2e-10;
constexpr double kVectors = 2;

}  // namespace

bool SimilarityOptions::Has(Similarity similarity) const {
  return std::find(chosen.begin(), chosen.end(), similarity) != chosen.end();
}

bool SimilarityOptions::HasComponents() const {
  return std::any_of(chosen.begin(), chosen.end(), NeedsComponents);
}

uint64_t Representation::Bytes() const {
  uint64_t elements = linear.gram.values.size();
  if (const auto* part = std::get_if<KernelGram>(&rbf)) elements += part->gram.values.size();
  if (const auto* part = std::get_if<std::vector<double>>(&cosines)) elements += part->size();
  if (const auto* part = std::get_if<statistics::Neighbours>(&neighbours)) {
    elements += part->indices.size() / 2 + 1;
  }
  if (const auto* part = std::get_if<PrincipalComponents>(&components)) {
    elements += part->singular_values.size() + part->axes.size() + part->scores.size();
  }
  if (const auto* part = std::get_if<std::vector<double>>(&distance_ranks)) {
    elements += part->size();
  }
  return elements * sizeof(double);
}

uint64_t PreparationBytes(uint64_t n, uint64_t p, const SimilarityOptions& options) {
  // What is kept, and the largest of what is needed on the way.
  uint64_t kept = n * n;
  uint64_t passing = n * p + n * n;
  if (NeedsRbf(options)) {
    kept += n * n;
  }
  if (NeedsNeighbours(options)) {
    kept += n * n + n * std::min<uint64_t>(options.neighbours, n);
  }
  if (options.HasComponents()) {
    const uint64_t size = std::min(n, p);
    kept += (n + p + 1) * size;
    passing = std::max(passing, 3 * n * p + (n + p) * size + 6 * size * size);
  }
  if (options.Has(Similarity::kRepresentationalSimilarity)) {
    kept += n * n / 2;
    passing = std::max(passing, 2 * n * n);
  }
  return (kept + passing) * sizeof(double);
}

double SpectrumCpuSeconds(uint64_t n, uint64_t p) {
  const auto shorter = static_cast<double>(std::min(n, p));
  const auto longer = static_cast<double>(std::max(n, p));
  return shorter * shorter * (longer * kProductSeconds + shorter * 4 / 3 * kReductionSeconds);
}

double PreparationCpuSeconds(uint64_t n, uint64_t p, const SimilarityOptions& options) {
  const auto samples = static_cast<double>(n);
  const auto features = static_cast<double>(p);
  const double gram = samples * samples / 2;
  double seconds = gram * features * kProductSeconds;
  if (NeedsRbf(options)) seconds += gram * kElementSeconds;
  if (NeedsNeighbours(options)) {
    seconds += gram * features * kProductSeconds + samples * samples * kElementSeconds;
  }
  if (options.HasComponents()) seconds += kVectors * SpectrumCpuSeconds(n, p);
  if (options.Has(Similarity::kRepresentationalSimilarity)) {
    seconds += gram * std::log2(samples + 1) * kElementSeconds;
  }
  return seconds;
}

double ComparisonCpuSeconds(uint64_t n, uint64_t p, uint64_t q, const SimilarityOptions& options) {
  const auto samples = static_cast<double>(n);
  const double gram = samples * samples / 2;
  const auto x_rank = static_cast<double>(std::min(n, p));
  const auto y_rank = static_cast<double>(std::min(n, q));
  double seconds = 0;
  for (const Similarity similarity : options.chosen) {
    if (similarity == Similarity::kCkaCalibrated) {
      seconds += static_cast<double>(options.permutations) * gram * kElementSeconds;
    } else if (NeedsComponents(similarity)) {
      seconds += SpectrumCpuSeconds(std::min(n, p), std::min(n, q)) *
                 (similarity == Similarity::kPwcca ? kVectors : 1);
    } else {
      seconds += gram * kElementSeconds;
    }
  }
  if (options.HasComponents()) seconds += samples * x_rank * y_rank * kProductSeconds;
  return seconds;
}

double MomentsCpuSeconds(uint64_t n, uint64_t p, uint64_t q, const SimilarityOptions& options) {
  const auto width = static_cast<double>(p) + static_cast<double>(q);
  double seconds = static_cast<double>(n) * width * width / 2 * kProductSeconds;
  if (options.HasComponents()) {
    seconds += kVectors * (SpectrumCpuSeconds(p, p) + SpectrumCpuSeconds(q, q));
  }
  for (const Similarity similarity : options.chosen) {
    if (NeedsComponents(similarity)) seconds += kVectors * SpectrumCpuSeconds(p, q);
  }
  return seconds;
}

Representation Prepare(std::span<const double> x, size_t n, size_t p,
                       const SimilarityOptions& options, bool is_projected) {
  Representation representation;
  representation.samples = n;
  representation.options = options;
  statistics::Gram linear = statistics::StandardisedGram(x, n, p);
  if (is_projected) linear.projected_width = p;
  representation.linear = WithHsics(std::move(linear));
  if (NeedsRbf(options)) {
    if (auto gram = statistics::CentredRbfGram(representation.linear.gram,
                                               options.rbf_bandwidth_fraction)) {
      representation.rbf = WithHsics(*std::move(gram));
    } else {
      representation.rbf = Undefined::kZeroDenominator;
    }
  }
  if (NeedsNeighbours(options)) {
    if (options.neighbours >= n) {
      representation.neighbours = Undefined::kTooFewSamples;
    } else if (auto cosines = representation.linear.hsic.biased == 0
                                  ? std::nullopt  // all samples are one: every neighbour is a tie
                                  : statistics::Cosines(x, n, p)) {
      representation.neighbours = statistics::NearestNeighbours(*cosines, n, options.neighbours);
      if (options.Has(Similarity::kCknna)) representation.cosines = *std::move(cosines);
    } else {
      representation.neighbours = Undefined::kZeroDenominator;
    }
  }
  if (options.HasComponents()) {
    if (auto components = statistics::FindComponents(x, n, p)) {
      representation.components = *std::move(components);
    } else {
      representation.components = Undefined::kNotConverged;
    }
  }
  if (options.Has(Similarity::kRepresentationalSimilarity)) {
    representation.distance_ranks = statistics::CentredDistanceRanks(representation.linear.gram);
  }
  return representation;
}

void AppendSimilarities(const Representation& x, const Representation& y,
                        const SimilarityOptions& options, SimilarityScope scope,
                        const std::vector<Label>& labels, Figures* figures,
                        const PairHsics& known) {
  Comparison comparison(x, y, known);
  for (const Similarity similarity : options.chosen) {
    Append(similarity, scope, comparison.Of(similarity), labels, figures);
  }
}

void AppendUndefinedSimilarities(const SimilarityOptions& options, Undefined reason,
                                 SimilarityScope scope, const std::vector<Label>& labels,
                                 Figures* figures) {
  for (const Similarity similarity : options.chosen) {
    Append(similarity, scope, Results(DefinitionsOf(similarity).size(), reason), labels, figures);
  }
}

bool PrefersMoments(uint64_t n, uint64_t p, uint64_t q, const SimilarityOptions& options) {
  // Of symmetric products half is computed: n (p + q)^2 / 2 against n^2 (p + q) / 2.
  return p + q < n &&
         std::all_of(options.chosen.begin(), options.chosen.end(), [](Similarity similarity) {
           return similarity == Similarity::kCka || similarity == Similarity::kCkaUnbiased;
         });
}

void AppendSimilarities(const statistics::CrossMoments& moments, const SimilarityOptions& options,
                        SimilarityScope scope, const std::vector<Label>& labels, Figures* figures) {
  const HsicSums biased = moments.Biased();
  std::optional<statistics::CrossMoments::Components> components;
  if (options.HasComponents()) components = moments.FindComponents();
  for (const Similarity similarity : options.chosen) {
    Results results(DefinitionsOf(similarity).size(), Undefined::kLimit);
    if (similarity == Similarity::kCka) {
      results = {moments.samples() < 2 ? Result(Undefined::kTooFewSamples) : Cka(biased)};
    } else if (similarity == Similarity::kCkaUnbiased) {
      if (moments.samples() < 4) {
        results = {Undefined::kTooFewSamples};
      } else if (biased.xx == 0 || biased.yy == 0) {
        results = {Undefined::kZeroDenominator};
      } else {
        results = {Cka(moments.Unbiased())};
      }
    } else if (NeedsComponents(similarity)) {
      if (components) {
        results =
            OfComponents(similarity, {components->x, components->y, components->overlap}, options);
      } else {
        results.assign(results.size(), Undefined::kNotConverged);
      }
    }
    Append(similarity, scope, results, labels, figures);
  }
}

}  // namespace thermograd::metrics
