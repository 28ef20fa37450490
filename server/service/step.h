#ifndef THERMOGRAD_SERVICE_STEP_H_
#define THERMOGRAD_SERVICE_STEP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "metrics/figure.h"
#include "statistics/gradient.h"

// What the analyses of a step take and give. No protobuf: they are tested without gRPC.

namespace thermograd::service {

/// What the update of the step depends on.
struct StepContext {
  uint64_t step = 0;
  double learning_rate = 0;
  double weight_decay = 0;
};

/// One tensor of one parameter, whole, or why it cannot be used.
struct TensorElements {
  std::optional<metrics::Undefined> undefined = metrics::Undefined::kMissingTensor;
  std::vector<double> values;
};

/// The tensors of one parameter that symmetries look into; kept only for members of one.
struct ParameterElements {
  /// Mean over the step's microbatches: the gradient that the step applies.
  TensorElements gradient;
  /// Before the update.
  TensorElements weight;
};

/// The activations of one layer, or their gradients.
struct LayerActivations {
  /// Index into RunDeclaration::layers.
  size_t layer = 0;
  /// Rows of each microbatch.
  std::vector<size_t> batch_rows;
  /// Rows of all microbatches in order, row-major.
  std::vector<double> values;
  bool complete = false;
  statistics::NonFinite non_finite;
  /// The gradient of the loss with respect to them, of the same shape, if it was sent.
  std::shared_ptr<const LayerActivations> gradient;
};

/// Something that the trainer's owner should know.
struct AnalysisNotice {
  enum class Kind { kDropped, kNotComparable, kNonFinite };
  Kind kind;
  /// One sentence.
  std::string text;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_STEP_H_
