#include "service/step_intake.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/chunk_order.h"
#include "service/limit_status.h"
#include "service/run_analysis.h"
#include "service/step_reduction.h"
#include "service/step_statistics.h"

namespace thermograd::service {
namespace {

// True for gradients, weights, and what the run declared.
bool IsParameterKind(const RunDeclaration& declaration, v1::TensorKind kind) {
  switch (kind) {
    case v1::TENSOR_KIND_GRADIENT:
    case v1::TENSOR_KIND_WEIGHT:
      return true;
    case v1::TENSOR_KIND_UPDATE:
      return declaration.sends_updates;
    case v1::TENSOR_KIND_PRECONDITIONER:
      return declaration.sends_preconditioners;
    case v1::TENSOR_KIND_GRADIENT_AFTER_UPDATE:
      return declaration.sends_gradients_after_update;
    case v1::TENSOR_KIND_REDUCED_GRADIENT:
      return declaration.sends_reduced_gradients;
    default:
      return false;
  }
}

// A tensor that came as such and as a sum, if there is one.
absl::Status CheckEither(const std::string& name, const ParameterPart& part) {
  if (!part.sums) return absl::OkStatus();
  const ParameterSums& sums = *part.sums;
  const char* kind = nullptr;
  if (part.gradient && sums.gradient_sum_squared_norm) kind = "gradient";
  if (part.reduced_gradient && sums.reduced_gradient_squared_norm) kind = "reduced gradient";
  if (part.weight && sums.weight_squared_norm) kind = "weight";
  if (part.update && sums.update_squared_norm) kind = "update";
  if (part.preconditioner && sums.preconditioned_squared_norm) kind = "preconditioner";
  if (part.gradient_after_update && sums.gradient_after_update_dot_update) {
    kind = "gradient after the update";
  }
  if (kind == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("statistics.parameters: the ", kind, " of '", name,
                   "' came as a tensor and as a sum in the same step"));
}

}  // namespace

StepIntake::StepIntake(const RunDeclaration& declaration, const Limits& limits,
                       Admission* admission, StepSettings settings, double loss_scale)
    : declaration_(declaration),
      limits_(limits),
      admission_(admission),
      loss_scale_(loss_scale),
      types_(declaration.parameters.size()) {
  rank_.settings = std::move(settings);
  rank_.parameters.resize(declaration.parameters.size());
  rank_.memory = std::make_shared<Reservation>(admission);
}

absl::Status StepIntake::TakeMemory(uint64_t bytes) {
  Reservation& memory = *rank_.memory;
  if (bytes > limits_.max_stream_bytes - memory.bytes()) {
    return LimitExceeded(
        Limit::max_stream_bytes, limits_,
        absl::StrCat("chunk: the open step needs ", bytes, " bytes after ", memory.bytes()));
  }
  if (memory.Take(bytes)) return absl::OkStatus();
  return LimitExceeded(
      admission_->memory_limit(bytes),
      absl::StrCat("chunk: the open step needs ", bytes, " bytes of the memory of all streams"));
}

absl::StatusOr<size_t> StepIntake::ParameterOf(const v1::TensorChunk& chunk) const {
  const auto found = declaration_.parameter_of_id.find(chunk.tensor_id());
  if (found == declaration_.parameter_of_id.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.tensor_id: ", chunk.tensor_id(), " is no declared parameter"));
  }
  const DeclaredParameter& parameter = declaration_.parameters[found->second];
  const std::vector<uint64_t>& shape = parameter.shard.shape;
  if (chunk.shape_size() > 0 &&
      !std::equal(chunk.shape().begin(), chunk.shape().end(), shape.begin(), shape.end())) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.shape: [", absl::StrJoin(chunk.shape(), ","), "] for '", parameter.name,
                     "', declared as [", absl::StrJoin(shape, ","), "]"));
  }
  return found->second;
}

absl::Status StepIntake::AddTensor(const v1::TensorChunk& chunk, const Elements& elements) {
  if (!IsParameterKind(declaration_, chunk.kind())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "chunk.kind: ",
        v1::TensorKind_IsValid(chunk.kind()) ? v1::TensorKind_Name(chunk.kind())
                                             : absl::StrCat(static_cast<int>(chunk.kind())),
        " is none of GRADIENT, WEIGHT, ACTIVATION, ACTIVATION_GRADIENT and "
        "run_spec.parameter_kinds"));
  }
  const absl::StatusOr<size_t> parameter = ParameterOf(chunk);
  if (!parameter.ok()) return parameter.status();
  const std::string& name = declaration_.parameters[*parameter].name;
  v1::DataType* type = &types_[*parameter][static_cast<size_t>(chunk.kind())];
  absl::Status status = CheckType(name, chunk, type);
  if (!status.ok()) return status;
  status = chunk.kind() == v1::TENSOR_KIND_GRADIENT ? AddGradient(chunk, *parameter, elements)
                                                    : AddOther(chunk, *parameter, elements);
  return status.ok() ? CheckEither(name, rank_.parameters[*parameter]) : status;
}

absl::Status StepIntake::AddGradient(const v1::TensorChunk& chunk, size_t index,
                                     const Elements& elements) {
  const DeclaredParameter& parameter = declaration_.parameters[index];
  auto& gradient = rank_.parameters[index].gradient;
  const uint64_t microbatches = rank_.settings.microbatches;
  if (!gradient) {
    using statistics::SumUse;
    SumUse use = SumUse::kNorm;
    if (declaration_.sends_reduced_gradients) {
      use = SumUse::kNone;
    } else if (TensorsToKeep(declaration_, parameter).gradient ||
               (declaration_.world_size > 1 && !declaration_.gradients_are_reduced)) {
      use = SumUse::kVector;
    }
    statistics::VectorMemory memory;
    if (statistics::GradientAccumulator::NeedsMemory(microbatches, use)) {
      if (absl::Status status = TakeMemory(parameter.shard_elements * sizeof(double));
          !status.ok()) {
        return status;
      }
      memory = admission_->LendVector(parameter.shard_elements);
    }
    gradient.emplace(parameter.shard_elements, microbatches, use, 1 / loss_scale_,
                     std::move(memory));
  }
  if (chunk.microbatch() >= microbatches || gradient->complete()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "chunk.microbatch: ", chunk.microbatch(), " of '", parameter.name, "', the step has ",
        microbatches, gradient->complete() ? " and all were sent" : ""));
  }
  if (chunk.microbatch() != gradient->microbatch() || chunk.offset() != gradient->next_element()) {
    return OutOfOrder(parameter.name, chunk, gradient->microbatch(), gradient->next_element());
  }
  if (absl::Status status =
          CheckSize(parameter.name, chunk.offset(), elements.count, parameter.shard_elements);
      !status.ok()) {
    return status;
  }
  gradient->Add(elements, chunk.offset());
  return absl::OkStatus();
}

absl::Status StepIntake::AddOther(const v1::TensorChunk& chunk, size_t index,
                                  const Elements& elements) {
  const DeclaredParameter& parameter = declaration_.parameters[index];
  const KeptTensors keep = TensorsToKeep(declaration_, parameter);
  ParameterPart& part = rank_.parameters[index];
  std::optional<statistics::TensorAccumulator>* tensor = nullptr;
  bool keep_values = true;
  double factor = 1;
  switch (chunk.kind()) {
    case v1::TENSOR_KIND_WEIGHT:
      tensor = &part.weight;
      keep_values = keep.weight;
      break;
    case v1::TENSOR_KIND_UPDATE:
      tensor = &part.update;
      break;
    case v1::TENSOR_KIND_PRECONDITIONER:
      tensor = &part.preconditioner;
      break;
    case v1::TENSOR_KIND_GRADIENT_AFTER_UPDATE:
      tensor = &part.gradient_after_update;
      factor = 1 / loss_scale_;
      break;
    default:
      tensor = &part.reduced_gradient;
      keep_values = keep.gradient;
      factor = 1 / loss_scale_;
  }
  if (!*tensor) {
    // A layer's analysis works on copies of its weights: as they are, transposed and scaled.
    const bool is_aligned = chunk.kind() == v1::TENSOR_KIND_WEIGHT && parameter.in_alignment;
    const uint64_t copies = (keep_values ? 1u : 0u) + (is_aligned ? 3u : 0u);
    if (absl::Status status = TakeMemory(copies * parameter.shard_elements * sizeof(double));
        !status.ok()) {
      return status;
    }
    tensor->emplace(parameter.shard_elements, keep_values, factor);
  }
  if (chunk.microbatch() != 0) {
    return absl::InvalidArgumentError("chunk.microbatch: must be 0 except for gradients");
  }
  if ((*tensor)->complete() || chunk.offset() != (*tensor)->next_element()) {
    return OutOfOrder(parameter.name, chunk, 0, (*tensor)->next_element());
  }
  if (absl::Status status =
          CheckSize(parameter.name, chunk.offset(), elements.count, parameter.shard_elements);
      !status.ok()) {
    return status;
  }
  (*tensor)->Add(elements, chunk.offset());
  return absl::OkStatus();
}

absl::Status StepIntake::AddStatistics(const v1::StepStatistics& statistics) {
  for (const v1::ParameterStatistics& parameter : statistics.parameters()) {
    if (absl::Status status = AddParameterStatistics(parameter); !status.ok()) return status;
  }
  for (const v1::SymmetryStatistics& symmetry : statistics.symmetries()) {
    if (absl::Status status = AddSymmetryStatistics(symmetry); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status StepIntake::AddParameterStatistics(const v1::ParameterStatistics& statistics) {
  const auto found = declaration_.parameter_of_id.find(statistics.tensor_id());
  if (found == declaration_.parameter_of_id.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "statistics.parameters.tensor_id: ", statistics.tensor_id(), " is no declared parameter"));
  }
  const DeclaredParameter& parameter = declaration_.parameters[found->second];
  ParameterPart& part = rank_.parameters[found->second];
  const absl::StatusOr<ParameterSums> sums =
      ReadStatistics(statistics, declaration_, rank_.settings.microbatches, loss_scale_);
  if (!sums.ok()) return sums.status();
  const uint64_t before = part.sums ? part.sums->elements : 0;
  if (sums->elements > parameter.shard_elements - before) {
    return absl::InvalidArgumentError(
        absl::StrCat("statistics.parameters.elements: ", sums->elements, " after ", before, " of '",
                     parameter.name, "', which has ", parameter.shard_elements));
  }
  if (!part.sums) {
    part.sums = *sums;
  } else if (absl::Status status = service::AddStatistics(*sums, &*part.sums); !status.ok()) {
    return status;
  }
  return CheckEither(parameter.name, part);
}

absl::Status StepIntake::AddSymmetryStatistics(const v1::SymmetryStatistics& statistics) {
  const auto& symmetries = declaration_.symmetries;
  const auto found = std::find_if(
      symmetries.begin(), symmetries.end(),
      [&](const DeclaredSymmetry& symmetry) { return symmetry.name == statistics.symmetry(); });
  if (found == symmetries.end()) {
    return absl::InvalidArgumentError(
        "statistics.symmetries.symmetry: names no entry of run_spec.symmetries");
  }
  if (absl::Status status = TakeMemory(statistics.ByteSizeLong()); !status.ok()) return status;
  absl::StatusOr<SymmetryStep> step = ReadStatistics(statistics, *found, declaration_, loss_scale_);
  if (!step.ok()) return step.status();
  const auto index = static_cast<size_t>(found - symmetries.begin());
  if (!rank_.symmetries.try_emplace(index, *std::move(step)).second) {
    return absl::InvalidArgumentError(
        absl::StrCat("statistics.symmetries.symmetry: '", found->name, "' came twice in one step"));
  }
  return absl::OkStatus();
}

}  // namespace thermograd::service
