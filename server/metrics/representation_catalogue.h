#ifndef THERMOGRAD_METRICS_REPRESENTATION_CATALOGUE_H_
#define THERMOGRAD_METRICS_REPRESENTATION_CATALOGUE_H_

#include <array>
#include <span>
#include <vector>

#include "metrics/catalogue.h"
#include "metrics/representation_similarity.h"

namespace thermograd::metrics {

/// What a reader must know of one similarity, whatever is compared with what.
struct SimilarityDefinition {
  Similarity similarity;
  /// Names of the metric, by scope; null where there is none.
  std::array<const char*, kSimilarityScopes> names;
  const char* range;
  /// The subject of a sentence that goes on with what is compared.
  const char* subject;
  const char* formula;
  const char* citation;
  /// Needed besides the activations of both sides; may be empty.
  const char* needs;
  const char* meaning;
};

/// The figures of one similarity.
std::span<const SimilarityDefinition> DefinitionsOf(Similarity similarity);

/// Every metric of representations, for the catalogue.
std::vector<Definition> RepresentationDefinitions();

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_REPRESENTATION_CATALOGUE_H_
