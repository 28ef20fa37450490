#ifndef THERMOGRAD_SERVICE_STEP_INTAKE_H_
#define THERMOGRAD_SERVICE_STEP_INTAKE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/admission.h"
#include "service/decode.h"
#include "service/limits.h"
#include "service/run_declaration.h"
#include "service/step.h"
#include "thermograd/v1/run.pb.h"
#include "thermograd/v1/tensor.pb.h"

namespace thermograd::service {

/// Takes in what one rank brings of its parameters in one step: chunks of tensors, or the sums that
/// the trainer made of them. Errors are INVALID_ARGUMENT or RESOURCE_EXHAUSTED and name the field.
class StepIntake {
 public:
  /// `declaration` and `admission` outlive this. `loss_scale`: factor by which gradients are too
  /// large.
  StepIntake(const RunDeclaration& declaration, const Limits& limits, Admission* admission,
             StepSettings settings, double loss_scale);

  /// Adds the elements of a chunk of a parameter's tensor; the chunk's own bytes are not read.
  absl::Status AddTensor(const v1::TensorChunk& chunk, const Elements& elements);

  /// Adds sums. A tensor comes either as such or as sums.
  absl::Status AddStatistics(const v1::StepStatistics& statistics);

  /// Takes memory of the step, within the stream's and the service's limits.
  absl::Status TakeMemory(uint64_t bytes);

  const RankStep& rank() const { return rank_; }
  RankStep TakeRank() { return std::move(rank_); }

 private:
  /// Element types of the tensors of one parameter, by TensorKind.
  using DataTypes = std::array<v1::DataType, v1::TensorKind_ARRAYSIZE>;

  absl::StatusOr<size_t> ParameterOf(const v1::TensorChunk& chunk) const;
  absl::Status AddGradient(const v1::TensorChunk& chunk, size_t index, const Elements& elements);
  absl::Status AddOther(const v1::TensorChunk& chunk, size_t index, const Elements& elements);
  absl::Status AddParameterStatistics(const v1::ParameterStatistics& statistics);
  absl::Status AddSymmetryStatistics(const v1::SymmetryStatistics& statistics);

  const RunDeclaration& declaration_;
  const Limits& limits_;
  Admission* const admission_;
  const double loss_scale_;
  RankStep rank_;
  std::vector<DataTypes> types_;  // by parameter
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_STEP_INTAKE_H_
