#ifndef THERMOGRAD_SERVICE_STEP_H_
#define THERMOGRAD_SERVICE_STEP_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "metrics/figure.h"
#include "service/admission.h"
#include "statistics/gradient.h"
#include "statistics/tensor.h"

// A step on its way through the service: what each rank brings, what the ranks' parts make
// together, and what the analyses say. No protobuf: they are tested without gRPC.

namespace thermograd::service {

/// What the update of the step depends on.
struct StepContext {
  uint64_t step = 0;
  double learning_rate = 0;
  double weight_decay = 0;
};

/// One parameter group whose hyper-parameters differ from the step's.
struct GroupSettings {
  double learning_rate = 0;
  double weight_decay = 0;
};

/// Everything that the trainer says of a step besides tensors.
struct StepSettings {
  StepContext context;
  std::optional<double> loss;
  /// b.
  double microbatch_size = 0;
  /// Samples of the reduced gradient; 0: all microbatches of all ranks.
  double reduced_batch_size = 0;
  std::map<std::string, GroupSettings> groups;
};

/// What one rank brings of one parameter: tensors of its shard, complete or not.
struct ParameterPart {
  std::optional<statistics::GradientAccumulator> gradient;
  std::optional<statistics::TensorAccumulator> weight;
  std::optional<statistics::TensorAccumulator> update;
  std::optional<statistics::TensorAccumulator> preconditioner;
  std::optional<statistics::TensorAccumulator> gradient_after_update;
  std::optional<statistics::TensorAccumulator> reduced_gradient;
};

/// What one rank brings of one step.
struct RankStep {
  StepSettings settings;
  /// One entry a declared parameter.
  std::vector<ParameterPart> parameters;
  /// Holds the memory of the tensors.
  std::shared_ptr<Reservation> memory;
};

/// One tensor of one parameter, whole, or why it cannot be used.
struct TensorElements {
  std::optional<metrics::Undefined> undefined = metrics::Undefined::kMissingTensor;
  std::vector<double> values;
};

/// The tensors of one parameter, whole; values are kept only where they are looked into.
struct ParameterElements {
  /// The gradient that the step applies: mean over its microbatches, or the reduced gradient.
  TensorElements gradient;
  /// Before the update.
  TensorElements weight;
  /// The update that the optimiser applied, theta' - theta.
  TensorElements update;
  TensorElements preconditioner;
  TensorElements gradient_after_update;
};

/// One parameter over all ranks.
struct MergedParameter {
  /// Why the gradient sums are void.
  std::optional<metrics::Undefined> undefined;
  statistics::GradientSums sums;
  std::optional<double> weight_squared_norm;
};

/// A step over all ranks.
struct MergedStep {
  StepSettings settings;
  /// One entry each a declared parameter.
  std::vector<MergedParameter> parameters;
  std::vector<ParameterElements> elements;
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
