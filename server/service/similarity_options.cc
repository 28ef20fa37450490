#include "service/similarity_options.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/limit_status.h"

namespace thermograd::service {
namespace {

using metrics::Similarity;

std::optional<Similarity> FromProto(int similarity) {
  switch (similarity) {
    case v1::SIMILARITY_CKA:
      return Similarity::kCka;
    case v1::SIMILARITY_CKA_UNBIASED:
      return Similarity::kCkaUnbiased;
    case v1::SIMILARITY_CKA_RBF:
      return Similarity::kCkaRbf;
    case v1::SIMILARITY_CKA_RBF_UNBIASED:
      return Similarity::kCkaRbfUnbiased;
    case v1::SIMILARITY_CKA_CALIBRATED:
      return Similarity::kCkaCalibrated;
    case v1::SIMILARITY_MUTUAL_NEIGHBOURS:
      return Similarity::kMutualNeighbours;
    case v1::SIMILARITY_CKNNA:
      return Similarity::kCknna;
    case v1::SIMILARITY_CCA:
      return Similarity::kCca;
    case v1::SIMILARITY_SVCCA:
      return Similarity::kSvcca;
    case v1::SIMILARITY_PWCCA:
      return Similarity::kPwcca;
    case v1::SIMILARITY_PROCRUSTES:
      return Similarity::kProcrustes;
    case v1::SIMILARITY_RSA:
      return Similarity::kRepresentationalSimilarity;
    default:
      return std::nullopt;
  }
}

// Sets `value` to the option unless it is 0, which stands for the default. NaN is refused.
absl::Status SetIfIn(absl::string_view field, double option, double least, double most,
                     double* value) {
  if (option == 0) return absl::OkStatus();
  if (!(option >= least && option <= most)) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": ", option, ", must be ", least, " to ", most));
  }
  *value = option;
  return absl::OkStatus();
}

}  // namespace

std::vector<Similarity> DefaultSimilaritiesOfRuns() {
  return {Similarity::kCka, Similarity::kCkaUnbiased, Similarity::kMutualNeighbours};
}

std::vector<Similarity> DefaultSimilaritiesOfComparisons() {
  return {Similarity::kCka,
          Similarity::kCkaUnbiased,
          Similarity::kCkaRbf,
          Similarity::kCkaRbfUnbiased,
          Similarity::kMutualNeighbours,
          Similarity::kCknna,
          Similarity::kRepresentationalSimilarity};
}

absl::StatusOr<metrics::SimilarityOptions> CheckSimilarityOptions(
    absl::string_view field, const v1::SimilarityOptions& options, std::vector<Similarity> defaults,
    const Limits& limits) {
  metrics::SimilarityOptions checked;
  for (int i = 0; i < options.similarities_size(); ++i) {
    const std::optional<Similarity> similarity = FromProto(options.similarities(i));
    if (!similarity) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".similarities[", i,
                                                     "]: ", options.similarities(i),
                                                     " is no similarity that is served"));
    }
    checked.chosen.push_back(*similarity);
  }
  if (checked.chosen.empty()) checked.chosen = std::move(defaults);
  std::sort(checked.chosen.begin(), checked.chosen.end());
  checked.chosen.erase(std::unique(checked.chosen.begin(), checked.chosen.end()),
                       checked.chosen.end());
  if (options.neighbours() > limits.max_samples) {
    return LimitExceeded(Limit::max_samples, limits,
                         absl::StrCat(field, ".neighbours: ", options.neighbours()));
  }
  if (options.neighbours() > 0) checked.neighbours = options.neighbours();
  if (options.permutations() > limits.max_permutations) {
    return LimitExceeded(Limit::max_permutations, limits,
                         absl::StrCat(field, ".permutations: ", options.permutations()));
  }
  if (options.permutations() > 0 && options.permutations() < 19) {
    return absl::InvalidArgumentError(absl::StrCat(field, ".permutations: ", options.permutations(),
                                                   ", must be at least 19 for a 95 % quantile"));
  }
  if (options.permutations() > 0) checked.permutations = options.permutations();
  absl::Status status =
      SetIfIn(absl::StrCat(field, ".rbf_bandwidth_fraction"), options.rbf_bandwidth_fraction(),
              1e-3, 1e3, &checked.rbf_bandwidth_fraction);
  if (status.ok()) {
    status = SetIfIn(absl::StrCat(field, ".svcca_variance_fraction"),
                     options.svcca_variance_fraction(), 1e-6, 1, &checked.svcca_variance_fraction);
  }
  if (status.ok()) {
    status =
        SetIfIn(absl::StrCat(field, ".cca_ridge"), options.cca_ridge(), 0, 1, &checked.cca_ridge);
  }
  if (!status.ok()) return status;
  return checked;
}

}  // namespace thermograd::service
