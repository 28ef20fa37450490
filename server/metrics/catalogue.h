#ifndef THERMOGRAD_METRICS_CATALOGUE_H_
#define THERMOGRAD_METRICS_CATALOGUE_H_

#include <span>
#include <string_view>

namespace thermograd::metrics {

enum class Family { kEntropicForce, kSymmetryBreaking, kRepresentationSimilarity, kSampling };

/// What a reader must know of one metric. Export, DescribeMetrics and the reference page are made
/// from these.
struct Definition {
  const char* name;
  Family family;
  const char* unit;
  const char* range;
  /// One sentence.
  const char* help;
  const char* formula;
  const char* citation;
  /// Names of the labels besides `run`, separated by commas.
  const char* labels;
  /// What must be streamed.
  const char* inputs;
  /// How a practitioner reads it.
  const char* meaning;
  /// How exact it is, or why no bound is given: that of its class of formulas, which `Catalogue`
  /// fills in.
  const char* error = "";
};

/// Every metric of a run, in the order of the reference page.
std::span<const Definition> Catalogue();

/// The entry of that name, or null.
const Definition* Find(std::string_view name);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_CATALOGUE_H_
