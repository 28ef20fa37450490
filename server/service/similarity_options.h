#ifndef THERMOGRAD_SERVICE_SIMILARITY_OPTIONS_H_
#define THERMOGRAD_SERVICE_SIMILARITY_OPTIONS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "metrics/representation_similarity.h"
#include "service/limits.h"
#include "thermograd/v1/representation.pb.h"

namespace thermograd::service {

/// What a run computes at every probe unless it declares otherwise: cheap for all pairs of layers.
std::vector<metrics::Similarity> DefaultSimilaritiesOfRuns();

/// What CompareRepresentations computes unless it is told otherwise: all that take no more than a
/// few passes over matrices of samples by samples.
std::vector<metrics::Similarity> DefaultSimilaritiesOfComparisons();

/// The options with their defaults filled in, or INVALID_ARGUMENT or RESOURCE_EXHAUSTED that names
/// a field under `field`.
absl::StatusOr<metrics::SimilarityOptions> CheckSimilarityOptions(
    absl::string_view field, const v1::SimilarityOptions& options,
    std::vector<metrics::Similarity> defaults, const Limits& limits);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_SIMILARITY_OPTIONS_H_
