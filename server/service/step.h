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
#include "service/limits.h"
#include "statistics/gradient.h"
#include "statistics/symmetry.h"
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
  /// n, of this rank.
  uint64_t microbatches = 1;
  /// b.
  double microbatch_size = 0;
  /// Samples of the reduced gradient; 0: all microbatches of all ranks.
  double reduced_batch_size = 0;
  std::map<std::string, GroupSettings> groups;
};

/// Sums over one parameter's tensors that the trainer made (v1.ParameterStatistics), without the
/// loss scale. Those of tensors that it did not have are absent.
struct ParameterSums {
  uint64_t elements = 0;
  statistics::NonFinite non_finite;
  std::optional<double> gradient_sum_squared_norm;
  std::optional<double> gradient_squared_norm_of_sum;
  std::optional<double> reduced_gradient_squared_norm;
  std::optional<double> weight_squared_norm;
  std::optional<double> update_squared_norm;
  std::optional<double> gradient_dot_update;
  std::optional<double> preconditioned_squared_norm;
  std::optional<double> gradient_after_update_dot_update;
};

/// What one rank brings of one parameter: tensors of its shard, complete or not, or sums.
struct ParameterPart {
  std::optional<ParameterSums> sums;
  std::optional<statistics::GradientAccumulator> gradient;
  std::optional<statistics::TensorAccumulator> weight;
  std::optional<statistics::TensorAccumulator> update;
  std::optional<statistics::TensorAccumulator> preconditioner;
  std::optional<statistics::TensorAccumulator> gradient_after_update;
  std::optional<statistics::TensorAccumulator> reduced_gradient;
};

/// One symmetry in one step: sums over its members.
struct SymmetryStep {
  /// Why there are none.
  std::optional<metrics::Undefined> undefined;
  /// Of a symmetry with a quadratic charge.
  statistics::SymmetrySums sums;
  /// Of a translation.
  statistics::TranslationSums translation;
};

/// What one rank brings of one step.
struct RankStep {
  StepSettings settings;
  /// One entry a declared parameter.
  std::vector<ParameterPart> parameters;
  /// By index into RunDeclaration::symmetries: those that the trainer reduced itself.
  std::map<size_t, SymmetryStep> symmetries;
  /// Holds the memory of the tensors.
  std::shared_ptr<Reservation> memory;
};

/// One tensor of one parameter, or why it cannot be used.
struct TensorElements {
  std::optional<metrics::Undefined> undefined = metrics::Undefined::kMissingTensor;
  std::vector<double> values;
};

/// The tensors of one parameter, or of a shard of it; values are kept only where they are looked
/// into.
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

/// Sums over one parameter of all ranks, or over a shard of it. Those of tensors that are not known
/// are absent. g is the gradient that the step applies.
struct MergedParameter {
  /// Why the gradient sums are void.
  std::optional<metrics::Undefined> undefined;
  statistics::GradientSums sums;
  std::optional<double> weight_squared_norm;
  std::optional<double> update_squared_norm;
  /// <g, theta' - theta>.
  std::optional<double> gradient_dot_update;
  /// g' Lambda g.
  std::optional<double> preconditioned_squared_norm;
  /// <g(theta'), theta' - theta>.
  std::optional<double> gradient_after_update_dot_update;
};

/// A step over all ranks.
struct MergedStep {
  StepSettings settings;
  /// One entry each a declared parameter.
  std::vector<MergedParameter> parameters;
  /// Of members of symmetries; the other entries are void.
  std::vector<ParameterElements> elements;
  /// One entry a declared symmetry.
  std::vector<SymmetryStep> symmetries;
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
  /// The limit because of which something is left out.
  std::optional<Limit> limit = std::nullopt;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_STEP_H_
