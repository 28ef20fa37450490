#ifndef THERMOGRAD_METRICS_FIGURE_H_
#define THERMOGRAD_METRICS_FIGURE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace thermograd::metrics {

/// Why a figure cannot be computed.
enum class Undefined {
  kTooFewMicrobatches,
  kTooFewSamples,
  kZeroDenominator,
  kNonFiniteInput,
  kMissingTensor,
  kNoEarlierStep,
  kOptimizerNotCovered,
  kDifferentSamples,
  kLimit,
  kOverflow,
  kIncompleteShards,
  kNoWeightDecay,
  kNotConverged,
  kDifferentOptions,
};
inline constexpr size_t kUndefinedReasons = 14;

/// A finite number, or the reason why there is none.
using Result = std::variant<double, Undefined>;

/// `value`, or kOverflow if it is not finite.
Result Finite(double value);

/// numerator / denominator; kZeroDenominator unless the denominator is positive.
Result Ratio(double numerator, double denominator);

/// Name and value of a label.
using Label = std::pair<std::string, std::string>;

/// One metric of one thing in one step. `name` is the catalogue's.
struct Figure {
  const char* name;
  std::vector<Label> labels;
  Result result;
};

using Figures = std::vector<Figure>;

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_FIGURE_H_
